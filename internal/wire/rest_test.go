package wire

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam"
)

// lambdaPatterns are the operations of Lambda that keyturn may serve, and where.
var lambdaPatterns = map[string]string{
	"GetFunction":                  "GET /2015-03-31/functions/{FunctionName}?Qualifier",
	"ListFunctions":                "GET /2015-03-31/functions?FunctionVersion&Marker&MasterRegion&MaxItems",
	"AddPermission":                "POST /2015-03-31/functions/{FunctionName}/policy?Qualifier",
	"GetPolicy":                    "GET /2015-03-31/functions/{FunctionName}/policy?Qualifier",
	"RemovePermission":             "DELETE /2015-03-31/functions/{FunctionName}/policy/{StatementId}?Qualifier&RevisionId",
	"Invoke":                       "POST /2015-03-31/functions/{FunctionName}/invocations?Qualifier",
	"CreateFunction":               "POST /2015-03-31/functions",
	"UpdateFunctionCode":           "PUT /2015-03-31/functions/{FunctionName}/code",
	"UpdateFunctionConfiguration":  "PUT /2015-03-31/functions/{FunctionName}/configuration",
	"DeleteFunction":               "DELETE /2015-03-31/functions/{FunctionName}?Qualifier",
	"ListVersionsByFunction":       "GET /2015-03-31/functions/{FunctionName}/versions?Marker&MaxItems",
	"GetFunctionCodeSigningConfig": "GET /2020-06-30/functions/{FunctionName}/code-signing-config",
	"UntagResource":                "DELETE /2017-03-31/tags/{Resource}?tagKeys",
}

func lambdaService(ops ...Op) Service { return Service{Name: "lambda", Protocol: RESTJSON, Ops: ops} }

// Whatever a real client sends arrives member for member, whatever the names.
func TestLambdaRequestsArrive(t *testing.T) {
	for action, types := range typesOf(reflect.TypeFor[*lambda.Client]()) {
		pattern, ok := lambdaPatterns[action]
		if !ok {
			continue
		}
		op := anyOp{out: &struct{}{}}
		h := newHouse(t, lambdaService(op.op(action, types[0]).At(pattern)))
		want := filled(types[0])
		if name := want.FieldByName("FunctionName"); name.IsValid() {
			name.Set(reflect.ValueOf(aws.String("arn:aws:lambda:eu-west-1:000000000000:function:a b/c%2Fé")))
		}
		clearHeaders(want)
		if _, err := invoke(lambda.NewFromConfig(h.config(admin())), action, want); err != nil {
			t.Errorf("%s: %v", action, err)
			continue
		}
		checkSame(t, action, op.in, want.Addr().Interface())
	}
}

// clearHeaders gives values that may stand in a header.
func clearHeaders(in reflect.Value) {
	for name := range invokeHeaders {
		if f := in.FieldByName(name); f.IsValid() && f.Kind() == reflect.Pointer {
			f.Elem().SetString("plain-" + name)
		} else if f.IsValid() {
			f.SetString("plain-" + name)
		}
	}
}

func TestLambdaAnswersArrive(t *testing.T) {
	for action, types := range typesOf(reflect.TypeFor[*lambda.Client]()) {
		pattern, ok := lambdaPatterns[action]
		if !ok || action == "Invoke" || action == "DeleteFunction" {
			continue
		}
		out := filled(types[1]).Addr().Interface()
		h := newHouse(t, lambdaService((&anyOp{out: out}).op(action, types[0]).At(pattern)))
		in := filled(types[0])
		clearHeaders(in)
		got, err := invoke(lambda.NewFromConfig(h.config(admin())), action, in)
		if err != nil {
			t.Errorf("%s: %v", action, err)
			continue
		}
		checkSame(t, action, got, out)
	}
}

func TestLambdaInvoke(t *testing.T) {
	h := newHouse(t, lambdaService(On("Invoke", anything[lambda.InvokeInput], func(_ context.Context, in *lambda.InvokeInput) (*Raw, error) {
		if in.InvocationType == types.InvocationTypeEvent {
			return &Raw{Status: http.StatusAccepted}, nil
		}
		return &Raw{Header: http.Header{"X-Amz-Function-Error": {"Unhandled"}, "X-Amz-Executed-Version": {"$LATEST"}}, Body: in.Payload}, nil
	}).At("POST /2015-03-31/functions/{FunctionName}/invocations?Qualifier")))
	client := lambda.NewFromConfig(h.config(admin()))
	in := &lambda.InvokeInput{FunctionName: aws.String("f"), Payload: []byte(`{"a":1}`)}
	out, err := client.Invoke(context.Background(), in)
	if err != nil || out.StatusCode != 200 || aws.ToString(out.FunctionError) != "Unhandled" || !bytes.Equal(out.Payload, in.Payload) {
		t.Errorf("got %+v, %v", out, err)
	}
	in.InvocationType = types.InvocationTypeEvent
	if out, err = client.Invoke(context.Background(), in); err != nil || out.StatusCode != 202 || len(out.Payload) > 0 {
		t.Errorf("got %+v, %v", out, err)
	}
}

func TestLambdaErrorsAreTyped(t *testing.T) {
	var answer error
	h := newHouse(t, lambdaService(On("GetPolicy", anything[lambda.GetPolicyInput], func(context.Context, *lambda.GetPolicyInput) (*lambda.GetPolicyOutput, error) {
		return nil, answer
	}).At(lambdaPatterns["GetPolicy"])))
	client := lambda.NewFromConfig(h.config(admin()))
	call := func(answered error) error {
		answer = answered
		_, err := client.GetPolicy(context.Background(), &lambda.GetPolicyInput{FunctionName: aws.String("f")})
		return err
	}
	err := call(fault.Kind{Code: "ResourceNotFoundException", Status: 404}.Errorf("gone"))
	if typed, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok || typed.ErrorMessage() != "gone" || aws.ToString(typed.Type) != "User" {
		t.Errorf("got %v", err)
	}
	err = call(fault.Kind{Code: "ResourceConflictException", Status: 409}.Errorf("there"))
	if typed, ok := errors.AsType[*types.ResourceConflictException](err); !ok || typed.ErrorMessage() != "there" {
		t.Errorf("got %v", err)
	}
	err = call(errors.New("disk on fire"))
	if typed, ok := errors.AsType[*types.ServiceException](err); !ok || strings.Contains(typed.ErrorMessage(), "fire") {
		t.Errorf("got %v", err)
	}
	checkCode(t, call(ErrValidation.Errorf("1 validation error detected: x")), "ValidationException", "1 validation error")
	client = lambda.NewFromConfig(h.config(iam.Principal{ARN: "arn:bob"}))
	checkCode(t, call(nil), "AccessDeniedException", "lambda:GetPolicy")
}

// The spelling of "message" is that of the answers which the SDK recorded.
func TestLambdaErrorSpelling(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(moduleDir(t, "lambda"), "response_snapshot", "*.error.snap"))
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code := strings.TrimSuffix(filepath.Base(file), ".error.snap")
		member := `"message":`
		if bytes.Contains(text, []byte(`"Message":`)) {
			member = `"Message":`
		}
		a := restJSON{}.refuse(nil, &fault.Fault{Kind: fault.Kind{Code: code, Status: 400}, Message: "m"}, "id")
		if !bytes.Contains(a.body, []byte(member)) {
			t.Errorf("%s: %s", code, a.body)
		}
	}
}

func TestRESTRoutes(t *testing.T) {
	type named struct{ FunctionName, Marker *string }
	name := func(action, pattern string) Op {
		return On(action, anything[named], func(_ context.Context, in *named) (*note, error) {
			return &note{Text: aws.String(action + " " + aws.ToString(in.FunctionName) + aws.ToString(in.Marker))}, nil
		}).At(pattern)
	}
	h := openHouse(t, lambdaService(
		name("List", "GET /functions?Marker"), name("Get", "GET /functions/{FunctionName}"),
		name("Settings", "GET /functions/settings"), name("Add", "POST /functions/{FunctionName}/policy").Status(201),
		name("Remove", "DELETE /functions/{FunctionName}").Status(204),
	))
	for _, tc := range []struct {
		name, method, target string
		status               int
		text                 string
	}{
		{"NoLabel", "GET", "/functions", 200, "List "},
		{"FinalSlash", "GET", "/functions/?Marker=m", 200, "List m"},
		{"Label", "GET", "/functions/f", 200, "Get f"},
		{"EscapedLabel", "GET", "/functions/arn%3Aaws%3Af%2Fg", 200, "Get arn:aws:f/g"},
		{"LiteralFirst", "GET", "/functions/settings", 200, "Settings"},
		{"Created", "POST", "/functions/f/policy", 201, "Add f"},
		{"NoContent", "DELETE", "/functions/f", 204, ""},
		{"Unknown", "GET", "/functions/f/nope", 404, "message"},
		{"Method", "PUT", "/functions/f", 404, "message"},
		{"EmptyLabel", "POST", "/functions//policy", 404, "message"},
		{"BadQuery", "GET", "/functions?Marker=%zz", 400, "syntax error"},
		{"BadBody", "POST", "/functions/f/policy", 400, "InvalidRequestContent"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body := ""
			if tc.name == "BadBody" {
				body, tc.text = `{"hunter2`, "not valid JSON"
			}
			w := h.send(tc.method, tc.target, body)
			checkAnswer(t, w, tc.status, tc.text)
			if kind := w.Header().Get("x-amzn-ErrorType"); (kind != "") != (tc.status >= 400) {
				t.Errorf("x-amzn-ErrorType = %q", kind)
			}
			if tc.status == 204 && (w.Body.Len() > 0 || w.Header().Get("Content-Length") != "") {
				t.Errorf("a body with 204: %s", w.Body)
			}
		})
	}
}

// Members that belong to the path are not taken from the body.
func TestRESTBodyDoesNotOverrideThePath(t *testing.T) {
	op := anyOp{out: &struct{}{}}
	h := openHouse(t, lambdaService(op.op("AddPermission", reflect.TypeFor[lambda.AddPermissionInput]()).At(lambdaPatterns["AddPermission"])))
	w := h.send("POST", "/2015-03-31/functions/mine/policy", `{"FunctionName":"other","Qualifier":"x","Action":"a"}`)
	checkAnswer(t, w, 200)
	in := op.in.(*lambda.AddPermissionInput)
	if *in.FunctionName != "mine" || in.Qualifier != nil || *in.Action != "a" {
		t.Errorf("got %+v", in)
	}
}
