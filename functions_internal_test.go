package keyturn

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/internal/lambdaapi"
	"github.com/keyturn/keyturn/rotation"
)

// adminOnly is a database server that lets its administrator in, and nobody else.
type adminOnly struct{ open atomic.Int32 }

func (e *adminOnly) Connect(_ context.Context, l rotation.Login) (rotation.Session, error) {
	if l.Username != "root" {
		return nil, rotation.Errorf(rotation.ClassAuth, "the password is wrong")
	}
	e.open.Add(1)
	return adminSession{e}, nil
}

type adminSession struct{ *adminOnly }

func (adminSession) SetPassword(context.Context, string, string) error { return nil }
func (adminSession) Probe(context.Context) error                       { return nil }

func (s adminSession) Close() error {
	s.open.Add(-1)
	return nil
}

// A session of an administrator that is kept for the next rotation does not outlive the
// server.
func TestCloseEndsTheSessionsOfAdministrators(t *testing.T) {
	s, err := Open(t.Context(), Config{Data: InMemory, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	engine := &adminOnly{}
	rotate := s.rotate(engine)
	arn := stageRotation(t, secretsmanager.NewFromConfig(s.AWSConfig()))
	event, err := json.Marshal(rotation.Event{Step: rotation.StepSet, SecretID: arn, ClientRequestToken: strings.Repeat("2", 32)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rotate(t.Context(), lambdaapi.Invocation{Account: DefaultAccount, Region: DefaultRegion, Payload: event}); err != nil {
		t.Fatal(err)
	}
	if engine.open.Load() != 1 {
		t.Errorf("%d sessions are kept, want one", engine.open.Load())
	}
	if err := s.Close(); err != nil || engine.open.Load() != 0 {
		t.Errorf("after Close (%v) %d sessions are open", err, engine.open.Load())
	}
}

// stageRotation makes a secret with an administrator, and a pending version of it.
func stageRotation(t *testing.T, api *secretsmanager.Client) (arn string) {
	t.Helper()
	const login = `{"engine":"mysql","host":"db","username":"app","masterarn":"admin","password":`
	create := func(name, value string) string {
		out, err := api.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value})
		if err != nil {
			t.Fatal(err)
		}
		return *out.ARN
	}
	create("admin", `{"username":"root","password":"Root_1aA"}`)
	arn = create("app", login+`"Some_1aA"}`)
	_, err := api.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String(login + `"Next_1aA"}`),
		ClientRequestToken: aws.String(strings.Repeat("2", 32)), VersionStages: []string{"AWSPENDING"}})
	if err != nil {
		t.Fatal(err)
	}
	return arn
}
