package envelope_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/kmstest"
)

func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func ring(t testing.TB, path string) *envelope.Keyring {
	t.Helper()
	k, err := envelope.Open(t.Context(), envelope.Source{Path: path, AWS: kmstest.Config, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func seal(t testing.TB, k *envelope.Keyring, keyID string) envelope.Sealed {
	t.Helper()
	sealed, err := k.SealWith(t.Context(), keyID, []byte("swordfish"), "here")
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func checkOpens(t testing.TB, k *envelope.Keyring, s envelope.Sealed) {
	t.Helper()
	if got, err := k.Open(t.Context(), s, "here"); err != nil || string(got) != "swordfish" {
		t.Errorf("opening: %v", err)
	}
}

func TestSealedOpensOnlyWhereItBelongs(t *testing.T) {
	k := ring(t, filepath.Join(t.TempDir(), "key"))
	rapid.Check(t, func(t *rapid.T) {
		ctx := t.Context()
		plain := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "plain")
		sealed, err := k.Seal(ctx, plain, "here")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Open(ctx, sealed, "here"); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("opening: %v", err)
		}
		if _, err := k.Open(ctx, sealed, "there"); !errors.Is(err, envelope.ErrWrongPlace) {
			t.Fatalf("opening elsewhere: %v", err)
		}
		part := rapid.SampledFrom([][]byte{sealed.Wrapped, sealed.Ciphertext}).Draw(t, "part")
		i := rapid.IntRange(0, len(part)-1).Draw(t, "byte")
		part[i] ^= rapid.ByteRange(1, 255).Draw(t, "change")
		if _, err := k.Open(ctx, sealed, "here"); !errors.Is(err, envelope.ErrWrongPlace) {
			t.Fatalf("opening after a change: %v", err)
		}
	})
}

// Whatever is done to the keys, what was sealed opens, also after the file was
// read again; re-wrapped values have their old ciphertext, and need none of the
// old material.
func TestRotationsLoseNothing(t *testing.T) {
	dir := t.TempDir()
	files := 0
	rapid.Check(t, func(t *rapid.T) {
		files++
		path := filepath.Join(dir, fmt.Sprint(files))
		reopen := func() *envelope.Keyring {
			k, err := envelope.Open(t.Context(), envelope.Source{Path: path, Now: now})
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		k := reopen()
		var values []envelope.Sealed
		steps := map[string]func(){
			"seal": func() {
				key := rapid.SampledFrom(k.Keys()).Draw(t, "key")
				s, err := k.SealWith(t.Context(), key.ID, []byte("x"), "here")
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, s)
			},
			"create": func() {
				if _, err := k.Create(t.Context(), fmt.Sprintf("k/%d", len(k.Keys())), ""); err != nil {
					t.Fatal(err)
				}
			},
			"rotate": func() {
				if _, err := k.Rotate(t.Context(), rapid.SampledFrom(k.Keys()).Draw(t, "key").ID, ""); err != nil {
					t.Fatal(err)
				}
			},
			"rewrap and retire": func() {
				for i, s := range values {
					again, err := k.Rewrap(t.Context(), s, "here")
					if err != nil || !bytes.Equal(again.Ciphertext, s.Ciphertext) {
						t.Fatalf("re-wrapping: %v", err)
					}
					values[i] = again
				}
				retireAll(t, k)
			},
			"reopen": func() { k = reopen() },
		}
		names := slices.Sorted(maps.Keys(steps))
		for _, name := range rapid.SliceOfN(rapid.SampledFrom(names), 1, 8).Draw(t, "steps") {
			steps[name]()
			for _, s := range values {
				if _, err := k.Open(t.Context(), s, "here"); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func retireAll(t *rapid.T, k *envelope.Keyring) {
	for _, key := range k.Keys() {
		for i, m := range key.Materials {
			err := k.Retire(m.ID)
			if newest := i == len(key.Materials)-1; newest != errors.Is(err, envelope.ErrRefused) {
				t.Fatalf("retiring material %d of %d: %v", i, len(key.Materials), err)
			}
		}
	}
}

func TestKeyIDs(t *testing.T) {
	k := ring(t, filepath.Join(t.TempDir(), "key"))
	made, err := k.Create(t.Context(), "payments", "")
	if err != nil {
		t.Fatal(err)
	}
	first, payments := k.Keys()[0].Materials[0].ID, made.Materials[0].ID
	const remote = "arn:aws:kms:eu-west-1:111122223333:key/5f0b5b0e-0000-4000-8000-000000000000"
	for _, tc := range []struct{ keyID, material, refused string }{
		{"", first, ""},
		{"alias/aws/secretsmanager", first, ""},
		{"arn:aws:kms:us-east-1:000000000000:alias/aws/secretsmanager", first, ""},
		{k.Keys()[0].ID, first, ""},
		{made.ID, payments, ""},
		{"alias/payments", payments, ""},
		{"arn:aws:kms:eu-west-1:123456789012:alias/payments", payments, ""},
		{"arn:aws:kms:eu-west-1:123456789012:key/" + made.ID, payments, ""},
		{remote, "", ""}, // it is known, though not reached here
		{"payments", "", "Invalid keyId payments"},
		{"alias/nobody", "", "Alias alias/nobody is not found."},
		{"arn:aws:kms:eu-west-1:123456789012:alias/nobody", "", "Alias arn:aws:kms:eu-west-1:123456789012:alias/nobody is not found."},
		{"arn:aws:kms:eu-west-1:123456789012:key", "", "Invalid arn arn:aws:kms:eu-west-1:123456789012:key"},
		{"arn:aws:kms:evil.example:123456789012:key/x", "", "Invalid arn"},
		{"arn:aws:s3:::bucket", "", "Invalid arn"},
		{"5f0b5b0e-0000-4000-8000-000000000000", "", "Invalid keyId"},
	} {
		t.Run(tc.keyID, func(t *testing.T) {
			err := k.Check(tc.keyID)
			if invalid, _ := errors.AsType[*envelope.InvalidKeyError](err); (invalid != nil) != (tc.refused != "") ||
				invalid != nil && !strings.HasPrefix(invalid.Reason, tc.refused) {
				t.Fatalf("got %v, want %q", err, tc.refused)
			}
			if tc.material == "" {
				return
			}
			if sealed := seal(t, k, tc.keyID); sealed.KeyID != tc.material {
				t.Errorf("sealed with %s, not %s", sealed.KeyID, tc.material)
			}
		})
	}
}

// A data key that is in use goes on opening its value, whatever becomes of the
// material that wrapped it.
func TestDataKeyOutlivesItsMaterial(t *testing.T) {
	k := ring(t, filepath.Join(t.TempDir(), "key"))
	sealed := seal(t, k, "")
	key, err := k.DataKey(t.Context(), sealed, "here")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Rotate(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	again, err := k.Rewrap(t.Context(), sealed, "here")
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Retire(sealed.KeyID); err != nil {
		t.Fatal(err)
	}
	for _, s := range []envelope.Sealed{sealed, again} {
		if got, err := key.Open(nil, s.Ciphertext, []byte("here")); err != nil || string(got) != "swordfish" {
			t.Errorf("opening: %v", err)
		}
		checkOpens(t, k, s) // what was read just before it was retired
	}
}

func TestRefusedChanges(t *testing.T) {
	k := ring(t, filepath.Join(t.TempDir(), "key"))
	create := func(alias, arn string) error {
		_, err := k.Create(t.Context(), alias, arn)
		return err
	}
	if err := create("payments", ""); err != nil {
		t.Fatal(err)
	}
	_, unknown := k.Rotate(t.Context(), "nobody", "")
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"same alias":       {create("payments", ""), "there is a key"},
		"no alias":         {create("", ""), "needs an alias"},
		"AWS's alias":      {create("aws/x", ""), "AWS's own"},
		"wrong alias":      {create("a b", ""), "an alias has"},
		"wrong ARN":        {create("a", "arn:aws:s3:::bucket"), "Invalid arn"},
		"unknown key":      {unknown, "Invalid keyId"},
		"unknown material": {k.Retire("nobody"), "Invalid key material"},
		"newest material":  {k.Retire(k.Keys()[0].Materials[0].ID), "newest"},
	} {
		if tc.err == nil || !strings.Contains(tc.err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", name, tc.err, tc.want)
		}
	}
	if n := len(k.Keys()); n != 2 {
		t.Errorf("%d keys", n)
	}
}

func TestNothingShowsKeys(t *testing.T) {
	key, err := envelope.NewLocal()
	if err != nil {
		t.Fatal(err)
	}
	source := envelope.Source{Path: "x", Passphrase: "correct horse"}
	if shown := fmt.Sprintf("%v %+v %#v %v %+v %#v", key, key, key, source, source, source); strings.Contains(shown, "horse") || !strings.Contains(shown, "[redacted]") {
		t.Error(shown)
	}
	path := filepath.Join(t.TempDir(), "key")
	k := ring(t, path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.Fields(string(text))[5]
	if strings.Contains(fmt.Sprintf("%v %+v", k.Keys(), seal(t, k, "")), secret) {
		t.Error("a key shows itself")
	}
}
