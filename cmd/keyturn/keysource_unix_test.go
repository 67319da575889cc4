//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/keyturn/keyturn"
)

// A flag goes before a variable, a variable before systemd's credential; and
// what a variable held is not there for other programs.
func TestKeySources(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	a := &app{}
	for _, step := range []struct {
		name  string
		given func(*keyFlags)
		want  keyturn.Keys
	}{
		{"nothing", func(*keyFlags) {}, keyturn.Keys{}},
		{"credential", func(*keyFlags) { write(t, filepath.Join(dir, "keyturn.key"), "of systemd") },
			keyturn.Keys{Content: "of systemd", From: "the systemd credential keyturn.key"}},
		{"variable with a path", func(*keyFlags) { t.Setenv("KEYTURN_KEY_FILE", "/elsewhere") }, keyturn.Keys{File: "/elsewhere"}},
		{"variable with the key file", func(*keyFlags) { t.Setenv("KEYTURN_KEY_FILE_CONTENT", "of the variable") },
			keyturn.Keys{Content: "of the variable", From: "the variable KEYTURN_KEY_FILE_CONTENT"}},
		{"descriptor", func(f *keyFlags) { f.fd = descriptor(t, "of the descriptor") }, keyturn.Keys{Content: "of the descriptor"}},
		{"flag", func(f *keyFlags) { f.file = "/flag" }, keyturn.Keys{File: "/flag"}},
		{"passphrase", func(f *keyFlags) {
			f.file, f.passphrase.file = "/flag", filepath.Join(dir, "passphrase")
			write(t, f.passphrase.file, "correct horse \r\n")
		}, keyturn.Keys{File: "/flag", Passphrase: "correct horse "}},
	} {
		flags := keyFlags{fd: noDescriptor, passphrase: passphraseFlags{fd: noDescriptor}}
		step.given(&flags)
		got, err := a.keys(t.Context(), flags)
		if flags.fd != noDescriptor {
			step.want.From = "file descriptor " + strconv.Itoa(flags.fd)
		}
		if err != nil || got != step.want {
			t.Errorf("%s: got a key file %q from %q: %v", step.name, got.File, got.From, err)
		}
		if os.Getenv("KEYTURN_KEY_FILE_CONTENT") != "" {
			t.Errorf("%s: the variable is still there", step.name)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// descriptor is one from which text can be read once.
func descriptor(t *testing.T, text string) int {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	fd, err := dup(r)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// dup returns a second descriptor of f that nothing else closes.
func dup(f *os.File) (int, error) {
	defer f.Close()
	return syscall.Dup(int(f.Fd()))
}
