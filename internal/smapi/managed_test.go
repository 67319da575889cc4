package smapi_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/secret"
)

const managed = "InvalidRequestException: The secret is managed by another service, and you must use that service to update it."

func newManaged(h *house) *string {
	h.make(secret.New{Name: "rds!cluster-1", OwningService: "rds", Tags: []secret.Tag{{Key: "aws:rds:primaryDBClusterArn", Value: "c"}}})
	return aws.String("rds!cluster-1")
}

func TestManagedSecretIsShown(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		s := newManaged(h)
		d := h.describe(*s)
		if *d.OwningService != "rds" || len(d.Tags) != 2 || *d.Tags[1].Key != "aws:secretsmanager:owningService" || *d.Tags[1].Value != "rds" {
			t.Errorf("got %+v", d)
		}
		if h.get(*s) != "made" {
			t.Error("another value")
		}
	})
}

func TestManagedSecretRefuses(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ctx, s := t.Context(), newManaged(h)
		for name, do := range map[string]func() error{
			"CancelRotateSecret": func() error {
				_, err := h.CancelRotateSecret(ctx, &sm.CancelRotateSecretInput{SecretId: s})
				return err
			},
			"DeleteResourcePolicy": func() error {
				_, err := h.DeleteResourcePolicy(ctx, &sm.DeleteResourcePolicyInput{SecretId: s})
				return err
			},
			"DeleteSecret": func() error { _, err := h.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: s}); return err },
			"PutResourcePolicy": func() error {
				_, err := h.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{SecretId: s, ResourcePolicy: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},"Action":"*","Resource":"*"}]}`)})
				return err
			},
			"PutSecretValue": func() error {
				_, err := h.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: s, SecretString: s})
				return err
			},
			"RestoreSecret": func() error { _, err := h.RestoreSecret(ctx, &sm.RestoreSecretInput{SecretId: s}); return err },
			"RotateSecret with a function": func() error {
				_, err := h.RotateSecret(ctx, &sm.RotateSecretInput{SecretId: s, RotationLambdaARN: aws.String(rotator)})
				return err
			},
			"TagResource": func() error {
				_, err := h.TagResource(ctx, &sm.TagResourceInput{SecretId: s, Tags: []types.Tag{{Key: s, Value: s}}})
				return err
			},
			"UntagResource": func() error {
				_, err := h.UntagResource(ctx, &sm.UntagResourceInput{SecretId: s, TagKeys: []string{"k"}})
				return err
			},
			"UpdateSecret": func() error {
				_, err := h.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: s, Description: s})
				return err
			},
			"UpdateSecretVersionStage": func() error { return h.move(*s, "mine", "", "v1") },
		} {
			if err := do(); err == nil || !strings.HasSuffix(err.Error(), managed) {
				t.Errorf("%s: %v", name, err)
			}
		}
		_, err := h.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("mine"), Tags: []types.Tag{{Key: aws.String("aws:secretsmanager:owningService"), Value: aws.String("rds")}}})
		wantError(t, err, "InvalidParameterException: Tag keys that begin with aws: are reserved for system use.")
	})
}

// What a managed secret allows: reading, replicas, and rules of rotation.
func TestManagedSecretAllows(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ctx, s := t.Context(), newManaged(h)
		_, err := h.replicate(*s, false, region("eu-west-1"))
		h.must(err)
		_, err = h.RotateSecret(ctx, &sm.RotateSecretInput{SecretId: s, RotateImmediately: aws.Bool(false), RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(7)}})
		h.must(err)
		synctest.Wait()
		for _, c := range []client{h.client, h.in("eu-west-1")} {
			d := c.describe(*s)
			if !*d.RotationEnabled || *d.RotationRules.AutomaticallyAfterDays != 7 || d.RotationLambdaARN != nil || *d.OwningService != "rds" || len(d.Tags) != 2 {
				t.Errorf("got %+v", d)
			}
		}
	})
}

// The service that manages a secret does not manage what a replica of it was promoted
// to: who promoted that may change and delete it.
func TestPromotedManagedSecretIsAnOrdinaryOne(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ctx, s, c := t.Context(), newManaged(h), h.in("eu-west-1")
		_, err := h.replicate(*s, false, region("eu-west-1"))
		h.must(err)
		synctest.Wait()
		_, err = c.StopReplicationToReplica(ctx, &sm.StopReplicationToReplicaInput{SecretId: s})
		h.must(err)
		if d := c.describe(*s); d.OwningService != nil || len(d.Tags) != 1 || *d.Tags[0].Key != "aws:rds:primaryDBClusterArn" {
			t.Errorf("got %+v", d)
		}
		c.put(*s, "v2", "changed")
		_, err = c.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: s})
		h.must(err)
		if d := h.describe(*s); *d.OwningService != "rds" || h.get(*s) != "made" {
			t.Errorf("of the primary: %+v", d)
		}
	})
}

const byItself = "InvalidRequestException: This server can't rotate the secret by itself, since that takes the service or partner that it belongs to. To store its rotation settings, call RotateSecret with RotateImmediately=false."

func TestManagedExternalSecret(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ctx, s := t.Context(), aws.String("s")
		_, err := h.CreateSecret(ctx, &sm.CreateSecretInput{Name: s, Type: aws.String("SalesforceClientSecret"), SecretString: s, ClientRequestToken: aws.String(token("v1"))})
		h.must(err)
		role := "arn:aws:iam::000000000000:role/rotates"
		in := &sm.RotateSecretInput{SecretId: s, RotationRules: &types.RotationRulesType{ScheduleExpression: aws.String("rate(10 days)")},
			ExternalSecretRotationRoleArn:  &role,
			ExternalSecretRotationMetadata: []types.ExternalSecretRotationMetadataItem{{Key: aws.String("apiVersion"), Value: aws.String("v65.0")}}}
		_, err = h.RotateSecret(ctx, in)
		wantError(t, err, byItself)
		if d := h.describe("s"); d.RotationEnabled != nil || d.ExternalSecretRotationRoleArn != nil {
			t.Error("a refused RotateSecret left something behind")
		}
		in.RotateImmediately = aws.Bool(false)
		out, err := h.RotateSecret(ctx, in)
		h.must(err)
		if out.VersionId != nil {
			t.Error("a version where nothing rotates")
		}
		h.wantExternal("SalesforceClientSecret", role, "v65.0")
		_, err = h.RotateSecret(ctx, &sm.RotateSecretInput{SecretId: s, RotateImmediately: aws.Bool(false),
			ExternalSecretRotationMetadata: []types.ExternalSecretRotationMetadataItem{{Key: aws.String("apiVersion"), Value: aws.String("v66.0")}}})
		h.must(err)
		_, err = h.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: s, Type: aws.String("BigIDClientSecret")})
		h.must(err)
		h.wantExternal("BigIDClientSecret", role, "v66.0")
		time.Sleep(30 * 24 * time.Hour)
		synctest.Wait()
		h.wantStages("s", "v1: AWSCURRENT")
	})
}

func (h *house) wantExternal(kind, role, metadata string) {
	h.t.Helper()
	d := h.describe("s")
	if *d.Type != kind || *d.ExternalSecretRotationRoleArn != role || *d.ExternalSecretRotationMetadata[0].Value != metadata ||
		!*d.RotationEnabled || *d.RotationRules.ScheduleExpression != "rate(10 days)" || d.NextRotationDate != nil {
		h.t.Errorf("got %+v", d)
	}
}

func TestRotateSecretLimits(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.create("s", "x")
		invalid := func(rest string) string { return "ValidationException: 1 validation error detected: Value " + rest }
		for _, tc := range []struct {
			in   sm.RotateSecretInput
			want string
		}{
			{sm.RotateSecretInput{ExternalSecretRotationRoleArn: aws.String("short")}, invalid("'short' at 'externalSecretRotationRoleArn' failed to satisfy constraint: Member must have length greater than or equal to 20")},
			{sm.RotateSecretInput{ExternalSecretRotationMetadata: []types.ExternalSecretRotationMetadataItem{{Key: aws.String(""), Value: aws.String("v")}}},
				invalid("'' at 'externalSecretRotationMetadata.1.member.key' failed to satisfy constraint: Member must have length greater than or equal to 1")},
			{sm.RotateSecretInput{RotationRules: &types.RotationRulesType{Duration: aws.String("3d")}}, invalid("'3d' at 'rotationRules.duration' failed to satisfy constraint: Member must satisfy regular expression pattern: [0-9]+h")},
			{sm.RotateSecretInput{RotationRules: &types.RotationRulesType{ScheduleExpression: aws.String("rate(1;day)")}},
				invalid("'rate(1;day)' at 'rotationRules.scheduleExpression' failed to satisfy constraint: Member must satisfy regular expression pattern: [0-9A-Za-z\\(\\)#\\?\\*\\-\\/, ]+")},
			{sm.RotateSecretInput{ClientRequestToken: aws.String("short")}, "InvalidParameterException: ClientRequestToken must be 32-64 characters long."},
			{sm.RotateSecretInput{RotationLambdaARN: aws.String(strings.Repeat("x", 2049))}, invalid("'" + strings.Repeat("x", 2049) + "' at 'rotationLambdaARN' failed to satisfy constraint: Member must have length less than or equal to 2048")},
		} {
			tc.in.SecretId = aws.String("s")
			_, err := h.RotateSecret(t.Context(), &tc.in)
			wantError(t, err, tc.want)
		}
	})
}

// Deletions leave events, one for each version, and really happen when their
// window ends.
func TestDeletionEvents(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ctx, s := t.Context(), aws.String("s")
		h.create("s", "one")
		h.put("s", "v2", "two")
		wantNoted := func(want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, h.noted()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		out, err := h.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: s})
		h.must(err)
		if days := time.Until(*out.DeletionDate).Hours() / 24; days != 30 {
			t.Errorf("deletion in %v days", days)
		}
		wantNoted("StartSecretVersionDelete v1", "StartSecretVersionDelete v2")
		_, err = h.RestoreSecret(ctx, &sm.RestoreSecretInput{SecretId: s})
		h.must(err)
		wantNoted("CancelSecretVersionDelete v1", "CancelSecretVersionDelete v2")
		_, err = h.RestoreSecret(ctx, &sm.RestoreSecretInput{SecretId: s}) // not scheduled: success and no change
		h.must(err)
		wantNoted()
		_, err = h.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: s, RecoveryWindowInDays: aws.Int64(7), ForceDeleteWithoutRecovery: aws.Bool(false)})
		h.must(err)
		wantNoted("StartSecretVersionDelete v1", "StartSecretVersionDelete v2")
		time.Sleep(7 * 24 * time.Hour)
		synctest.Wait()
		wantNoted("EndSecretVersionDelete v1", "EndSecretVersionDelete v2")
		h.wantRows(0)
		h.create("s", "new")
		_, err = h.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: s})
		h.must(err)
		_, err = h.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: s, ForceDeleteWithoutRecovery: aws.Bool(true)})
		h.must(err)
		wantNoted("EndSecretVersionDelete v1", "StartSecretVersionDelete v1")
	})
}
