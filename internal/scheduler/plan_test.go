package scheduler_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// tag sets a tag as TagResource does.
func (h *house) tag(key, value string) {
	h.t.Helper()
	h.write(func(tx *sqldb.Tx) error {
		if err := h.vault.Tag(context.Background(), tx, h.arn, []secret.Tag{{Key: key, Value: value}}); err != nil {
			return err
		}
		return h.TagsChanged(context.Background(), tx, h.arn)
	})
	h.Poke()
}

func (h *house) dueBy() string {
	st, _ := h.state()
	if st.DueBy == nil {
		return "never"
	}
	return st.DueBy.Format(time.DateTime)
}

// The clock of synctest begins at 2000-01-01 00:00 UTC.
func TestTagsPlanAnew(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{Days: 30}, nil)
		want(t, "in UTC", "2000-01-31 23:59:59", h.dueBy())
		time.Sleep(10 * 24 * time.Hour)
		h.tag(scheduler.TimeZoneTag, "America/New_York") // where the rule came on December 31
		want(t, "in New York", "2000-01-31 04:59:59", h.dueBy())
		h.tag(scheduler.BlackoutTag, "2000-01-25/2000-02-05")
		want(t, "after the blackout", "2000-02-07 04:59:59", h.dueBy())
		h.configure(scheduler.Rule{Expr: "cron(0 8 1 * ? *)"}, nil)
		want(t, "by another rule", "2000-03-02 04:59:59", h.dueBy())
		h.write(func(tx *sqldb.Tx) error {
			if err := h.vault.Untag(context.Background(), tx, h.arn, []string{scheduler.TimeZoneTag, scheduler.BlackoutTag}); err != nil {
				return err
			}
			return h.TagsChanged(context.Background(), tx, h.arn)
		})
		want(t, "without tags", "2000-02-01 23:59:59", h.dueBy())
	})
}

func TestNothingBeginsInABlackout(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{Days: 30}, nil)
		h.tag(scheduler.BlackoutTag, "2000-01-20/2000-02-05")
		h.during(func() {
			time.Sleep(36 * 24 * time.Hour) // it is February 6
			want(t, "steps", "", h.taken())
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			want(t, "steps after it", fourSteps, h.taken())
		})
	})
}

// A server that does not run when a window is open makes up for it, but not on a
// day of the blackout.
func TestMissedWindowIsMadeUpForAfterTheBlackout(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{Days: 30}, nil)
		h.tag(scheduler.BlackoutTag, "2000-02-01/2000-02-05")
		time.Sleep(33 * 24 * time.Hour)
		h.during(func() {
			time.Sleep(24 * time.Hour)
			want(t, "steps", "", h.taken())
			want(t, "next", "2000-02-06 23:59:59", h.dueBy())
			time.Sleep(3 * 24 * time.Hour)
			synctest.Wait()
			want(t, "steps after it", fourSteps, h.taken())
		})
	})
}

func TestRotationOnDemandMindsNoBlackout(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{Days: 30}, nil)
		h.tag(scheduler.BlackoutTag, "2000-01-01/2000-12-31")
		h.configure(scheduler.Rule{Days: 30}, h.start("second"))
		h.during(func() {
			synctest.Wait()
			want(t, "steps", fourSteps, h.taken())
		})
	})
}

// A value that is put by hand counts as a rotation, on the zone's date.
func TestManualValueCountsInTheZone(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{Days: 30}, nil)
		h.tag(scheduler.TimeZoneTag, "Pacific/Auckland") // UTC+13
		time.Sleep(10*24*time.Hour + 12*time.Hour)       // it is January 12 there
		h.write(func(tx *sqldb.Tx) error { return h.ValueChanged(context.Background(), tx, h.arn) })
		want(t, "next", "2000-02-11 10:59:59", h.dueBy())
	})
}

func TestTestOfTheCurrentValueMovesNoWindow(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.tag(scheduler.TimeZoneTag, "Europe/Berlin")
		copied := h.seal("copy", "one")
		h.configure(scheduler.Rule{Expr: "cron(0 8 1 * ? *)"}, func(tx *sqldb.Tx) error {
			return h.StartTest(context.Background(), tx, copied)
		})
		want(t, "before", "2000-01-01 22:59:59", h.dueBy()) // it is one o'clock there
		h.during(func() {
			synctest.Wait()
			want(t, "steps", "testSecret", h.taken())
		})
		want(t, "after", "2000-01-01 22:59:59", h.dueBy())
	})
}

func TestAYearOfMonthsInAZone(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{Expr: "cron(0 2 1 * ? *)", Duration: "2h"}, nil)
		h.tag(scheduler.TimeZoneTag, "America/New_York")
		h.tag(scheduler.BlackoutTag, "2000-11-20/2000-12-02") // December is left out
		h.during(func() {
			time.Sleep(366 * 24 * time.Hour)
			synctest.Wait()
		})
		want(t, "rotations in a year", 11, strings.Count(h.taken(), fourSteps))
	})
}
