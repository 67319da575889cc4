package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/deploy"
	"github.com/keyturn/keyturn/keyturnapi"
)

func TestParseDuration(t *testing.T) {
	for _, tc := range []struct {
		text string
		want time.Duration // 0: refused
	}{
		{"30d", 720 * time.Hour},
		{"1d12h", 36 * time.Hour},
		{"90m", 90 * time.Minute},
		{"1s", time.Second},
		{"36500d876000h", 2 * 36500 * 24 * time.Hour},
		{"", 0}, {"d", 0}, {"0d", 0}, {"-1d", 0}, {"1d-1h", 0}, {"1h1d", 0}, {"1.5d", 0}, {"500ms", 0},
		{"36501d", 0}, {"9223372036854775807d", 0}, {"30", 0}, {"thirty days", 0},
	} {
		t.Run(tc.text, func(t *testing.T) {
			got, err := parseDuration(tc.text)
			if got != tc.want || (err == nil) != (tc.want > 0) {
				t.Errorf("parseDuration = %v, %v; want %v", got, err, tc.want)
			}
		})
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		d    time.Duration
		want string
	}{
		{30*24*time.Hour + time.Hour, "in 30 days"},
		{-25 * time.Hour, "1 day ago"},
		{90 * time.Minute, "in 1 hour"},
		{-2 * time.Second, "2 seconds ago"},
		{time.Millisecond, "now"},
	} {
		if got := distance(tc.d); got != tc.want {
			t.Errorf("distance(%v) = %q, want %q", tc.d, got, tc.want)
		}
	}
}

func TestExitCode(t *testing.T) {
	api := func(code string) error {
		return fmt.Errorf("asking: %w", &smithy.OperationError{Err: &smithy.GenericAPIError{Code: code, Message: "no"}})
	}
	for _, tc := range []struct {
		name string
		err  error
		want int
	}{
		{"OK", nil, 0},
		{"Usage", fmt.Errorf("around: %w", usagef("wrong")), 2},
		{"RotationFailed", guided{err: errTimeout, code: exitRotationFailed}, 5},
		{"Secret", api("ResourceNotFoundException"), 7},
		{"Cluster", api("DBClusterNotFoundFault"), 7},
		{"Instance", api("DBInstanceNotFound"), 7},
		{"Permission", api("AccessDeniedException"), 8},
		{"Signature", api("InvalidSignatureException"), 8},
		{"OtherCode", api("LimitExceededException"), 1},
		{"Interrupted", guided{err: errInterrupted, hint: deployAgain}, 130},
		{"DeployDenied", &deploy.StepError{Step: deploy.StepCluster, Code: "AccessDenied", Err: errTimeout}, 8},
		{"DeployRotation", &deploy.StepError{Step: deploy.StepRotation, Err: errTimeout}, 6},
		{"DeployConfig", &deploy.ConfigError{}, 2},
		{"DeployChangedMeanwhile", &deploy.StepError{Step: deploy.StepConfig, Err: &deploy.ConfigError{}}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := exitCode(tc.err); got != tc.want {
				t.Errorf("exitCode = %d, want %d", got, tc.want)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	a := &app{}
	if got := exitCode(a.settle(ctx, fmt.Errorf("listing: %w", ctx.Err()))); got != exitInterrupted {
		t.Errorf("exit code = %d", got)
	}
}

// A wrong clock is no wrong key.
func TestHintOfClocks(t *testing.T) {
	for _, text := range []string{"Signature expired: 20260101T000000Z is now earlier than …", "Signature not yet current: 20260101T000000Z is still later than …"} {
		if got := hintFor(&smithy.GenericAPIError{Code: "InvalidSignatureException", Message: text}); !strings.Contains(got, "clocks") {
			t.Errorf("%s: %s", text, got)
		}
	}
}

func TestUntouched(t *testing.T) {
	run := func(step, outcome, class, strategy string) keyturnapi.RotationRun {
		return keyturnapi.RotationRun{Step: step, Outcome: outcome, ErrorClass: class, Strategy: strategy}
	}
	for _, tc := range []struct {
		name string
		runs []keyturnapi.RotationRun // newest first
		want bool
	}{
		{"CreateFailed", []keyturnapi.RotationRun{run("createSecret", "failed", "api", "")}, true},
		{"LoginRefused", []keyturnapi.RotationRun{
			run("setSecret", "failed", "auth", ""), run("createSecret", "succeeded", "", "")}, true},
		{"BrokenConnection", []keyturnapi.RotationRun{
			run("setSecret", "failed", "tcp", ""), run("createSecret", "succeeded", "", "")}, false},
		{"BrokenBefore", []keyturnapi.RotationRun{
			run("setSecret", "failed", "auth", ""), run("setSecret", "failed", "timeout", "")}, false},
		{"InterruptedBefore", []keyturnapi.RotationRun{
			run("setSecret", "failed", "auth", ""), run("setSecret", "interrupted", "", "")}, false},
		{"TestFailed", []keyturnapi.RotationRun{
			run("testSecret", "failed", "tcp", ""), run("setSecret", "succeeded", "", "SingleUser")}, false},
		{"TestFailedWithTwoPasswords", []keyturnapi.RotationRun{
			run("testSecret", "failed", "tcp", ""), run("setSecret", "succeeded", "", "DualPassword")}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := untouched(tc.runs); got != tc.want {
				t.Errorf("untouched = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestGroup(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(ms int) *time.Time {
		moment := start.Add(time.Duration(ms) * time.Millisecond)
		return &moment
	}
	got := group([]keyturnapi.RotationRun{
		{VersionID: "v2", Kind: "rotation", Step: "createSecret", Attempt: 1, Started: *at(900), Outcome: "running"},
		{VersionID: "v1", Kind: "rotation", Step: "setSecret", Attempt: 1, Started: *at(20), Ended: at(90), Outcome: "succeeded", Strategy: "SingleUser"},
		{VersionID: "v1", Kind: "rotation", Step: "createSecret", Attempt: 1, Started: *at(0), Ended: at(12), Outcome: "succeeded"},
	}, *at(1000))
	want := []rotationRecord{
		{VersionID: "v2", Kind: "rotation", Started: *at(900), Millis: 100, Outcome: "running", Steps: []stepRecord{
			{Step: "createSecret", Attempt: 1, Started: *at(900), Millis: 100, Outcome: "running"},
		}},
		{VersionID: "v1", Kind: "rotation", Strategy: "SingleUser", Started: *at(0), Ended: at(90), Millis: 90, Outcome: "succeeded", Steps: []stepRecord{
			{Step: "createSecret", Attempt: 1, Started: *at(0), Ended: at(12), Millis: 12, Outcome: "succeeded"},
			{Step: "setSecret", Attempt: 1, Started: *at(20), Ended: at(90), Millis: 70, Outcome: "succeeded"},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("group (-want +got):\n%s", diff)
	}
}

func TestSecretValueIsRedacted(t *testing.T) {
	v := secretValue{data: []byte("hunter2")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, v); got != "[redacted]" {
			t.Errorf("%s prints %s", verb, got)
		}
		if got := fmt.Sprintf(verb, &v); got != "[redacted]" {
			t.Errorf("%s of a pointer prints %s", verb, got)
		}
	}
}

func TestFieldOf(t *testing.T) {
	v := secretValue{data: []byte(`{"password":"a\"b\u00e9","port":3306.0,"tags":{"a":[1]},"none":null}`)}
	for field, want := range map[string]string{"password": `a"bé`, "port": "3306.0", "tags": `{"a":[1]}`, "none": "null"} {
		got, err := fieldOf(v, field)
		if err != nil || string(got.data) != want {
			t.Errorf("%s: %s, %v", field, got.data, err)
		}
	}
}

// An answer that comes from another program tells where it came from.
func TestAnotherProgramAnswers(t *testing.T) {
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"OK":           {http.StatusOK, "<html>hello</html>"},
		"NotFound":     {http.StatusNotFound, "<html>nothing here</html>"},
		"Proxy":        {http.StatusBadGateway, ""},
		"AnothersJSON": {http.StatusForbidden, `{"error":"no"}`},
	} {
		t.Run(name, func(t *testing.T) {
			another := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(answer.status)
				_, _ = io.WriteString(w, answer.body)
			}))
			defer another.Close()
			client := secretsmanager.New(secretsmanager.Options{Region: "us-east-1", BaseEndpoint: &another.URL,
				Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""), RetryMaxAttempts: 1})
			_, err := client.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{})
			want := fmt.Sprintf("%s/ answered %d %s, which is no answer of this API", another.URL, answer.status, http.StatusText(answer.status))
			if got := message(err); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if hint := hintFor(err); !strings.Contains(hint, "AWS_ENDPOINT_URL") {
				t.Errorf("hint: %q", hint)
			}
		})
	}
}

// "secret describe" tells of a copy that could not be made, and of what it is itself.
func TestDescribeReplicas(t *testing.T) {
	var out strings.Builder
	err := (&app{stdout: &out}).writeDescription(&secretsmanager.DescribeSecretOutput{
		Name: aws.String("s"), PrimaryRegion: aws.String("us-east-1"), Type: aws.String("Partner"),
		ReplicationStatus: []types.ReplicationStatusType{
			{Region: aws.String("eu-west-1"), Status: types.StatusTypeInSync, StatusMessage: aws.String("Replication succeeded")},
			{Region: aws.String("ap-south-1"), Status: types.StatusTypeFailed, StatusMessage: aws.String("Replication failed: why")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"Type: +Partner", "Primary region: +us-east-1", "Replica: +eu-west-1 InSync", "Replica: +ap-south-1 Failed: Replication failed: why"} {
		if !regexp.MustCompile(line).MatchString(out.String()) {
			t.Errorf("no %q in\n%s", line, &out)
		}
	}
}
