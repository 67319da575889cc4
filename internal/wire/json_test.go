package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/iam"
)

var hourPattern = NewPattern(`[0-9]+h`)

// moduleDir is where an SDK module lies with its recorded requests and answers.
func moduleDir(t testing.TB, name string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/"+name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// recorded reads a snapshot's body, which follows the last empty line.
func recorded(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.LastIndex(text, []byte("\n\n"))
	if i < 0 {
		t.Fatalf("%s has no empty line", file)
	}
	return string(text[i+2:])
}

func secretsManagerTypes() map[string][2]reflect.Type {
	return typesOf(reflect.TypeFor[*secretsmanager.Client]())
}

// typesOf finds the Input and Output of each operation by the client's methods.
func typesOf(client reflect.Type) map[string][2]reflect.Type {
	found := map[string][2]reflect.Type{}
	for i := range client.NumMethod() {
		m := client.Method(i)
		if m.Type.NumIn() == 4 && m.Type.NumOut() == 2 {
			found[m.Name] = [2]reflect.Type{m.Type.In(2).Elem(), m.Type.Out(0).Elem()}
		}
	}
	return found
}

// Every request that the SDK recorded decodes into its Input with nothing
// lost: encoded again it is the same.
func TestRecordedRequestsDecode(t *testing.T) {
	dir, n := moduleDir(t, "secretsmanager"), 0
	for action, types := range secretsManagerTypes() {
		body := recorded(t, filepath.Join(dir, "request_snapshot", action+".request.snap"))
		in := reflect.New(types[0]).Interface()
		if err := decodeJSON([]byte(body), in); err != nil {
			t.Errorf("%s: %v", action, err)
			continue
		}
		checkSameJSON(t, action, body, in)
		n++
	}
	if n != 23 {
		t.Errorf("%d operations, want 23", n)
	}
}

// Every answer that the SDK recorded is what we write for the same Output.
func TestRecordedAnswersEncode(t *testing.T) {
	dir := moduleDir(t, "secretsmanager")
	for action, types := range secretsManagerTypes() {
		body := recorded(t, filepath.Join(dir, "response_snapshot", action+".response.snap"))
		out := reflect.New(types[1]).Interface()
		if err := decodeJSON([]byte(body), out); err != nil {
			t.Errorf("%s: %v", action, err)
			continue
		}
		checkSameJSON(t, action, body, out)
	}
}

func checkSameJSON(t *testing.T, name, want string, v any) {
	t.Helper()
	a, err := json11{}.encode(&call{op: &operation{}, spare: new(buffers)}, v)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if want == "" {
		want = "{}"
	}
	var x, y any
	if json.Unmarshal([]byte(want), &x) != nil || json.Unmarshal(a.body, &y) != nil || !cmp.Equal(x, y) {
		t.Errorf("%s: %s", name, cmp.Diff(x, y))
	}
}

func TestJSONShowsWhatIsSet(t *testing.T) {
	when := time.Date(2018, 4, 8, 0, 55, 45, 713_900_000, time.UTC)
	for _, tc := range []struct {
		name string
		out  note
		want string
	}{
		{"Nothing", note{}, `{}`},
		{"Empty", note{Text: aws.String(""), List: []string{}, Flag: aws.Bool(false)}, `{"Text":"","List":[],"Flag":false}`},
		{"Time", note{When: &when}, `{"When":1523148945.713}`},
		{"Text", note{Text: aws.String("<é\u2028\"\\\n")}, "{\"Text\":\"<é\u2028\\\"\\\\\\n\"}"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := openHouse(t, jsonService(answering[note]("Echo", &tc.out)))
			w := h.send("POST", "/", "{}", jsonHeader, echoTarget)
			checkAnswer(t, w, 200)
			if w.Body.String() != tc.want || w.Header().Get("Content-Type") != jsonType {
				t.Errorf("got %s, %s", w.Body, w.Header())
			}
		})
	}
}

func TestJSONRefuses(t *testing.T) {
	h := openHouse(t, jsonService(echo("Echo")))
	for _, tc := range []struct {
		name, method, body string
		headers            []string
		status             int
		text               string
	}{
		{"Cut", "POST", `{"Text":"hunter2`, []string{jsonHeader, echoTarget}, 400, `{"__type":"SerializationException","message":"The request body is not valid JSON."}`},
		{"NoObject", "POST", `["hunter2"]`, []string{jsonHeader, echoTarget}, 400, "must be a JSON object"},
		{"Trailing", "POST", `{} {}`, []string{jsonHeader, echoTarget}, 400, "not valid JSON"},
		{"Duplicate", "POST", `{"Text":"hunter2","Text":"b"}`, []string{jsonHeader, echoTarget}, 400, "not valid JSON"},
		{"NoUTF8", "POST", "{\"Text\":\"hunter2\xff\"}", []string{jsonHeader, echoTarget}, 400, "not valid JSON"},
		{"Number", "POST", `{"Text":42}`, []string{jsonHeader, echoTarget}, 400, "NUMBER_VALUE can not be converted to a String"},
		{"Bool", "POST", `{"Flag":"hunter2"}`, []string{jsonHeader, echoTarget}, 400, "STRING_VALUE can not be converted to a Boolean"},
		{"Object", "POST", `{"List":{"hunter2":1}}`, []string{jsonHeader, echoTarget}, 400, "START_OBJECT can not be converted to a List"},
		{"Time", "POST", `{"When":"hunter2"}`, []string{jsonHeader, echoTarget}, 400, "cannot be read"},
		{"UnknownTarget", "POST", `{}`, []string{jsonHeader, "X-Amz-Target: secretsmanager.Nope"}, 400, `{"__type":"UnknownOperationException","message":`},
		{"UnknownPrefix", "POST", `{}`, []string{jsonHeader, "X-Amz-Target: TrentService.Echo"}, 400, "UnknownOperationException"},
		{"NoTarget", "POST", `{}`, []string{jsonHeader}, 400, "UnknownOperationException"},
		{"Get", "GET", "", []string{echoTarget}, 400, "UnknownOperationException"},
		{"OtherType", "POST", `{}`, []string{"Content-Type: text/plain", echoTarget}, 415, "UnsupportedMediaTypeException"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := h.send(tc.method, "/", tc.body, tc.headers...)
			checkAnswer(t, w, tc.status, tc.text)
			if strings.Contains(w.Body.String(), "hunter2") || h.log.Len() > 0 {
				t.Errorf("the value is shown: %s %s", w.Body, h.log)
			}
		})
	}
}

func TestJSONTakesWhatAWSTakes(t *testing.T) {
	h := openHouse(t, jsonService(echo("Echo")))
	for _, tc := range []struct{ name, body, want string }{
		{"UnknownMember", `{"Text":"a","Stray":{"x":[1]}}`, `{"Text":"a"}`},
		{"Null", `{"Text":null,"List":null}`, `{}`},
		{"Exponent", `{"When":1.523148945713E9}`, `{"When":1523148945.713}`},
		{"NoBody", "", `{}`},
		{"OtherCaseIsUnknown", `{"text":"a"}`, `{}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := h.send("POST", "/", tc.body, jsonHeader, echoTarget)
			checkAnswer(t, w, 200)
			if w.Body.String() != tc.want {
				t.Errorf("got %s, want %s", w.Body, tc.want)
			}
		})
	}
}

// A real client: signed, decoded, answered, and its failures typed.
func TestSecretsManagerClient(t *testing.T) {
	when := time.UnixMilli(1_700_000_000_123).UTC()
	want := &secretsmanager.GetSecretValueOutput{
		ARN: aws.String("arn"), Name: aws.String("n"), VersionId: aws.String("v"), SecretBinary: []byte{0, 255},
		VersionStages: []string{"AWSCURRENT"}, CreatedDate: &when,
	}
	h := newHouse(t, jsonService(
		On("GetSecretValue", anything[secretsmanager.GetSecretValueInput],
			func(_ context.Context, in *secretsmanager.GetSecretValueInput) (*secretsmanager.GetSecretValueOutput, error) {
				if *in.SecretId != "n" {
					return nil, errNotFound.Errorf("Secrets Manager can't find the specified secret.")
				}
				return want, nil
			}),
	))
	client := secretsmanager.NewFromConfig(h.config(admin()))
	got, err := client.GetSecretValue(context.Background(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("n")})
	if err != nil {
		t.Fatal(err)
	}
	if got.ARN == nil || *got.ARN != "arn" || !bytes.Equal(got.SecretBinary, want.SecretBinary) || !got.CreatedDate.Equal(when) {
		t.Errorf("got %+v", got)
	}
	_, err = client.GetSecretValue(context.Background(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("x")})
	if typed, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok || typed.ErrorMessage() != "Secrets Manager can't find the specified secret." {
		t.Errorf("got %v", err)
	}
	client = secretsmanager.NewFromConfig(h.config(iam.Principal{ARN: "arn:bob"}))
	_, err = client.GetSecretValue(context.Background(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("n")})
	checkCode(t, err, "AccessDeniedException", "secretsmanager:GetSecretValue")
}

func checkCode(t *testing.T, err error, code, text string) {
	t.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), text) {
		t.Errorf("got %v, want %s with %q", err, code, text)
	}
}

func FuzzJSONBody(f *testing.F) {
	for action := range secretsManagerTypes() {
		body := recorded(f, filepath.Join(moduleDir(f, "secretsmanager"), "request_snapshot", action+".request.snap"))
		f.Add(body)
	}
	h := openHouse(f, jsonService(
		answering[secretsmanager.BatchGetSecretValueInput]("Batch", &note{}),
		answering[secretsmanager.RotateSecretInput]("Rotate", &note{}),
		answering[note]("Echo", &note{}),
	))
	f.Fuzz(func(t *testing.T, body string) {
		for _, action := range []string{"Batch", "Rotate", "Echo"} {
			w := h.send("POST", "/", body, jsonHeader, "X-Amz-Target: secretsmanager."+action)
			if w.Code != 200 && w.Code != 400 {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
		}
	})
}

func BenchmarkGetSecretValue(b *testing.B) {
	h := openHouse(b, jsonService(answering[secretsmanager.GetSecretValueInput]("GetSecretValue", &secretsmanager.GetSecretValueOutput{
		ARN: aws.String("arn:aws:secretsmanager:us-east-1:000000000000:secret:prod/app-a1b2c3"), Name: aws.String("prod/app"),
		SecretString: aws.String(strings.Repeat("x", 300)), VersionStages: []string{"AWSCURRENT"}, CreatedDate: aws.Time(time.UnixMilli(1_700_000_000_123)),
	})))
	b.ReportAllocs()
	for b.Loop() {
		if w := h.send("POST", "/", `{"SecretId":"prod/app"}`, jsonHeader, "X-Amz-Target: secretsmanager.GetSecretValue"); w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}
