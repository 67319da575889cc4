package envelope_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/kmstest"
)

func TestAWSKMSKey(t *testing.T) {
	service := kmstest.NewServer(t)
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1") // that of other services
	arn := service.NewKey("eu-central-1")
	path := filepath.Join(t.TempDir(), "key")
	k := ring(t, path)
	made, err := k.Create(t.Context(), "payments", arn)
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(path); !strings.Contains(string(text), arn+" 2026-03-01T12:00:00Z aws-kms\n") {
		t.Error("the key is not in the file")
	}
	for _, keyID := range []string{"alias/payments", made.ID, arn} {
		sealed := seal(t, k, keyID)
		if sealed.KeyID != arn {
			t.Errorf("%s: sealed with %s", keyID, sealed.KeyID)
		}
		checkOpens(t, ring(t, path), sealed)
		if _, err := k.Open(t.Context(), sealed, "there"); !errors.Is(err, envelope.ErrWrongPlace) {
			t.Errorf("opening elsewhere: %v", err)
		}
	}
}

// The default key may be in AWS KMS from the start, and then the key file holds
// no secret.
func TestAWSKMSKeyAsDefault(t *testing.T) {
	service := kmstest.NewServer(t)
	arn, path := service.NewKey("us-east-1"), filepath.Join(t.TempDir(), "key")
	k, err := envelope.Open(t.Context(), envelope.Source{Path: path, First: arn, AWS: kmstest.Config})
	if err != nil {
		t.Fatal(err)
	}
	sealed := seal(t, k, "")
	checkOpens(t, ring(t, path), sealed)
	if text, _ := os.ReadFile(path); !strings.HasSuffix(string(text), " aws-kms\n") || strings.Count(string(text), "\n") != 1 {
		t.Errorf("the key file is %s", text)
	}
	other := service.NewKey("us-east-1")
	if _, err := envelope.Open(t.Context(), envelope.Source{Path: path, First: other, AWS: kmstest.Config}); err == nil {
		t.Error("another default key was taken without a rotation")
	}
}

// A key moves between the key file and AWS KMS by being rotated.
func TestAWSKMSKeyTakesOver(t *testing.T) {
	service := kmstest.NewServer(t)
	arn := service.NewKey("us-east-1")
	k := ring(t, filepath.Join(t.TempDir(), "key"))
	sealed := seal(t, k, "")
	for _, to := range []string{arn, ""} {
		if _, err := k.Rotate(t.Context(), "", to); err != nil {
			t.Fatal(err)
		}
		again, err := k.Rewrap(t.Context(), sealed, "here")
		if err != nil || to != "" && again.KeyID != to {
			t.Fatalf("re-wrapped with %s: %v", again.KeyID, err)
		}
		if err := k.Retire(sealed.KeyID); err != nil {
			t.Fatal(err)
		}
		checkOpens(t, k, again)
		sealed = again
	}
}

func TestAWSKMSRefusals(t *testing.T) {
	service := kmstest.NewServer(t)
	arn := service.NewKey("us-east-1")
	k := ring(t, filepath.Join(t.TempDir(), "key"))
	sealed := seal(t, k, arn)
	for _, tc := range []struct {
		code string
		want error
	}{
		{"AccessDeniedException", envelope.ErrAccessDenied},
		{"UnrecognizedClientException", envelope.ErrAccessDenied},
		{"DisabledException", envelope.ErrUnusable},
		{"KMSInvalidStateException", envelope.ErrUnusable},
	} {
		service.Break(arn, tc.code)
		if _, err := k.SealWith(t.Context(), arn, nil, "here"); !errors.Is(err, tc.want) {
			t.Errorf("%s: sealing: %v", tc.code, err)
		}
		if _, err := k.Open(t.Context(), sealed, "here"); !errors.Is(err, tc.want) {
			t.Errorf("%s: opening: %v", tc.code, err)
		}
		if _, err := k.Create(t.Context(), "x", arn); !errors.Is(err, tc.want) {
			t.Errorf("%s: creating: %v", tc.code, err)
		}
	}
	missing := arn[:len(arn)-1] + "x"
	_, err := k.SealWith(t.Context(), missing, nil, "here")
	if invalid, ok := errors.AsType[*envelope.InvalidKeyError](err); !ok || !strings.Contains(invalid.Reason, "does not exist") {
		t.Errorf("a key that does not exist: %v", err)
	}
}

// An outage of AWS KMS does not reach what was unwrapped before it.
func TestAWSKMSOutage(t *testing.T) {
	service := kmstest.NewServer(t)
	k := ring(t, filepath.Join(t.TempDir(), "key"))
	sealed := seal(t, k, service.NewKey("us-east-1"))
	key, err := k.DataKey(t.Context(), sealed, "here")
	if err != nil {
		t.Fatal(err)
	}
	service.SetDown(true)
	if got, err := key.Open(nil, sealed.Ciphertext, []byte("here")); err != nil || string(got) != "swordfish" {
		t.Errorf("opening: %v", err)
	}
	if _, err := k.Open(t.Context(), sealed, "here"); err == nil || errors.Is(err, envelope.ErrAccessDenied) || errors.Is(err, envelope.ErrWrongPlace) {
		t.Errorf("during the outage: %v", err)
	}
	service.SetDown(false)
	checkOpens(t, k, sealed)
}

func TestNoCredentialsForAWSKMS(t *testing.T) {
	service := kmstest.NewServer(t)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	k := ring(t, filepath.Join(t.TempDir(), "key"))
	if _, err := k.SealWith(t.Context(), service.NewKey("us-east-1"), nil, "here"); !errors.Is(err, envelope.ErrAccessDenied) {
		t.Errorf("got %v, want ErrAccessDenied", err)
	}
	if n := service.Calls(); n != 0 {
		t.Errorf("%d calls", n)
	}
}
