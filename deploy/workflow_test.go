package deploy_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/go-sql-driver/mysql"
	"go.yaml.in/yaml/v4"

	"github.com/keyturn/keyturn/deploy"
	"github.com/keyturn/keyturn/keyturntest"
)

// document is the config.yml of these tests; NAME names cluster and secret.
const document = `# our deployment
rds:
  clusterIdentifier: NAME
  engine: mariadb # a real server
  masterUsername: admin
secretsmanager:
  host: "not yet known"  # written by deploy
  name: NAME_login
  rotatePasswordInDays: 30
# the end
`

// world is a server, a config.yml, and what was told while deploying it.
type world struct {
	*keyturntest.Server
	name, path string
	told       strings.Builder
}

func newWorld(t *testing.T, server *keyturntest.Server, name string) *world {
	t.Helper()
	w := &world{Server: server, name: name, path: filepath.Join(t.TempDir(), "config.yml")}
	w.write(t, strings.ReplaceAll(document, "NAME", name))
	return w
}

func (w *world) write(t *testing.T, content string) {
	t.Helper()
	if err := os.WriteFile(w.path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (w *world) read(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func (w *world) edit(t *testing.T, old, with string) {
	t.Helper()
	w.write(t, strings.Replace(w.read(t), old, with, 1))
}

func (w *world) options(progress func(deploy.Event)) deploy.Options {
	return deploy.Options{ConfigPath: w.path, Clients: clients(w.Config), Progress: func(e deploy.Event) {
		line, _ := json.Marshal(e) // an Event always encodes
		w.told.Write(line)
		if progress != nil {
			progress(e)
		}
	}}
}

func clients(cfg aws.Config) deploy.Clients {
	return deploy.Clients{SecretsManager: secretsmanager.NewFromConfig(cfg), RDS: rds.NewFromConfig(cfg), Lambda: lambda.NewFromConfig(cfg)}
}

func (w *world) deploy(t *testing.T) deploy.Report {
	t.Helper()
	report, err := deploy.Run(t.Context(), w.options(nil))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func outcomes(r deploy.Report) string {
	var all []string
	for _, s := range r.Steps {
		all = append(all, string(s.Outcome))
	}
	return strings.Join(all, " ")
}

// login is what the secret holds.
type login struct {
	Engine, Host, Username, Password string
	Port                             int
	Cluster                          string `json:"dbClusterIdentifier"`
}

func (w *world) login(t *testing.T) (l login, version string) {
	t.Helper()
	out, err := w.SecretsManager.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(w.name + "_login")})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(*out.SecretString), &l); err != nil {
		t.Fatal(err)
	}
	return l, *out.VersionId
}

// check makes sure that everything is as it must be after a deploy: the secret
// has logged in by rotation once, config.yml says the same, and nothing was
// told that must not be.
func (w *world) check(t *testing.T, r deploy.Report) {
	t.Helper()
	l, version := w.login(t)
	open(t, l)
	if l.Engine != "mariadb" || l.Cluster != w.name || l.Username != "admin" || version != r.VersionID {
		t.Errorf("the secret is of %s, %s, %s, version %s; reported %s", l.Engine, l.Cluster, l.Username, version, r.VersionID)
	}
	var file struct {
		SecretsManager map[string]any `yaml:"secretsmanager"`
	}
	if err := yaml.Load([]byte(w.read(t)), &file); err != nil {
		t.Fatal(err)
	}
	got := file.SecretsManager
	if got["host"] != l.Host || got["port"] != l.Port || got["username"] != l.Username || got["password"] != l.Password {
		t.Error("config.yml differs from the secret")
	}
	if info, err := os.Stat(w.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("config.yml has mode %v, %v", info.Mode(), err)
	}
	encoded, err := json.Marshal(r)
	if err != nil || strings.Contains(string(encoded)+w.told.String(), l.Password) {
		t.Errorf("the password was told, or %v", err)
	}
}

// open logs in.
func open(t *testing.T, l login) {
	t.Helper()
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr = l.Username, l.Password, "tcp", l.Host+":"+strconv.Itoa(l.Port)
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := db.PingContext(t.Context()); err != nil {
		t.Errorf("logging in with the secret: %v", err)
	}
}

func TestDeployCreatesThenUpdates(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "phat")
	first := w.deploy(t)
	if got := outcomes(first); got != "unchanged created created created created updated created updated" {
		t.Errorf("the first deploy: %s", got)
	}
	w.check(t, first)
	l, version := w.login(t)
	want := strings.ReplaceAll(document, "NAME", "phat")
	want = strings.Replace(want, "not yet known", l.Host, 1)
	for _, line := range strings.SplitAfter(w.read(t), "\n") {
		if !strings.Contains(want, line) && !strings.HasPrefix(line, "  port: ") && !strings.HasPrefix(line, "  username: admin") && !strings.HasPrefix(line, "  password: ") {
			t.Error("config.yml has another strange line")
		}
	}

	second := w.deploy(t)
	if got := outcomes(second); got != "unchanged unchanged unchanged unchanged unchanged unchanged unchanged unchanged" {
		t.Errorf("the second deploy: %s", got)
	}
	w.check(t, second)

	w.edit(t, "rotatePasswordInDays: 30", "rotatePasswordInDays: 7")
	third := w.deploy(t)
	if got := outcomes(third); got != "unchanged unchanged unchanged unchanged unchanged unchanged updated unchanged" {
		t.Errorf("the deploy after a change of days: %s", got)
	}
	w.check(t, third)
	if _, now := w.login(t); now != version {
		t.Error("a change of days rotated the password")
	}
	secret, err := w.SecretsManager.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("phat_login")})
	if err != nil || aws.ToInt64(secret.RotationRules.AutomaticallyAfterDays) != 7 {
		t.Errorf("rules are %+v, %v", secret.RotationRules, err)
	}
}

func TestDeployWritesLatestPassword(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "latest")
	w.deploy(t)
	_, before := w.login(t)
	if _, err := w.SecretsManager.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String("latest_login")}); err != nil {
		t.Fatal(err)
	}
	report := w.deploy(t) // waits for the rotation
	if report.VersionID == before || !slices.Equal(report.ConfigKeys, []string{"secretsmanager.password"}) {
		t.Errorf("wrote %v of version %s", report.ConfigKeys, report.VersionID)
	}
	w.check(t, report)
}

func TestDeployMendsPermission(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "allowed")
	w.deploy(t)
	function := aws.String("keyturn-rotate-mysql")
	if _, err := w.Lambda.RemovePermission(t.Context(), &lambda.RemovePermissionInput{FunctionName: function, StatementId: aws.String("keyturn-secretsmanager")}); err != nil {
		t.Fatal(err)
	}
	if got := w.deploy(t).Steps[1]; got.Outcome != deploy.Created {
		t.Errorf("got %+v", got)
	}
}

// lossy is a transport that breaks at the first request for an operation: the
// request is not sent, or it is carried out and the answer is lost.
type lossy struct {
	at     string // the operation
	answer bool   // lose the answer, not the request

	mu     sync.Mutex
	broken bool
}

var errLost = errors.New("the connection was lost")

func (l *lossy) Do(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return nil, errLost
	}
	op, err := operation(r)
	if err != nil || op != l.at {
		return http.DefaultClient.Do(r)
	}
	l.broken = true
	if l.answer {
		if res, err := http.DefaultClient.Do(r); err == nil {
			_ = res.Body.Close() // lost
		}
	}
	return nil, errLost
}

// operation names what a request asks for: by the target in Secrets Manager,
// by the form in RDS. Of Lambda only AddPermission is told apart.
func operation(r *http.Request) (string, error) {
	if _, op, ok := strings.Cut(r.Header.Get("X-Amz-Target"), "."); ok {
		return op, nil
	}
	if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/policy") {
		return "AddPermission", nil
	}
	if r.Body == nil {
		return "", nil
	}
	form, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(form))
	values, _ := url.ParseQuery(string(form)) // what is no form has no Action
	return values.Get("Action"), err
}

// TestDeployFinishesAfterCrash breaks the deploy at every change it makes,
// once before and once after the change, and runs it again.
func TestDeployFinishesAfterCrash(t *testing.T) {
	server := keyturntest.NewServer(t)
	for i, op := range []string{"AddPermission", "CreateSecret", "CreateDBCluster", "CreateDBInstance", "PutSecretValue", "RotateSecret"} {
		for _, answer := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/done=%v", op, answer), func(t *testing.T) {
				_, _ = server.Lambda.RemovePermission(t.Context(), &lambda.RemovePermissionInput{
					FunctionName: aws.String("keyturn-rotate-mysql"), StatementId: aws.String("keyturn-secretsmanager"),
				}) // there is none in the first round
				w := newWorld(t, server, fmt.Sprintf("crash%d%v", i, answer))
				o := w.options(nil)
				broken := w.Config.Copy()
				broken.HTTPClient, broken.RetryMaxAttempts = &lossy{at: op, answer: answer}, 1
				o.Clients = clients(broken)
				if _, err := deploy.Run(t.Context(), o); err == nil {
					t.Fatal("the deploy did not break")
				}
				w.check(t, w.deploy(t))
			})
		}
	}
}

func TestDeployEndsWithContext(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "cancelled")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := deploy.Run(ctx, w.options(func(e deploy.Event) {
		if e.Step == deploy.StepInstance {
			cancel()
		}
	}))
	if e, ok := errors.AsType[*deploy.StepError](err); !ok || !errors.Is(err, context.Canceled) || e.Step != deploy.StepInstance {
		t.Errorf("got %v", err)
	}
	w.check(t, w.deploy(t))
}

func TestTwoDeploysAtOnce(t *testing.T) {
	server := keyturntest.NewServer(t)
	worlds := []*world{newWorld(t, server, "race"), newWorld(t, server, "race")}
	var wg sync.WaitGroup
	errs := make([]error, len(worlds))
	for i, w := range worlds {
		wg.Go(func() { _, errs[i] = deploy.Run(t.Context(), w.options(nil)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, w := range worlds {
		w.check(t, w.deploy(t))
	}
}

func TestDeployRefusesForeignEdit(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "edited")
	_, err := deploy.Run(t.Context(), w.options(func(e deploy.Event) {
		if e.Step == deploy.StepRotation && e.State == deploy.Started {
			w.edit(t, "# the end", "# my own note")
		}
	}))
	if e, ok := errors.AsType[*deploy.ConfigError](err); !ok || !strings.Contains(e.Problem, "changed by somebody else") {
		t.Errorf("got %v", err)
	}
	if content := w.read(t); !strings.Contains(content, "# my own note") || strings.Contains(content, "password:") {
		t.Error("the edited file was changed")
	}
	w.check(t, w.deploy(t))
}

func TestDeployRefusesSecretBeingDeleted(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "deleted")
	w.deploy(t)
	id := aws.String("deleted_login")
	if _, err := w.SecretsManager.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: id}); err != nil {
		t.Fatal(err)
	}
	_, err := deploy.Run(t.Context(), w.options(nil))
	if e, ok := errors.AsType[*deploy.StepError](err); !ok || !strings.Contains(e.Advice, "keyturn secret restore deleted_login") {
		t.Errorf("got %v", err)
	}
	if _, err := w.SecretsManager.RestoreSecret(t.Context(), &secretsmanager.RestoreSecretInput{SecretId: id}); err != nil {
		t.Fatal(err)
	}
	w.check(t, w.deploy(t))
}

func TestDeployRefusesForeignSecret(t *testing.T) {
	server := keyturntest.NewServer(t)
	for name, value := range map[string]string{
		"text":   "SECRET",
		"other":  `{"username":"admin","password":"SECRET","dbClusterIdentifier":"somebody"}`,
		"nouser": `{"password":"SECRET"}`,
	} {
		w := newWorld(t, server, name)
		if _, err := w.SecretsManager.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(name + "_login"), SecretString: &value}); err != nil {
			t.Fatal(err)
		}
		_, err := deploy.Run(t.Context(), w.options(nil))
		if e, ok := errors.AsType[*deploy.StepError](err); !ok || e.Step != deploy.StepPassword || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Nothing is made for a secret of another engine: its rotation would fail.
func TestDeployRefusesSecretOfOtherEngine(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "engine")
	if _, err := w.SecretsManager.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String("engine_login"), SecretString: aws.String(`{"username":"admin","password":"some-password","engine":"postgres"}`),
	}); err != nil {
		t.Fatal(err)
	}
	_, err := deploy.Run(t.Context(), w.options(nil))
	if e, ok := errors.AsType[*deploy.StepError](err); !ok || e.Step != deploy.StepCluster || !strings.Contains(e.Error(), "is of engine postgres") {
		t.Errorf("got %v", err)
	}
	if out, err := w.RDS.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{}); err != nil || len(out.DBClusters) != 0 {
		t.Errorf("a cluster was made: %v", err)
	}
}

// What was wrong in config.yml is in the secret already when RDS refuses it.
func TestDeployTakesCorrectedConfig(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "corrected")
	w.edit(t, "engine: mariadb", "engine: postgres")
	w.edit(t, "masterUsername: admin", "masterUsername: not-a-user\n  databaseName: not-a-database")
	_, err := deploy.Run(t.Context(), w.options(nil))
	if e, ok := errors.AsType[*deploy.StepError](err); !ok || e.Step != deploy.StepCluster {
		t.Fatalf("got %v", err)
	}
	w.edit(t, "engine: postgres", "engine: mariadb")
	w.edit(t, "masterUsername: not-a-user\n  databaseName: not-a-database", "masterUsername: admin")
	report := w.deploy(t)
	w.check(t, report)
	if got := outcomes(report); !strings.HasPrefix(got, "unchanged created updated created") {
		t.Errorf("the deploy after the correction: %s", got)
	}
}

func TestDeployFillsEmptySecret(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "empty")
	if _, err := w.SecretsManager.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("empty_login")}); err != nil {
		t.Fatal(err)
	}
	w.check(t, w.deploy(t))
}

func TestDeployNeedsPasswordOfExistingCluster(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "existing")
	if _, err := w.RDS.CreateDBCluster(t.Context(), &rds.CreateDBClusterInput{
		DBClusterIdentifier: aws.String("existing"), Engine: aws.String("mariadb"),
		MasterUsername: aws.String("admin"), MasterUserPassword: aws.String("first-password"),
	}); err != nil {
		t.Fatal(err)
	}
	_, err := deploy.Run(t.Context(), w.options(nil))
	if e, ok := errors.AsType[*deploy.StepError](err); !ok || e.Step != deploy.StepPassword || !strings.Contains(e.Advice, "secretsmanager.password") {
		t.Errorf("got %v", err)
	}
	o := w.options(nil)
	o.Password = "first-password"
	report, err := deploy.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	w.check(t, report)

	// Who mistyped it learns how to correct it, and that it was not done here.
	if _, err := w.SecretsManager.CancelRotateSecret(t.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: aws.String("existing_login")}); err != nil {
		t.Fatal(err)
	}
	w.edit(t, "name: existing_login", "name: mistyped")
	w.edit(t, "  password: ", "  # password: ")
	o.RotatedWithin = time.Millisecond
	for _, password := range []deploy.Password{"mistyped-password", "first-password"} {
		o.Password = password
		if _, err := deploy.Run(t.Context(), o); err == nil {
			t.Errorf("deployed with a password that does not log in")
		}
	}
	if told := w.told.String(); strings.Count(told, "store it with keyturn secret put mistyped") != 1 {
		t.Errorf("told %s", told)
	}
}

func TestDeployMissingFunction(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "nofunction")
	w.edit(t, "secretsmanager:", "lambda: {functionName: not-there}\nsecretsmanager:")
	_, err := deploy.Run(t.Context(), w.options(nil))
	if e, ok := errors.AsType[*deploy.StepError](err); !ok || e.Step != deploy.StepFunction || !strings.Contains(e.Error(), "not-there does not exist") {
		t.Errorf("got %v", err)
	}
}

// TestDeployAdopts takes over a server that runs on its own: that of another
// cluster. A mistyped password is told and can be corrected.
func TestDeployAdopts(t *testing.T) {
	server := keyturntest.NewServer(t)
	donor := newWorld(t, server, "donor")
	donor.deploy(t)
	l, _ := donor.login(t)

	w := newWorld(t, server, "adopted")
	w.edit(t, "  masterUsername", fmt.Sprintf("  endpoint: %s:%d\n  masterUsername", l.Host, l.Port))
	w.edit(t, "# the end", "  password: wrong")
	if _, err := deploy.Run(t.Context(), w.options(nil)); err == nil {
		t.Fatal("a wrong password was taken")
	}
	w.edit(t, "password: wrong", "password: '"+strings.ReplaceAll(l.Password, "'", "''")+"'")
	w.foretold(t)
}

func TestReportEncodes(t *testing.T) {
	report := newWorld(t, keyturntest.NewServer(t), "report").deploy(t)
	encoded, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(encoded, &fields); err != nil {
		t.Fatal(err)
	}
	want := []string{"clusterIdentifier", "configKeys", "configPath", "engine", "functionArn", "host", "instanceIdentifier", "nextRotation", "port", "rotateAfterDays", "secretArn", "secretName", "steps", "username", "versionId"}
	if got := slices.Sorted(maps.Keys(fields)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}
