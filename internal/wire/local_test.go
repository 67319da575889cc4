package wire

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam"
)

// A call without a wire meets the same guard and leaves the same record.
func TestLocalCall(t *testing.T) {
	for _, tc := range []struct {
		action string
		caller iam.Principal
		want   string // name, resource, version and code of the record
	}{
		{"Echo", admin(), "Echo *  "},
		{"Noted", admin(), "Noted * v1 "},
		{"Echo", iam.Principal{Account: testAccount}, "Echo *  AccessDeniedException"},
		{"Fail", admin(), "Fail *  InternalServiceError"},
		{"Panic", admin(), "Panic *  InternalServiceError"},
	} {
		t.Run(tc.action, func(t *testing.T) {
			b := new(book)
			h := auditedHouse(t, b)
			l := Local{Handler: h.Handler, TargetPrefix: "secretsmanager", Caller: iam.Caller{Principal: tc.caller, Region: "us-east-1"}, UserAgent: "someone/1"}
			out, err := l.Call(t.Context(), tc.action, &note{Text: new("hunter2")})
			if len(b.events) != 1 {
				t.Fatalf("%d events", len(b.events))
			}
			e := b.events[0]
			if got := strings.Join([]string{e.Name, e.Resource, e.VersionID, e.ErrorCode}, " "); got != tc.want {
				t.Errorf("recorded as %q, want %q", got, tc.want)
			}
			if e.Type != audit.APICall || e.Source != "secretsmanager.amazonaws.com" || e.Principal != tc.caller.ARN || e.Account != testAccount ||
				e.Region != "us-east-1" || e.SourceIP != "127.0.0.1" || e.UserAgent != "someone/1" || e.RequestID == "" || e.Time != auditTime {
				t.Errorf("%+v", e)
			}
			if (err == nil) != (e.ErrorCode == "") || (out == nil) != (err != nil) {
				t.Errorf("answer %v, %v", out, err)
			}
			if err != nil && (fault.Of(err).Kind.Code != e.ErrorCode || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("failure %v", err)
			}
		})
	}
}

func TestLocalCallThatCannotBeRecordedHasFailed(t *testing.T) {
	h := auditedHouse(t, &book{err: errors.New("no room")})
	l := Local{Handler: h.Handler, TargetPrefix: "secretsmanager", Caller: iam.Caller{Principal: admin()}}
	if out, err := l.Call(t.Context(), "Echo", &note{}); out != nil || fault.Of(err).Kind != fault.Internal || err == nil {
		t.Errorf("answer %v, %v", out, err)
	}
}

func TestLocalCallEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := new(book)
	l := Local{Handler: auditedHouse(t, b).Handler, TargetPrefix: "secretsmanager", Caller: iam.Caller{Principal: admin()}}
	if _, err := l.Call(ctx, "Echo", &note{}); !errors.Is(err, context.Canceled) || len(b.events) > 0 {
		t.Errorf("error %v, %d events", err, len(b.events))
	}
}

func TestLocalCallOfNothing(t *testing.T) {
	for _, l := range []Local{{}, {Handler: auditedHouse(t, new(book)).Handler, TargetPrefix: "nothing"}, {Handler: auditedHouse(t, new(book)).Handler, TargetPrefix: "rds"}} {
		if _, err := l.Call(t.Context(), "Echo", &note{}); err == nil {
			t.Errorf("%+v answers", l)
		}
	}
}
