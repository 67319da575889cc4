package smapi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/keyturntest"
)

const (
	otherAccount = "111122223333"
	everything   = keyturnapi.AdministratorPolicy
)

// as returns a client that acts as a new user with these policies.
func as(t testing.TB, s *keyturntest.Server, account, user string, policies ...string) client {
	t.Helper()
	return client{sm.NewFromConfig(configOf(t, s, account, user, policies...)), t}
}

func configOf(t testing.TB, s *keyturntest.Server, account, user string, policies ...string) aws.Config {
	t.Helper()
	out, err := keyturnapi.New(s.Config).CreateAccessKey(t.Context(), &keyturnapi.CreateAccessKeyInput{
		AccountID: account, UserName: user, PolicyDocuments: policies})
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.Config.Copy()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(out.AccessKey.AccessKeyID, out.Credentials.SecretAccessKey, "")
	return cfg
}

// allow is an identity policy. A condition is JSON, or empty.
func allow(actions, resource, condition string) string {
	list, _ := json.Marshal(strings.Fields(actions))
	if condition != "" {
		condition = `,"Condition":` + condition
	}
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":%s,"Resource":"%s"%s}]}`, list, resource, condition)
}

// shared is a resource policy that lets an account do everything.
func shared(account string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + account +
		`:root"},"Action":"secretsmanager:*","Resource":"*"}]}`
}

func (c client) putPolicy(id, policy string) {
	c.t.Helper()
	_, err := c.PutResourcePolicy(c.t.Context(), &sm.PutResourcePolicyInput{SecretId: &id, ResourcePolicy: &policy})
	c.must(err)
}

// wantDenied checks that the caller may not, and that the answer tells nothing
// but what the caller said.
func wantDenied(t testing.TB, err error, operation, resource string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "AccessDeniedException: User: arn:aws:iam::") ||
		!strings.Contains(err.Error(), "is not authorized to perform: secretsmanager:"+operation+" on resource: "+resource+" because") {
		t.Errorf("got %v, want AccessDeniedException for %s on %s", err, operation, resource)
	}
}

const foreignDefaultKey = "InvalidRequestException: You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key."

func TestOtherAccountsSecret(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory)
	owner, guest, ctx := client{s.SecretsManager, t}, as(t, s, otherAccount, "guest", everything), t.Context()
	arn := owner.create("shared", "value").ARN
	_, err := guest.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: arn})
	wantDenied(t, err, "DescribeSecret", *arn)

	owner.putPolicy(*arn, shared(otherAccount)) // in force at once
	if got := guest.describe(*arn); *got.Name != "shared" {
		t.Errorf("found %s", *got.Name)
	}
	if got := guest.describe((*arn)[:len(*arn)-7]); *got.ARN != *arn { // a partial ARN
		t.Errorf("found %s", *got.ARN)
	}
	_, err = guest.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("shared")})
	wantError(t, err, notFound) // a name is one of the caller's account
	_, err = guest.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: arn})
	wantError(t, err, foreignDefaultKey)
	_, err = guest.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: arn, SecretString: aws.String("x")})
	wantError(t, err, foreignDefaultKey)
	_, err = guest.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: arn, SecretString: aws.String("x")})
	wantError(t, err, foreignDefaultKey)
	batch, err := guest.BatchGetSecretValue(ctx, &sm.BatchGetSecretValueInput{SecretIdList: []string{*arn}})
	guest.must(err)
	if len(batch.Errors) != 1 || *batch.Errors[0].ErrorCode+": "+*batch.Errors[0].Message != foreignDefaultKey {
		t.Errorf("BatchGetSecretValue: %+v", batch.Errors)
	}

	guest.putPolicy(*arn, shared(otherAccount))
	policy, err := guest.GetResourcePolicy(ctx, &sm.GetResourcePolicyInput{SecretId: arn})
	guest.must(err)
	versions, err := guest.ListSecretVersionIds(ctx, &sm.ListSecretVersionIdsInput{SecretId: arn})
	guest.must(err)
	if aws.ToString(policy.ResourcePolicy) != shared(otherAccount) || len(versions.Versions) != 1 {
		t.Errorf("the policy is %q, there are %d versions", aws.ToString(policy.ResourcePolicy), len(versions.Versions))
	}
	_, err = guest.TagResource(ctx, &sm.TagResourceInput{SecretId: arn, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
	guest.must(err)
	_, err = guest.UntagResource(ctx, &sm.UntagResourceInput{SecretId: arn, TagKeys: []string{"k"}})
	guest.must(err)
	_, err = guest.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: arn, RecoveryWindowInDays: aws.Int64(7), ForceDeleteWithoutRecovery: aws.Bool(false)})
	guest.must(err)
	if owner.describe("shared").DeletedDate == nil {
		t.Error("not scheduled for deletion")
	}
}

func TestOtherAccountsSecretUnderCustomerKey(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory)
	_, err := keyturnapi.New(s.Config).CreateKey(t.Context(), &keyturnapi.CreateKeyInput{AliasName: "shared"})
	owner := client{s.SecretsManager, t}
	owner.must(err)
	out, err := owner.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("s"), SecretString: aws.String("one"), KmsKeyId: aws.String("alias/shared")})
	owner.must(err)
	guest := as(t, s, otherAccount, "guest", everything)
	owner.putPolicy("s", shared(otherAccount))
	if got := guest.get(*out.ARN); got != "one" {
		t.Errorf("got %q", got)
	}
	guest.put(*out.ARN, "v2", "two")
	if got := owner.get("s"); got != "two" {
		t.Errorf("got %q", got)
	}
	_, err = owner.DeleteResourcePolicy(t.Context(), &sm.DeleteResourcePolicyInput{SecretId: aws.String("s")})
	owner.must(err)
	_, err = guest.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: out.ARN})
	wantDenied(t, err, "GetSecretValue", *out.ARN) // at once
}

// Who may not ask does not learn from the answer what there is.
func TestDenialTellsNothing(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory)
	owner := client{s.SecretsManager, t}
	arn := owner.create("there", "x").ARN
	nobody, guest := as(t, s, "", "nobody"), as(t, s, otherAccount, "guest", everything)
	for _, id := range []string{"there", "missing"} {
		_, err := nobody.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: &id})
		wantDenied(t, err, "GetSecretValue", id)
	}
	prefix := (*arn)[:len(*arn)-len("there-AbCdEf")]
	for _, id := range []string{*arn, prefix + "there", prefix + "missing", prefix + "missing-AbCdEf", prefix + "there-AbCdEf"} {
		_, err := guest.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: &id})
		wantDenied(t, err, "GetSecretValue", id)
	}
}
