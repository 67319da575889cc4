package envelope_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/envelope"
)

// The file of the first version: one key, one line.
func TestOldKeyFile(t *testing.T) {
	const old = "keyturn-key-1 0123456789abcdef AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	k := ring(t, path)
	sealed := seal(t, k, "")
	if sealed.KeyID != "0123456789abcdef" {
		t.Errorf("sealed with %s", sealed.KeyID)
	}
	if text, _ := os.ReadFile(path); string(text) != old {
		t.Error("the file was changed by reading it")
	}
	if _, err := k.Rotate(t.Context(), "0123456789abcdef", ""); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(path); !strings.HasPrefix(string(text), old) {
		t.Error("the old line is not there as it was")
	}
	again := ring(t, path)
	checkOpens(t, again, sealed)
	if s := seal(t, again, ""); s.KeyID == sealed.KeyID {
		t.Error("the old material still seals")
	}
}

func TestKeyFileOfAnotherServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	sealed := seal(t, ring(t, path), "")
	if _, err := ring(t, path+"2").Open(t.Context(), sealed, "here"); !errors.Is(err, envelope.ErrUnknownKey) {
		t.Errorf("opening with another key: %v", err)
	}
}

const line = "keyturn-key-1 a AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"

func TestKeyFileRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"readable by others": {line, 0o644, "chmod 600"},
		"half a file":        {"keyturn-key-1 a AAAA", 0o600, "damaged"},
		"half a line":        {line + "keyturn-key-2 a - b - ", 0o600, "not a keyturn key file"},
		"something else":     {"hello", 0o600, "not a keyturn key file"},
		"empty":              {"", 0o600, "not a keyturn key file"},
		"material twice":     {line + line, 0o600, "there twice"},
		"alias twice": {"keyturn-key-2 a x a - AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n" +
			"keyturn-key-2 b x b - AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 0o600, "on two keys"},
		"two aliases": {"keyturn-key-2 a x a - AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n" +
			"keyturn-key-2 a y b - AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 0o600, "two aliases"},
		"no ARN":  {"keyturn-key-2 a - b - aws-kms\n", 0o600, "Invalid arn"},
		"no time": {"keyturn-key-2 a - b soon AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 0o600, "no time"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(tc.text), tc.mode); err != nil {
				t.Fatal(err)
			}
			_, err := envelope.Open(t.Context(), envelope.Source{Path: path})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if text, _ := os.ReadFile(path); string(text) != tc.text {
				t.Error("the file was changed")
			}
		})
	}
}

// What a crash leaves of a key file that was being written is no key file, and
// does not stand in the way of the next one.
func TestCrashWhileWritingTheKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	k := ring(t, path)
	sealed := seal(t, k, "")
	if err := os.WriteFile(path+".part", []byte("keyturn-key-2 half"), 0o644); err != nil {
		t.Fatal(err)
	}
	k = ring(t, path)
	if _, err := k.Rotate(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	checkOpens(t, ring(t, path), sealed)
	if _, err := os.Stat(path + ".part"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half file is still there: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: %v", info.Mode(), err)
	}
}

// A failure to write leaves the keys as they were, in memory and on disk.
func TestKeyFileThatCantBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	k := ring(t, path)
	before, _ := os.ReadFile(path)
	if err := os.MkdirAll(path+".part/in the way", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Rotate(t.Context(), "", ""); err == nil {
		t.Fatal("it was rotated")
	}
	if n := len(k.Keys()[0].Materials); n != 1 {
		t.Errorf("%d materials", n)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("the file was changed")
	}
}

// A file that is larger than what is read would keep the next server from starting.
func TestFullKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	var text strings.Builder
	for i, long := 0, strings.Repeat("k", 120); text.Len() < 1<<20-400; i++ {
		fmt.Fprintf(&text, "keyturn-key-2 %s - %s%d - AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", long, long, i)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	k := ring(t, path)
	var err error
	for range 3 {
		_, err = k.Rotate(t.Context(), "", "")
	}
	if !errors.Is(err, envelope.ErrRefused) {
		t.Errorf("got %v, want ErrRefused", err)
	}
	if before, after := k.Keys()[0], ring(t, path).Keys()[0]; len(before.Materials) != len(after.Materials) {
		t.Errorf("%d materials, %d after a restart", len(before.Materials), len(after.Materials))
	}
}

// Keys that somebody else put into the file are not written over.
func TestKeyFileChangedByAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	one, other := ring(t, path), ring(t, path)
	if _, err := other.Create(t.Context(), "theirs", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Create(t.Context(), "mine", ""); !errors.Is(err, envelope.ErrRefused) {
		t.Errorf("got %v, want ErrRefused", err)
	}
	if n := len(ring(t, path).Keys()); n != 2 {
		t.Errorf("%d keys", n)
	}
}

// A link to a key file stays a link.
func TestLinkedKeyFile(t *testing.T) {
	dir := t.TempDir()
	link, file := filepath.Join(dir, "link"), filepath.Join(dir, "key")
	ring(t, file)
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if _, err := ring(t, link).Create(t.Context(), "more", ""); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	if n := len(ring(t, file).Keys()); n != 2 {
		t.Errorf("%d keys", n)
	}
}

func TestGivenKeysCantBeChanged(t *testing.T) {
	k, err := envelope.Open(t.Context(), envelope.Source{Text: line, From: "file descriptor 3"})
	if err != nil {
		t.Fatal(err)
	}
	sealed := seal(t, k, "")
	_, created := k.Create(t.Context(), "x", "")
	_, rotated := k.Rotate(t.Context(), "", "")
	for _, err := range []error{created, rotated} {
		if !errors.Is(err, envelope.ErrReadOnly) || !strings.Contains(err.Error(), "file descriptor 3") || !strings.Contains(err.Error(), "--key-file") {
			t.Errorf("got %v", err)
		}
	}
	checkOpens(t, k, sealed)
}

// A wrapped key file is in the age format, opens with its passphrase alone, and
// stays wrapped when it is written again.
func TestPassphrase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	sealed := seal(t, ring(t, path), "") // not wrapped yet
	open := func(p envelope.Passphrase) (*envelope.Keyring, error) {
		return envelope.Open(t.Context(), envelope.Source{Path: path, Passphrase: p})
	}
	if _, err := open("correct horse"); err != nil { // wraps it
		t.Fatal(err)
	}
	k, err := open("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	checkOpens(t, k, sealed)
	if _, err := k.Rotate(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(path)
	if s := string(text); !strings.HasPrefix(s, "-----BEGIN AGE ENCRYPTED FILE-----\n") || strings.Contains(s, "keyturn-key") {
		t.Error("it is not wrapped")
	}
	for _, wrong := range []envelope.Passphrase{"", "battery staple"} {
		if _, err := open(wrong); !errors.Is(err, envelope.ErrPassphrase) {
			t.Errorf("with %d characters: %v", len(wrong), err)
		}
	}
}
