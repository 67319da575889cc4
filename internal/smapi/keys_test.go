package smapi_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/keyturntest"
)

// keyCase is a condition on a key, an operation that it allows and the same
// operation in a way that it does not.
type keyCase struct {
	operation string
	condition string
	yes, no   func(context.Context, client) error
}

func get(change func(*sm.GetSecretValueInput)) func(context.Context, client) error {
	return func(ctx context.Context, c client) error {
		in := &sm.GetSecretValueInput{SecretId: aws.String("tagged")}
		change(in)
		_, err := c.GetSecretValue(ctx, in)
		return err
	}
}

func create(change func(*sm.CreateSecretInput)) func(context.Context, client) error {
	return func(ctx context.Context, c client) error {
		in := &sm.CreateSecretInput{Name: aws.String("new")}
		change(in)
		_, err := c.CreateSecret(ctx, in)
		return err
	}
}

func update(change func(*sm.UpdateSecretInput)) func(context.Context, client) error {
	return func(ctx context.Context, c client) error {
		in := &sm.UpdateSecretInput{SecretId: aws.String("tagged")}
		change(in)
		_, err := c.UpdateSecret(ctx, in)
		return err
	}
}

func rotate(change func(*sm.RotateSecretInput)) func(context.Context, client) error {
	return func(ctx context.Context, c client) error {
		in := &sm.RotateSecretInput{SecretId: aws.String("tagged")}
		change(in)
		_, err := c.RotateSecret(ctx, in)
		return err
	}
}

func remove(change func(*sm.DeleteSecretInput)) func(context.Context, client) error {
	return func(ctx context.Context, c client) error {
		in := &sm.DeleteSecretInput{SecretId: aws.String("tagged")}
		change(in)
		_, err := c.DeleteSecret(ctx, in)
		return err
	}
}

func replicate(change func(*sm.ReplicateSecretToRegionsInput)) func(context.Context, client) error {
	return func(ctx context.Context, c client) error {
		in := &sm.ReplicateSecretToRegionsInput{SecretId: aws.String("tagged"), AddReplicaRegions: regions("eu-west-1")}
		change(in)
		_, err := c.ReplicateSecretToRegions(ctx, in)
		return err
	}
}

func put(change func(*sm.PutResourcePolicyInput)) func(context.Context, client) error {
	return func(ctx context.Context, c client) error {
		in := &sm.PutResourcePolicyInput{SecretId: aws.String("tagged"), ResourcePolicy: aws.String(narrowPolicy)}
		change(in)
		_, err := c.PutResourcePolicy(ctx, in)
		return err
	}
}

func regions(all ...string) (list []types.ReplicaRegionType) {
	for _, r := range all {
		list = append(list, types.ReplicaRegionType{Region: &r})
	}
	return list
}

func describe(id string) func(context.Context, client) error {
	return func(ctx context.Context, c client) error {
		_, err := c.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &id})
		return err
	}
}

func tagged(pairs ...string) func(context.Context, client) error {
	return func(_ context.Context, c client) error { return c.tag("tagged", pairs...) }
}

func untagged(keys ...string) func(context.Context, client) error {
	return func(_ context.Context, c client) error { return c.untag("tagged", keys...) }
}

func equals(key, value string) string { return `{"StringEquals":{"` + key + `":"` + value + `"}}` }
func is(key, value string) string     { return `{"Bool":{"` + key + `":"` + value + `"}}` }

func tags(key, value string) []types.Tag { return []types.Tag{{Key: &key, Value: &value}} }

func same[T any](*T) {}

const otherRotator = "arn:aws:lambda:us-east-1:000000000000:function:keyturn-rotate-postgres"

var keyCases = map[string]keyCase{
	"SecretId":                        {"DescribeSecret", `{"ArnLike":{"secretsmanager:SecretId":"arn:aws:secretsmanager:*:*:secret:tagged-*"}}`, describe("tagged"), describe("plain")},
	"aws:ResourceTag":                 {"DescribeSecret", equals("aws:ResourceTag/team", "data"), describe("tagged"), describe("plain")},
	"ResourceTag":                     {"DescribeSecret", equals("secretsmanager:ResourceTag/Team", "data"), describe("tagged"), describe("plain")},
	"SecretPrimaryRegion":             {"DescribeSecret", equals("secretsmanager:SecretPrimaryRegion", "us-east-1"), describe("replicated"), describe("plain")},
	"resource/Type":                   {"DescribeSecret", equals("secretsmanager:resource/Type", "BigIDClientSecret"), describe("external"), describe("plain")},
	"resource/AllowRotationLambdaArn": {"DescribeSecret", `{"ArnEquals":{"secretsmanager:resource/AllowRotationLambdaArn":"` + rotator + `"}}`, describe("rotated"), describe("plain")},
	"VersionId": {"GetSecretValue", equals("secretsmanager:VersionId", token("v1")),
		get(func(in *sm.GetSecretValueInput) { in.VersionId = aws.String(token("v1")) }), get(same)},
	// AWS: a request that names no stage has none, though it reads AWSCURRENT.
	"VersionStage": {"GetSecretValue", `{"ForAnyValue:StringEquals":{"secretsmanager:VersionStage":"AWSCURRENT"}}`,
		get(func(in *sm.GetSecretValueInput) { in.VersionStage = aws.String("AWSCURRENT") }), get(same)},
	"VersionStage moved": {"UpdateSecretVersionStage", equals("secretsmanager:VersionStage", "a"),
		func(_ context.Context, c client) error { return c.move("tagged", "a", "", "v1") },
		func(_ context.Context, c client) error { return c.move("tagged", "b", "", "v1") }},
	"Name": {"CreateSecret", `{"StringLike":{"secretsmanager:Name":"app/*"}}`,
		create(func(in *sm.CreateSecretInput) { in.Name = aws.String("app/1") }), create(same)},
	"Description": {"CreateSecret", equals("secretsmanager:Description", "d"),
		create(func(in *sm.CreateSecretInput) { in.Description = aws.String("d") }), create(same)},
	"Type": {"CreateSecret", equals("secretsmanager:Type", "BigIDClientSecret"),
		create(func(in *sm.CreateSecretInput) { in.Type = aws.String("BigIDClientSecret") }), create(same)},
	"KmsKeyId": {"CreateSecret", equals("secretsmanager:KmsKeyId", "alias/mine"),
		create(func(in *sm.CreateSecretInput) { in.KmsKeyId = aws.String("alias/mine") }), create(same)},
	"KmsKeyArn": {"CreateSecret", `{"ArnEquals":{"secretsmanager:KmsKeyArn":"arn:aws:kms:us-east-1:000000000000:alias/mine"}}`,
		create(func(in *sm.CreateSecretInput) { in.KmsKeyId = aws.String("alias/mine") }), create(same)},
	"Description changed": {"UpdateSecret", equals("secretsmanager:Description", "d"),
		update(func(in *sm.UpdateSecretInput) { in.Description = aws.String("d") }), update(same)},
	"KmsKeyArn changed": {"UpdateSecret", `{"ArnEquals":{"secretsmanager:KmsKeyArn":"arn:aws:kms:us-east-1:000000000000:alias/mine"}}`,
		update(func(in *sm.UpdateSecretInput) { in.KmsKeyId = aws.String("alias/mine") }), update(same)},
	"RecoveryWindowInDays": {"DeleteSecret", `{"NumericGreaterThanEquals":{"secretsmanager:RecoveryWindowInDays":"10"}}`,
		remove(func(in *sm.DeleteSecretInput) { in.RecoveryWindowInDays = aws.Int64(10) }),
		remove(func(in *sm.DeleteSecretInput) { in.RecoveryWindowInDays = aws.Int64(9) })},
	"ForceDeleteWithoutRecovery": {"DeleteSecret", is("secretsmanager:ForceDeleteWithoutRecovery", "true"),
		remove(func(in *sm.DeleteSecretInput) { in.ForceDeleteWithoutRecovery = aws.Bool(true) }), remove(same)},
	"RotationLambdaARN": {"RotateSecret", `{"ArnEquals":{"secretsmanager:RotationLambdaARN":"` + rotator + `"}}`,
		rotate(func(in *sm.RotateSecretInput) { in.RotationLambdaARN = aws.String(rotator) }),
		rotate(func(in *sm.RotateSecretInput) { in.RotationLambdaARN = aws.String(otherRotator) })},
	"RotateImmediately": {"RotateSecret", is("secretsmanager:RotateImmediately", "false"),
		rotate(func(in *sm.RotateSecretInput) {
			in.RotateImmediately, in.RotationLambdaARN = aws.Bool(false), aws.String(rotator)
		}), rotate(same)},
	"ModifyRotationRules": {"RotateSecret", is("secretsmanager:ModifyRotationRules", "false"),
		rotate(func(in *sm.RotateSecretInput) { in.RotationLambdaARN = aws.String(rotator) }),
		rotate(func(in *sm.RotateSecretInput) {
			in.RotationRules = &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(3)}
		})},
	"ExternalSecretRotationRoleArn": {"RotateSecret", `{"ArnLike":{"secretsmanager:ExternalSecretRotationRoleArn":"arn:aws:iam::*:role/rotator"}}`,
		rotate(func(in *sm.RotateSecretInput) {
			in.RotationLambdaARN, in.ExternalSecretRotationRoleArn = aws.String(rotator), aws.String("arn:aws:iam::000000000000:role/rotator")
		}), rotate(same)},
	"AddReplicaRegions": {"ReplicateSecretToRegions", `{"ForAllValues:StringEquals":{"secretsmanager:AddReplicaRegions":["eu-west-1","eu-north-1"]}}`,
		replicate(same), replicate(func(in *sm.ReplicateSecretToRegionsInput) { in.AddReplicaRegions = regions("eu-west-1", "us-west-2") })},
	"ForceOverwriteReplicaSecret": {"ReplicateSecretToRegions", is("secretsmanager:ForceOverwriteReplicaSecret", "false"),
		replicate(same), replicate(func(in *sm.ReplicateSecretToRegionsInput) { in.ForceOverwriteReplicaSecret = true })},
	"BlockPublicPolicy": {"PutResourcePolicy", is("secretsmanager:BlockPublicPolicy", "true"),
		put(func(in *sm.PutResourcePolicyInput) { in.BlockPublicPolicy = aws.Bool(true) }), put(same)},
	"RequestTag":      {"TagResource", equals("aws:RequestTag/team", "web"), tagged("team=web"), tagged("team=data")},
	"TagKeys":         {"TagResource", `{"ForAllValues:StringEquals":{"aws:TagKeys":["team","stage"]}}`, tagged("team=web"), tagged("team=web", "cost=1")},
	"TagKeys removed": {"UntagResource", `{"ForAllValues:StringEquals":{"aws:TagKeys":["team"]}}`, untagged("team"), untagged("team", "cost")},
}

// keyServer has a secret for each key that speaks of secrets.
func keyServer(t *testing.T) *keyturntest.Server {
	t.Helper()
	s := keyturntest.NewServer(t, inMemory)
	c, ctx := client{s.SecretsManager, t}, t.Context()
	_, err := keyturnapi.New(s.Config).CreateKey(ctx, &keyturnapi.CreateKeyInput{AliasName: "mine"})
	c.must(err)
	c.create("plain", "x")
	c.create("tagged", "x")
	c.must(c.tag("tagged", "Team=data"))
	permit(t, s, "all", nil)
	_, err = c.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("replicated"), AddReplicaRegions: regions("eu-west-1")})
	c.must(err)
	_, err = c.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("external"), Type: aws.String("BigIDClientSecret")})
	c.must(err)
	c.create("rotated", "x")
	_, err = c.RotateSecret(ctx, &sm.RotateSecretInput{SecretId: aws.String("rotated"), RotationLambdaARN: aws.String(rotator)})
	c.must(err)
	return s
}

// What a policy demands of a key it gets: from the operations that have it, and
// nothing from a request without.
func TestConditionKeys(t *testing.T) {
	for name, tc := range keyCases {
		t.Run(strings.ReplaceAll(name, "/", "-"), func(t *testing.T) {
			t.Parallel()
			s := keyServer(t)
			c := as(t, s, "", "user", allow("secretsmanager:"+tc.operation, "*", tc.condition),
				allow("iam:PassRole", "*", `{"StringEquals":{"iam:PassedToService":"secretsmanager.amazonaws.com"}}`))
			if err := tc.no(t.Context(), c); !isDenied(err) {
				t.Errorf("without what the key demands: %v", err)
			}
			if err := tc.yes(t.Context(), c); err != nil {
				t.Errorf("with what the key demands: %v", err)
			}
		})
	}
}

func isDenied(err error) bool {
	api := smithy.APIError(nil)
	return errors.As(err, &api) && api.ErrorCode() == "AccessDeniedException"
}

// CreateSecret needs more than its own permission for what it does besides.
func TestCreateSecretNeedsMorePermissions(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory)
	tag := create(func(in *sm.CreateSecretInput) { in.Tags = tags("team", "data") })
	replica := create(func(in *sm.CreateSecretInput) {
		in.Name, in.AddReplicaRegions = aws.String("other"), regions("eu-west-1")
	})
	one := as(t, s, "", "one", allow("secretsmanager:CreateSecret", "*", ""))
	wantDenied(t, tag(t.Context(), one), "TagResource", "new")
	wantDenied(t, replica(t.Context(), one), "ReplicateSecretToRegions", "other")
	_, err := one.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("new")})
	wantDenied(t, err, "DescribeSecret", "new")
	// The tags that the secret is to have count as its own.
	more := as(t, s, "", "more", allow("secretsmanager:CreateSecret", "*", ""), allow("secretsmanager:ReplicateSecretToRegions", "*", ""),
		allow("secretsmanager:TagResource", "*", `{"StringEquals":{"aws:ResourceTag/team":"data","aws:RequestTag/team":"data"}}`))
	wantError(t, tag(t.Context(), more), "")
	wantError(t, replica(t.Context(), more), "")
}

func TestRotationRoleMustBePassed(t *testing.T) {
	s := keyServer(t)
	role := rotate(func(in *sm.RotateSecretInput) {
		in.RotationLambdaARN, in.ExternalSecretRotationRoleArn = aws.String(rotator), aws.String("arn:aws:iam::000000000000:role/rotator")
	})
	err := role(t.Context(), as(t, s, "", "user", allow("secretsmanager:RotateSecret", "*", "")))
	if !isDenied(err) || !strings.Contains(err.Error(), "iam:PassRole on resource: arn:aws:iam::000000000000:role/rotator") {
		t.Errorf("got %v", err)
	}
}

// A Deny of a resource policy with a condition key is in force at once.
func TestResourcePolicyWithConditionKey(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory)
	c := client{s.SecretsManager, t}
	c.create("s", "x")
	c.get("s")
	c.putPolicy("s", strings.Replace(lockOutPolicy, `"secretsmanager:*","Resource":"*"`,
		`"secretsmanager:GetSecretValue","Resource":"*","Condition":{"StringEquals":{"secretsmanager:VersionStage":"AWSPREVIOUS"}}`, 1))
	_, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("s"), VersionStage: aws.String("AWSPREVIOUS")})
	if !isDenied(err) {
		t.Errorf("got %v", err)
	}
	c.get("s")
}
