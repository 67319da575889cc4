package scheduler

import (
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/secret"
)

// All moments are UTC. Clocks went forward in Berlin at 2026-03-29 01:00 and
// back at 2026-10-25 01:00, in New York at 2026-03-08 07:00 and 2026-11-01
// 06:00, on Lord Howe by half an hour at 2026-10-03 15:30, in Santiago from
// midnight at 2026-09-06 04:00; Apia left out 2011-12-30 (IANA database).
func TestRuleWindowByCalendar(t *testing.T) {
	for _, tc := range []struct {
		zone, blackout string
		rule           Rule
		after          string
		start, end     string
	}{
		// The hours of the zone, in winter and in summer.
		{"Europe/Berlin", "", Rule{Expr: "cron(0 8 * * ? *)"}, "2026-01-01 06:00:00", "2026-01-01 07:00:00", "2026-01-01 22:59:59"},
		{"Europe/Berlin", "", Rule{Expr: "cron(0 8 * * ? *)"}, "2026-07-01 06:30:00", "2026-07-02 06:00:00", "2026-07-02 21:59:59"},
		{"Asia/Kolkata", "", Rule{Expr: "cron(0 8 1 * ? *)", Duration: "2h"}, "2026-01-01 02:30:00", "2026-02-01 02:30:00", "2026-02-01 04:29:59"},
		// Midnight of the zone, and its date of the last rotation.
		{"America/New_York", "", Rule{Days: 30}, "2026-01-02 04:59:59", "2026-01-31 05:00:00", "2026-02-01 04:59:59"},
		{"America/New_York", "", Rule{Days: 30}, "2026-01-02 05:00:00", "2026-02-01 05:00:00", "2026-02-02 04:59:59"},
		{"Pacific/Auckland", "", Rule{Expr: "rate(12 hours)"}, "2026-07-01 00:30:00", "2026-07-01 12:00:00", "2026-07-01 12:59:59"},

		// Days of 23 and of 25 hours.
		{"Europe/Berlin", "", Rule{Days: 1}, "2026-03-28 12:00:00", "2026-03-28 23:00:00", "2026-03-29 21:59:59"},
		{"Europe/Berlin", "", Rule{Days: 1}, "2026-10-24 12:00:00", "2026-10-24 22:00:00", "2026-10-25 22:59:59"},
		{"Europe/Berlin", "", Rule{Days: 30}, "2026-03-10 12:00:00", "2026-04-08 22:00:00", "2026-04-09 21:59:59"},
		// An hour that does not exist, and one that comes twice.
		{"Europe/Berlin", "", Rule{Expr: "cron(0 2 * * ? *)", Duration: "1h"}, "2026-03-28 12:00:00", "2026-03-29 01:00:00", "2026-03-29 01:59:59"},
		{"Europe/Berlin", "", Rule{Expr: "cron(0 2 * * ? *)", Duration: "4h"}, "2026-03-28 12:00:00", "2026-03-29 01:00:00", "2026-03-29 03:59:59"},
		{"Europe/Berlin", "", Rule{Expr: "cron(0 2 * * ? *)", Duration: "1h"}, "2026-10-24 12:00:00", "2026-10-25 00:00:00", "2026-10-25 01:59:59"},
		{"Europe/Berlin", "", Rule{Expr: "cron(0 2 * * ? *)", Duration: "1h"}, "2026-10-25 00:00:00", "2026-10-26 01:00:00", "2026-10-26 01:59:59"},
		{"America/New_York", "", Rule{Expr: "cron(0 1 * * ? *)", Duration: "1h"}, "2026-11-01 05:30:00", "2026-11-02 06:00:00", "2026-11-02 06:59:59"},
		{"Australia/Lord_Howe", "", Rule{Expr: "cron(0 2 * * ? *)", Duration: "2h"}, "2026-10-03 00:00:00", "2026-10-03 15:30:00", "2026-10-03 16:59:59"},
		// A day that begins at one o'clock, and a date that never was.
		{"America/Santiago", "", Rule{Days: 1}, "2026-09-05 12:00:00", "2026-09-06 04:00:00", "2026-09-07 02:59:59"},
		{"Pacific/Apia", "", Rule{Days: 1}, "2011-12-29 12:00:00", "2011-12-30 10:00:00", "2011-12-31 09:59:59"},
		{"Pacific/Apia", "", Rule{Expr: "cron(0 8 * * ? *)"}, "2011-12-30 00:00:00", "2011-12-30 18:00:00", "2011-12-31 09:59:59"},

		// Blackouts: days give way to the first day after, calendars to the next window.
		{"", "2026-01-31", Rule{Days: 30}, "2026-01-01 00:00:00", "2026-02-01 00:00:00", "2026-02-01 23:59:59"},
		{"", "2026-12-24/2027-01-02", Rule{Days: 30}, "2026-11-27 10:00:00", "2027-01-03 00:00:00", "2027-01-03 23:59:59"},
		{"", "2027-01-03 2026-12-24/2027-01-02", Rule{Days: 30}, "2026-11-27 10:00:00", "2027-01-04 00:00:00", "2027-01-04 23:59:59"},
		{"", "2026-12-24/2027-01-02", Rule{Expr: "cron(0 8 ? * FRI *)"}, "2026-12-18 08:00:00", "2027-01-08 08:00:00", "2027-01-08 23:59:59"},
		{"", "2026-12-24/2027-01-02", Rule{Expr: "rate(12 hours)"}, "2026-12-23 12:00:00", "2027-01-03 00:00:00", "2027-01-03 00:59:59"},
		{"America/New_York", "2026-11-27", Rule{Expr: "cron(0 20 * * ? *)"}, "2026-11-27 01:00:00", "2026-11-29 01:00:00", "2026-11-29 04:59:59"},
	} {
		tc.rule.Calendar = Calendar{Zone: tc.zone, Blackout: tc.blackout}
		start, end, err := tc.rule.Window(at(t, tc.after))
		if err != nil {
			t.Errorf("%+v: %v", tc.rule, err)
			continue
		}
		if got, want := [2]string{start.Format(clockLayout), end.Format(clockLayout)}, [2]string{tc.start, tc.end}; got != want {
			t.Errorf("%+v after %s: %v, want %v", tc.rule, tc.after, got, want)
		}
	}
}

func TestRuleThatIsBlackedOutForGoodNeverComes(t *testing.T) {
	r := Rule{Expr: "cron(0 8 29 2 ? *)", Calendar: Calendar{Blackout: "2028-02-29 2032-02-29 2036-02-29 2040-02-29 2044-02-29 2048-02-29 2052-02-29 2056-02-29 2060-02-29 2064-02-29"}}
	if _, _, err := r.Window(at(t, "2026-01-01 00:00:00")); !errors.Is(err, errNever) {
		t.Errorf("error %v", err)
	}
	if due := r.Due(at(t, "2026-01-01 00:00:00"), "arn"); !due.IsZero() {
		t.Errorf("due at %s", due)
	}
}

func TestRuleAfterBlackout(t *testing.T) {
	for _, tc := range []struct {
		rule Rule
		want string
	}{
		{Rule{Days: 30}, "2027-01-03 00:00:00"},
		{Rule{Expr: "rate(30 days)", Duration: "3h"}, "2027-01-03 00:00:00"},
		{Rule{Expr: "cron(0 8 1 * ? *)"}, "2027-02-01 08:00:00"},
	} {
		tc.rule.Calendar.Blackout = "2026-12-24/2027-01-02"
		w, err := tc.rule.afterBlackout().next(at(t, "2026-12-24 05:00:00"), "arn")
		if err != nil || w.Start.Format(clockLayout) != tc.want {
			t.Errorf("%+v: %s, %v; want %s", tc.rule, w.Start, err, tc.want)
		}
	}
}

func TestAutomaticallyAfterDaysIsNotMovedByTheClocks(t *testing.T) {
	r := Rule{Expr: "cron(0 8 * * ? *)", Calendar: Calendar{Zone: "Europe/Berlin", Blackout: "2026-10-26"}}
	for _, after := range []string{"2026-10-24 12:00:00", "2026-03-28 12:00:00"} {
		if n := r.AutomaticallyAfterDays(at(t, after)); n != 1 {
			t.Errorf("after %s: %d days", after, n)
		}
	}
}

func TestCheckTag(t *testing.T) {
	for _, tag := range []secret.Tag{
		{Key: TimeZoneTag, Value: "UTC"}, {Key: TimeZoneTag, Value: "Europe/Berlin"}, {Key: TimeZoneTag, Value: "Etc/GMT+5"},
		{Key: BlackoutTag, Value: "2026-11-27"}, {Key: BlackoutTag, Value: " 2026-12-24/2027-01-02  2026-11-27 "},
		{Key: BlackoutTag, Value: "2026-01-01/2026-12-31"}, {Key: BlackoutTag, Value: "2028-02-29"},
		{Key: "team", Value: "payments"}, {Key: "keyturn:rotation-else", Value: "x"},
	} {
		if err := CheckTag(tag); err != nil {
			t.Errorf("%+v: %v", tag, err)
		}
	}
	for _, tag := range []secret.Tag{
		{Key: TimeZoneTag}, {Key: TimeZoneTag, Value: "Local"}, {Key: TimeZoneTag, Value: "Berlin"}, {Key: TimeZoneTag, Value: "../etc/passwd"},
		{Key: TimeZoneTag, Value: "+02:00"}, {Key: BlackoutTag}, {Key: BlackoutTag, Value: "  "}, {Key: BlackoutTag, Value: "2026-02-29"},
		{Key: BlackoutTag, Value: "2027-01-02/2026-12-24"}, {Key: BlackoutTag, Value: "2026-01-01/2027-01-02"}, {Key: BlackoutTag, Value: "24.12.2026"},
		{Key: BlackoutTag, Value: "2026-12-24/"}, {Key: BlackoutTag, Value: "2026-12-24,2026-12-25"},
	} {
		err := CheckTag(tag)
		if f := fault.Of(err); err == nil || f.Kind != secret.ErrInvalidParameter {
			t.Errorf("%+v: %v", tag, err)
		}
	}
}

// FuzzRuleByCalendar: whatever the zone, the blackout and the rule, windows come
// one after another, lie in one day outside of the blackout, and hold the
// secret's own moment.
func FuzzRuleByCalendar(f *testing.F) {
	f.Add("Europe/Berlin", "2026-03-29", int64(1), "", "", int64(1774656000))
	f.Add("America/New_York", "", int64(0), "cron(0 1/4 * * ? *)", "4h", int64(1793000000))
	f.Add("Pacific/Apia", "2011-12-31", int64(0), "rate(4 hours)", "4h", int64(1325150000))
	f.Add("America/Santiago", "2026-09-06/2026-09-07", int64(0), "cron(0 0 ? * SUN *)", "", int64(1788600000))
	f.Add("Africa/Casablanca", "", int64(0), "cron(0 2,6 * * ? *)", "4h", int64(1771100000))
	f.Add("Antarctica/Troll", "2026-03-29 2026-10-25", int64(0), "cron(0 0 L * ? *)", "24h", int64(1774656000))
	f.Fuzz(func(t *testing.T, zone, blackout string, days int64, expr, duration string, after int64) {
		r := Rule{Days: days, Expr: expr, Duration: duration, Calendar: Calendar{zone, blackout}}
		if after < 0 || after > 4_000_000_000 || r.Validate() != nil || r.Days == 0 && r.Expr == "" ||
			CheckTag(secret.Tag{Key: TimeZoneTag, Value: zone}) != nil || CheckTag(secret.Tag{Key: BlackoutTag, Value: blackout}) != nil && blackout != "" {
			return
		}
		last := time.Unix(after, 0).UTC()
		windows, err := r.Windows(last, "arn", 4)
		if err != nil && !errors.Is(err, errNever) {
			t.Fatal(err)
		}
		checkWindows(t, r.Calendar.clock(), last, windows)
	})
}

func checkWindows(t *testing.T, c clock, last time.Time, windows []Window) {
	t.Helper()
	for _, w := range windows {
		if !w.Start.After(last) || w.End.Before(w.Start) || w.At.Before(w.Start) || w.At.After(w.End) {
			t.Fatalf("%+v after %s", w, last)
		}
		if c.dark(w.Start) || c.dark(w.At) || c.dark(w.End) {
			t.Fatalf("%+v is in the blackout", w)
		}
		if from, to := c.wall(w.Start).Truncate(day), c.wall(w.End).Truncate(day); !from.Equal(to) {
			t.Fatalf("%+v reaches from %s into %s", w, from, to)
		}
		last = w.End
	}
}

// TestInstantIsWhatTheClocksShow goes through a year of half hours in zones
// with every sort of change.
func TestInstantIsWhatTheClocksShow(t *testing.T) {
	for _, zone := range []string{"UTC", "America/New_York", "America/Santiago", "America/Havana", "Australia/Lord_Howe", "Africa/Casablanca"} {
		c := Calendar{Zone: zone}.clock()
		last := time.Time{}
		for wall := at(t, "2022-01-01 00:00:00"); wall.Year() < 2023; wall = wall.Add(30 * time.Minute) {
			got := c.instant(wall)
			if got.Before(last) {
				t.Fatalf("%s: %s is before %s", zone, got, last)
			}
			if shown := c.wall(got); !shown.Equal(wall) && (!shown.After(wall) || c.wall(got.Add(-time.Second)).After(wall)) {
				t.Fatalf("%s: at %s the clocks show %s, not %s", zone, got, shown, wall)
			}
			if earlier := got.Add(-time.Hour); c.wall(earlier).Equal(wall) {
				t.Fatalf("%s: they show %s at %s already", zone, wall, earlier)
			}
			last = got
		}
	}
}
