package smapi_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/keyturntest"
)

// BatchListRotations tells of each secret what ListRotations does. What hinders
// one of them hinders no other.
func TestBatchListRotations(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory)
	c := client{s.SecretsManager, t}
	c.create("plain", "x")
	pending := c.create("pending", "x")
	c.put("pending", "v2", "y", "AWSPENDING")
	c.create("gone", "x")
	_, err := c.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: aws.String("gone"), ForceDeleteWithoutRecovery: aws.Bool(true)})
	c.must(err)

	records := keyturnapi.New(s.Config)
	out, err := records.BatchListRotations(t.Context(), &keyturnapi.BatchListRotationsInput{SecretIDList: []string{*pending.ARN, "gone", "plain"}})
	c.must(err)
	if len(out.Rotations) != 2 || out.Rotations[0].PendingSince == nil || out.Rotations[1].PendingSince != nil {
		t.Fatalf("told %+v", out.Rotations)
	}
	for _, got := range out.Rotations {
		want, err := records.ListRotations(t.Context(), &keyturnapi.ListRotationsInput{SecretID: got.ARN})
		c.must(err)
		if diff := cmp.Diff(*want, got); diff != "" {
			t.Errorf("of %s (-one +batch):\n%s", got.Name, diff)
		}
	}
	if len(out.Errors) != 1 || out.Errors[0].SecretID != "gone" || out.Errors[0].ErrorCode != "ResourceNotFoundException" {
		t.Errorf("errors are %+v", out.Errors)
	}
}

// The call needs a permission of its own, and each secret that of ListRotations.
func TestBatchListRotationsPermissions(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory)
	c := client{s.SecretsManager, t}
	mine := c.create("mine", "x")
	c.create("theirs", "x")
	ids := &keyturnapi.BatchListRotationsInput{SecretIDList: []string{"mine", "theirs"}}
	one := configOf(t, s, "", "one", allow("keyturn:ListRotations", "*", ""))
	_, err := keyturnapi.New(one).BatchListRotations(t.Context(), ids)
	if err == nil || !strings.Contains(err.Error(), "not authorized to perform: keyturn:BatchListRotations on resource: *") {
		t.Errorf("got %v", err)
	}

	half := configOf(t, s, "", "half", allow("keyturn:BatchListRotations", "*", ""), allow("keyturn:ListRotations", *mine.ARN, ""))
	out, err := keyturnapi.New(half).BatchListRotations(t.Context(), ids)
	c.must(err)
	if len(out.Rotations) != 1 || out.Rotations[0].Name != "mine" || len(out.Errors) != 1 ||
		out.Errors[0].SecretID != "theirs" || out.Errors[0].ErrorCode != "AccessDeniedException" {
		t.Errorf("told %+v", out)
	}
}

func TestBatchListRotationsRefused(t *testing.T) {
	records := keyturnapi.New(keyturntest.NewServer(t, inMemory, dev).Config)
	start := "ValidationException: 1 validation error detected: Value "
	for _, tc := range []struct {
		list []string
		want string
	}{
		{nil, start + "null at 'secretIdList' failed to satisfy constraint: Member must not be null"},
		{[]string{""}, start + "'' at 'secretIdList.1.member' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{slices.Repeat([]string{"s"}, 101), start + "at 'secretIdList' failed to satisfy constraint: Member must have length less than or equal to 100"},
	} {
		_, err := records.BatchListRotations(t.Context(), &keyturnapi.BatchListRotationsInput{SecretIDList: tc.list})
		wantError(t, err, tc.want)
	}
}
