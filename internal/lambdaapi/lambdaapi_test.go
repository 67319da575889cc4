package lambdaapi_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturntest"
)

const functionARN = "arn:aws:lambda:us-east-1:000000000000:function:keyturn-rotate-mysql"

func newClient(t *testing.T) *lambda.Client {
	return keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = keyturn.InMemory }).Lambda
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if api := smithy.APIError(nil); errors.As(err, &api) {
		got = api.ErrorCode() + ": " + api.ErrorMessage()
	} else if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestGetFunction(t *testing.T) {
	c := newClient(t)
	for name, want := range map[string]string{
		"keyturn-rotate-mysql": "",
		functionARN:            "",
		"000000000000:function:keyturn-rotate-mysql": "",
		functionARN + ":$LATEST":                     "",
		"nope":                                       "ResourceNotFoundException: Function not found: arn:aws:lambda:us-east-1:000000000000:function:nope",
		"arn:aws:lambda:eu-west-1:000000000000:function:f": "ResourceNotFoundException: Functions from 'eu-west-1' are not reachable in this region ('us-east-1')",
	} {
		out, err := c.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: &name})
		wantError(t, err, want)
		if err == nil && (*out.Configuration.FunctionArn != functionARN || out.Configuration.State != types.StateActive || out.Code == nil) {
			t.Errorf("%s: got %s", name, *out.Configuration.FunctionArn)
		}
	}
	list, err := c.ListFunctions(t.Context(), &lambda.ListFunctionsInput{})
	if err != nil || len(list.Functions) != 3 {
		t.Errorf("got %v, %v", list, err)
	}
}

// Terraform asks for both about every function.
func TestOneVersionWithoutCodeSigning(t *testing.T) {
	c, name := newClient(t), aws.String(functionARN)
	versions, err := c.ListVersionsByFunction(t.Context(), &lambda.ListVersionsByFunctionInput{FunctionName: name})
	if err != nil || len(versions.Versions) != 1 || *versions.Versions[0].Version != "$LATEST" || *versions.Versions[0].FunctionArn != functionARN+":$LATEST" {
		t.Errorf("got %+v, %v", versions, err)
	}
	signing, err := c.GetFunctionCodeSigningConfig(t.Context(), &lambda.GetFunctionCodeSigningConfigInput{FunctionName: name})
	if err != nil || *signing.FunctionName != "keyturn-rotate-mysql" || signing.CodeSigningConfigArn != nil {
		t.Errorf("got %+v, %v", signing, err)
	}
	_, err = c.ListVersionsByFunction(t.Context(), &lambda.ListVersionsByFunctionInput{FunctionName: aws.String("nope")})
	wantError(t, err, "ResourceNotFoundException: Function not found: arn:aws:lambda:us-east-1:000000000000:function:nope")
}

func TestPermissions(t *testing.T) {
	c, ctx, name := newClient(t), t.Context(), aws.String("keyturn-rotate-mysql")
	_, err := c.GetPolicy(ctx, &lambda.GetPolicyInput{FunctionName: name})
	wantError(t, err, "ResourceNotFoundException: The resource you requested does not exist.")
	add := func(sid, principal string) error {
		_, err := c.AddPermission(ctx, &lambda.AddPermissionInput{FunctionName: name, StatementId: &sid, Action: aws.String("lambda:InvokeFunction"),
			Principal: &principal, SourceAccount: aws.String("000000000000")})
		return err
	}
	wantError(t, add("one", "secretsmanager.amazonaws.com"), "")
	wantError(t, add("one", "secretsmanager.amazonaws.com"), "ResourceConflictException: The statement id (one) provided already exists. Please provide a new statement id, or remove the existing statement.")
	wantError(t, add("two", "nobody at all"), "InvalidParameterValueException: The provided principal was invalid. Please check the principal and try again.")
	out, err := c.GetPolicy(ctx, &lambda.GetPolicyInput{FunctionName: name})
	wantError(t, err, "")
	const want = `{"Version":"2012-10-17","Id":"default","Statement":[{"Sid":"one","Effect":"Allow","Principal":{"Service":"secretsmanager.amazonaws.com"},"Action":"lambda:InvokeFunction","Resource":"` + functionARN + `","Condition":{"StringEquals":{"AWS:SourceAccount":"000000000000"}}}]}`
	if *out.Policy != want {
		t.Errorf("got  %s\nwant %s", *out.Policy, want)
	}
	remove := func(sid, revision string) error {
		_, err := c.RemovePermission(ctx, &lambda.RemovePermissionInput{FunctionName: name, StatementId: &sid, RevisionId: &revision})
		return err
	}
	wantError(t, remove("one", "0"), "PreconditionFailedException: The RevisionId provided does not match the latest RevisionId. Call the GetPolicy API to retrieve the latest RevisionId")
	wantError(t, remove("none", *out.RevisionId), "ResourceNotFoundException: Statement none is not found in resource policy.")
	wantError(t, remove("one", *out.RevisionId), "")
	_, err = c.RemovePermission(ctx, &lambda.RemovePermissionInput{FunctionName: name, StatementId: aws.String("one")})
	wantError(t, err, "ResourceNotFoundException: No policy is associated with the given resource.")
	_, err = c.AddPermission(ctx, &lambda.AddPermissionInput{FunctionName: name, StatementId: aws.String("x"), Action: aws.String("lambda:InvokeFunction"),
		Principal: aws.String("*"), PrincipalOrgID: aws.String("o-1234567890")})
	if err == nil {
		t.Error("a condition that is not kept was accepted")
	}
	_, err = c.AddPermission(ctx, &lambda.AddPermissionInput{FunctionName: name, StatementId: aws.String(strings.Repeat("x", 101)), Action: aws.String("invoke"),
		Principal: aws.String("*"), SourceAccount: aws.String("mine")})
	wantError(t, err, "ValidationException: 3 validation errors detected: "+
		"Value '"+strings.Repeat("x", 101)+"' at 'statementId' failed to satisfy constraint: Member must have length less than or equal to 100; "+
		"Value 'invoke' at 'action' failed to satisfy constraint: Member must satisfy regular expression pattern: (lambda:[*]|lambda:[a-zA-Z]+|[*]); "+
		`Value 'mine' at 'sourceAccount' failed to satisfy constraint: Member must satisfy regular expression pattern: \d{12}`)
}

// $LATEST goes and is shared only as the function itself, which names no version.
func TestLatestIsNotTheFunction(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	for name, qualifier := range map[string]*string{"keyturn-rotate-mysql": aws.String("$LATEST"), functionARN + ":$LATEST": nil} {
		_, err := c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &name, Qualifier: qualifier})
		wantError(t, err, "InvalidParameterValueException: $LATEST version cannot be deleted without deleting the function.")
		_, err = c.AddPermission(ctx, &lambda.AddPermissionInput{FunctionName: &name, Qualifier: qualifier, StatementId: aws.String("s"),
			Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com")})
		wantError(t, err, "InvalidParameterValueException: We currently do not support adding policies for $LATEST.")
	}
	_, err := c.ListFunctions(ctx, &lambda.ListFunctionsInput{MaxItems: aws.Int32(0)})
	wantError(t, err, "ValidationException: 1 validation error detected: Value '0' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1")
}

func TestInvoke(t *testing.T) {
	c, ctx, name := newClient(t), t.Context(), aws.String("keyturn-rotate-mysql")
	out, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: name, Payload: []byte(`{"Step":"createSecret","SecretId":"arn:aws:secretsmanager:us-east-1:000000000000:secret:none-AbCdEf","ClientRequestToken":"t"}`)})
	wantError(t, err, "")
	var failure struct {
		ErrorMessage, ErrorType string
	}
	if err := json.Unmarshal(out.Payload, &failure); err != nil || failure.ErrorMessage == "" || failure.ErrorType != "api" {
		t.Errorf("payload %s: %v", out.Payload, err)
	}
	if out.StatusCode != 200 || aws.ToString(out.FunctionError) != "Unhandled" || aws.ToString(out.ExecutedVersion) != "$LATEST" {
		t.Errorf("got %+v", out)
	}
	for kind, status := range map[types.InvocationType]int32{types.InvocationTypeDryRun: 204, types.InvocationTypeEvent: 202} {
		out, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: name, InvocationType: kind})
		if err != nil || out.StatusCode != status {
			t.Errorf("%s: %v %v", kind, out, err)
		}
	}
	_, err = c.Invoke(ctx, &lambda.InvokeInput{FunctionName: name, Payload: []byte("{")})
	wantError(t, err, "InvalidRequestContentException: Could not parse request body into json: the payload is not valid JSON.")
	_, err = c.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("nope")})
	wantError(t, err, "ResourceNotFoundException: Function not found: arn:aws:lambda:us-east-1:000000000000:function:nope")
}
