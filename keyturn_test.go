package keyturn_test

import (
	"bytes"
	"database/sql"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/keyturntest"
)

func open(t *testing.T, dir string) (*keyturn.Server, error) {
	t.Helper()
	s, err := keyturn.Open(t.Context(), keyturn.Config{Data: dir})
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

func mustOpen(t *testing.T, dir string) *keyturn.Server {
	t.Helper()
	s, err := open(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFolderHasOneServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := mustOpen(t, dir)
	if _, err := open(t, dir); !errors.Is(err, keyturn.ErrInUse) {
		t.Errorf("a second server: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir)
}

func TestSecretsSurviveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := mustOpen(t, dir)
	client := secretsmanager.NewFromConfig(first.AWSConfig())
	_, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("s"), SecretString: aws.String("still here")})
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := os.ReadFile(first.CredentialsFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(first.CredentialsFile()); err != nil {
		t.Fatal(err)
	}
	second := mustOpen(t, dir)
	out, err := secretsmanager.NewFromConfig(second.AWSConfig()).GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("s")})
	if err != nil || *out.SecretString != "still here" {
		t.Errorf("after a restart: %v", err)
	}
	if again, _ := os.ReadFile(second.CredentialsFile()); !bytes.Equal(again, credentials) {
		t.Error("the access key is another one, or its file was not written again")
	}
}

// A power cut may leave a file that is empty.
func TestEmptyCredentialsFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	server := mustOpen(t, dir)
	path := server.CredentialsFile()
	before, err := os.ReadFile(path)
	if err := errors.Join(err, server.Close(), os.Truncate(path, 0)); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir)
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file was not written again")
	}
}

// What lies on the disk gives nothing away, and nobody else may read it.
func TestFilesOnDisk(t *testing.T) {
	const plaintext = "Correct.Horse_Battery_Staple"
	dir := filepath.Join(t.TempDir(), "data")
	server := mustOpen(t, dir)
	client := secretsmanager.NewFromConfig(server.AWSConfig())
	for _, value := range []string{plaintext + "1", plaintext + "2"} {
		_, err := client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("s"), SecretString: &value})
		if err != nil {
			_, err = client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("s"), SecretString: &value})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	credentials, err := os.ReadFile(server.CredentialsFile())
	if err != nil {
		t.Fatal(err)
	}
	accessKey := strings.Fields(string(credentials))[6]
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(text, []byte(plaintext)) {
			t.Errorf("%s holds a value in the clear", path)
		}
		if path != server.CredentialsFile() && bytes.Contains(text, []byte(accessKey)) {
			t.Errorf("%s holds a secret access key in the clear", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFoldersRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		harm func(t *testing.T, dir string) error
		want string
	}{
		"newer schema": {func(t *testing.T, dir string) error {
			db, err := sql.Open("sqlite", filepath.Join(dir, "keyturn.db"))
			if err != nil {
				return err
			}
			defer db.Close()
			_, err = db.ExecContext(t.Context(), `UPDATE schema_versions SET version = 99 WHERE name = 'secret'`)
			return err
		}, "newer version of keyturn"},
		"root key lost": {func(_ *testing.T, dir string) error {
			return os.Remove(filepath.Join(dir, "root.key"))
		}, "put it back from your backup"},
		"database lost": {func(_ *testing.T, dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "keyturn.db")), os.Remove(filepath.Join(dir, "root.key")))
		}, "put it back from your backup"},
		"root key of another server": {func(_ *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, "root.key"), []byte("keyturn-key-1 other AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"), 0o600)
		}, "put back the newest copy; or the folder is a backup from before that material was retired"},
		"root key readable by others": {func(_ *testing.T, dir string) error {
			return os.Chmod(filepath.Join(dir, "root.key"), 0o644)
		}, "chmod 600"},
		"no database at all": {func(_ *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, "keyturn.db"), []byte("this is no database, but long enough to look like one"), 0o600)
		}, "not a database"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := mustOpen(t, dir).Close(); err != nil {
				t.Fatal(err)
			}
			if err := tc.harm(t, dir); err != nil {
				t.Fatal(err)
			}
			if _, err := open(t, dir); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	s := keyturntest.NewServer(t)
	get := func(path string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	if live, ready := get("/livez"), get("/readyz"); live != http.StatusOK || ready != http.StatusOK {
		t.Errorf("live %d, ready %d", live, ready)
	}
	if health := get("/healthz"); health != http.StatusOK {
		t.Errorf("health %d", health)
	}
	s.Drain()
	if health := get("/healthz"); health != http.StatusServiceUnavailable {
		t.Errorf("while draining: health %d", health)
	}
	if live, ready := get("/livez"), get("/readyz"); live != http.StatusOK || ready != http.StatusServiceUnavailable {
		t.Errorf("while draining: live %d, ready %d", live, ready)
	}
}

// Test suites bring whatever credentials their environment has.
func TestDevTakesAnyAccessKey(t *testing.T) {
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data, c.Dev = keyturn.InMemory, true })
	for _, id := range []string{"AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE", "test"} {
		cfg := s.Config.Copy()
		cfg.Credentials = credentials.NewStaticCredentialsProvider(id, "anything", "token")
		if _, err := secretsmanager.NewFromConfig(cfg).ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{}); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// A permission that is taken away holds for the next step.
func TestFunctionWithoutPermissionIsNotInvoked(t *testing.T) {
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = keyturn.InMemory })
	w := newWorld(t, s.Config, account{product: dbserver.MySQL, user: "x", value: `{"engine":"mysql","host":"127.0.0.1","port":1,"username":"u","password":"p"}`})
	token, err := w.rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Lambda.RemovePermission(t.Context(), &lambda.RemovePermissionInput{FunctionName: aws.String("keyturn-rotate-mysql"), StatementId: aws.String("rotation-x")})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		out, err := keyturnapi.New(s.Config).ListRotations(t.Context(), &keyturnapi.ListRotationsInput{SecretID: w.secret, MaxResults: 1})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Runs) == 1 && strings.HasPrefix(out.Runs[0].Error, "Secrets Manager cannot invoke") {
			return
		}
	}
	t.Errorf("version %s: the function is still invoked", token)
}
