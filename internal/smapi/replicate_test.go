package smapi_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/keyturntest"
)

const (
	readOnly = "InvalidParameterException: Operation not permitted on a replica secret. Call must be made in primary secret's region."
	noRegion = "InvalidParameterException: Invalid replica region."
)

func (c client) replicate(id string, force bool, regions ...types.ReplicaRegionType) ([]string, error) {
	out, err := c.ReplicateSecretToRegions(c.t.Context(), &sm.ReplicateSecretToRegionsInput{SecretId: &id,
		AddReplicaRegions: regions, ForceOverwriteReplicaSecret: force})
	if err != nil {
		return nil, err
	}
	return statusOf(out.ReplicationStatus), nil
}

func region(name string) types.ReplicaRegionType { return types.ReplicaRegionType{Region: &name} }

// statusOf writes a ReplicationStatus as "region key status message" lines.
func statusOf(all []types.ReplicationStatusType) (lines []string) {
	for _, r := range all {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", *r.Region, *r.KmsKeyId, r.Status, aws.ToString(r.StatusMessage))))
	}
	return lines
}

func (c client) wantStatus(id string, want ...string) {
	c.t.Helper()
	if diff := cmp.Diff(want, statusOf(c.describe(id).ReplicationStatus)); diff != "" {
		c.t.Errorf("ReplicationStatus (-want +got):\n%s", diff)
	}
}

const inSync = " alias/aws/secretsmanager InSync Replication succeeded"

func TestReplicationCarriesEveryChange(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ctx, ireland := t.Context(), h.in("eu-west-1")
		primary := *h.create("s", "one").ARN
		got, err := h.replicate("s", false, region("eu-west-1"), region("ap-south-1"))
		h.must(err)
		first := []string{"eu-west-1 alias/aws/secretsmanager InProgress", "ap-south-1 alias/aws/secretsmanager InProgress"}
		if diff := cmp.Diff(first, got); diff != "" {
			t.Error(diff)
		}
		synctest.Wait()
		h.wantStatus("s", "eu-west-1"+inSync, "ap-south-1"+inSync)
		replica := ireland.describe("s")
		if want := strings.Replace(primary, "us-east-1", "eu-west-1", 1); *replica.ARN != want || *replica.PrimaryRegion != "us-east-1" || replica.ReplicationStatus != nil {
			t.Errorf("the replica is %+v", replica)
		}
		if *h.describe("s").PrimaryRegion != "us-east-1" || ireland.get("s") != "one" || ireland.get(*replica.ARN) != "one" {
			t.Error("the primary does not show its region, or the replica has another value")
		}
		for _, change := range changes(h) {
			h.must(change.do())
			synctest.Wait()
			primary, replica := h.describe("s"), ireland.describe("s")
			replica.ARN, replica.CreatedDate, replica.ReplicationStatus = primary.ARN, primary.CreatedDate, primary.ReplicationStatus
			if diff := cmp.Diff(described(primary), described(replica)); diff != "" {
				t.Errorf("after %s (-primary +replica):\n%s", change.name, diff)
			}
			if h.get("s") != ireland.get("s") {
				t.Errorf("after %s the values differ", change.name)
			}
		}
		policy, err := ireland.GetResourcePolicy(ctx, &sm.GetResourcePolicyInput{SecretId: aws.String("s")})
		h.must(err)
		if !strings.Contains(aws.ToString(policy.ResourcePolicy), "111111111111") {
			t.Error("the policy was not replicated")
		}
	})
}

// described is what primary and replica show alike.
func described(d *sm.DescribeSecretOutput) string {
	same := *d
	same.LastAccessedDate, same.ResultMetadata = nil, middleware.Metadata{}
	for _, labels := range same.VersionIdsToStages {
		slices.Sort(labels)
	}
	text, err := json.MarshalIndent(same, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

type namedChange struct {
	name string
	do   func() error
}

func changes(h *house) []namedChange {
	ctx, s := h.t.Context(), aws.String("s")
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111111111111:root"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}]}`
	return []namedChange{
		{"PutSecretValue", func() error { h.put("s", "v2", "two"); return nil }},
		{"a custom label", func() error { h.put("s", "v3", "three", "mine"); return nil }},
		{"UpdateSecretVersionStage", func() error { return h.move("s", "AWSCURRENT", h.current("s"), "v1") }},
		{"UpdateSecret", func() error {
			_, err := h.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: s, Description: aws.String("d"), SecretString: aws.String("four")})
			return err
		}},
		{"TagResource", func() error {
			_, err := h.TagResource(ctx, &sm.TagResourceInput{SecretId: s, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
			return err
		}},
		{"UntagResource", func() error {
			_, err := h.UntagResource(ctx, &sm.UntagResourceInput{SecretId: s, TagKeys: []string{"k"}})
			return err
		}},
		{"PutResourcePolicy", func() error {
			_, err := h.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{SecretId: s, ResourcePolicy: &policy})
			return err
		}},
		{"RotateSecret", func() error {
			_, err := h.RotateSecret(ctx, &sm.RotateSecretInput{SecretId: s, RotationLambdaARN: aws.String(rotator), RotateImmediately: aws.Bool(true),
				RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}})
			return err
		}},
		{"CancelRotateSecret", func() error {
			_, err := h.CancelRotateSecret(ctx, &sm.CancelRotateSecretInput{SecretId: s})
			return err
		}},
	}
}

// current is the short name of the version that has AWSCURRENT.
func (c client) current(id string) string {
	c.t.Helper()
	out, err := c.GetSecretValue(c.t.Context(), &sm.GetSecretValueInput{SecretId: &id})
	c.must(err)
	return strings.TrimRight(*out.VersionId, "-")
}

func TestReplicaIsReadOnly(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ctx, c, s := t.Context(), h.in("eu-west-1"), aws.String("s")
		h.create("s", "one")
		_, err := h.replicate("s", false, region("eu-west-1"))
		h.must(err)
		synctest.Wait()
		for name, do := range map[string]func() error{
			"CancelRotateSecret": func() error {
				_, err := c.CancelRotateSecret(ctx, &sm.CancelRotateSecretInput{SecretId: s})
				return err
			},
			"DeleteResourcePolicy": func() error {
				_, err := c.DeleteResourcePolicy(ctx, &sm.DeleteResourcePolicyInput{SecretId: s})
				return err
			},
			"DeleteSecret": func() error { _, err := c.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: s}); return err },
			"force DeleteSecret": func() error {
				_, err := c.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: s, ForceDeleteWithoutRecovery: aws.Bool(true)})
				return err
			},
			"PutResourcePolicy": func() error {
				_, err := c.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{SecretId: s, ResourcePolicy: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},"Action":"*","Resource":"*"}]}`)})
				return err
			},
			"PutSecretValue": func() error {
				_, err := c.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: s, SecretString: s})
				return err
			},
			"RemoveRegionsFromReplication": func() error {
				_, err := c.RemoveRegionsFromReplication(ctx, &sm.RemoveRegionsFromReplicationInput{SecretId: s, RemoveReplicaRegions: []string{"eu-west-1"}})
				return err
			},
			"ReplicateSecretToRegions": func() error { _, err := c.replicate("s", false, region("ap-south-1")); return err },
			"RestoreSecret":            func() error { _, err := c.RestoreSecret(ctx, &sm.RestoreSecretInput{SecretId: s}); return err },
			"RotateSecret": func() error {
				_, err := c.RotateSecret(ctx, &sm.RotateSecretInput{SecretId: s, RotationLambdaARN: aws.String(strings.Replace(rotator, "us-east-1", "eu-west-1", 1))})
				return err
			},
			"TagResource": func() error {
				_, err := c.TagResource(ctx, &sm.TagResourceInput{SecretId: s, Tags: []types.Tag{{Key: s, Value: s}}})
				return err
			},
			"UntagResource": func() error {
				_, err := c.UntagResource(ctx, &sm.UntagResourceInput{SecretId: s, TagKeys: []string{"k"}})
				return err
			},
			"UpdateSecret": func() error {
				_, err := c.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: s, Description: s})
				return err
			},
			"UpdateSecretVersionStage": func() error { return c.move("s", "mine", "", "v1") },
		} {
			if err := do(); err == nil || !strings.Contains(err.Error(), readOnly) {
				t.Errorf("%s: %v", name, err)
			}
		}
		_, err = c.CreateSecret(ctx, &sm.CreateSecretInput{Name: s, SecretString: aws.String("one"), ClientRequestToken: aws.String(token("v1"))})
		wantError(t, err, "ResourceExistsException: The operation failed because the secret s already exists.")
		c.wantStages("s", "v1: AWSCURRENT")
	})
}

func TestReplicaRegionsRefused(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.create("s", "one")
		for name, want := range map[string]string{
			"us-east-1":     noRegion, // the primary's own
			"mars-east-1":   noRegion,
			"us-gov-west-1": noRegion, // of another partition
			"us-east":       "ValidationException: 1 validation error detected: Value 'us-east' at 'addReplicaRegions.1.member.region' failed to satisfy constraint: Member must satisfy regular expression pattern: ^([a-z]+-)+\\d+$",
		} {
			_, err := h.replicate("s", false, region(name))
			wantError(t, err, want)
			_, err = h.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("new"), AddReplicaRegions: []types.ReplicaRegionType{region("eu-west-1"), region(name)}})
			wantError(t, err, strings.Replace(want, ".1.", ".2.", 1))
		}
		_, err := h.replicate("s", false, []types.ReplicaRegionType{}...)
		wantError(t, err, "ValidationException: 1 validation error detected: Value at 'addReplicaRegions' failed to satisfy constraint: Member must have length greater than or equal to 1")
		_, err = h.replicate("nope", false, region("eu-west-1"))
		wantError(t, err, notFound)
		_, err = h.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("new")})
		wantError(t, err, notFound)
		if d := h.describe("s"); d.PrimaryRegion != nil || d.ReplicationStatus != nil {
			t.Error("a refused region left something behind")
		}
	})
}

func TestCreateSecretWithReplicas(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		in := &sm.CreateSecretInput{Name: aws.String("s"), SecretBinary: []byte{1, 0, 2}, ClientRequestToken: aws.String(token("v1")),
			AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String("eu-west-1"), KmsKeyId: &h.other}}}
		out, err := h.CreateSecret(t.Context(), in)
		h.must(err)
		if diff := cmp.Diff([]string{"eu-west-1 " + h.other + " InProgress"}, statusOf(out.ReplicationStatus)); diff != "" {
			t.Error(diff)
		}
		synctest.Wait()
		c := h.in("eu-west-1")
		if d := c.describe("s"); *d.KmsKeyId != h.other || h.describe("s").KmsKeyId != nil {
			t.Error("the replica has not its own key")
		}
		got, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("s")})
		h.must(err)
		if string(got.SecretBinary) != "\x01\x00\x02" {
			t.Error("the value came back changed")
		}
		again, err := h.CreateSecret(t.Context(), in)
		h.must(err)
		if *again.ARN != *out.ARN || len(again.ReplicationStatus) != 1 {
			t.Errorf("a repeated CreateSecret answered %+v", again)
		}
		synctest.Wait()
		if day := h.describe("s").ReplicationStatus[0].LastAccessedDate; day == nil || h.describe("s").LastAccessedDate != nil {
			t.Error("LastAccessedDate is not the replica's own")
		}
	})
}

func TestReplicationFails(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		taken := h.in("eu-west-1")
		taken.create("s", "theirs")
		h.create("s", "ours")
		nowhere := types.ReplicaRegionType{Region: aws.String("ap-south-1"), KmsKeyId: aws.String("alias/nowhere")}
		_, err := h.replicate("s", false, region("eu-west-1"), nowhere)
		h.must(err)
		synctest.Wait()
		h.wantStatus("s", "eu-west-1 alias/aws/secretsmanager Failed Replication failed: Secret name s already exists in region eu-west-1.",
			"ap-south-1 alias/nowhere Failed Replication failed: The operation failed because of an invalid KMS key: Alias alias/nowhere is not found.")
		if taken.get("s") != "theirs" {
			t.Error("a secret was overwritten")
		}
		_, err = h.in("ap-south-1").DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("s")})
		wantError(t, err, notFound)

		_, err = h.replicate("s", true, region("eu-west-1"), region("ap-south-1"))
		h.must(err)
		synctest.Wait()
		h.wantStatus("s", "eu-west-1"+inSync, "ap-south-1"+inSync)
		if taken.get("s") != "ours" || h.in("ap-south-1").get("s") != "ours" {
			t.Error("the second try has not replicated")
		}
	})
}

// A secret that is itself replicated never gives way.
func TestForceOverwriteSparesReplicas(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		tokyo := h.in("ap-northeast-1")
		tokyo.create("s", "theirs")
		_, err := tokyo.replicate("s", false, region("eu-west-1"))
		h.must(err)
		synctest.Wait()
		h.create("s", "ours")
		_, err = h.replicate("s", true, region("eu-west-1"), region("ap-northeast-1"))
		h.must(err)
		synctest.Wait()
		for _, line := range statusOf(h.describe("s").ReplicationStatus) {
			if !strings.Contains(line, "already exists in region") {
				t.Error(line)
			}
		}
		if h.in("eu-west-1").get("s") != "theirs" || tokyo.get("s") != "theirs" {
			t.Error("another primary or its replica was overwritten")
		}
	})
}

func TestDeleteWithReplicas(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		arn := *h.create("s", "one").ARN
		_, err := h.replicate("s", false, region("us-west-2"), region("ap-south-1"))
		h.must(err)
		still := "InvalidParameterException: You can't delete secret " + arn + " that still has replica regions [ap-south-1, us-west-2]."
		_, err = h.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: &arn})
		wantError(t, err, still)
		_, err = h.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: &arn, ForceDeleteWithoutRecovery: aws.Bool(true)})
		wantError(t, err, still)
		synctest.Wait()

		out, err := h.RemoveRegionsFromReplication(t.Context(), &sm.RemoveRegionsFromReplicationInput{SecretId: &arn, RemoveReplicaRegions: []string{"us-west-2", "eu-west-1", "us-east-1"}}) // the last is its own
		h.must(err)
		if diff := cmp.Diff([]string{"ap-south-1" + inSync}, statusOf(out.ReplicationStatus)); diff != "" {
			t.Error(diff)
		}
		if got := h.get("s"); got != "one" {
			t.Errorf("the primary holds %q", got)
		}
		_, err = h.in("us-west-2").DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("s")})
		wantError(t, err, notFound)
		out, err = h.RemoveRegionsFromReplication(t.Context(), &sm.RemoveRegionsFromReplicationInput{SecretId: &arn, RemoveReplicaRegions: []string{"ap-south-1"}})
		h.must(err)
		if out.ReplicationStatus == nil || len(out.ReplicationStatus) != 0 || h.describe("s").PrimaryRegion != nil {
			t.Error("without replicas it is not an ordinary secret")
		}
		_, err = h.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: &arn})
		h.must(err)
		_, err = h.replicate("s", false, region("ap-south-1"))
		wantError(t, err, marked)
	})
}

func TestStopReplicationToReplica(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ctx, c, s := t.Context(), h.in("eu-west-1"), aws.String("s")
		h.create("s", "one")
		_, err := h.replicate("s", false, region("eu-west-1"))
		h.must(err)
		synctest.Wait()
		replica := *c.describe("s").ARN
		_, err = h.StopReplicationToReplica(ctx, &sm.StopReplicationToReplicaInput{SecretId: s})
		wantError(t, err, "InvalidRequestException: You can't perform this operation on a secret that isn't a replica secret.")
		_, err = h.StopReplicationToReplica(ctx, &sm.StopReplicationToReplicaInput{SecretId: aws.String("nosuch")})
		wantError(t, err, "ResourceNotFoundException: Secrets Manager can't find the specified secret.")
		h.put("s", "v2", "two") // what was written before is promoted too
		out, err := c.StopReplicationToReplica(ctx, &sm.StopReplicationToReplicaInput{SecretId: s})
		h.must(err)
		if *out.ARN != replica || c.get("s") != "two" || c.describe("s").PrimaryRegion != nil {
			t.Error("the replica was not promoted as it was")
		}
		h.put("s", "v3", "three")
		c.put("s", "v4", "four")
		synctest.Wait()
		if h.get("s") != "three" || c.get("s") != "four" || h.describe("s").ReplicationStatus != nil {
			t.Error("they are not two secrets")
		}
	})
}

// A replica that is promoted during a rotation of its primary can be rotated: the
// version without a value stays with the primary, whose rotation goes on.
func TestPromotedDuringARotation(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ctx, c, s := t.Context(), h.in("eu-west-1"), aws.String("s")
		h.create("s", "one")
		_, err := h.replicate("s", false, region("eu-west-1"))
		h.must(err)
		_, err = h.RotateSecret(ctx, &sm.RotateSecretInput{SecretId: s, ClientRequestToken: aws.String(token("v2")), RotationLambdaARN: aws.String(rotator)})
		h.must(err)
		synctest.Wait()
		c.wantStages("s", "v1: AWSCURRENT", "v2: AWSPENDING")
		_, err = c.StopReplicationToReplica(ctx, &sm.StopReplicationToReplicaInput{SecretId: s})
		h.must(err)
		c.wantStages("s", "v1: AWSCURRENT")
		_, err = c.RotateSecret(ctx, &sm.RotateSecretInput{SecretId: s, ClientRequestToken: aws.String(token("v3")),
			RotationLambdaARN: aws.String(strings.Replace(rotator, "us-east-1", "eu-west-1", 1))})
		h.must(err)
		c.wantStages("s", "v1: AWSCURRENT", "v3: AWSPENDING")
		h.wantStages("s", "v1: AWSCURRENT", "v2: AWSPENDING")
	})
}

// What a promoted secret had of its own, its rotation too, ends when it gives way
// to a replica again.
func TestNothingRotatesAReplica(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ctx, c, s := t.Context(), h.in("eu-west-1"), aws.String("s")
		h.create("s", "one")
		_, err := h.replicate("s", false, region("eu-west-1"))
		h.must(err)
		synctest.Wait()
		_, err = c.StopReplicationToReplica(ctx, &sm.StopReplicationToReplicaInput{SecretId: s})
		h.must(err)
		_, err = c.RotateSecret(ctx, &sm.RotateSecretInput{SecretId: s, RotationLambdaARN: aws.String(strings.Replace(rotator, "us-east-1", "eu-west-1", 1)),
			RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1)}})
		h.must(err)
		synctest.Wait()
		_, err = h.replicate("s", true, region("eu-west-1"))
		h.must(err)
		time.Sleep(10 * 24 * time.Hour)
		synctest.Wait()
		h.wantStatus("s", "eu-west-1"+inSync)
		if d := c.describe("s"); d.RotationEnabled != nil {
			t.Errorf("the replica rotates: %+v", d)
		}
		c.wantStages("s", "v1: AWSCURRENT")
	})
}

// A replica's key is its own: it is changed in its region.
func TestReplicaChangesItsKey(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		c := h.in("eu-west-1")
		h.create("s", "one")
		_, err := h.replicate("s", false, region("eu-west-1"))
		h.must(err)
		synctest.Wait()
		_, err = c.UpdateSecret(t.Context(), &sm.UpdateSecretInput{SecretId: aws.String("s"), KmsKeyId: &h.other})
		h.must(err)
		h.put("s", "v2", "two")
		synctest.Wait()
		h.wantStatus("s", "eu-west-1 "+h.other+" InSync Replication succeeded")
		c.wantKeys("s", "v1: "+h.other, "v2: "+h.other)
		h.wantKeys("s", "v1: DefaultEncryptionKey", "v2: DefaultEncryptionKey")
		if c.get("s") != "two" {
			t.Error("the value was not replicated")
		}
	})
}

// wantKeys compares "version: key" lines with all versions of a secret.
func (c client) wantKeys(id string, want ...string) {
	c.t.Helper()
	out, err := c.ListSecretVersionIds(c.t.Context(), &sm.ListSecretVersionIdsInput{SecretId: &id, IncludeDeprecated: aws.Bool(true)})
	c.must(err)
	var got []string
	for _, v := range out.Versions {
		got = append(got, strings.TrimRight(*v.VersionId, "-")+": "+strings.Join(v.KmsKeyIds, " "))
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		c.t.Errorf("keys of %s (-want +got):\n%s", id, diff)
	}
}

// The whole server carries changes too, with a real clock.
func TestServerReplicates(t *testing.T) {
	s := keyturntest.NewServer(t)
	cfg := s.Config.Copy()
	cfg.Region = "eu-west-1"
	here, there := client{s.SecretsManager, t}, client{sm.NewFromConfig(cfg), t}
	here.create("s", "one")
	_, err := here.replicate("s", false, region("eu-west-1"))
	here.must(err)
	here.untilInSync("s")
	here.put("s", "v2", "two")
	here.untilInSync("s")
	if got := there.get("s"); got != "two" {
		t.Errorf("the replica has %q", got)
	}
}

func (c client) untilInSync(id string) {
	c.t.Helper()
	for begin := time.Now(); time.Since(begin) < 2*time.Minute; time.Sleep(5 * time.Millisecond) {
		if c.describe(id).ReplicationStatus[0].Status == types.StatusTypeInSync {
			return
		}
	}
	c.t.Fatal("not in sync after two minutes")
}
