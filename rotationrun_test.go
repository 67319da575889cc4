package keyturn_test

import (
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
)

// A password has leaked: the program rotates what belongs to a team, and ends
// the old passwords at once, where an engine keeps them.
func TestIncident(t *testing.T) {
	server, binary := keyturntest.NewServer(t), build(t)
	var all []*world
	var old []rotation.Login
	for _, a := range everyStrategy(t) {
		w := newWorld(t, server.Config, a)
		if _, err := w.rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.settled(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := w.secrets.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: &w.secret,
			Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("payments")}}})
		if err != nil {
			t.Fatal(err)
		}
		all, old = append(all, w), append(old, w.value(t))
	}
	cmd := exec.CommandContext(t.Context(), binary, "rotation", "run", "--all", "--tag", "team=payments", "--revoke-old", "--parallel", "3", "-o", "json")
	cmd.Env = server.Env()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var report []struct{ Name, Outcome string }
	if err := json.Unmarshal(out, &report); err != nil || len(report) != len(all) {
		t.Fatalf("report %s, %v", out, err)
	}
	for i, w := range all {
		if err := w.login(t.Context()); err != nil {
			t.Errorf("%s: the new password: %v", w.account, err)
		}
		if _, err := w.account.engine.Connect(t.Context(), old[i]); rotation.ClassOf(err) != rotation.ClassAuth {
			t.Errorf("%s: the old password: %v", w.account, err)
		}
		want := map[string]string{rotation.StrategySingleUser: "rotated", rotation.StrategyDualPassword: "rotated, old password ended",
			rotation.StrategyAlternatingUsers: "rotated, old password ended"}[w.account.strategy]
		for _, line := range report {
			if line.Name == w.secret && line.Outcome != want {
				t.Errorf("%s: %s", w.account, line.Outcome)
			}
		}
	}
}

// value is the login that the secret holds now.
func (w *world) value(t *testing.T) rotation.Login {
	t.Helper()
	out, err := w.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &w.secret})
	if err != nil {
		t.Fatal(err)
	}
	l, err := rotation.ParseLogin(*out.SecretString)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// On AWS the old password is ended by the secret's own function.
func TestFunctionEndsAnOldPasswordWhenInvoked(t *testing.T) {
	server := keyturntest.NewServer(t)
	w := newWorld(t, server.Config, newAccount(t, dbtest.Products()[0], rotation.StrategyDualPassword))
	old := w.value(t)
	version, err := w.rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	invoke(t, server, w, rotation.Event{Step: rotation.StepRetire, SecretID: w.arn(t), ClientRequestToken: version})
	if _, err := w.account.engine.Connect(t.Context(), old); rotation.ClassOf(err) != rotation.ClassAuth {
		t.Errorf("the old password: %v", err)
	}
	if err := w.login(t.Context()); err != nil {
		t.Error(err)
	}
}

func (w *world) arn(t *testing.T) string {
	t.Helper()
	out, err := w.secrets.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &w.secret})
	if err != nil {
		t.Fatal(err)
	}
	return *out.ARN
}

func invoke(t *testing.T, server *keyturntest.Server, w *world, e rotation.Event) {
	t.Helper()
	payload, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	out, err := server.Lambda.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String(w.account.function()), Payload: payload})
	if err != nil || out.FunctionError != nil {
		t.Fatalf("%v, %s", err, out.Payload)
	}
}
