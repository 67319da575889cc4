package keyturn_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
)

// functionServer is a server whose functions find boto3 and the drivers.
func functionServer(t *testing.T) *keyturntest.Server {
	t.Helper()
	withDrivers(t)
	return keyturntest.NewServer(t, func(c *keyturn.Config) {
		c.Data = keyturn.InMemory
		if u, err := user.Current(); err == nil {
			c.FunctionUser = u.Username // the interpreter may be where no other user may look
		}
	})
}

// withDrivers puts a python3 into PATH that has what rotate.py imports.
func withDrivers(t *testing.T) {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import boto3, cryptography, pgdb, pymysql").Run() != nil {
			continue
		}
		if python != "python3" {
			dir := t.TempDir()
			if err := os.Symlink(python, filepath.Join(dir, "python3")); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
		}
		return
	}
	t.Fatal("no python3 with boto3, pymysql, cryptography and pgdb: install python3-boto3, python3-pymysql, python3-cryptography and python3-pygresql")
}

// newFunction makes a function of the one file, which Secrets Manager may invoke,
// and returns its ARN.
func newFunction(t *testing.T, s *keyturntest.Server, name string, runtime types.Runtime, handler, path, as string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Lambda.CreateFunction(t.Context(), &lambda.CreateFunctionInput{FunctionName: &name, Runtime: runtime, Handler: &handler,
		Role: aws.String("arn:aws:iam::000000000000:role/rotator"), Timeout: aws.Int32(30), MemorySize: aws.Int32(256),
		Code: &types.FunctionCode{ZipFile: zipped(t, as, text)}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Lambda.AddPermission(t.Context(), &lambda.AddPermissionInput{FunctionName: &name, StatementId: aws.String("rotation"),
		Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com")})
	if err != nil {
		t.Fatal(err)
	}
	return *out.FunctionArn
}

func zipped(t *testing.T, name string, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	h := &zip.FileHeader{Name: name, Method: zip.Deflate}
	h.SetMode(0o755)
	w, err := z.CreateHeader(h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// rotateBy rotates a secret and returns its new value.
func rotateBy(t *testing.T, s *keyturntest.Server, name, function string) string {
	t.Helper()
	out, err := s.SecretsManager.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: &name, RotationLambdaARN: &function})
	if err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		v, err := s.SecretsManager.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &name})
		if err != nil {
			t.Fatal(err)
		}
		if *v.VersionId == *out.VersionId {
			return *v.SecretString
		}
		if time.Since(begin) > 5*time.Minute {
			t.Fatalf("the rotation does not end: %+v", runsOf(t, s, name))
		}
	}
}

func runsOf(t *testing.T, s *keyturntest.Server, name string) []keyturnapi.RotationRun {
	t.Helper()
	out, err := keyturnapi.New(s.Config).ListRotations(t.Context(), &keyturnapi.ListRotationsInput{SecretID: name})
	if err != nil {
		t.Fatal(err)
	}
	return out.Runs
}

func newSecret(t *testing.T, s *keyturntest.Server, name, value string) {
	t.Helper()
	if _, err := s.SecretsManager.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value}); err != nil {
		t.Fatal(err)
	}
}

// A function in Python with the calls and drivers of AWS's own, on all databases:
// after each rotation the new password logs in, and the one before does not.
func TestPythonFunction(t *testing.T) {
	s := functionServer(t)
	function := newFunction(t, s, "python", types.RuntimePython312, "rotate.lambda_handler", "testdata/functions/rotate.py", "rotate.py")
	for _, p := range dbtest.Products() {
		t.Run(string(p), func(t *testing.T) { rotateLogin(t, s, p, function, 2) })
	}
}

// A program called bootstrap: keyturn's own rotation, in a process of its own.
func TestBootstrapFunction(t *testing.T) {
	s := functionServer(t)
	binary := filepath.Join(t.TempDir(), "bootstrap")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./testdata/functions/bootstrap").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	function := newFunction(t, s, "go", types.RuntimeProvidedal2023, "bootstrap", binary, "bootstrap")
	for _, p := range []dbserver.Product{dbserver.MySQL, dbserver.MariaDB} {
		t.Run(string(p), func(t *testing.T) { rotateLogin(t, s, p, function, 2) })
	}
}

func rotateLogin(t *testing.T, s *keyturntest.Server, p dbserver.Product, function string, rotations int) {
	a, admin := newAccount(t, p, rotation.StrategySingleUser), dbtest.Server(t, p)
	newSecret(t, s, a.user, a.value)
	before := a.value
	for range rotations {
		after := rotateBy(t, s, a.user, function)
		if err := admin.Login(t.Context(), a.user, passwordOf(t, after)); err != nil {
			t.Errorf("logging in with AWSCURRENT: %v", err)
		}
		if err := admin.Login(t.Context(), a.user, passwordOf(t, before)); err == nil {
			t.Error("the password before still logs in")
		}
		before = after
	}
	for _, r := range runsOf(t, s, a.user) {
		if r.ErrorClass != "" {
			t.Errorf("step %s failed: %s %s", r.Step, r.ErrorClass, r.Error)
		}
	}
}

func passwordOf(t *testing.T, value string) string {
	t.Helper()
	var v struct{ Password string }
	if err := json.Unmarshal([]byte(value), &v); err != nil {
		t.Fatal("the value is no JSON")
	}
	return v.Password
}

// A function in JavaScript, for something that is no database.
func TestNodeFunction(t *testing.T) {
	s := functionServer(t)
	service := &keyed{key: "first"}
	listener := httptest.NewServer(service)
	defer listener.Close()
	function := newFunction(t, s, "node", types.RuntimeNodejs22x, "apikey.handler", "testdata/functions/apikey.mjs", "apikey.mjs")
	newSecret(t, s, "api", fmt.Sprintf(`{"url": %q, "key": "first"}`, listener.URL))
	for range 3 {
		value := rotateBy(t, s, "api", function)
		if !strings.Contains(value, fmt.Sprintf(`"key":%q`, service.now())) || service.now() == "first" {
			t.Error("the service has another key than the secret")
		}
	}
}

// keyed is a service that knows one key at a time.
type keyed struct {
	mu  sync.Mutex
	key string
}

func (k *keyed) now() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.key
}

// ServeHTTP implements http.Handler.
func (k *keyed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r.Header.Get("X-Api-Key") != k.key {
		http.Error(w, "unknown key", http.StatusForbidden)
		return
	}
	if next, err := io.ReadAll(r.Body); r.Method == http.MethodPut && err == nil {
		k.key = string(next)
	}
}

// A function has rights on the secret it rotates, and on the admin secret that
// the value names; an event with another secret's ARN opens nothing.
func TestFunctionRights(t *testing.T) {
	var r reader
	s := keyturntest.NewServer(t, func(c *keyturn.Config) {
		c.Data, c.Functions = keyturn.InMemory, map[string]keyturn.Function{"reader": r.read}
	})
	_, err := s.Lambda.AddPermission(t.Context(), &lambda.AddPermissionInput{FunctionName: aws.String("reader"), StatementId: aws.String("s"),
		Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com")})
	if err != nil {
		t.Fatal(err)
	}
	newSecret(t, s, "admin", "{}")
	newSecret(t, s, "other", "{}")
	newSecret(t, s, "own", `{"masterarn": "admin"}`)
	const function = "arn:aws:lambda:us-east-1:000000000000:function:reader"
	invoke := func(name string) {
		t.Helper()
		out, err := s.SecretsManager.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lambda.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String(function), Payload: fmt.Appendf(nil, `{"SecretId": %q}`, *out.ARN)}); err != nil {
			t.Fatal(err)
		}
	}
	const denied = "AccessDeniedException"
	invoke("own")
	r.want(t, "before it rotates the secret", denied, denied, denied, denied)
	if _, err := s.SecretsManager.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String("own"), RotationLambdaARN: aws.String(function)}); err != nil {
		t.Fatal(err)
	}
	invoke("own")
	r.want(t, "own", "", "", denied, denied)
	invoke("other")
	r.want(t, "other", denied, denied, denied, denied)
}

// reader is a function that tries what it may read.
type reader struct {
	mu    sync.Mutex
	tried map[string]string // :: name of a secret, or list → the error's code
}

func (r *reader) read(ctx context.Context, cfg aws.Config, _ json.RawMessage) (json.RawMessage, error) {
	c := secretsmanager.NewFromConfig(cfg)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried = map[string]string{}
	for _, name := range []string{"own", "admin", "other"} {
		_, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
		r.tried[name] = errorCode(err)
	}
	_, err := c.ListSecrets(ctx, &secretsmanager.ListSecretsInput{})
	r.tried["list"] = errorCode(err)
	return nil, rotation.Errorf(rotation.ClassPolicy, "seen enough")
}

func (r *reader) want(t *testing.T, what string, codes ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, name := range []string{"own", "admin", "other", "list"} {
		if r.tried[name] != codes[i] {
			t.Errorf("%s: %s: got %q, want %q", what, name, r.tried[name], codes[i])
		}
	}
}

func errorCode(err error) string {
	var api interface{ ErrorCode() string }
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// What a function says of its failure stands in the record of the rotation, but
// for the secret's value.
func TestFunctionFails(t *testing.T) {
	s := functionServer(t)
	path := filepath.Join(t.TempDir(), "fails.py")
	if err := os.WriteFile(path, []byte("def handler(event, context):\n    raise PermissionError('the door is locked: hunter2')\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	function := newFunction(t, s, "fails", types.RuntimePython312, "fails.handler", path, "fails.py")
	newSecret(t, s, "stuck", `{"username": "door", "password": "hunter2"}`)
	if _, err := s.SecretsManager.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String("stuck"), RotationLambdaARN: &function}); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		for _, r := range runsOf(t, s, "stuck") {
			if r.ErrorClass == "" {
				continue
			}
			if r.ErrorClass != string(rotation.ClassFunction) || r.Error != "the door is locked: [redacted]" || r.Step != rotation.StepCreate {
				t.Errorf("got %+v", r)
			}
			return
		}
		if time.Since(begin) > 5*time.Minute {
			t.Fatal("no step failed")
		}
	}
}
