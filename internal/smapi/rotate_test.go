package smapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/keyturntest"
)

const (
	rotator = "arn:aws:lambda:us-east-1:000000000000:function:keyturn-rotate-mysql"
	denied  = "AccessDeniedException: Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com."
)

func permit(t *testing.T, s *keyturntest.Server, sid string, change func(*lambda.AddPermissionInput)) {
	t.Helper()
	in := &lambda.AddPermissionInput{FunctionName: aws.String("keyturn-rotate-mysql"), StatementId: &sid,
		Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com")}
	if change != nil {
		change(in)
	}
	if _, err := s.Lambda.AddPermission(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

func TestRotateSecretRefused(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory)
	c := client{s.SecretsManager, t}
	c.create("s", "x")
	rotate := func(function string, rules *types.RotationRulesType) error {
		in := &sm.RotateSecretInput{SecretId: aws.String("s"), RotationRules: rules}
		if function != "" {
			in.RotationLambdaARN = &function
		}
		_, err := c.RotateSecret(t.Context(), in)
		return err
	}
	wantError(t, rotate("", nil), "InvalidRequestException: No Lambda rotation function ARN is associated with this secret.")
	for _, arn := range []string{"keyturn-rotate-mysql", strings.Replace(rotator, "arn:aws:", "arn:aws-cn:", 1)} {
		wantError(t, rotate(arn, nil), "InvalidParameterException: Invalid rotation Lambda ARN. Ensure the ARN matches format arn:aws:lambda:us-east-1:000000000000:function:<functionName>.")
	}
	wantError(t, rotate(rotator, nil), denied)
	wantError(t, rotate(rotator+"-missing", nil), denied)
	permit(t, s, "other-service", func(in *lambda.AddPermissionInput) { in.Principal = aws.String("s3.amazonaws.com") })
	permit(t, s, "other-action", func(in *lambda.AddPermissionInput) { in.Action = aws.String("lambda:GetFunction") })
	permit(t, s, "other-account", func(in *lambda.AddPermissionInput) { in.SourceAccount = aws.String("111111111111") })
	permit(t, s, "other-secret", func(in *lambda.AddPermissionInput) {
		in.SourceArn = aws.String("arn:aws:secretsmanager:us-east-1:000000000000:secret:t-*")
	})
	wantError(t, rotate(rotator, nil), denied)
	if d := c.describe("s"); d.RotationEnabled != nil || d.RotationLambdaARN != nil || d.RotationRules != nil || len(d.VersionIdsToStages) != 1 {
		t.Errorf("a refused RotateSecret left something behind: %+v", d)
	}
	permit(t, s, "this-secret", func(in *lambda.AddPermissionInput) {
		in.SourceArn = aws.String("arn:aws:secretsmanager:us-east-1:000000000000:secret:s-*")
	})
	wantError(t, rotate(rotator, &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1001)}), "InvalidParameterException: RotationRules.AutomaticallyAfterDays must be within 1-1000.")
	wantError(t, rotate(rotator, &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1), ScheduleExpression: aws.String("rate(1 day)")}), "InvalidParameterException: You cannot specify both rotation frequency and schedule expression together.")
	wantError(t, rotate(rotator, &types.RotationRulesType{ScheduleExpression: aws.String("every day")}), "InvalidParameterException: Invalid schedule expression.")
}

// The value is no login, so the function fails; what matters is what is shown.
func TestRotationIsShown(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory)
	c := client{s.SecretsManager, t}
	c.create("s", "x")
	permit(t, s, "all", nil)
	out, err := c.RotateSecret(t.Context(), &sm.RotateSecretInput{SecretId: aws.String("s"), ClientRequestToken: aws.String(token("v2")),
		RotationLambdaARN: aws.String(rotator), RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30), Duration: aws.String("3h")}})
	c.must(err)
	if *out.VersionId != token("v2") {
		t.Errorf("VersionId %s", *out.VersionId)
	}
	c.wantStages("s", "v1: AWSCURRENT", "v2: AWSPENDING")
	d := c.describe("s")
	if !*d.RotationEnabled || *d.RotationLambdaARN != rotator || *d.RotationRules.AutomaticallyAfterDays != 30 || *d.RotationRules.Duration != "3h" || d.LastRotatedDate != nil {
		t.Errorf("got %+v", d)
	}
	if days := time.Until(*d.NextRotationDate).Hours() / 24; days < 29 || days > 31 {
		t.Errorf("NextRotationDate %s", d.NextRotationDate)
	}
	_, err = c.RotateSecret(t.Context(), &sm.RotateSecretInput{SecretId: aws.String("s"), RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(7)}})
	wantError(t, err, "InvalidRequestException: A previous rotation isn't complete. That rotation will be reattempted.")
	if got := *c.describe("s").RotationRules.AutomaticallyAfterDays; got != 30 {
		t.Errorf("a refused RotateSecret changed the rule to %d days", got)
	}
	cancelled, err := c.CancelRotateSecret(t.Context(), &sm.CancelRotateSecretInput{SecretId: aws.String("s")})
	c.must(err)
	if *cancelled.VersionId != token("v2") {
		t.Errorf("VersionId %s", *cancelled.VersionId)
	}
	d = c.describe("s")
	if *d.RotationEnabled || d.NextRotationDate != nil || *d.RotationLambdaARN != rotator || *d.RotationRules.AutomaticallyAfterDays != 30 {
		t.Errorf("after CancelRotateSecret: %+v", d)
	}
	c.wantStages("s", "v1: AWSCURRENT", "v2: AWSPENDING")
	c.must(c.move("s", "AWSPENDING", "v2", ""))
	_, err = c.RotateSecret(t.Context(), &sm.RotateSecretInput{SecretId: aws.String("s"), RotationRules: &types.RotationRulesType{ScheduleExpression: aws.String("cron(0 8 1 * ? *)")}})
	c.must(err)
	if rules := c.describe("s").RotationRules; *rules.ScheduleExpression != "cron(0 8 1 * ? *)" || rules.AutomaticallyAfterDays != nil {
		t.Errorf("rules %+v", rules)
	}
}
