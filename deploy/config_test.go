package deploy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/rds"
)

// whole is a config.yml with every key.
const whole = `rds:
  clusterIdentifier: phatcluster
  engine: aurora-postgresql
  engineVersion: 15.4
  instanceIdentifier: writer
  instanceClass: db.r6g.large
  masterUsername: admin
  databaseName: phat
  endpoint: db.example.com:5433
lambda:
  functionName: my-rotator
secretsmanager:
  host: old
  port: 1
  name: rds_login
  rotatePasswordInDays: 30
  username: old
  password: 01234
other:
  Name: kept
`

// least is a config.yml with what is required.
const least = `rds:
  clusterIdentifier: phatcluster
  engine: aurora-mysql
  masterUsername: admin
secretsmanager:
  name: rds_login
  rotatePasswordInDays: 30
`

func TestReadWhole(t *testing.T) {
	got, err := read("config.yml", []byte(whole))
	want := config{
		cluster: "phatcluster", engine: engine{"postgres", postgresFunction}, engineName: "aurora-postgresql",
		engineVersion: "15.4", instance: "writer", instanceClass: "db.r6g.large", username: "admin", database: "phat",
		port: 5433, endpoint: "db.example.com:5433", function: "my-rotator", secret: "rds_login", days: 30, Password: "01234",
	}
	if err != nil || got != want {
		t.Errorf("got %#v, %v", got, err)
	}
}

func TestReadLeast(t *testing.T) {
	got, err := read("config.yml", []byte(least))
	want := config{
		cluster: "phatcluster", engine: engine{"mysql", mysqlFunction}, engineName: "aurora-mysql",
		instanceClass: defaultClass, username: "admin", function: mysqlFunction, secret: "rds_login", days: 30,
	}
	if err != nil || got != want || got.firstInstance() != "phatcluster-instance-1" {
		t.Errorf("got %#v, %v", got, err)
	}
}

func TestReadRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, old, new string // the edit of whole
		line           int
		want           string
	}{
		{"missing section", "secretsmanager:", "secretmanager:", 0, "secretsmanager.name: is missing; add the name of the secret"},
		{"missing key", "  name: rds_login\n", "", 12, "secretsmanager.name: is missing"},
		{"empty key", "name: rds_login", "name:", 15, "secretsmanager.name: is missing"},
		{"empty text", "name: rds_login", "name: ''", 15, "secretsmanager.name: is missing"},
		{"missing days", "  rotatePasswordInDays: 30\n", "", 12, "rotatePasswordInDays: is missing"},
		{"zero days", "Days: 30", "Days: 0", 16, "is out of range; write a whole number from 1 to 1000"},
		{"too many days", "Days: 30", "Days: 1001", 16, "is out of range"},
		{"days as text", "Days: 30", "Days: '30'", 16, "is not a whole number"},
		{"days as fraction", "Days: 30", "Days: 1.5", 16, "is not a whole number"},
		{"days as list", "Days: 30", "Days: [30]", 16, "is not a whole number"},
		{"unknown engine", "aurora-postgresql", "oracle", 3, "use aurora-mysql, mysql, mariadb"},
		{"number for text", "masterUsername: admin", "masterUsername: 5", 7, "is not text; write it in quotes"},
		{"mapping for text", "databaseName: phat", "databaseName: {a: b}", 8, "is not text"},
		{"bad identifier", "phatcluster", "phat--cluster", 2, "letters, digits and single hyphens"},
		{"long identifier", "phatcluster", strings.Repeat("a", 64), 2, "63 characters"},
		{"bad secret name", "rds_login", "rds login", 15, "1 to 512 letters"},
		{"bad endpoint", "db.example.com:5433", "db.example.com", 9, "write host:port"},
		{"bad port in endpoint", ":5433", ":65536", 9, "write host:port"},
		{"port against endpoint", "  endpoint", "  port: 5432\n  endpoint", 9, "is not the port in rds.endpoint"},
		{"port out of range", "  endpoint", "  port: 70000\n  endpoint", 9, "from 1 to 65535"},
		{"key in another case", "instanceClass", "instanceclass", 6, "spell it instanceClass"},
		{"merge key of another section", "  instanceClass:", "  <<: {port: 1}\n  instanceClass:", 6, "is a merge key"},
		{"key with underscores", "rotatePasswordInDays", "rotate_password_in_days", 16, "spell it rotatePasswordInDays"},
		{"section is text", "lambda:\n  functionName: my-rotator", "lambda: x", 10, "is not a mapping"},
		{"key twice", "  host: old", "  name: a\n  host: old", 16, "stands twice"},
		{"password is a list", "password: 01234", "password: [SECRET]", 18, "is not a single value"},
		{"password in a block", "password: 01234", "password: |\n    SECRET", 18, "block scalar"},
		{"password with an anchor", "password: 01234", "password: &p SECRET", 18, "anchor"},
		{"merge key", "  host: old", "  <<: {a: b}\n  host: old", 13, "merge key"},
		{"no YAML", "other:", "other: [", 21, "is not valid YAML"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := check(t, strings.Replace(whole, tt.old, tt.new, 1))
			e, ok := errors.AsType[*ConfigError](err)
			if !ok || e.Line != tt.line || !strings.Contains(e.Error(), tt.want) || strings.Contains(e.Error(), "SECRET") {
				t.Errorf("got %v, want line %d and %q", err, tt.line, tt.want)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	err := Check(filepath.Join(t.TempDir(), "none.yml"))
	if e, ok := errors.AsType[*ConfigError](err); !ok || !strings.Contains(e.Fix, "-f") {
		t.Errorf("got %v", err)
	}
}

// check runs Check on a file with this content.
func check(t *testing.T, content string) error {
	t.Helper()
	return Check(write(t, content))
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInstanceNameTooLong(t *testing.T) {
	err := check(t, strings.Replace(least, "phatcluster", strings.Repeat("a", 60), 1))
	if err == nil || !strings.Contains(err.Error(), "rds.instanceIdentifier: is missing") {
		t.Errorf("got %v", err)
	}
}

func TestExampleIsValid(t *testing.T) {
	if err := Check(filepath.Join("..", "docs", "examples", "config.yml")); err != nil {
		t.Error(err)
	}
}

func TestEndpointNeedsKeyturn(t *testing.T) {
	path := write(t, whole)
	for endpoint, refused := range map[string]bool{
		"":                                    true,
		"https://rds.us-east-1.amazonaws.com": true,
		"http://127.0.0.1:4566":               false,
	} {
		options := rds.Options{Region: "us-east-1"}
		if endpoint != "" {
			options.BaseEndpoint = &endpoint
		}
		file, _, err := open(Options{ConfigPath: path, Clients: Clients{RDS: rds.New(options)}})
		if (err != nil) != refused {
			t.Errorf("endpoint %q: %v", endpoint, err)
		}
		if err == nil {
			if err := file.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
