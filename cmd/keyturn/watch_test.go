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

// After a roll-back the version has AWSPREVIOUS beside AWSPENDING: its rotation has not
// ended because of that.
func TestWaitAfterARollBack(t *testing.T) {
	var broken atomic.Bool
	var accepted atomic.Int64
	accepted.Store(1)
	server := keyturntest.NewServer(t, func(c *keyturn.Config) {
		c.Data = keyturn.InMemory
		c.Functions = map[string]keyturn.Function{"shaky": func(ctx context.Context, cfg aws.Config, event json.RawMessage) (json.RawMessage, error) {
			if broken.Load() {
				return nil, errors.New("the database is away")
			}
			return nil, pickyStep(ctx, secretsmanager.NewFromConfig(cfg), event, &accepted)
		}}
	})
	client, records := server.SecretsManager, keyturnapi.New(server.AWSConfig())
	out, err := (&earlier{secrets: client, records: records, id: rotatedBy(t, server, "shaky")}).begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	follow := func() error {
		w := newWatch(&app{}, client, records, out)
		w.show = func(string) {}
		return w.run(t.Context())
	}
	if err := follow(); err != nil {
		t.Fatal(err)
	}
	previous, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: out.ARN, VersionStage: aws.String(stagePrevious)})
	if err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	_, err = client.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{SecretId: out.ARN, VersionStage: aws.String(stageCurrent),
		RemoveFromVersionId: out.VersionId, MoveToVersionId: previous.VersionId})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: out.ARN, ClientRequestToken: out.VersionId}); err != nil {
		t.Fatal(err)
	}
	if err := follow(); err == nil {
		t.Error("a rotation that fails has ended well")
	}
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
