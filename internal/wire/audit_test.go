package wire

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/iam"
)

// book keeps events, or refuses them.
type book struct {
	events []audit.Event
	err    error
}

func (b *book) Record(e *audit.Event) error {
	b.events = append(b.events, *e)
	return b.err
}

var auditTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// auditedHouse believes every caller, and writes into a book.
func auditedHouse(t *testing.T, b *book) *house {
	t.Helper()
	h := &house{log: new(bytes.Buffer)}
	denied := jsonService(
		echo("Echo"),
		On("Panic", anything[note], func(context.Context, *note) (*note, error) { panic("hunter2") }),
		On("Noted", anything[note], func(ctx context.Context, in *note) (*note, error) {
			audit.Of(ctx).VersionID = "v1"
			return in, nil
		}),
		On("Fail", anything[note], func(context.Context, *note) (*note, error) { return nil, errors.New("hunter2 on the disk") }))
	own := jsonService(echo("Extend"))
	own.TargetPrefix, own.ActionPrefix = "keyturn", "keyturn"
	functions := Service{Name: "lambda", Protocol: RESTJSON, Ops: []Op{
		answering[lambda.GetFunctionInput]("GetFunction", &lambda.GetFunctionOutput{}).At("GET /2015-03-31/functions/{FunctionName}")}}
	handler, err := NewHandler(Config{
		Services: []Service{denied, own, rdsService(echo("Echo")), functions}, Guard: new(iam.Guard), Audit: b,
		Now: func() time.Time { return auditTime }, Log: slog.New(slog.NewTextHandler(h.log, nil)),
		Verify: func(r *http.Request, _ []byte) (iam.Caller, error) {
			if r.Header.Get("Authorization") == "" {
				return iam.Caller{}, iam.ErrMissingAuthenticationToken.Errorf("Request is missing Authentication Token")
			}
			return iam.Trust(r, testAccount, "us-east-1"), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Handler = handler
	return h
}

func TestEveryRequestIsRecorded(t *testing.T) {
	signed := func(service string) string {
		return "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260304/us-east-1/" + service + "/aws4_request"
	}
	target := func(name string) string { return "X-Amz-Target: " + name }
	sm := []string{jsonHeader, signed("secretsmanager")}
	for _, tc := range []struct {
		name, method, path, body string
		headers                  []string
		want                     string // source, name, resource, version and code
	}{
		{"OK", "POST", "/", `{"Text":"hunter2"}`, append(sm, echoTarget), "secretsmanager.amazonaws.com Echo *  "},
		{"Noted", "POST", "/", "{}", append(sm, target("secretsmanager.Noted")), "secretsmanager.amazonaws.com Noted * v1 "},
		{"Own", "POST", "/", "{}", append(sm, target("keyturn.Extend")), "keyturn Extend *  "},
		{"Unsigned", "POST", "/", `{"Text":"hunter2"}`, []string{jsonHeader, echoTarget}, "secretsmanager.amazonaws.com Echo   MissingAuthenticationTokenException"},
		{"Body", "POST", "/", `{"Text":hunter2`, append(sm, echoTarget), "secretsmanager.amazonaws.com Echo   SerializationException"},
		{"TooLarge", "POST", "/", strings.Repeat("hunter2", 1<<20), append(sm, echoTarget), "secretsmanager.amazonaws.com Echo   RequestEntityTooLargeException"},
		{"Unknown", "POST", "/", "hunter2", append(sm, target("secretsmanager.Nope")), "secretsmanager.amazonaws.com Nope   UnknownOperationException"},
		{"NoTarget", "POST", "/", "hunter2", sm, "secretsmanager.amazonaws.com    UnknownOperationException"},
		{"Panic", "POST", "/", "{}", append(sm, target("secretsmanager.Panic")), "secretsmanager.amazonaws.com Panic *  InternalServiceError"},
		{"Failure", "POST", "/", "{}", append(sm, target("secretsmanager.Fail")), "secretsmanager.amazonaws.com Fail *  InternalServiceError"},
		{"Query", "POST", "/", "Action=Echo&Text=hunter2&Version=2014-10-31", []string{formHeader, signed("rds")}, "rds.amazonaws.com Echo *  "},
		{"QueryUnknown", "POST", "/", "Action=Nope&Text=hunter2&Version=2014-10-31", []string{formHeader, signed("rds")}, "rds.amazonaws.com Nope   InvalidAction"},
		{"QueryUnsigned", "POST", "/", "Action=Echo&Text=hunter2&Version=2014-10-31", []string{formHeader}, "rds.amazonaws.com Echo   MissingAuthenticationTokenException"},
		{"QueryInURL", "GET", "/?Action=Echo&Version=2014-10-31", "", []string{formHeader}, "rds.amazonaws.com Echo   MissingAuthenticationTokenException"},
		{"Path", "GET", "/2015-03-31/functions/f", "", []string{signed("lambda")}, "lambda.amazonaws.com GetFunction *  "},
		{"PathUnknown", "PUT", "/2015-03-31/nothing", "hunter2", []string{signed("lambda")}, "lambda.amazonaws.com PUT /2015-03-31/nothing   UnknownOperationException"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := new(book)
			w := auditedHouse(t, b).send(tc.method, tc.path, tc.body, append(tc.headers, "User-Agent: someone/1")...)
			if len(b.events) != 1 {
				t.Fatalf("%d events", len(b.events))
			}
			e := b.events[0]
			if got := strings.Join([]string{e.Source, e.Name, e.Resource, e.VersionID, e.ErrorCode}, " "); got != tc.want {
				t.Errorf("recorded as %q, want %q", got, tc.want)
			}
			if e.RequestID != w.Header().Get("x-amzn-RequestId") || e.SourceIP != "192.0.2.1" || e.UserAgent != "someone/1" || e.Time != auditTime {
				t.Errorf("%+v", e)
			}
			if (e.ErrorCode == "") != (w.Code == http.StatusOK) || strings.Contains(e.ErrorText, "hunter2") {
				t.Errorf("status %d: %+v", w.Code, e)
			}
		})
	}
}

// What can't be recorded is not answered.
func TestNoAnswerWithoutARecord(t *testing.T) {
	h := auditedHouse(t, &book{err: audit.ErrNotRecorded})
	w := h.send("POST", "/", `{"Text":"hunter2"}`, jsonHeader, echoTarget, "Authorization: AWS4-HMAC-SHA256 Credential=a/20260304/us-east-1/secretsmanager/aws4_request")
	checkAnswer(t, w, http.StatusInternalServerError, "InternalServiceError")
	if strings.Contains(w.Body.String(), "hunter2") {
		t.Errorf("the answer was given: %s", w.Body)
	}
	if !strings.Contains(h.log.String(), audit.ErrNotRecorded.Error()) {
		t.Errorf("the log does not say why: %s", h.log)
	}
}
