package scheduler_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

func (h *house) explain(n int) (e *scheduler.Explanation) {
	h.t.Helper()
	h.write(func(tx *sqldb.Tx) (err error) {
		e, err = h.Explain(context.Background(), tx, h.arn, n)
		return err
	})
	return e
}

func opens(e *scheduler.Explanation) (all []string) {
	for _, w := range e.Windows {
		all = append(all, w.Start.Format(time.DateTime))
	}
	return all
}

func TestExplain(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.tag(scheduler.TimeZoneTag, "America/New_York")
		if e := h.explain(5); e.Enabled || e.Windows != nil || e.Rule.Calendar.Zone != "America/New_York" {
			t.Errorf("a rotation that was never configured: %+v", e)
		}
		h.configure(scheduler.Rule{Days: 30}, nil)
		h.tag(scheduler.BlackoutTag, "2000-01-20/2000-02-05")
		e := h.explain(3)
		want(t, "windows", []string{"2000-02-06 05:00:00", "2000-03-07 05:00:00", "2000-04-06 04:00:00"}, opens(e))
		if at := e.Windows[0].PassedOver; at == nil || at.Format(time.DateTime) != "2000-01-30 05:00:00" {
			t.Errorf("passed over: %v", at)
		}
		for _, w := range e.Windows {
			if w.At.Before(w.Start) || w.At.After(w.End) {
				t.Errorf("%s is not in the window %s to %s", w.At, w.Start, w.End)
			}
		}
		h.configure(scheduler.Rule{}, nil)
		want(t, "windows without a schedule", []string(nil), opens(h.explain(3)))
		h.configure(scheduler.Rule{Expr: "cron(0 8 1 * ? *)"}, nil)
		want(t, "windows of a calendar", []string{"2000-01-01 13:00:00", "2000-03-01 13:00:00"}, opens(h.explain(2)))
	})
}

// The first moment that a server shows is the one at which it rotates.
func TestExplainedMomentIsThatOfTheRotation(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{Days: 30}, nil)
		h.tag(scheduler.TimeZoneTag, "Asia/Kolkata")
		at := h.explain(1).Windows[0].At
		h.during(func() {
			time.Sleep(31 * 24 * time.Hour)
		})
		st, _ := h.state()
		want(t, "rotated", at, *st.LastRotated)
	})
}

func TestRetireNow(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.act = func(e event) (string, error) {
			if e.Step == "finishSecret" {
				return `{"strategy": "DualPassword", "retireAfterSeconds": 86400}`, h.play(t.Context(), e)
			}
			return "", nil
		}
		retire := func() (token secret.VersionID, err error) {
			err = h.db.Write(t.Context(), func(tx *sqldb.Tx) (err error) {
				token, err = h.RetireNow(t.Context(), tx, h.arn)
				return err
			})
			h.Poke()
			return token, err
		}
		if token, err := retire(); token != "" || err != nil {
			t.Errorf("nothing to retire: %s, %v", token, err)
		}
		h.configure(scheduler.Rule{Days: 30}, h.start("second"))
		if _, err := retire(); !errors.Is(err, scheduler.ErrRotating) {
			t.Errorf("during a rotation: %v", err)
		}
		h.during(func() {
			time.Sleep(time.Hour)
			want(t, "steps", fourSteps, h.taken())
			token, err := retire()
			want(t, "token", secret.VersionID("second"), token)
			if err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
			want(t, "steps at once", "retireSecret", h.taken())
			time.Sleep(48 * time.Hour)
			want(t, "steps later", "", h.taken())
		})
		if token, err := retire(); token != "" || err != nil {
			t.Errorf("retired already: %s, %v", token, err)
		}
	})
}

func TestWindowsFromWhatAWSSays(t *testing.T) {
	for _, tc := range []struct {
		rule scheduler.Rule
		next string
		want []string
	}{
		{scheduler.Rule{Days: 30}, "2026-03-31 23:59:59", []string{"2026-03-31 00:00:00", "2026-04-30 00:00:00"}},
		{scheduler.Rule{Expr: "rate(12 hours)"}, "2026-03-31 12:59:59", []string{"2026-03-31 12:00:00", "2026-04-01 00:00:00"}},
		{scheduler.Rule{Expr: "cron(0 8 1 * ? *)", Duration: "2h"}, "2026-04-01 09:59:59", []string{"2026-04-01 08:00:00", "2026-05-01 08:00:00"}},
		{scheduler.Rule{Expr: "cron(0 8 1 * ? *)"}, "2026-04-05 00:00:00", []string{"2026-05-01 08:00:00", "2026-06-01 08:00:00"}}, // no such window
	} {
		next, err := time.Parse(time.DateTime, tc.next)
		if err != nil {
			t.Fatal(err)
		}
		windows, err := tc.rule.WindowsFrom(next, "", 2)
		if err != nil {
			t.Fatal(err)
		}
		want(t, tc.next, tc.want, opens(&scheduler.Explanation{Windows: windows}))
	}
}
