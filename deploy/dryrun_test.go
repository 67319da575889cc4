package deploy_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/deploy"
	"github.com/keyturn/keyturn/keyturntest"
)

// writes is a transport that notes the requests which change something.
type writes struct {
	mu   sync.Mutex
	seen []string
}

func (w *writes) Do(r *http.Request) (*http.Response, error) {
	op, err := operation(r)
	if err != nil {
		return nil, err
	}
	reads := []string{"Describe", "Get", "List"}
	if op != "" && !slices.ContainsFunc(reads, func(p string) bool { return strings.HasPrefix(op, p) }) {
		w.mu.Lock()
		w.seen = append(w.seen, op)
		w.mu.Unlock()
	}
	return http.DefaultClient.Do(r)
}

// noted deploys, and returns which requests changed something; one that was repeated
// counts once.
func (w *world) noted(t *testing.T, dry bool) (deploy.Report, []string, error) {
	t.Helper()
	transport := &writes{}
	cfg := w.Config.Copy()
	cfg.HTTPClient = transport
	o := w.options(nil)
	o.Clients, o.DryRun = clients(cfg), dry
	report, err := deploy.Run(t.Context(), o)
	return report, slices.Compact(transport.seen), err
}

func (w *world) dryRun(t *testing.T) deploy.Report {
	t.Helper()
	before := w.read(t)
	report, seen, err := w.noted(t, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) > 0 || w.read(t) != before {
		t.Errorf("the dry run changed config.yml, or asked for %v", seen)
	}
	return report
}

// requests are those that the outcomes of a report stand for.
func requests(r deploy.Report) (all []string) {
	for _, s := range r.Steps {
		op := map[string]string{
			"permission created": "AddPermission",
			"password created":   "CreateSecret", "password updated": "PutSecretValue",
			"cluster created": "CreateDBCluster", "cluster updated": "ModifyDBCluster",
			"instance created": "CreateDBInstance", "secret updated": "PutSecretValue",
			"rotation created": "RotateSecret", "rotation updated": "RotateSecret",
		}[string(s.Step)+" "+string(s.Outcome)]
		if strings.HasPrefix(s.Detail, "first value of secret") {
			op = "PutSecretValue"
		}
		if op != "" {
			all = append(all, op)
		}
	}
	return all
}

// foretold makes sure that a dry run tells what the deploy after it does.
func (w *world) foretold(t *testing.T) (told deploy.Report) {
	t.Helper()
	told, done := w.toldAndDone(t)
	w.check(t, done)
	return told
}

func (w *world) toldAndDone(t *testing.T) (told, done deploy.Report) {
	t.Helper()
	told = w.dryRun(t)
	done, seen, err := w.noted(t, false)
	if err != nil {
		t.Fatal(err)
	}
	if outcomes(told) != outcomes(done) || !slices.Equal(told.ConfigKeys, done.ConfigKeys) {
		t.Errorf("told %s, %v\n did %s, %v", outcomes(told), told.ConfigKeys, outcomes(done), done.ConfigKeys)
	}
	if want := requests(told); !slices.Equal(seen, want) {
		t.Errorf("told %v, asked for %v", want, seen)
	}
	return told, done
}

func TestDryRun(t *testing.T) {
	server := keyturntest.NewServer(t)
	w := newWorld(t, server, "dry")
	if got := outcomes(w.foretold(t)); got != "unchanged created created created created updated created updated" {
		t.Errorf("of nothing: %s", got)
	}
	if got := outcomes(w.foretold(t)); strings.Contains(got, "ated") {
		t.Errorf("of everything: %s", got)
	}
	w.edit(t, "rotatePasswordInDays: 30", "rotatePasswordInDays: 7")
	w.foretold(t)
	w.edit(t, "  port: ", "  port: 1")
	w.foretold(t)
	w.revokePermission(t)
	w.foretold(t)
	if _, err := w.SecretsManager.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String("dry_login")}); err != nil {
		t.Fatal(err)
	}
	told := w.dryRun(t)
	if s := told.Steps[6]; s.Outcome != deploy.Unchanged {
		t.Errorf("of a rotation under way: %+v", s)
	}
}

func (w *world) revokePermission(t *testing.T) {
	t.Helper()
	_, err := w.Lambda.RemovePermission(t.Context(), &lambda.RemovePermissionInput{
		FunctionName: aws.String("keyturn-rotate-mysql"), StatementId: aws.String("keyturn-secretsmanager")})
	if err != nil {
		t.Fatal(err)
	}
}

// What an interrupted deploy has left is seen, wherever it was interrupted.
func TestDryRunOfHalf(t *testing.T) {
	server := keyturntest.NewServer(t)
	for _, op := range []string{"AddPermission", "CreateSecret", "CreateDBCluster", "CreateDBInstance", "PutSecretValue"} {
		t.Run(op, func(t *testing.T) {
			w := newWorld(t, server, "half"+strings.ToLower(op))
			o := w.options(nil)
			broken := w.Config.Copy()
			broken.HTTPClient, broken.RetryMaxAttempts = &lossy{at: op, answer: true}, 1
			o.Clients = clients(broken)
			if _, err := deploy.Run(t.Context(), o); err == nil {
				t.Fatal("the deploy did not break")
			}
			w.foretold(t)
		})
	}
}

func TestDryRunOfEmptySecret(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "dryempty")
	if _, err := w.SecretsManager.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("dryempty_login")}); err != nil {
		t.Fatal(err)
	}
	w.foretold(t)
}

// With RDS's managed master user, too; its secret has RDS's schedule at first.
func TestDryRunOfManagedMasterUser(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "drymanaged")
	w.edit(t, "masterUsername: admin", "masterUsername: admin\n  manageMasterUserPassword: true")
	w.edit(t, "  name: drymanaged_login\n", "")
	w.toldAndDone(t)
	w.toldAndDone(t)
	w.turnOff(t)
	w.toldAndDone(t)
}

// What a deploy would be refused, its dry run is refused.
func TestDryRunSeesAStatementOfAnother(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "statement")
	_, err := w.Lambda.AddPermission(t.Context(), &lambda.AddPermissionInput{
		FunctionName: aws.String("keyturn-rotate-mysql"), StatementId: aws.String("keyturn-secretsmanager"),
		Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("events.amazonaws.com")})
	if err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{true, false} {
		_, seen, err := w.noted(t, dry)
		if err == nil || len(seen) > 0 || !strings.Contains(err.Error(), "has a statement keyturn-secretsmanager") {
			t.Errorf("dry run %v: asked for %v; %v", dry, seen, err)
		}
	}
}
