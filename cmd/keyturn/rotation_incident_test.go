package main

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturntest"
)

// AWS's own templates answer any step null, and do nothing, once AWSCURRENT is on the
// version: that is no proof of an end.
func TestRetireByFunction(t *testing.T) {
	answers := map[string]string{"template": "null", "busy": `{"retireAfterSeconds":900}`, "keyturn": `{"strategy":"DualPassword"}`}
	server := keyturntest.NewServer(t, func(c *keyturn.Config) {
		c.Data, c.Functions = keyturn.InMemory, map[string]keyturn.Function{}
		for name, answer := range answers {
			c.Functions[name] = func(context.Context, aws.Config, json.RawMessage) (json.RawMessage, error) {
				return json.RawMessage(answer), nil
			}
		}
	})
	r := &incident{app: &app{}, cfg: server.AWSConfig()}
	for name := range answers {
		e := &runEntry{ARN: rotatedBy(t, server, name), VersionID: "v"}
		if err := r.retireByFunction(t.Context(), e); (err == nil) != (name == "keyturn") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// rotatedBy makes a secret that a function rotates, and returns its ARN.
func rotatedBy(t *testing.T, server *keyturntest.Server, function string) string {
	t.Helper()
	secret, err := server.SecretsManager.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &function, SecretString: aws.String("{}")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = server.Lambda.AddPermission(t.Context(), &lambda.AddPermissionInput{FunctionName: &function, StatementId: aws.String("rotation"),
		Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = server.SecretsManager.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: secret.ARN, RotateImmediately: aws.Bool(false),
		RotationLambdaARN: aws.String("arn:aws:lambda:us-east-1:000000000000:function:" + function), RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}})
	if err != nil {
		t.Fatal(err)
	}
	return *secret.ARN
}

// A partition's ARNs begin differently.
func TestPrimaryInEachPartition(t *testing.T) {
	for _, tc := range []struct {
		arn, primary string
		want         bool
	}{
		{"arn:aws:secretsmanager:eu-west-1:111122223333:secret:a-AbCdEf", "", true},
		{"arn:aws:secretsmanager:eu-west-1:111122223333:secret:a-AbCdEf", "eu-west-1", true},
		{"arn:aws:secretsmanager:eu-west-1:111122223333:secret:a-AbCdEf", "us-east-1", false},
		{"arn:aws-cn:secretsmanager:cn-north-1:111122223333:secret:a-AbCdEf", "cn-north-1", true},
		{"arn:aws-us-gov:secretsmanager:us-gov-west-1:111122223333:secret:a-AbCdEf", "us-gov-east-1", false},
	} {
		if got := isPrimary(types.SecretListEntry{ARN: &tc.arn, PrimaryRegion: &tc.primary}); got != tc.want {
			t.Errorf("%s with the primary region %q: %v", tc.arn, tc.primary, got)
		}
	}
}
