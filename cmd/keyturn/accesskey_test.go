package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturntest"
)

// Whoever has the data folder of a stopped server gets an administrator's key.
func TestAccessKeyOfAStoppedServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(t.TempDir(), ".aws", "credentials")
	stopped, err := keyturn.Open(t.Context(), keyturn.Config{Data: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := stopped.Close(); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	err = run(t.Context(), []string{"access-key", "create", "--user", "rescue", "--administrator", "--data", dir,
		"--write-profile", "rescue", "--credentials-file", file}, strings.NewReader(""), &stdout, &stderr)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = dir })
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithSharedCredentialsFiles([]string{file}), config.WithSharedConfigFiles(nil),
		config.WithSharedConfigProfile("rescue"), config.WithBaseEndpoint(s.URL))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secretsmanager.NewFromConfig(cfg).ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{}); err != nil {
		t.Error(err)
	}
}

// A profile is added in one step, for its owner's eyes only, and the rest of the
// file stays as it was.
func TestProfileIsAppended(t *testing.T) {
	for _, tc := range []struct{ name, before, want string }{
		{"NoFile", "", "[new]\nk = v\n"},
		{"Others", "# mine\n[a]\nx=1\n", "# mine\n[a]\nx=1\n\n[new]\nk = v\n"},
		{"NoNewline", "[a]\nx=1", "[a]\nx=1\n\n[new]\nk = v\n"},
		{"ManyNewlines", "[a]\n\n\n\n", "[a]\n\n[new]\nk = v\n"},
		{"SimilarName", "[new2]\n[ne w]\n", "[new2]\n[ne w]\n\n[new]\nk = v\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			path, link := filepath.Join(dir, "credentials"), filepath.Join(dir, "link")
			if tc.before != "" {
				if err := os.WriteFile(path, []byte(tc.before), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			name := path
			if tc.before != "" {
				name = link
			}
			f, err := openCredentialsFile(name, "new")
			if err != nil {
				t.Fatal(err)
			}
			if err := f.add("[new]\nk = v\n"); err != nil {
				t.Fatal(err)
			}
			if other, err := openCredentialsFile(name, "other"); err == nil { // it would not know of this profile
				t.Errorf("%s was opened twice", other.path)
			}
			if err := f.close(); err != nil {
				t.Fatal(err)
			}
			checkFile(t, path, tc.want)
			if info, err := os.Lstat(link); err != nil || info.Mode().Type() != fs.ModeSymlink {
				t.Error("the link was replaced")
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// A key that was not made leaves no file behind.
func TestProfileNotWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "credentials")
	f, err := openCredentialsFile(path, "new")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

func checkFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestProfileRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(path, []byte("[a]\n [ new ] # comment\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, profile := range []string{"new", "a", "", "x]", "two words", "line\nbreak"} {
		if _, err := openCredentialsFile(path, profile); err == nil {
			t.Errorf("%q was taken", profile)
		}
	}
}
