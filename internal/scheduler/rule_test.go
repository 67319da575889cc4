package scheduler

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/secret"
)

const clockLayout = "2006-01-02 15:04:05"

func at(t testing.TB, text string) time.Time {
	t.Helper()
	moment, err := time.Parse(clockLayout, text)
	if err != nil {
		t.Fatal(err)
	}
	return moment
}

// 2026-01-01 is a Thursday. The expected windows were worked out by hand from
// the calendar; the expressions without a remark are those of "Schedule
// expressions in Secrets Manager rotation" in the AWS User Guide.
func TestRuleWindow(t *testing.T) {
	for _, tc := range []struct {
		rule       Rule
		after      string
		start, end string
	}{
		// Days count from the last rotation's day.
		{Rule{Days: 30}, "2026-01-01 00:00:00", "2026-01-31 00:00:00", "2026-01-31 23:59:59"},
		{Rule{Days: 30}, "2026-01-01 23:59:59", "2026-01-31 00:00:00", "2026-01-31 23:59:59"},
		{Rule{Days: 1}, "2026-02-28 12:00:00", "2026-03-01 00:00:00", "2026-03-01 23:59:59"},
		{Rule{Days: 1000}, "2026-01-01 10:00:00", "2028-09-27 00:00:00", "2028-09-27 23:59:59"},
		{Rule{Days: 7, Duration: "3h"}, "2026-01-01 10:00:00", "2026-01-08 00:00:00", "2026-01-08 02:59:59"},
		{Rule{Expr: "rate(8 days)"}, "2026-01-01 10:00:00", "2026-01-09 00:00:00", "2026-01-09 23:59:59"},
		{Rule{Expr: "rate(10 days)"}, "2026-01-25 03:00:00", "2026-02-04 00:00:00", "2026-02-04 23:59:59"},
		{Rule{Expr: "rate(1 day)", Duration: "24h"}, "2026-01-01 10:00:00", "2026-01-02 00:00:00", "2026-01-02 23:59:59"},

		// Hours count from midnight.
		{Rule{Expr: "rate(12 hours)"}, "2026-01-01 00:00:00", "2026-01-01 12:00:00", "2026-01-01 12:59:59"},
		{Rule{Expr: "rate(12 hours)"}, "2026-01-01 12:20:00", "2026-01-02 00:00:00", "2026-01-02 00:59:59"},
		{Rule{Expr: "rate(4 hours)", Duration: "4h"}, "2026-01-01 19:59:59", "2026-01-01 20:00:00", "2026-01-01 23:59:59"},
		{Rule{Expr: "rate(10 hours)", Duration: "5h"}, "2026-01-01 10:30:00", "2026-01-01 20:00:00", "2026-01-01 23:59:59"},
		{Rule{Expr: "rate(7 hours)"}, "2026-01-01 14:30:00", "2026-01-02 00:00:00", "2026-01-02 00:59:59"}, // 21:00 is too near
		{Rule{Expr: "rate(23 hours)"}, "2026-01-01 00:30:00", "2026-01-02 00:00:00", "2026-01-02 00:59:59"},

		// A calendar in hours.
		{Rule{Expr: "cron(0 /8 * * ? *)"}, "2026-01-01 00:30:00", "2026-01-01 08:00:00", "2026-01-01 08:59:59"},
		{Rule{Expr: "cron(0 */8 * * ? *)"}, "2026-01-01 16:00:00", "2026-01-02 00:00:00", "2026-01-02 00:59:59"},
		{Rule{Expr: "cron(0 8/8 * * ? *)"}, "2026-01-01 16:00:00", "2026-01-02 08:00:00", "2026-01-02 08:59:59"},
		{Rule{Expr: "cron(0 2/10 * * ? *)"}, "2026-01-01 12:59:00", "2026-01-01 22:00:00", "2026-01-01 22:59:59"},
		{Rule{Expr: "cron(0 2/10 * * ? *)"}, "2026-01-01 22:59:00", "2026-01-02 02:00:00", "2026-01-02 02:59:59"},
		{Rule{Expr: "cron(0 4/12 * * ? *)", Duration: "2h"}, "2026-01-01 05:00:00", "2026-01-01 16:00:00", "2026-01-01 17:59:59"},
		{Rule{Expr: "cron(0 20-2/6 * * ? *)"}, "2026-01-01 02:00:00", "2026-01-01 20:00:00", "2026-01-01 20:59:59"}, // 02:00 and 20:00

		// A calendar in days.
		{Rule{Expr: "cron(0 10 * * ? *)"}, "2026-01-01 10:00:00", "2026-01-02 10:00:00", "2026-01-02 23:59:59"},
		{Rule{Expr: "cron(0 10 * * ? *)", Duration: "3h"}, "2026-01-01 09:59:59", "2026-01-01 10:00:00", "2026-01-01 12:59:59"},
		{Rule{Expr: "cron(0 18 ? * SAT *)"}, "2026-01-01 00:00:00", "2026-01-03 18:00:00", "2026-01-03 23:59:59"},
		{Rule{Expr: "cron(0 8 1 * ? *)"}, "2026-01-01 08:00:00", "2026-02-01 08:00:00", "2026-02-01 23:59:59"},
		{Rule{Expr: "cron(0 1 ? 1/3 SUN#1 *)"}, "2026-01-04 01:00:00", "2026-04-05 01:00:00", "2026-04-05 23:59:59"},
		{Rule{Expr: "cron(0 17 L * ? *)"}, "2026-01-31 17:00:00", "2026-02-28 17:00:00", "2026-02-28 23:59:59"},
		{Rule{Expr: "cron(0 8 ? * MON-FRI *)"}, "2026-01-02 08:00:00", "2026-01-05 08:00:00", "2026-01-05 23:59:59"},
		{Rule{Expr: "cron(0 16 1,15 * ? *)"}, "2026-01-01 16:00:00", "2026-01-15 16:00:00", "2026-01-15 23:59:59"},
		{Rule{Expr: "cron(0 0 ? * SUN#1 *)"}, "2026-01-04 00:00:00", "2026-02-01 00:00:00", "2026-02-01 23:59:59"},
		{Rule{Expr: "cron(0 0 ? * TUE#3 *)"}, "2026-01-01 00:00:00", "2026-01-20 00:00:00", "2026-01-20 23:59:59"},
		{Rule{Expr: "cron(0 0 ? JAN,APR,JUL,OCT SUNL *)"}, "2026-01-25 00:00:00", "2026-04-26 00:00:00", "2026-04-26 23:59:59"},
		{Rule{Expr: "cron(0 0 SUNL * ? *)"}, "2026-01-01 00:00:00", "2026-01-25 00:00:00", "2026-01-25 23:59:59"},
		{Rule{Expr: "cron(0 0 1/10 * ? *)"}, "2026-01-21 00:00:00", "2026-01-31 00:00:00", "2026-01-31 23:59:59"},
		{Rule{Expr: "cron(0 0 1-15 * ? *)"}, "2026-01-15 00:00:00", "2026-02-01 00:00:00", "2026-02-01 23:59:59"},

		// What else the wildcards can say.
		{Rule{Expr: "cron(0 0 ? * 2 *)"}, "2026-01-01 00:00:00", "2026-01-05 00:00:00", "2026-01-05 23:59:59"},              // 2 is Monday
		{Rule{Expr: "cron(0 0 ? * FRI-MON *)"}, "2026-01-05 00:00:00", "2026-01-09 00:00:00", "2026-01-09 23:59:59"},        // wraps
		{Rule{Expr: "cron(0 0 5 nov-feb ? *)"}, "2026-02-05 00:00:00", "2026-11-05 00:00:00", "2026-11-05 23:59:59"},        // wraps
		{Rule{Expr: "cron(0 0 ? * L *)"}, "2026-01-01 00:00:00", "2026-01-03 00:00:00", "2026-01-03 23:59:59"},              // Saturday
		{Rule{Expr: "cron(0 0 ? * 5L *)"}, "2026-01-01 00:00:00", "2026-01-29 00:00:00", "2026-01-29 23:59:59"},             // last Thursday
		{Rule{Expr: "cron(0 0 ? * MON#5 *)"}, "2026-01-01 00:00:00", "2026-03-30 00:00:00", "2026-03-30 23:59:59"},          // few months have one
		{Rule{Expr: "cron(0 0 3W * ? *)"}, "2026-01-01 00:00:00", "2026-01-02 00:00:00", "2026-01-02 23:59:59"},             // Saturday the 3rd
		{Rule{Expr: "cron(0 0 4W * ? *)"}, "2026-01-01 00:00:00", "2026-01-05 00:00:00", "2026-01-05 23:59:59"},             // Sunday the 4th
		{Rule{Expr: "cron(0 0 1W 8 ? *)"}, "2026-01-01 00:00:00", "2026-08-03 00:00:00", "2026-08-03 23:59:59"},             // Saturday, never back into July
		{Rule{Expr: "cron(0 0 31W 5 ? *)"}, "2026-01-01 00:00:00", "2026-05-29 00:00:00", "2026-05-29 23:59:59"},            // Sunday, never on into June
		{Rule{Expr: "cron(0 0 29 2 ? *)"}, "2026-01-01 00:00:00", "2028-02-29 00:00:00", "2028-02-29 23:59:59"},             // leap years
		{Rule{Expr: "cron(0 0 ? 2 MON#5 *)"}, "2072-02-29 00:00:00", "2112-02-29 00:00:00", "2112-02-29 23:59:59"},          // 2100 is none
		{Rule{Expr: "cron(0 23 31 12 ? *)"}, "2026-12-31 23:00:00", "2027-12-31 23:00:00", "2027-12-31 23:59:59"},           // to the year's end
		{Rule{Expr: "cron(0 0 1,L,10-12 * ? *)"}, "2026-01-12 00:00:00", "2026-01-31 00:00:00", "2026-01-31 23:59:59"},      // a mixed list
		{Rule{Expr: "cron( 0  0 ? * MON#1,WED#1 * )"}, "2026-01-05 00:00:00", "2026-01-07 00:00:00", "2026-01-07 23:59:59"}, // spaces
	} {
		t.Run(fmt.Sprint(tc.rule, tc.after), func(t *testing.T) {
			start, end, err := tc.rule.Window(at(t, tc.after))
			if err != nil {
				t.Fatal(err)
			}
			if got := start.Format(clockLayout); got != tc.start {
				t.Errorf("start %s, want %s", got, tc.start)
			}
			if got := end.Format(clockLayout); got != tc.end {
				t.Errorf("end %s, want %s", got, tc.end)
			}
		})
	}
}

func TestRuleWindowOfAnotherZone(t *testing.T) {
	east := time.FixedZone("east", 9*3600)
	start, _, err := Rule{Days: 1}.Window(time.Date(2026, 1, 2, 8, 0, 0, 0, east)) // January 1 in UTC
	if err != nil || !start.Equal(at(t, "2026-01-02 00:00:00")) {
		t.Errorf("start %s, %v", start, err)
	}
}

func TestRuleValidate(t *testing.T) {
	const (
		expression = "Invalid schedule expression."
		duration   = "Duration must be at least 1 hour, at most 24 hour."
		rateHours  = "Rate in hour should be least 4 and less than 24."
		rateDays   = "Rate in day should be greater than 0 and less than 1000."
	)
	for _, tc := range []struct {
		rule Rule
		want string
	}{
		{Rule{Days: 30, Expr: "rate(30 days)"}, "You cannot specify both rotation frequency and schedule expression together."},
		{Rule{Days: -1}, "RotationRules.AutomaticallyAfterDays must be within 1-1000."},
		{Rule{Days: 1001}, "RotationRules.AutomaticallyAfterDays must be within 1-1000."},
		{Rule{Expr: "30 days"}, expression},
		{Rule{Expr: "rate(30 days"}, expression},
		{Rule{Expr: "rate()"}, expression},
		{Rule{Expr: "rate(30)"}, expression},
		{Rule{Expr: "rate(-3 days)"}, expression},
		{Rule{Expr: "rate(99999999999999999999 days)"}, expression},
		{Rule{Expr: "rate(30 minutes)"}, expression},
		{Rule{Expr: "at(2026-01-01)"}, expression},
		{Rule{Expr: "rate(3 hours)"}, rateHours},
		{Rule{Expr: "rate(24 hours)"}, rateHours},
		{Rule{Expr: "rate(0 days)"}, rateDays},
		{Rule{Expr: "rate(1001 days)"}, rateDays},
		{Rule{Expr: "cron(0 8 1 * ?)"}, expression},             // five fields
		{Rule{Expr: "cron(30 8 1 * ? *)"}, expression},          // minutes
		{Rule{Expr: "cron(0 8 1 * ? 2026)"}, expression},        // year
		{Rule{Expr: "cron(0 8 ? * ? *)"}, expression},           // two ?
		{Rule{Expr: "cron(0 1 * 1/3 SUN *)"}, expression},       // no ?
		{Rule{Expr: "cron(0 ? 1 * ? *)"}, expression},           // ? elsewhere
		{Rule{Expr: "cron(0 * 1 * ? *)"}, expression},           // every hour
		{Rule{Expr: "cron(0 /3 1 * ? *)"}, expression},          // every 3 hours
		{Rule{Expr: "cron(0 8,10 1 * ? *)"}, expression},        // 2 hours apart
		{Rule{Expr: "cron(0 24 1 * ? *)"}, expression},          // hour
		{Rule{Expr: "cron(0 8/0 1 * ? *)"}, expression},         // step
		{Rule{Expr: "cron(0 8 0 * ? *)"}, expression},           // day
		{Rule{Expr: "cron(0 8 32 * ? *)"}, expression},          // day
		{Rule{Expr: "cron(0 8 MON * ? *)"}, expression},         // a weekday's name
		{Rule{Expr: "cron(0 8 1 13 ? *)"}, expression},          // month
		{Rule{Expr: "cron(0 8 1 MON ? *)"}, expression},         // month's name
		{Rule{Expr: "cron(0 8 ? * 0 *)"}, expression},           // Sunday is 1
		{Rule{Expr: "cron(0 8 ? * 8 *)"}, expression},           // weekday
		{Rule{Expr: "cron(0 8 ? * SUN#6 *)"}, expression},       // sixth Sunday
		{Rule{Expr: "cron(0 8 ? * 3W *)"}, expression},          // W is of the month
		{Rule{Expr: "cron(0 8 1#2 * ? *)"}, expression},         // # is of the week
		{Rule{Expr: "cron(0 8 31 2,4,6,9,11 ? *)"}, expression}, // never comes
		{Rule{Expr: "cron(0 8 1, * ? *)"}, expression},
		{Rule{Days: 1, Duration: "0h"}, duration},
		{Rule{Days: 1, Duration: "25h"}, duration},
		{Rule{Days: 1, Duration: "3"}, duration},
		{Rule{Days: 1, Duration: "h"}, duration},
		{Rule{Duration: "99h"}, duration},
		{Rule{Expr: "rate(4 hours)", Duration: "5h"}, "Duration cannot be greater than Rate in hour."},
		{Rule{Expr: "rate(23 hours)", Duration: "24h"}, "Duration cannot be greater than Rate in hour."},
		{Rule{Expr: "cron(0 4/12 * * ? *)", Duration: "13h"}, "Duration cannot be greater than Rate in hour."},
		{Rule{Expr: "cron(0 4/12 * * ? *)", Duration: "9h"}, "Starting hour and duration must be within a day."},
		{Rule{Expr: "cron(0 20 * * ? *)", Duration: "5h"}, "Starting hour and duration must be within a day."},
	} {
		t.Run(fmt.Sprint(tc.rule), func(t *testing.T) {
			err := tc.rule.Validate()
			if !errors.Is(err, secret.ErrInvalidParameter) || fault.Of(err).Message != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			if due := tc.rule.Due(at(t, "2026-01-01 00:00:00"), "arn"); !due.IsZero() {
				t.Errorf("due %s", due)
			}
		})
	}
}

func TestRuleWithoutSchedule(t *testing.T) {
	after := at(t, "2026-01-01 00:00:00")
	if err := (Rule{}).Validate(); err != nil {
		t.Error(err)
	}
	if _, _, err := (Rule{}).Window(after); !errors.Is(err, errNoSchedule) {
		t.Errorf("Window: %v", err)
	}
	if due := (Rule{}).Due(after, "arn"); !due.IsZero() {
		t.Errorf("due %s", due)
	}
	if n := (Rule{}).AutomaticallyAfterDays(after); n != 0 {
		t.Errorf("AutomaticallyAfterDays %d", n)
	}
}

// A crowd of secrets with one rule is spread over the window, and each of them
// keeps its moment.
func TestRuleDueSpreads(t *testing.T) {
	rule, after := Rule{Days: 30}, at(t, "2026-01-01 12:00:00")
	start, end, err := rule.Window(after)
	if err != nil {
		t.Fatal(err)
	}
	perHour := map[int]int{}
	for i := range 1800 {
		arn := fmt.Sprintf("arn:aws:secretsmanager:us-east-1:000000000000:secret:app/db-%06d", i)
		due := rule.Due(after, arn)
		if due.Before(start) || due.After(end) {
			t.Fatalf("due %s is outside %s to %s", due, start, end)
		}
		if next := rule.Due(due, arn); !next.Equal(due.AddDate(0, 0, 30)) {
			t.Fatalf("due %s, then %s", due, next)
		}
		perHour[due.Hour()]++
	}
	for h := range 18 { // three quarters of the day, 100 secrets an hour
		if perHour[h] < 50 || perHour[h] > 150 {
			t.Errorf("%d secrets rotate at %d o'clock", perHour[h], h)
		}
	}
}

func TestRuleAutomaticallyAfterDays(t *testing.T) {
	for _, tc := range []struct {
		rule Rule
		want int64
	}{
		{Rule{Days: 45}, 45},
		{Rule{Expr: "rate(10 days)"}, 10},
		{Rule{Expr: "rate(4 hours)"}, 1},
		{Rule{Expr: "cron(0 10 * * ? *)"}, 1},
		{Rule{Expr: "cron(0 8 ? * SAT *)"}, 7},
		{Rule{Expr: "cron(0 8 1 * ? *)"}, 28},    // from February 1 to March 1
		{Rule{Expr: "cron(0 8/8 ? * SUN *)"}, 1}, // 8 hours, rounded up
	} {
		t.Run(fmt.Sprint(tc.rule), func(t *testing.T) {
			if got := tc.rule.AutomaticallyAfterDays(at(t, "2026-01-10 12:00:00")); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

// FuzzRule holds for every rule that Validate takes: its windows open strictly
// after the last rotation, end on the day on which they open, do not overlap,
// and a later rotation never has an earlier window.
func FuzzRule(f *testing.F) {
	for _, expr := range []string{"", "rate(30 days)", "rate(7 hours)", "cron(0 /8 * * ? *)",
		"cron(0 8 ? JAN-MAR/2 MON#1,FRIL *)", "cron(0 0 L,15W,SUNL,1-5 * ? *)", "cron(0 20-2/4 ? * 6-2 *)"} {
		f.Add(int64(0), expr, "", int64(1767225600), uint32(86400))
		f.Add(int64(30), expr, "4h", int64(1767225599), uint32(1))
	}
	f.Fuzz(func(t *testing.T, days int64, expr, duration string, unix int64, later uint32) {
		rule := Rule{Days: days, Expr: expr, Duration: duration}
		after := time.Unix(unix%(1<<36), 0).UTC() // within 2,000 years
		start, end, err := rule.Window(after)
		if (err == nil) != (rule.Validate() == nil) && rule.Validate() != nil {
			t.Fatalf("Validate refuses what Window takes: %v", rule.Validate())
		}
		if err != nil {
			return
		}
		if !start.After(after) || end.Before(start) || !end.Truncate(day).Equal(start.Truncate(day)) {
			t.Fatalf("after %s: window %s to %s", after, start, end)
		}
		if due := rule.Due(after, expr); due.Before(start) || due.After(end) {
			t.Fatalf("window %s to %s, due %s", start, end, due)
		}
		if next, _, err := rule.Window(start); err != nil || !next.After(end) {
			t.Fatalf("window %s to %s, the next opens at %s: %v", start, end, next, err)
		}
		next, _, err := rule.Window(after.Add(time.Duration(later) * time.Second))
		if err != nil || next.Before(start) {
			t.Fatalf("after %s: %s, but %d s later: %s: %v", after, start, later, next, err)
		}
	})
}
