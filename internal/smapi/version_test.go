package smapi_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// wantRows counts the versions that lie in the database.
func (h *house) wantRows(want int) {
	h.t.Helper()
	var got int
	h.must(h.db.Read(h.t.Context(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(h.t.Context(), `SELECT COUNT(*) FROM secret_versions`).Scan(&got)
	}))
	if got != want {
		h.t.Errorf("%d versions, want %d", got, want)
	}
}

func TestVersionsBeyondTheQuota(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		s := aws.String("s")
		h.create("s", "1")
		for n := 2; n <= 100; n++ {
			time.Sleep(time.Millisecond)
			h.put("s", version(n), version(n))
		}
		_, err := h.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: s, SecretString: s})
		wantCode(t, err, "LimitExceededException")
		_, err = h.UpdateSecret(t.Context(), &sm.UpdateSecretInput{SecretId: s, SecretString: s})
		wantCode(t, err, "LimitExceededException")
		for _, v := range []string{"v101", "v102"} { // a rotation is not held up
			_, err = h.RotateSecret(t.Context(), &sm.RotateSecretInput{SecretId: s, RotationLambdaARN: aws.String(rotator), ClientRequestToken: aws.String(token(v))})
			h.must(err)
			h.must(h.move("s", "AWSPENDING", v, ""))
		}
		synctest.Wait()
		h.wantRows(102)
		h.noted()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		h.wantRows(100) // with nobody calling
		if got := h.noted(); len(got) != 2 || got[0] != "SecretVersionDeletion v1" || got[1] != "SecretVersionDeletion v2" {
			t.Errorf("noted %v", got)
		}
		gone := "InvalidRequestException: You can't perform this operation on secret version " + token("v1") + " because it was deleted."
		_, err = h.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: s, VersionId: aws.String(token("v1"))})
		wantError(t, err, gone)
		wantError(t, h.move("s", "mine", "", "v1"), gone)
		_, err = h.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: s, SecretString: s, ClientRequestToken: aws.String(token("v1"))})
		wantError(t, err, gone)
		h.put("s", "v103", "x")
		synctest.Wait()
		h.wantRows(100)
		out, err := h.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: s, VersionId: aws.String(token("v4"))})
		h.must(err)
		if *out.SecretString != "v4" {
			t.Error("another value")
		}
	})
}

func TestVersionsShowTheirLastAccess(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.create("s", "1")
		h.put("s", "v2", "2")
		h.get("s")
		synctest.Wait()
		out, err := h.ListSecretVersionIds(t.Context(), &sm.ListSecretVersionIdsInput{SecretId: aws.String("s")})
		h.must(err)
		for _, v := range out.Versions {
			read := *v.VersionId == token("v2")
			if (v.LastAccessedDate != nil) != read || read && !v.LastAccessedDate.Equal(time.Now().UTC().Truncate(24*time.Hour)) {
				t.Errorf("%s was read on %v", *v.VersionId, v.LastAccessedDate)
			}
		}
	})
}

func TestKmsKeyId(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ctx, s := t.Context(), aws.String("s")
		bad := "InvalidParameterException: The operation failed because of an invalid KMS key: Alias alias/nowhere is not found."
		_, err := h.CreateSecret(ctx, &sm.CreateSecretInput{Name: s, KmsKeyId: aws.String("alias/nowhere")})
		wantError(t, err, bad)
		_, err = h.CreateSecret(ctx, &sm.CreateSecretInput{Name: s, KmsKeyId: &h.other, SecretString: s, ClientRequestToken: aws.String(token("v1"))})
		h.must(err)
		for _, v := range []string{"v2", "v3", "v4"} {
			h.put("s", v, v)
		}
		h.wantKeys("s", "v1: "+h.other, "v2: "+h.other, "v3: "+h.other, "v4: "+h.other)
		change := func(key string) {
			t.Helper()
			out, err := h.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: s, KmsKeyId: &key})
			h.must(err)
			if out.VersionId != nil {
				t.Error("a change of the key made a version")
			}
		}
		_, err = h.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: s, KmsKeyId: aws.String("alias/nowhere")})
		wantError(t, err, bad)
		for _, standard := range []string{"", "alias/aws/secretsmanager", "arn:aws:kms:us-east-1:000000000000:alias/aws/secretsmanager"} {
			change(h.other)
			if d := h.describe("s"); *d.KmsKeyId != h.other {
				t.Errorf("KmsKeyId %s", *d.KmsKeyId)
			}
			change(standard)
			if d := h.describe("s"); d.KmsKeyId != nil {
				t.Errorf("KmsKeyId %s", *d.KmsKeyId)
			}
			h.wantKeys("s", "v1: "+h.other, "v2: "+h.other, "v3: DefaultEncryptionKey", "v4: DefaultEncryptionKey")
		}
		if h.get("s") != "v4" {
			t.Error("another value")
		}
		_, err = h.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: s, KmsKeyId: &h.other, SecretString: aws.String("v5"), ClientRequestToken: aws.String(token("v5"))})
		h.must(err)
		h.wantKeys("s", "v1: "+h.other, "v2: "+h.other, "v3: "+h.other, "v4: "+h.other, "v5: "+h.other)
		if h.get("s") != "v5" {
			t.Error("another value")
		}
	})
}

// Whether a secret may be changed is told before anything about the key, the regions
// or the policy that it is to have.
func TestWhatMayNotChange(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ctx, ireland := t.Context(), h.in("eu-west-1")
		h.create("gone", "x")
		_, err := h.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: aws.String("gone")})
		h.must(err)
		h.create("replicated", "x")
		_, err = h.replicate("replicated", false, region("eu-west-1"))
		h.must(err)
		synctest.Wait()
		for id, tc := range map[string]struct {
			client
			want string
		}{"missing": {h.client, notFound}, "gone": {h.client, marked}, "replicated": {ireland, readOnly}} {
			_, err := tc.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: &id, Description: &id, KmsKeyId: aws.String("alias/nowhere")})
			wantError(t, err, tc.want)
			_, err = tc.replicate(id, false, region("mars-east-1"))
			wantError(t, err, tc.want)
			_, err = tc.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{SecretId: &id, ResourcePolicy: aws.String("{")})
			wantError(t, err, tc.want)
		}
	})
}

// wantCode checks the code of an error whose text nobody has recorded.
func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	if api := smithy.APIError(nil); !errors.As(err, &api) || api.ErrorCode() != code {
		t.Errorf("got %v, want %s", err, code)
	}
}
