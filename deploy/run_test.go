package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// clock is a fake clock that sleeping moves.
type clock struct {
	now    time.Time
	pauses []time.Duration
}

func (c *clock) Now() time.Time { return c.now }

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.now, c.pauses = c.now.Add(d), append(c.pauses, d)
	return ctx.Err()
}

func waiting(c *clock, events *[]Event) *deployment {
	return &deployment{step: StepInstance, started: c.now, Options: Options{
		Now: c.Now, Sleep: c.Sleep, Progress: func(e Event) { *events = append(*events, e) },
	}}
}

func TestAwaitBacksOff(t *testing.T) {
	c, events := &clock{now: time.Unix(0, 0)}, []Event(nil)
	looks := 0
	err := waiting(c, &events).await(t.Context(), time.Hour, func(context.Context) (string, bool, error) {
		looks++
		return "creating", looks == 4, nil
	})
	want := []time.Duration{100 * time.Millisecond, 150 * time.Millisecond, 225 * time.Millisecond}
	if err != nil || !reflect.DeepEqual(c.pauses, want) {
		t.Errorf("paused %v, %v", c.pauses, err)
	}
	last := Event{Step: StepInstance, State: Waiting, Status: "creating", ElapsedMillis: 250}
	if len(events) != 3 || events[2] != last || events[2].Elapsed() != 250*time.Millisecond {
		t.Errorf("told %+v", events)
	}
}

func TestAwaitGivesUp(t *testing.T) {
	c, events := &clock{now: time.Unix(0, 0)}, []Event(nil)
	err := waiting(c, &events).await(t.Context(), time.Minute, func(context.Context) (string, bool, error) { return "creating", false, nil })
	if _, ok := errors.AsType[*timeoutError](err); !ok || !strings.Contains(err.Error(), "still creating after 1m0s") {
		t.Errorf("got %v", err)
	}
	if longest := c.pauses[len(c.pauses)-1]; longest != longestPause {
		t.Errorf("the longest pause was %v", longest)
	}
}

func TestAwaitEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, events := &clock{now: time.Unix(0, 0)}, []Event(nil)
	err := waiting(c, &events).await(ctx, time.Minute, func(context.Context) (string, bool, error) { return "creating", false, nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// clientsOf returns clients of one endpoint that do not retry.
func clientsOf(endpoint string) Clients {
	cfg := aws.Config{
		Region: "us-east-1", BaseEndpoint: &endpoint, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "example", ""),
	}
	return Clients{SecretsManager: secretsmanager.NewFromConfig(cfg), RDS: rds.NewFromConfig(cfg), Lambda: lambda.NewFromConfig(cfg)}
}

func TestRunUnreachable(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	var events []Event
	report, err := Run(t.Context(), Options{
		ConfigPath: write(t, least), Clients: clientsOf("http://" + closed.Addr().String()),
		Progress: func(e Event) { events = append(events, e) },
	})
	e, ok := errors.AsType[*StepError](err)
	if !ok || e.Step != StepFunction || e.Code != "" || !strings.Contains(e.Error(), "connection refused; check that the server runs") {
		t.Errorf("got %v", err)
	}
	if len(report.Steps) != 0 || len(events) != 2 || events[1].State != Failed {
		t.Errorf("reported %+v, told %+v", report, events)
	}
}

func TestRunDenied(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amzn-Errortype", "AccessDeniedException")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"Message":"User: u is not authorized; its password is SECRET+PASSWORD"}`))
	}))
	defer server.Close()
	path := write(t, least)
	report, err := Run(t.Context(), Options{ConfigPath: path, Clients: clientsOf(server.URL), Password: "SECRET+PASSWORD"})
	e, ok := errors.AsType[*StepError](err)
	if !ok || e.Code != "AccessDeniedException" || !strings.Contains(e.Error(), "allow GetFunction to the caller") {
		t.Errorf("got %v", err)
	}
	encoded, jsonErr := json.Marshal(report)
	if jsonErr != nil || strings.Contains(err.Error()+string(encoded), "SECRET") || !strings.Contains(err.Error(), "[redacted]") {
		t.Errorf("got %v, %s, %v", err, encoded, jsonErr)
	}
	for inner := error(e); inner != nil; inner = errors.Unwrap(inner) {
		if strings.Contains(inner.Error(), "SECRET") {
			t.Errorf("an inner error holds the password: %v", inner)
		}
	}
}

func TestSteps(t *testing.T) {
	want := []Step{StepFunction, StepPermission, StepPassword, StepCluster, StepInstance, StepSecret, StepRotation, StepConfig}
	if got := Steps(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}
