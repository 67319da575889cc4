package envelope_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/envelope"
)

func local(t testing.TB, path string) *envelope.Local {
	t.Helper()
	key, err := envelope.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSealedOpensOnlyWhereItBelongs(t *testing.T) {
	ring := envelope.NewKeyring(local(t, filepath.Join(t.TempDir(), "key")))
	rapid.Check(t, func(t *rapid.T) {
		ctx := t.Context()
		plain := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "plain")
		sealed, err := ring.Seal(ctx, plain, "here")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ring.Open(ctx, sealed, "here"); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("opening: %v", err)
		}
		if _, err := ring.Open(ctx, sealed, "there"); !errors.Is(err, envelope.ErrWrongPlace) {
			t.Fatalf("opening elsewhere: %v", err)
		}
		part := rapid.SampledFrom([][]byte{sealed.Wrapped, sealed.Ciphertext}).Draw(t, "part")
		i := rapid.IntRange(0, len(part)-1).Draw(t, "byte")
		part[i] ^= rapid.ByteRange(1, 255).Draw(t, "change")
		if _, err := ring.Open(ctx, sealed, "here"); !errors.Is(err, envelope.ErrWrongPlace) {
			t.Fatalf("opening after a change: %v", err)
		}
	})
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	first := local(t, path)
	sealed, err := envelope.NewKeyring(first).Seal(t.Context(), []byte("x"), "here")
	if err != nil {
		t.Fatal(err)
	}
	again := envelope.NewKeyring(local(t, path))
	if _, err := again.Open(t.Context(), sealed, "here"); err != nil {
		t.Errorf("opening with the key read again: %v", err)
	}
	other := envelope.NewKeyring(local(t, path+"2"))
	if _, err := other.Open(t.Context(), sealed, "here"); !errors.Is(err, envelope.ErrUnknownKey) {
		t.Errorf("opening with another key: %v", err)
	}
	text, _ := os.ReadFile(path)
	if shown := fmt.Sprintf("%v %+v %#v", first, first, first); strings.Contains(string(text), shown) || !strings.Contains(shown, "[redacted]") {
		t.Error("a key shows itself")
	}
}

func TestKeyFileRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"readable by others": {"keyturn-key-1 a AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 0o644, "chmod 600"},
		"half a file":        {"keyturn-key-1 a AAAA", 0o600, "damaged"},
		"something else":     {"hello", 0o600, "not a keyturn key file"},
		"empty":              {"", 0o600, "not a keyturn key file"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(tc.text), tc.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := envelope.LoadOrCreate(path); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if text, _ := os.ReadFile(path); string(text) != tc.text {
				t.Error("the file was changed")
			}
		})
	}
}
