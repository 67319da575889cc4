package smapi_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
)

func TestCreateSecretWithoutValue(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		out, err := h.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("s"), Description: aws.String("")})
		h.must(err)
		if out.VersionId != nil || out.ReplicationStatus != nil {
			t.Errorf("got %+v", out)
		}
		if d := h.describe("s"); d.Description != nil || d.VersionIdsToStages != nil || d.Tags != nil || d.RotationEnabled != nil {
			t.Errorf("got %+v", d)
		}
	})
}

const both = "InvalidParameterException: You can't specify both a binary secret value and a string secret value in the same secret."

// tooLong is the violation of a member with a value of one character repeated.
func tooLong(path, value string, most int) string {
	return fmt.Sprintf("ValidationException: 1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", value, path, most)
}

func TestValuesAndLimitsRefused(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ctx, s, x := t.Context(), aws.String("s"), func(n int) *string { return aws.String(strings.Repeat("x", n)) }
		h.create("s", "one")
		create := func(in sm.CreateSecretInput) error {
			in.Name = aws.String("new")
			_, err := h.CreateSecret(ctx, &in)
			return err
		}
		update := func(in sm.UpdateSecretInput) error {
			in.SecretId = s
			_, err := h.UpdateSecret(ctx, &in)
			return err
		}
		put := func(in sm.PutSecretValueInput) error {
			in.SecretId = s
			_, err := h.PutSecretValue(ctx, &in)
			return err
		}
		stage := func(in sm.UpdateSecretVersionStageInput) error {
			in.SecretId = s
			_, err := h.UpdateSecretVersionStage(ctx, &in)
			return err
		}
		for want, err := range map[string][]error{
			both: {
				create(sm.CreateSecretInput{SecretString: s, SecretBinary: []byte{1}}),
				update(sm.UpdateSecretInput{SecretString: s, SecretBinary: []byte{1}}),
				put(sm.PutSecretValueInput{SecretString: s, SecretBinary: []byte{1}}),
			},
			tooLong("description", *x(2049), 2048):     {create(sm.CreateSecretInput{Description: x(2049)}), update(sm.UpdateSecretInput{Description: x(2049)})},
			tooLong("kmsKeyId", *x(2049), 2048):        {create(sm.CreateSecretInput{KmsKeyId: x(2049)}), update(sm.UpdateSecretInput{KmsKeyId: x(2049)})},
			tooLong("type", *x(257), 256):              {create(sm.CreateSecretInput{Type: x(257)}), update(sm.UpdateSecretInput{Type: x(257)})},
			tooLong("clientRequestToken", *x(65), 64):  {create(sm.CreateSecretInput{ClientRequestToken: x(65)}), update(sm.UpdateSecretInput{ClientRequestToken: x(65)}), put(sm.PutSecretValueInput{ClientRequestToken: x(65), SecretString: s})},
			tooLong("versionStage", *x(257), 256):      {stage(sm.UpdateSecretVersionStageInput{VersionStage: x(257), MoveToVersionId: x(32)})},
			tooLong("moveToVersionId", *x(65), 64):     {stage(sm.UpdateSecretVersionStageInput{VersionStage: s, MoveToVersionId: x(65)})},
			tooLong("removeFromVersionId", *x(65), 64): {stage(sm.UpdateSecretVersionStageInput{VersionStage: s, RemoveFromVersionId: x(65)})},
			"ValidationException: 1 validation error detected: Value at 'versionStages' failed to satisfy constraint: Member must have length less than or equal to 20": {
				put(sm.PutSecretValueInput{SecretString: s, VersionStages: strings.Split(strings.Repeat("x", 21), "")})},
			"ValidationException: 1 validation error detected: Value at 'rotationToken' failed to satisfy constraint: Member must have length greater than or equal to 36": {
				put(sm.PutSecretValueInput{SecretString: s, RotationToken: aws.String("short")})},
			"ValidationException: 1 validation error detected: Value at 'rotationToken' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9\\-]+$": {
				put(sm.PutSecretValueInput{SecretString: s, RotationToken: aws.String(strings.Repeat("_", 36))})},
			"ValidationException: 1 validation error detected: Value at 'addReplicaRegions' failed to satisfy constraint: Member must have length greater than or equal to 1": {
				create(sm.CreateSecretInput{AddReplicaRegions: []types.ReplicaRegionType{}})},
		} {
			for _, err := range err {
				wantError(t, err, want)
			}
		}
		h.wantStages("s", "v1: AWSCURRENT")
	})
}

// A version that gets AWSCURRENT by PutSecretValue, UpdateSecret or a move leaves
// AWSPREVIOUS behind in the same way; custom labels stay where they are.
func TestNewCurrentVersion(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.create("s", "1")
		h.must(h.move("s", "mine", "", "v1"))
		h.put("s", "v2", "2", "AWSCURRENT", "AWSPENDING")
		h.wantStages("s", "v1: AWSPREVIOUS mine", "v2: AWSCURRENT AWSPENDING")
		h.put("s", "v3", "3") // drops AWSPENDING
		h.wantStages("s", "v1: mine", "v2: AWSPREVIOUS", "v3: AWSCURRENT")
		h.put("s", "v4", "4", "AWSPENDING")
		_, err := h.UpdateSecret(t.Context(), &sm.UpdateSecretInput{SecretId: aws.String("s"), SecretString: aws.String("5"), ClientRequestToken: aws.String(token("v5"))})
		h.must(err)
		h.wantStages("s", "v1: mine", "v3: AWSPREVIOUS", "v5: AWSCURRENT")
		got, err := h.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("s"), VersionId: aws.String(token("v4"))})
		h.must(err) // deprecated, and still readable
		if *got.SecretString != "4" || got.VersionStages != nil {
			t.Errorf("got %v", got.VersionStages)
		}
	})
}

// Every change of metadata or value moves LastChangedDate, however soon it comes
// after the one before: here no time passes.
func TestLastChangedDateMoves(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.create("s", "1")
		for _, change := range changes(h) {
			before := *h.describe("s").LastChangedDate
			h.must(change.do())
			if after := *h.describe("s").LastChangedDate; !after.After(before) {
				t.Errorf("%s did not move it", change.name)
			}
		}
	})
}

func TestForceDeleteOfWhatIsNotThere(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		force := func(id string) (*sm.DeleteSecretOutput, error) {
			return h.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: &id, ForceDeleteWithoutRecovery: aws.Bool(true)})
		}
		out, err := force("nope")
		h.must(err)
		if *out.Name != "nope" || !out.DeletionDate.Equal(time.Now()) || !strings.Contains(*out.ARN, ":secret:nope-") {
			t.Errorf("got %+v", out)
		}
		_, err = force("not legal")
		wantError(t, err, badName)
		_, err = h.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: aws.String("nope")})
		wantError(t, err, notFound)
		_, err = h.RestoreSecret(t.Context(), &sm.RestoreSecretInput{SecretId: aws.String("nope")})
		wantError(t, err, notFound)
		for days, ok := range map[int64]bool{6: false, 7: true, 30: true, 31: false} {
			name := fmt.Sprint("s", days)
			h.create(name, "x")
			_, err := h.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: &name, RecoveryWindowInDays: &days})
			if (err == nil) != ok {
				t.Errorf("%d days: %v", days, err)
			}
		}
	})
}

func TestMarkedForDeletion(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ctx, s := t.Context(), aws.String("s")
		h.create("s", "1")
		_, err := h.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: s})
		h.must(err)
		_, replicate := h.replicate("s", false, region("eu-west-1"))
		_, remove := h.RemoveRegionsFromReplication(ctx, &sm.RemoveRegionsFromReplicationInput{SecretId: s, RemoveReplicaRegions: []string{"eu-west-1"}})
		_, stop := h.StopReplicationToReplica(ctx, &sm.StopReplicationToReplicaInput{SecretId: s})
		_, key := h.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: s, KmsKeyId: &h.other})
		for _, err := range []error{replicate, remove, stop, key} {
			wantError(t, err, marked)
		}
	})
}

func (h *house) rotate(version string, change func(*sm.RotateSecretInput)) error {
	in := &sm.RotateSecretInput{SecretId: aws.String("s"), RotationLambdaARN: aws.String(rotator), ClientRequestToken: aws.String(token(version))}
	if change != nil {
		change(in)
	}
	_, err := h.RotateSecret(h.t.Context(), in)
	return err
}

// A rotation may begin when AWSPENDING is nowhere, or beside AWSCURRENT, and also
// on a secret without a value.
func TestRotationMayBegin(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.create("s", "")
		h.must(h.rotate("v1", nil))
		h.wantStages("s", "v1: AWSPENDING")
		_, err := h.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("s"), VersionId: aws.String(token("v1")), VersionStage: aws.String("AWSPENDING")})
		wantError(t, err, "ResourceNotFoundException: Secrets Manager can't find the specified secret value for staging label: AWSPENDING")
		wantError(t, h.move("s", "AWSCURRENT", "", "v1"), "InvalidRequestException: You can't move the staging label AWSCURRENT to version "+token("v1")+" because it has no secret value.")
		h.put("s", "v1", "one", "AWSPENDING") // the reserved version takes its first value
		h.must(h.move("s", "AWSCURRENT", "", "v1"))
		h.wantStages("s", "v1: AWSCURRENT AWSPENDING")
		synctest.Wait()
		h.must(h.rotate("v2", nil))
		h.wantStages("s", "v1: AWSCURRENT", "v2: AWSPENDING")
		wantError(t, h.rotate("v3", nil), "InvalidRequestException: A previous rotation isn't complete. That rotation will be reattempted.")
		h.put("s", "v4", "four") // abandons it
		h.wantStages("s", "v1: AWSPREVIOUS", "v4: AWSCURRENT")
		h.must(h.rotate("v5", nil))
		h.wantStages("s", "v1: AWSPREVIOUS", "v4: AWSCURRENT", "v5: AWSPENDING")
	})
}

// RotateImmediately=false tests the function on a copy of the value, and leaves
// nothing of it behind.
func TestRotateLater(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.create("s", "one")
		h.must(h.rotate("v2", func(in *sm.RotateSecretInput) {
			in.RotateImmediately, in.RotationRules = aws.Bool(false), &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(10)}
		}))
		synctest.Wait()
		h.wantStages("s", "v1: AWSCURRENT")
		if d := h.describe("s"); !*d.RotationEnabled || *d.RotationRules.AutomaticallyAfterDays != 10 || d.NextRotationDate == nil || d.LastRotatedDate != nil {
			t.Errorf("got %+v", d)
		}
	})
}

// A secret without a value has nothing to test, but its rules wait, too, for the
// rotation that makes the first one.
func TestRotateLaterWithoutValue(t *testing.T) {
	later := func(in *sm.RotateSecretInput) {
		in.RotateImmediately, in.RotationRules = aws.Bool(false), &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(10)}
	}
	inHouse(t, func(t *testing.T, h *house) {
		h.create("s", "")
		before := *h.describe("s").LastChangedDate
		time.Sleep(5 * time.Millisecond)
		h.must(h.rotate("v1", later))
		if d := h.describe("s"); !*d.RotationEnabled || d.VersionIdsToStages != nil || !d.LastChangedDate.After(before) {
			t.Errorf("got %+v", d)
		}
		h.must(h.rotate("v2", func(in *sm.RotateSecretInput) {
			in.RotationRules = &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(5)}
		}))
		wantError(t, h.rotate("v3", later), "InvalidRequestException: A previous rotation isn't complete. That rotation will be reattempted.")
		if d := h.describe("s"); *d.RotationRules.AutomaticallyAfterDays != 5 {
			t.Errorf("a refused request changed the rules to %d days", *d.RotationRules.AutomaticallyAfterDays)
		}
		h.wantStages("s", "v2: AWSPENDING")
	})
}

func TestRotateSecretElsewhere(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.create("s", "one")
		wantError(t, h.rotate("v2", func(in *sm.RotateSecretInput) {
			in.RotationLambdaARN = aws.String(strings.Replace(rotator, "us-east-1", "eu-west-1", 1))
		}),
			"InvalidParameterException: Invalid rotation Lambda ARN. Ensure the ARN matches format arn:aws:lambda:us-east-1:000000000000:function:<functionName>.")
		_, err := h.CancelRotateSecret(t.Context(), &sm.CancelRotateSecretInput{SecretId: aws.String("s")})
		wantCode(t, err, "InvalidRequestException")
		if d := h.describe("s"); d.RotationEnabled != nil {
			t.Error("a refused request left something behind")
		}
	})
}

// Answers have the members that AWS sends, and no others.
func TestAnswersHaveTheseMembers(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ctx, s := t.Context(), aws.String("s")
		h.create("s", "one")
		h.put("s", "v2", "two")
		stage, err := h.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{SecretId: s, VersionStage: aws.String("mine"), MoveToVersionId: aws.String(token("v1"))})
		h.must(err)
		update, err := h.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: s, Description: s})
		h.must(err)
		put, err := h.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: s, SecretString: s})
		h.must(err)
		replicate, err := h.ReplicateSecretToRegions(ctx, &sm.ReplicateSecretToRegionsInput{SecretId: s, AddReplicaRegions: []types.ReplicaRegionType{region("eu-west-1")}})
		h.must(err)
		remove, err := h.RemoveRegionsFromReplication(ctx, &sm.RemoveRegionsFromReplicationInput{SecretId: s, RemoveReplicaRegions: []string{"eu-west-1"}})
		h.must(err)
		del, err := h.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: s})
		h.must(err)
		restore, err := h.RestoreSecret(ctx, &sm.RestoreSecretInput{SecretId: s})
		h.must(err)
		for _, tc := range []struct {
			answer any
			want   string
		}{
			{stage, "ARN Name"}, {update, "ARN Name"}, {put, "ARN Name VersionId VersionStages"}, {replicate, "ARN ReplicationStatus"},
			{remove, "ARN ReplicationStatus"}, {del, "ARN DeletionDate Name"}, {restore, "ARN Name"},
		} {
			if diff := cmp.Diff(tc.want, members(t, tc.answer)); diff != "" {
				t.Errorf("%T (-want +got):\n%s", tc.answer, diff)
			}
		}
	})
}

// members lists the fields of an answer that are set.
func members(t *testing.T, answer any) string {
	t.Helper()
	set := map[string]bool{}
	v := reflect.ValueOf(answer).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.IsExported() && f.Name != "ResultMetadata" && !v.Field(i).IsNil() {
			set[f.Name] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(set)), " ")
}
