package wire

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam"
)

const testAccount = "000000000000"

var errNotFound = fault.Kind{Code: "ResourceNotFoundException", Status: 400}

// house is a handler with its log, and a way in for real SDK clients.
type house struct {
	http.Handler
	log  *bytes.Buffer
	keys *iam.Sessions
}

func newHouse(t testing.TB, services ...Service) *house {
	t.Helper()
	h := &house{log: new(bytes.Buffer), keys: new(iam.Sessions)}
	verifier := &iam.Verifier{Keys: h.keys, Now: time.Now}
	handler, err := NewHandler(Config{
		Services: services, Verify: verifier.Verify, Guard: new(iam.Guard),
		Log: slog.New(slog.NewTextHandler(h.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Handler = handler
	return h
}

// config makes a real SDK client act as p, in process.
func (h *house) config(p iam.Principal) aws.Config {
	id, secret, token := h.keys.Issue(p)
	return aws.Config{
		Region: "eu-west-1", HTTPClient: InProcess{h}, RetryMaxAttempts: 1,
		BaseEndpoint: aws.String("http://127.0.0.1:4566"),
		Credentials:  credentials.NewStaticCredentialsProvider(id, secret, token),
	}
}

func admin() iam.Principal { return iam.Administrator(testAccount) }

// openHouse lets everybody in, for tests of what the signature has no part in.
func openHouse(t testing.TB, services ...Service) *house {
	t.Helper()
	h := &house{log: new(bytes.Buffer)}
	handler, err := NewHandler(Config{
		Services: services, Guard: new(iam.Guard), Log: slog.New(slog.NewTextHandler(h.log, nil)),
		Verify: func(r *http.Request, _ []byte) (iam.Caller, error) {
			return iam.Trust(r, testAccount, "us-east-1"), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Handler = handler
	return h
}

// send makes one plain request. headers are "Name: value".
func (h *house) send(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func anything[In any](context.Context, *In) (iam.Resource, error) { return iam.Resource{ARN: "*"}, nil }

// answering is an operation that always answers out.
func answering[In, Out any](action string, out *Out) Op {
	return On(action, anything[In], func(context.Context, *In) (*Out, error) { return out, nil })
}

func checkAnswer(t *testing.T, w *httptest.ResponseRecorder, status int, parts ...string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("status = %d, want %d: %s", w.Code, status, w.Body)
	}
	for _, part := range parts {
		if !strings.Contains(w.Body.String(), part) {
			t.Errorf("%q is not in %s", part, w.Body)
		}
	}
	if id := w.Header().Get("x-amzn-RequestId"); len(id) != 36 {
		t.Errorf("request id = %q", id)
	}
}

type note struct {
	Text *string
	List []string
	Flag *bool
	When *time.Time
}

func echo(action string) Op {
	return On(action, anything[note], func(_ context.Context, in *note) (*note, error) { return in, nil })
}

func jsonService(ops ...Op) Service {
	return Service{Name: "secretsmanager", TargetPrefix: "secretsmanager.", Protocol: JSON11, Ops: ops}
}

const (
	jsonHeader = "Content-Type: application/x-amz-json-1.1"
	formHeader = "Content-Type: application/x-www-form-urlencoded; charset=utf-8"
	echoTarget = "X-Amz-Target: secretsmanager.Echo"
)

func TestNewHandlerRefuses(t *testing.T) {
	verify := func(*http.Request, []byte) (iam.Caller, error) { return iam.Caller{}, nil }
	for _, tc := range []struct {
		name string
		cfg  Config
		text string
	}{
		{"NoVerify", Config{Guard: new(iam.Guard)}, "Verify and Guard"},
		{"NoServices", Config{Guard: new(iam.Guard), Verify: verify}, "no services"},
		{"NoPrefix", Config{Guard: new(iam.Guard), Verify: verify, Services: []Service{{Name: "x"}}}, "target prefix"},
		{"NoTarget", Config{Guard: new(iam.Guard), Verify: verify, Services: []Service{jsonService(On[note, note]("Echo", nil, nil))}}, "with a target"},
		{"TwiceAnOp", Config{Guard: new(iam.Guard), Verify: verify, Services: []Service{jsonService(echo("Echo"), echo("Echo"))}}, "twice"},
		{"TwiceAService", Config{Guard: new(iam.Guard), Verify: verify, Services: []Service{jsonService(), jsonService()}}, "twice"},
		{"NoPattern", Config{Guard: new(iam.Guard), Verify: verify, Services: []Service{{Name: "lambda", Protocol: RESTJSON, Ops: []Op{echo("Echo")}}}}, "pattern"},
		{"NoSuchField", Config{Guard: new(iam.Guard), Verify: verify, Services: []Service{{Name: "lambda", Protocol: RESTJSON, Ops: []Op{echo("Echo").At("GET /{Name}")}}}}, "no field Name"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := NewHandler(tc.cfg); err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v, want %q", err, tc.text)
			}
		})
	}
}

func TestServicesShareAName(t *testing.T) {
	own := Service{Name: "secretsmanager", TargetPrefix: "keyturn", ActionPrefix: "keyturn", Protocol: JSON11, Ops: []Op{echo("Turn")}}
	h := openHouse(t, jsonService(echo("Echo")), own)
	w := h.send("POST", "/", "{}", jsonHeader, "X-Amz-Target: keyturn.Turn")
	checkAnswer(t, w, 200, "{}")
	w = h.send("POST", "/", "{}", jsonHeader, "X-Amz-Target: keyturn.Echo")
	checkAnswer(t, w, 400, "UnknownOperationException")
}

// Nothing runs before the caller is known and allowed.
func TestGuardComesFirst(t *testing.T) {
	ran := false
	op := On("Echo", func(context.Context, *note) (iam.Resource, error) { return iam.Resource{ARN: "arn:x"}, nil },
		func(context.Context, *note) (*note, error) { ran = true; return nil, nil })
	service := jsonService(op)
	service.ActionPrefix = "prefix"
	h := openHouse(t, service)
	h.Handler.(*handler).Verify = func(*http.Request, []byte) (iam.Caller, error) {
		return iam.Caller{Principal: iam.Principal{ARN: "arn:bob"}}, nil
	}
	w := h.send("POST", "/", "{}", jsonHeader, echoTarget)
	checkAnswer(t, w, 400, `{"__type":"AccessDeniedException","message":"User: arn:bob is not authorized to perform: prefix:Echo on resource: arn:x`)
	if ran {
		t.Error("the operation ran")
	}
}

func TestCallerReachesTheOperation(t *testing.T) {
	var got iam.Caller
	h := openHouse(t, jsonService(On("Echo", anything[note], func(ctx context.Context, _ *note) (*note, error) {
		got = iam.CallerOf(ctx)
		return nil, nil
	})))
	w := h.send("POST", "/", "", jsonHeader, echoTarget)
	checkAnswer(t, w, 200, "{}")
	if got.RequestID != w.Header().Get("X-Amzn-RequestId") || got.Account != testAccount {
		t.Errorf("caller = %+v", got)
	}
}

func TestSignedForAnotherService(t *testing.T) {
	h := openHouse(t, jsonService(echo("Echo")))
	w := h.send("POST", "/", "{}", jsonHeader, echoTarget,
		"Authorization: AWS4-HMAC-SHA256 Credential=x/20260304/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=x")
	checkAnswer(t, w, 400, "InvalidSignatureException", "Credential should be scoped to correct service: 'secretsmanager'.")
}

func TestBodiesAreBounded(t *testing.T) {
	rest := Service{Name: "lambda", Protocol: RESTJSON, Ops: []Op{echo("Small").At("POST /small").MaxBody(10), echo("Large").At("POST /large")}, MaxBody: 100}
	form := Service{Name: "rds", Protocol: Query, Ops: []Op{echo("Echo")}, MaxBody: 100}
	h := openHouse(t, jsonService(echo("Echo")), rest, form)
	pad := func(n int) string { return `{"x":"` + strings.Repeat("x", n-8) + `"}` }
	for _, tc := range []struct {
		name, target, body, header string
		status                     int
		text                       string
	}{
		{"JSONFits", "/", pad(DefaultMaxBody), jsonHeader, 200, "{}"},
		{"JSON", "/", pad(DefaultMaxBody + 1), jsonHeader, 413, `{"__type":"RequestEntityTooLargeException","message":"Request must be smaller than 1048576 bytes for the Echo operation"}`},
		{"OpFits", "/small", pad(10), "A: b", 200, "{}"},
		{"Op", "/small", pad(11), "A: b", 413, "smaller than 10 bytes for the Small operation"},
		{"Service", "/large", pad(101), "A: b", 413, "smaller than 100 bytes"},
		{"Query", "/", strings.Repeat("x", 101), formHeader, 413, "<Code>RequestEntityTooLarge</Code>"},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(tc.name, func(t *testing.T) {
				r := httptest.NewRequest("POST", tc.target, strings.NewReader(tc.body))
				if chunked {
					r.ContentLength = -1
				}
				name, value, _ := strings.Cut(tc.header, ": ")
				r.Header.Set(name, value)
				if tc.header == jsonHeader {
					r.Header.Set("X-Amz-Target", "secretsmanager.Echo")
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				checkAnswer(t, w, tc.status, tc.text)
			})
		}
	}
}

func TestBodyThatEndsEarly(t *testing.T) {
	h := openHouse(t, jsonService(echo("Echo")))
	r := httptest.NewRequest("POST", "/", strings.NewReader("{}"))
	r.ContentLength = 10
	r.Header.Set("X-Amz-Target", "secretsmanager.Echo")
	r.Header.Set("Content-Type", jsonType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	checkAnswer(t, w, 400, "SerializationException", "ended early")
}

func TestPanicsAndInternalErrorsStayInside(t *testing.T) {
	fail := func(action string, do func(context.Context, *note) (*note, error)) Op {
		return On(action, anything[note], do)
	}
	h := openHouse(t, jsonService(
		fail("Panic", func(_ context.Context, in *note) (*note, error) { panic("hunter2 " + *in.Text) }),
		fail("Index", func(_ context.Context, in *note) (*note, error) { return in, errNotFound.Errorf("%s", in.List[7]) }),
		fail("Disk", func(context.Context, *note) (*note, error) { return nil, http.ErrBodyNotAllowed }),
	))
	for _, tc := range []struct{ action, logged string }{
		{"Panic", "panic=string"}, {"Index", "index out of range"}, {"Disk", "http: request method"},
	} {
		t.Run(tc.action, func(t *testing.T) {
			h.log.Reset()
			w := h.send("POST", "/", `{"Text":"hunter2"}`, jsonHeader, "X-Amz-Target: secretsmanager."+tc.action)
			checkAnswer(t, w, 500, `{"__type":"InternalServiceError","Message":"An error occurred on the server side."}`)
			log := h.log.String()
			for _, want := range []string{"action=" + tc.action, "requestId=" + w.Header().Get("x-amzn-RequestId"), tc.logged} {
				if !strings.Contains(log, want) {
					t.Errorf("%q is not in the log: %s", want, log)
				}
			}
			if strings.Contains(log, "hunter2") || strings.Count(log, "\n") != 1 {
				t.Errorf("log: %s", log)
			}
		})
	}
}

func TestInProcessEndsWithItsContext(t *testing.T) {
	h := openHouse(t, jsonService(On("Echo", anything[note], func(ctx context.Context, _ *note) (*note, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, "POST", "http://127.0.0.1/", strings.NewReader("{}"))
	r.Header.Set("X-Amz-Target", "secretsmanager.Echo")
	r.Header.Set("Content-Type", jsonType)
	res, err := InProcess{h}.Do(r)
	if err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("got %v", err)
	}
	if res != nil {
		_ = res.Body.Close()
	}
}

func TestViolations(t *testing.T) {
	var v Violations
	long, n := "abc", int64(5555)
	v.Required("secretId", true)
	v.Length("secretId", nil, 1, 2)
	v.Enum("sortOrder", "")
	if v.Err() != nil {
		t.Fatal(v.Err())
	}
	v.Required("secretId", false)
	const first = "Value null at 'secretId' failed to satisfy constraint: Member must not be null"
	if got := fault.Of(v.Err()); got.Kind != ErrValidation || got.Message != "1 validation error detected: "+first {
		t.Errorf("got %v", got)
	}
	v.Length("versionId", &long, 32, 64)
	v.Range("passwordLength", &n, 1, 4096)
	v.SensitiveLength("secretString", 70000, 1, 65536)
	v.Enum("sortOrder", "up", "asc", "desc")
	v.Pattern(Member("names", 0), &long, hourPattern)
	v.Count("versionStages", true, 21, 1, 20)
	want := "7 validation errors detected: " + first + "; " +
		"Value 'abc' at 'versionId' failed to satisfy constraint: Member must have length greater than or equal to 32; " +
		"Value '5555' at 'passwordLength' failed to satisfy constraint: Member must have value less than or equal to 4096; " +
		"Value at 'secretString' failed to satisfy constraint: Member must have length less than or equal to 65536; " +
		"Value 'up' at 'sortOrder' failed to satisfy constraint: Member must satisfy enum value set: [asc, desc]; " +
		"Value 'abc' at 'names.1.member' failed to satisfy constraint: Member must satisfy regular expression pattern: [0-9]+h; " +
		"Value at 'versionStages' failed to satisfy constraint: Member must have length less than or equal to 20"
	if got := fault.Of(v.Err()).Message; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
