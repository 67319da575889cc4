package lambdaapi_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os/user"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/keyturntest"
)

// pack is a deployment package of one file.
func pack(t testing.TB, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	h := &zip.FileHeader{Name: name}
	h.SetMode(0o755)
	w, err := z.CreateHeader(h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const role = "arn:aws:iam::000000000000:role/rotator"

// python is the input of a function that answers its event and a variable.
func python(t testing.TB, name string) *lambda.CreateFunctionInput {
	t.Helper()
	return &lambda.CreateFunctionInput{FunctionName: &name, Role: aws.String(role), Runtime: types.RuntimePython312, Handler: aws.String("index.handler"),
		Code:        &types.FunctionCode{ZipFile: pack(t, "index.py", answering("one"))},
		Environment: &types.Environment{Variables: map[string]string{"OWN": "s3cr3t-variable"}}, Tags: map[string]string{"team": "payments"}, Timeout: aws.Int32(20)}
}

func answering(version string) string {
	return "import os\ndef handler(event, context):\n    print('seen', event)\n    return [event, os.environ['OWN'], '" + version + "']\n"
}

// asSelf runs functions as the user of the test, whose interpreters may be where
// no other user may look.
func asSelf(c *keyturn.Config) {
	if u, err := user.Current(); err == nil {
		c.FunctionUser = u.Username
	}
}

func call(t *testing.T, c *lambda.Client, name, payload string) string {
	t.Helper()
	out, err := c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &name, Payload: []byte(payload)})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.FunctionError) + string(out.Payload)
}

// The life of a function: made, seen, invoked, changed, restarted with, deleted.
func TestLife(t *testing.T) {
	ctx, name := t.Context(), aws.String("rotator")
	const arn = "arn:aws:lambda:us-east-1:000000000000:function:rotator"
	dir := t.TempDir()
	first := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = dir }, asSelf)
	c := first.Lambda
	made, err := c.CreateFunction(ctx, python(t, *name))
	if err != nil {
		t.Fatal(err)
	}
	if made.State != types.StatePending || made.StateReasonCode != types.StateReasonCodeCreating || *made.FunctionArn != arn || *made.Version != "$LATEST" ||
		len(*made.CodeSha256) != 44 || made.CodeSize == 0 || *made.MemorySize != 128 || made.PackageType != types.PackageTypeZip || !strings.HasSuffix(*made.LastModified, "+0000") {
		t.Errorf("made %+v", made)
	}
	got, err := c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: name})
	if err != nil || got.Configuration.State != types.StateActive || got.Configuration.LastUpdateStatus != types.LastUpdateStatusSuccessful ||
		got.Configuration.Environment.Variables["OWN"] != "s3cr3t-variable" || got.Tags["team"] != "payments" || *got.Configuration.RevisionId != *made.RevisionId {
		t.Errorf("got %+v, %v", got, err)
	}
	if got := call(t, c, *name, `{"n":1}`); got != `[{"n": 1}, "s3cr3t-variable", "one"]` {
		t.Error(got)
	}
	code, err := c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: name, ZipFile: pack(t, "index.py", answering("two")), RevisionId: made.RevisionId})
	if err != nil || code.LastUpdateStatus != types.LastUpdateStatusInProgress || *code.CodeSha256 == *made.CodeSha256 {
		t.Errorf("code: %+v, %v", code, err)
	}
	_, err = c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: name, ZipFile: pack(t, "index.py", ""), RevisionId: made.RevisionId})
	wantError(t, err, "PreconditionFailedException: The RevisionId provided does not match the latest RevisionId. Call the GetFunction/GetAlias API to retrieve the latest RevisionId")
	_, err = c.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: name, MemorySize: aws.Int32(512),
		Environment: &types.Environment{Variables: map[string]string{"OWN": "another"}}})
	wantError(t, err, "")
	seen, err := c.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: name})
	if err != nil || *seen.MemorySize != 512 || *seen.Timeout != 20 || *seen.CodeSha256 != *code.CodeSha256 {
		t.Errorf("configuration: %+v, %v", seen, err)
	}
	if got := call(t, c, *name, `{}`); got != `[{}, "another", "two"]` {
		t.Error(got)
	}
	if versions, err := c.ListVersionsByFunction(ctx, &lambda.ListVersionsByFunctionInput{FunctionName: name}); err != nil || *versions.Versions[0].FunctionArn != arn+":$LATEST" {
		t.Errorf("versions: %+v, %v", versions, err)
	}
	_, err = c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: name})
	wantError(t, err, "")
	_, err = c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: name})
	wantError(t, err, "ResourceNotFoundException: Function not found: "+arn)
	_, err = c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: name})
	wantError(t, err, "ResourceNotFoundException: Function not found: "+arn)
}

// What was acknowledged is there after a restart, and its variables are sealed,
// under the newest key after a rotation of keys.
func TestDurable(t *testing.T) {
	dir := t.TempDir()
	open := func() *keyturn.Server {
		s, err := keyturn.Open(t.Context(), keyturn.Config{Data: dir})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	c := lambda.NewFromConfig(s.AWSConfig())
	if _, err := c.CreateFunction(t.Context(), python(t, "f")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantNowhere(t, dir, "s3cr3t-variable")
	s = open()
	keys := keyturnapi.New(s.AWSConfig())
	if _, err := keys.RotateKey(t.Context(), &keyturnapi.RotateKeyInput{}); err != nil {
		t.Fatal(err)
	}
	c = lambda.NewFromConfig(s.AWSConfig())
	got, err := c.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String("f")})
	if err != nil || got.Environment.Variables["OWN"] != "s3cr3t-variable" {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRefusedFunctions(t *testing.T) {
	c := newClient(t)
	for _, tc := range []struct {
		name   string
		change func(*lambda.CreateFunctionInput)
		want   string
	}{
		{"NoZip", func(in *lambda.CreateFunctionInput) { in.Code.ZipFile = []byte("no zip") },
			"InvalidParameterValueException: Could not unzip uploaded file. Please check your file, then try to upload again."},
		{"EmptyZip", func(in *lambda.CreateFunctionInput) {
			in.Code.ZipFile = []byte("PK\x05\x06" + strings.Repeat("\x00", 18))
		}, "InvalidParameterValueException: Uploaded file must be a non-empty zip"},
		{"NoCode", func(in *lambda.CreateFunctionInput) { in.Code.ZipFile = nil },
			"InvalidParameterValueException: Please provide a source for function code."},
		{"S3", func(in *lambda.CreateFunctionInput) {
			in.Code = &types.FunctionCode{S3Bucket: aws.String("b"), S3Key: aws.String("k")}
		}, "InvalidParameterValueException: This server does not support Code other than ZipFile: leave it out."},
		{"Layers", func(in *lambda.CreateFunctionInput) {
			in.Layers, in.Publish = []string{"arn:aws:lambda:us-east-1:1:layer:l:1"}, true
		},
			"InvalidParameterValueException: This server does not support Layers, Publish: leave it out."},
		{"Role", func(in *lambda.CreateFunctionInput) { in.Role = aws.String("r1") },
			"ValidationException: 1 validation error detected: Value 'r1' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+"},
		{"Timeout", func(in *lambda.CreateFunctionInput) { in.Timeout = aws.Int32(901) },
			"ValidationException: 1 validation error detected: Value '901' at 'timeout' failed to satisfy constraint: Member must have value less than or equal to 900"},
		{"Memory", func(in *lambda.CreateFunctionInput) { in.MemorySize = aws.Int32(64) },
			"ValidationException: 1 validation error detected: Value '64' at 'memorySize' failed to satisfy constraint: Member must have value greater than or equal to 128"},
		{"NotRunHere", func(in *lambda.CreateFunctionInput) { in.Runtime = types.RuntimeJava21 },
			"InvalidParameterValueException: This server runs functions of the runtimes provided, provided.al2, provided.al2023, python3.x and nodejs, not java21."},
		{"NoRuntime", func(in *lambda.CreateFunctionInput) { in.Runtime = "" },
			"InvalidParameterValueException: Runtime and Handler are mandatory parameters for functions created with deployment packages."},
		{"Variable", func(in *lambda.CreateFunctionInput) { in.Environment.Variables["AWS_REGION"] = "x" },
			"InvalidParameterValueException: Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: AWS_REGION"},
		{"Variables", func(in *lambda.CreateFunctionInput) { in.Environment.Variables["BIG"] = strings.Repeat("x", 4096) },
			"InvalidParameterValueException: Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit."},
		{"Reserved", func(in *lambda.CreateFunctionInput) { in.FunctionName = aws.String("keyturn-rotate-mine") },
			"InvalidParameterValueException: Names that begin with keyturn-rotate- are reserved for functions of the server."},
		{"BuiltIn", func(in *lambda.CreateFunctionInput) { in.FunctionName = aws.String("keyturn-rotate-mysql") },
			"ResourceConflictException: Function already exist: keyturn-rotate-mysql"},
		{"Exists", func(*lambda.CreateFunctionInput) {}, "ResourceConflictException: Function already exist: f"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := python(t, "f")
			tc.change(in)
			if tc.name == "Exists" {
				if _, err := c.CreateFunction(t.Context(), in); err != nil {
					t.Fatal(err)
				}
			}
			_, err := c.CreateFunction(t.Context(), in)
			wantError(t, err, tc.want)
		})
	}
	in := python(t, "g")
	in.Runtime = "cobol85"
	_, err := c.CreateFunction(t.Context(), in)
	if err == nil || !strings.Contains(err.Error(), "InvalidParameterValueException: Value cobol85 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [nodejs, ") {
		t.Errorf("runtime: %v", err)
	}
}

func TestBuiltInStays(t *testing.T) {
	c, ctx, name := newClient(t), t.Context(), aws.String("keyturn-rotate-mysql")
	const want = "InvalidParameterValueException: Function keyturn-rotate-mysql is part of this server and can't be changed."
	_, err := c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: name})
	wantError(t, err, want)
	_, err = c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: name, ZipFile: pack(t, "index.py", "")})
	wantError(t, err, want)
	_, err = c.TagResource(ctx, &lambda.TagResourceInput{Resource: aws.String(functionARN), Tags: map[string]string{"a": "b"}})
	wantError(t, err, want)
}

func TestListPages(t *testing.T) {
	c := newClient(t)
	var want []string
	for i := range 55 {
		in := python(t, fmt.Sprintf("f%02d", i))
		if _, err := c.CreateFunction(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		want = append(want, *in.FunctionName)
	}
	want = append(want, "keyturn-rotate-mysql", "keyturn-rotate-postgres", "keyturn-rotate-redis")
	var got []string
	var pages []int
	for p := lambda.NewListFunctionsPaginator(c, &lambda.ListFunctionsInput{}); p.HasMorePages(); {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range out.Functions {
			got = append(got, *f.FunctionName)
		}
		pages = append(pages, len(out.Functions))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int{50, 8}, pages); diff != "" {
		t.Error(diff)
	}
	other, err := c.ListFunctions(t.Context(), &lambda.ListFunctionsInput{}, func(o *lambda.Options) { o.Region = "eu-west-1" })
	if err != nil || len(other.Functions) != 3 {
		t.Errorf("another region has %v, %v", other, err)
	}
}

func TestTags(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	made, err := c.CreateFunction(ctx, python(t, "f"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.TagResource(ctx, &lambda.TagResourceInput{Resource: made.FunctionArn, Tags: map[string]string{"a": "1", "b": "2"}})
	wantError(t, err, "")
	const reserved = "InvalidParameterValueException: Tag keys that begin with aws: are reserved."
	_, err = c.TagResource(ctx, &lambda.TagResourceInput{Resource: made.FunctionArn, Tags: map[string]string{"AWS:x": "1", "c": "2"}})
	wantError(t, err, reserved)
	in := python(t, "g")
	in.Tags = map[string]string{"aws:x": "1"}
	_, err = c.CreateFunction(ctx, in)
	wantError(t, err, reserved)
	_, err = c.UntagResource(ctx, &lambda.UntagResourceInput{Resource: made.FunctionArn, TagKeys: []string{"team", "a"}})
	wantError(t, err, "")
	out, err := c.ListTags(ctx, &lambda.ListTagsInput{Resource: made.FunctionArn})
	wantError(t, err, "")
	if diff := cmp.Diff(map[string]string{"b": "2"}, out.Tags); diff != "" {
		t.Error(diff)
	}
	_, err = c.ListTags(ctx, &lambda.ListTagsInput{Resource: aws.String("arn:aws:lambda:us-east-1:000000000000:function:nope")})
	wantError(t, err, "ResourceNotFoundException: Function not found: arn:aws:lambda:us-east-1:000000000000:function:nope")
}

// What a function says of its failure is the answer, as it stands.
func TestInvokeProcess(t *testing.T) {
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = keyturn.InMemory }, asSelf)
	in := python(t, "f")
	in.Code.ZipFile = pack(t, "index.py", "import os\ndef handler(event, context):\n    print('hello')\n    return 1 / event['n']\n")
	if _, err := s.Lambda.CreateFunction(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	out, err := s.Lambda.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: in.FunctionName, Payload: []byte(`{"n":0}`), LogType: types.LogTypeTail})
	if err != nil {
		t.Fatal(err)
	}
	var failure struct {
		ErrorMessage, ErrorType, RequestID string
		StackTrace                         []string
	}
	if err := json.Unmarshal(out.Payload, &failure); err != nil || out.StatusCode != 200 || aws.ToString(out.FunctionError) != "Unhandled" ||
		failure.ErrorType != "ZeroDivisionError" || failure.ErrorMessage != "division by zero" || len(failure.RequestID) != 36 ||
		len(failure.StackTrace) != 1 || !strings.Contains(failure.StackTrace[0], "return 1 / event['n']") {
		t.Errorf("%+v %s", out, out.Payload)
	}
	log, err := base64.StdEncoding.DecodeString(aws.ToString(out.LogResult))
	if err != nil || !strings.HasPrefix(string(log), "hello\n") {
		t.Errorf("log %q, %v", log, err)
	}
	if got := call(t, s.Lambda, "f", `{"n":2}`); got != "0.5" {
		t.Error(got)
	}
}

// An embedder's own function is there as any other.
func TestOwnFunction(t *testing.T) {
	s := keyturntest.NewServer(t, func(c *keyturn.Config) {
		c.Data = keyturn.InMemory
		c.Functions = map[string]keyturn.Function{"mine": func(_ context.Context, cfg aws.Config, event json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(`"` + cfg.Region + " " + base64.StdEncoding.EncodeToString(event) + `"`), nil
		}}
	})
	if got, want := call(t, s.Lambda, "mine", "{}"), `"us-east-1 e30="`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	_, err := s.Lambda.CreateFunction(t.Context(), python(t, "mine"))
	wantError(t, err, "ResourceConflictException: Function already exist: mine")
	_, err = keyturn.Open(t.Context(), keyturn.Config{Data: keyturn.InMemory, Functions: map[string]keyturn.Function{"keyturn-rotate-x": nil}})
	if err == nil {
		t.Error("a reserved name was accepted")
	}
}
