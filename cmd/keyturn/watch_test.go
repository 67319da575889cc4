package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
)

// picky is the failure of a database that rejects a password.
type picky struct{}

func (picky) Error() string     { return "it is too short" }
func (picky) ErrorType() string { return rotation.TypeRejected }

// A password that the database has rejected is followed by another version, which is
// waited for.
func TestWaitFollowsARejectedPassword(t *testing.T) {
	var asked atomic.Int64
	server := keyturntest.NewServer(t, func(c *keyturn.Config) {
		c.Data = keyturn.InMemory
		c.Functions = map[string]keyturn.Function{"picky": func(ctx context.Context, cfg aws.Config, event json.RawMessage) (json.RawMessage, error) {
			return nil, pickyStep(ctx, secretsmanager.NewFromConfig(cfg), event, &asked)
		}}
	})
	arn := rotatedBy(t, server, "picky")
	out, err := server.SecretsManager.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: &arn})
	for testing := new(types.InvalidRequestException); errors.As(err, &testing); { // what rotatedBy began is under way
		time.Sleep(firstLook)
		out, err = server.SecretsManager.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: &arn})
	}
	if err != nil {
		t.Fatal(err)
	}
	w := newWatch(&app{}, server.SecretsManager, keyturnapi.New(server.AWSConfig()), out)
	w.show = func(string) {}
	if err := w.run(t.Context()); err != nil || w.version == *out.VersionId {
		t.Errorf("%v, AWSCURRENT on version %s", err, w.version)
	}
}

// pickyStep is a step of a function whose database rejects the first password.
func pickyStep(ctx context.Context, client *secretsmanager.Client, event json.RawMessage, asked *atomic.Int64) error {
	var e rotation.Event
	if err := json.Unmarshal(event, &e); err != nil {
		return err
	}
	var err error
	switch e.Step {
	case rotation.StepCreate:
		_, err = client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &e.SecretID, ClientRequestToken: &e.ClientRequestToken,
			RotationToken: &e.RotationToken, SecretString: aws.String("{}"), VersionStages: []string{stagePending}})
	case rotation.StepSet:
		if asked.Add(1) == 1 {
			return picky{}
		}
	case rotation.StepFinish:
		return promote(ctx, client, e)
	}
	return err
}

func promote(ctx context.Context, client *secretsmanager.Client, e rotation.Event) error {
	now, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &e.SecretID})
	if err != nil {
		return err
	}
	_, err = client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{SecretId: &e.SecretID, VersionStage: aws.String(stageCurrent),
		RemoveFromVersionId: now.VersionId, MoveToVersionId: &e.ClientRequestToken})
	return err
}

// Only a rejected password is for the function's rules to mend.
func TestAdviceOnPolicy(t *testing.T) {
	run := keyturnapi.RotationRun{ErrorClass: string(rotation.ClassPolicy), Error: "changing the password: " + rotation.ErrRejected.Error() + ": too short"}
	if got := adviceOn(run); !strings.Contains(got, "password rules") {
		t.Errorf("a rejected password: %s", got)
	}
	run.Error = "the account of app requires a client certificate"
	if got := adviceOn(run); strings.Contains(got, "password rules") {
		t.Errorf("an account that cannot be tried: %s", got)
	}
}
