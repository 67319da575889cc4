package keyturn_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
)

// observed is a secret whose rotation is watched on a server in dev mode.
type observed struct {
	*world
	t   *testing.T
	api *keyturnapi.Client
}

func observe(t *testing.T, s *keyturntest.Server, a account) observed {
	t.Helper()
	o := observed{newWorld(t, s.Config, a), t, keyturnapi.New(s.Config)}
	if _, err := o.rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.waitForRecord()
	return o
}

// waitForRecord waits for the last step's end, which is written a moment after
// the labels have moved.
func (o observed) waitForRecord() {
	o.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		out, err := o.api.ListRotations(o.t.Context(), &keyturnapi.ListRotationsInput{SecretID: o.secret, MaxResults: 1})
		if err != nil {
			o.t.Fatal(err)
		}
		if len(out.Runs) > 0 && out.Runs[0].Step == rotation.StepFinish && out.Runs[0].Outcome == "succeeded" {
			return
		}
	}
	o.t.Fatal("the rotation did not end within a minute")
}

func (o observed) advance(d time.Duration) {
	o.t.Helper()
	if _, err := o.api.AdvanceClock(o.t.Context(), &keyturnapi.AdvanceClockInput{Seconds: int64(d / time.Second)}); err != nil {
		o.t.Fatal(err)
	}
}

// until waits until what the server knows of the passwords is as it should be.
func (o observed) until(what string, ok func(*keyturnapi.RotationPasswords) bool) *keyturnapi.RotationPasswords {
	o.t.Helper()
	var last *keyturnapi.RotationPasswords
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		out, err := o.api.ListRotations(o.t.Context(), &keyturnapi.ListRotationsInput{SecretID: o.secret})
		if err != nil {
			o.t.Fatal(err)
		}
		if last = out.Passwords; last != nil && ok(last) {
			return last
		}
	}
	o.t.Fatalf("%s: not within a minute; %+v", what, last)
	return nil
}

func (o observed) changeByHand() {
	o.t.Helper()
	statement := "ALTER USER %s@'%%' IDENTIFIED BY '%s'"
	if o.account.product == dbserver.Postgres {
		statement = "ALTER ROLE %s PASSWORD '%s'"
	}
	dbtest.Server(o.t, o.account.product).Exec(o.t, fmt.Sprintf(statement, o.account.user, "Changed.By_Hand1"))
}

// TestDriftOnRealDatabases: a canary login finds that a password was changed
// by hand; a rotation cannot mend that, and the next checks back off.
func TestDriftOnRealDatabases(t *testing.T) {
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Dev = true })
	for _, p := range dbtest.Products() {
		t.Run(string(p), func(t *testing.T) {
			o := observe(t, s, newAccount(t, p, rotation.StrategySingleUser))
			o.advance(25 * time.Hour)
			seen := o.until("a check", func(w *keyturnapi.RotationPasswords) bool { return w.ProvedAt != nil })
			if seen.ProvedBy != "drift-check" || len(seen.Drift) > 0 || seen.Logins[0].Outcome != rotation.LoginLive || seen.NextCheck == nil {
				t.Errorf("the check says %+v", seen)
			}
			o.changeByHand()
			o.advance(25 * time.Hour)
			seen = o.until("drift", func(w *keyturnapi.RotationPasswords) bool { return slices.Contains(w.Drift, "current_refused") })
			if seen.NextCheck.Sub(*seen.ProvedAt) <= 24*time.Hour {
				t.Errorf("the next check is at %v, after one at %v", seen.NextCheck, seen.ProvedAt)
			}
		})
	}
}

// TestDriftTagIsObeyedAtOnce through the API.
func TestDriftTagIsObeyedAtOnce(t *testing.T) {
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Dev = true })
	o := observe(t, s, newAccount(t, dbserver.MariaDB, rotation.StrategyDualPassword))
	tag := func(value string) {
		_, err := o.secrets.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: &o.secret,
			Tags: []types.Tag{{Key: aws.String("keyturn:rotation-drift-check"), Value: &value}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	tag("off")
	o.until("off", func(w *keyturnapi.RotationPasswords) bool { return w.NextCheck == nil })
	tag("6h")
	o.until("6h", func(w *keyturnapi.RotationPasswords) bool { return w.NextCheck != nil })
	o.advance(6*time.Hour + time.Minute)
	seen := o.until("a check", func(w *keyturnapi.RotationPasswords) bool { return w.ProvedAt != nil })
	if len(seen.Drift) > 0 || seen.OldPasswordUntil == nil {
		t.Errorf("an older password that is to end is drift: %+v", seen)
	}
}

// TestProofByHandIsKept: who may invoke the function may ask, and the server
// remembers the answer.
func TestProofByHandIsKept(t *testing.T) {
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.DriftCheck = -1 })
	o := observe(t, s, newAccount(t, dbserver.MariaDB, rotation.StrategySingleUser))
	described, err := o.secrets.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &o.secret})
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Lambda.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: described.RotationLambdaARN,
		Payload: fmt.Appendf(nil, `{"Step":"proveSecret","SecretId":%q}`, *described.ARN)})
	if err != nil || out.FunctionError != nil {
		t.Fatalf("%v: %s", err, out.Payload)
	}
	seen := o.until("a proof", func(w *keyturnapi.RotationPasswords) bool { return w.ProvedAt != nil })
	if seen.ProvedBy != "proveSecret" || len(seen.Logins) != 2 || seen.NextCheck != nil {
		t.Errorf("the server knows %+v", seen)
	}
}

// TestSamePasswordIsNoDrift: a value that somebody has put with the same password,
// as adopt does that adds keys, is no second password.
func TestSamePasswordIsNoDrift(t *testing.T) {
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Dev = true })
	o := observe(t, s, newAccount(t, dbserver.MariaDB, rotation.StrategySingleUser))
	got, err := o.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &o.secret})
	if err != nil {
		t.Fatal(err)
	}
	value := strings.Replace(*got.SecretString, "{", `{"note":"the same login",`, 1)
	if _, err := o.secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &o.secret, SecretString: &value}); err != nil {
		t.Fatal(err)
	}
	o.advance(25 * time.Hour)
	seen := o.until("a check", func(w *keyturnapi.RotationPasswords) bool { return w.ProvedAt != nil })
	if len(seen.Logins) != 2 || seen.Logins[1].Outcome != rotation.LoginLive || len(seen.Drift) > 0 {
		t.Errorf("the check says %+v", seen)
	}
}
