package keyturnapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

// answering starts a server that keeps the last request and gives one answer.
func answering(t *testing.T, status int, answer string) (url string, last *http.Request, body *string) {
	t.Helper()
	last, body = new(http.Request), new(string)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("reading the request: %v", err)
		}
		*last, *body = *r, string(data)
		w.Header().Set("X-Amzn-RequestId", "request-1")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, last, body
}

// loadConfig reads the ordinary AWS settings from the environment of the test
// alone.
func loadConfig(t *testing.T, env map[string]string) aws.Config {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID":           "AKIDEXAMPLE",
		"AWS_SECRET_ACCESS_KEY":       "example",
		"AWS_REGION":                  "eu-west-1",
		"AWS_CONFIG_FILE":             "/nonexistent",
		"AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
	} {
		t.Setenv(name, value)
	}
	for name, value := range env {
		t.Setenv(name, value)
	}
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestRequestIsSigned(t *testing.T) {
	url, last, body := answering(t, http.StatusOK, `{"ARN":"a","Name":"db"}`)
	client := New(loadConfig(t, map[string]string{"AWS_ENDPOINT_URL": url, "AWS_SESSION_TOKEN": "session"}))

	if _, err := client.ListRotations(context.Background(), &ListRotationsInput{SecretID: "db"}); err != nil {
		t.Fatal(err)
	}

	day := last.Header.Get("X-Amz-Date")[:len("20060102")]
	authorization := last.Header.Get("Authorization")
	for _, want := range []string{
		"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/" + day + "/eu-west-1/secretsmanager/aws4_request",
		"content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target", "Signature=",
	} {
		if !strings.Contains(authorization, want) {
			t.Errorf("Authorization lacks %q: %s", want, authorization)
		}
	}
	got := []string{last.Method, last.URL.Path, last.Header.Get("X-Amz-Target"), last.Header.Get("Content-Type"), *body}
	want := []string{"POST", "/", "keyturn.ListRotations", "application/x-amz-json-1.1", `{"SecretId":"db"}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

func TestEndpoint(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "config")
	text := "[profile here]\nendpoint_url = http://127.0.0.1:3\n" +
		"[profile service]\nservices = local\n[services local]\nsecrets_manager =\n  endpoint_url = http://127.0.0.1:4\n"
	if err := os.WriteFile(profile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	explicit := func(o *secretsmanager.Options) { o.BaseEndpoint = aws.String("http://127.0.0.1:5/prefix") }
	for _, tc := range []struct {
		name, want string
		env        map[string]string
		opts       []func(*secretsmanager.Options)
	}{
		{"AWS", "https://secretsmanager.eu-west-1.amazonaws.com/", nil, nil},
		{"Global", "http://127.0.0.1:1/", map[string]string{"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, nil},
		{"ServiceBeatsGlobal", "http://127.0.0.1:2/", map[string]string{
			"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://127.0.0.1:2"}, nil},
		{"Profile", "http://127.0.0.1:3/", map[string]string{"AWS_CONFIG_FILE": profile, "AWS_PROFILE": "here"}, nil},
		{"ProfileService", "http://127.0.0.1:4/", map[string]string{"AWS_CONFIG_FILE": profile, "AWS_PROFILE": "service"}, nil},
		{"ExplicitBeatsAll", "http://127.0.0.1:5/prefix", map[string]string{
			"AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://127.0.0.1:2"}, []func(*secretsmanager.Options){explicit}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := New(loadConfig(t, tc.env), tc.opts...).endpoint(context.Background())
			if err != nil || got != tc.want {
				t.Errorf("endpoint = %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	url, _, _ := answering(t, http.StatusOK, `{
		"ARN": "arn:aws:secretsmanager:us-east-1:000000000000:secret:db-AbCdEf", "Name": "db", "Strategy": "DualPassword",
		"Next": {"Step": "setSecret", "At": 1.764590400125E9, "Attempt": 3},
		"Runs": [{"VersionId": "v1", "Kind": "rotation", "Step": "createSecret", "Attempt": 1,
			"Started": 1764590400, "Ended": 1764590400.012, "Outcome": "failed", "ErrorClass": "tcp", "Error": "refused",
			"Unheard": {"of": []}}]}`)
	client := New(loadConfig(t, map[string]string{"AWS_ENDPOINT_URL": url}))

	got, err := client.ListRotations(context.Background(), &ListRotationsInput{SecretID: "db"})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2025, 12, 1, 12, 0, 0, 0, time.UTC)
	end := start.Add(12 * time.Millisecond)
	want := &ListRotationsOutput{
		ARN: "arn:aws:secretsmanager:us-east-1:000000000000:secret:db-AbCdEf", Name: "db", Strategy: "DualPassword",
		Next: &RotationNext{Step: "setSecret", At: start.Add(125 * time.Millisecond), Attempt: 3},
		Runs: []RotationRun{{
			VersionID: "v1", Kind: "rotation", Step: "createSecret", Attempt: 1,
			Started: start, Ended: &end, Outcome: "failed", ErrorClass: "tcp", Error: "refused",
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestTimesRoundTrip(t *testing.T) {
	for _, tc := range []struct{ wire, want string }{
		{"0", "1970-01-01T00:00:00Z"},
		{"1764590400", "2025-12-01T12:00:00Z"},
		{"1764590400.007", "2025-12-01T12:00:00.007Z"},
		{"-1.5", "1969-12-31T23:59:58.5Z"},
	} {
		t.Run(tc.wire, func(t *testing.T) {
			var out AdvanceClockOutput
			if err := decode([]byte(`{"Now":`+tc.wire+`}`), &out); err != nil {
				t.Fatal(err)
			}
			if got := out.Now.Format(time.RFC3339Nano); got != tc.want {
				t.Errorf("decoded %s, want %s", got, tc.want)
			}
			back, err := encode(struct{ Now []time.Time }{[]time.Time{out.Now}})
			if err != nil || string(back) != `{"Now":[`+tc.wire+`]}` {
				t.Errorf("encoded %s, %v; want %s", back, err, tc.wire)
			}
		})
	}
}

func TestBadTimes(t *testing.T) {
	for _, wire := range []string{`"2025-12-01T12:00:00Z"`, `true`, `{}`, `1e300`} {
		if err := decode([]byte(`{"Now":`+wire+`}`), new(AdvanceClockOutput)); err == nil {
			t.Errorf("%s was taken as a time", wire)
		}
	}
}

func TestRefusal(t *testing.T) {
	for _, tc := range []struct {
		name          string
		status        int
		body          string
		code, message string
		fault         smithy.ErrorFault
	}{
		{"Modelled", 400, `{"__type":"ResourceNotFoundException","Message":"no such secret"}`,
			"ResourceNotFoundException", "no such secret", smithy.FaultClient},
		{"FrontEnd", 400, `{"__type":"com.amazonaws#UnknownOperationException","message":"what?"}`,
			"UnknownOperationException", "what?", smithy.FaultClient},
		{"Server", 500, `{"__type":"InternalServiceError:http://x"}`, "InternalServiceError", "", smithy.FaultServer},
		{"NoJSON", 502, `<html>`, "UnknownError (HTTP 502)", "", smithy.FaultServer},
	} {
		t.Run(tc.name, func(t *testing.T) {
			url, _, _ := answering(t, tc.status, tc.body)
			client := New(loadConfig(t, map[string]string{"AWS_ENDPOINT_URL": url}))
			_, err := client.AdvanceClock(context.Background(), &AdvanceClockInput{Seconds: 1})
			checkRefusal(t, err, tc.status, tc.code, tc.message, tc.fault)
		})
	}
}

func checkRefusal(t *testing.T, err error, status int, code, message string, fault smithy.ErrorFault) {
	t.Helper()
	var api smithy.APIError
	var response *awshttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &response) {
		t.Fatalf("error is no smithy.APIError with a response: %v", err)
	}
	if api.ErrorCode() != code || api.ErrorMessage() != message || api.ErrorFault() != fault {
		t.Errorf("error = %s %q %v", api.ErrorCode(), api.ErrorMessage(), api.ErrorFault())
	}
	if response.HTTPStatusCode() != status || response.ServiceRequestID() != "request-1" {
		t.Errorf("response = %d %q", response.HTTPStatusCode(), response.ServiceRequestID())
	}
}

func TestUnreachable(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	client := New(loadConfig(t, map[string]string{"AWS_ENDPOINT_URL": srv.URL}))
	_, err := client.AdvanceClock(context.Background(), &AdvanceClockInput{Seconds: 1})
	var operation *smithy.OperationError
	if !errors.As(err, &operation) || operation.Operation() != "AdvanceClock" {
		t.Errorf("error = %v, want an OperationError", err)
	}
}

// An answer that is too long is an error of its own, and no broken JSON.
func TestTooLongAnswer(t *testing.T) {
	url, _, _ := answering(t, http.StatusOK, `{"Runs":[]}`+strings.Repeat(" ", maxAnswer))
	_, err := New(loadConfig(t, map[string]string{"AWS_ENDPOINT_URL": url})).ListRotations(t.Context(), &ListRotationsInput{SecretID: "s"})
	if err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("got %v", err)
	}
}
