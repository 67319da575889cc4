package scheduler_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Since when a rotation fails, and when AWSCURRENT was tested, is known however many
// attempts there were since.
func TestRecordsTellSinceWhen(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(synctest.Wait)
		st := h.standing()
		want(t, "after a success", (*time.Time)(nil), st.FailingSince)
		rotated := *st.Tested

		time.Sleep(time.Hour)
		h.failing("testSecret", "auth") // goes back to setSecret, which succeeds
		h.write(h.start("third"))
		h.during(func() { synctest.Wait() })
		since := h.standing().FailingSince
		if since == nil || since.Sub(rotated) < time.Hour {
			t.Fatalf("it fails since %v", since)
		}
		h.during(func() { time.Sleep(9 * time.Hour) })
		st = h.standing()
		want(t, "attempts later", *since, *st.FailingSince)
		want(t, "the test of AWSCURRENT", rotated, *st.Tested)

		h.failing("", "")
		h.during(func() { time.Sleep(9 * time.Hour) })
		st = h.standing()
		want(t, "when it succeeds", (*time.Time)(nil), st.FailingSince)
		if !st.Tested.After(*since) {
			t.Errorf("AWSCURRENT was tested at %v", st.Tested)
		}
	})
}

func (h *house) standing() (st *scheduler.Standing) {
	h.t.Helper()
	h.write(func(tx *sqldb.Tx) (err error) {
		st, err = h.Standing(context.Background(), tx, h.arn)
		return err
	})
	return st
}
