package scheduler

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/secret"
)

const (
	day = 24 * time.Hour
	// minGap is the shortest time between two rotations that Secrets Manager
	// schedules, in hours.
	minGap = 4
	// horizon is how many days ahead a cron() expression is searched. The rarest
	// day that an expression can name, a fifth weekday in February, comes again
	// after at most 40 years.
	horizon = 41 * 366
)

// errNoSchedule says that a Rule has neither Days nor Expr: its secret rotates
// on demand only.
var errNoSchedule = errors.New("rotation rule without a schedule")

// Rule says when a secret rotates; its fields are those of RotationRules in the
// Secrets Manager API. All hours and days are UTC, unless the Calendar says
// otherwise.
//
// A rotation happens at some moment of a window. With Days and rate(N days) the
// window opens at midnight, N days after the day of the last rotation. With
// rate(N hours) windows open at midnight and every N hours of the same day.
// With cron() they open on the hours that it names:
//
//	cron(0 Hours Day-of-month Month Day-of-week *)
//
// A schedule with one window a day keeps it open until the end of the day, one
// with several for an hour; Duration says otherwise.
type Rule struct {
	Days     int64  // AutomaticallyAfterDays, 1 to 1000; 0 when Expr is set
	Expr     string // ScheduleExpression: rate() or cron()
	Duration string // length of the window in whole hours, such as "3h"; optional

	// Calendar is keyturn's own, from tags of the secret.
	Calendar Calendar
}

// Validate returns an InvalidParameterException in AWS's words for a rule that
// Secrets Manager would not take.
func (r Rule) Validate() error {
	if r.Days == 0 && r.Expr == "" {
		_, err := parseDuration(r.Duration)
		return err
	}
	_, err := r.plan()
	return err
}

// AutomaticallyAfterDays returns what DescribeSecret shows under that name
// after a rotation: Days, or else the days between the next two windows,
// rounded up, whatever the blackout. It is 0 for a rule without a schedule.
func (r Rule) AutomaticallyAfterDays(after time.Time) int64 {
	if r.Days > 0 {
		return r.Days
	}
	after = r.Calendar.clock().wall(after) // a day that the clocks make longer is one day
	r.Calendar = Calendar{}
	first, err := r.next(after, "")
	if err != nil {
		return 0
	}
	second, err := r.next(first.Start, "")
	if err != nil {
		return 0
	}
	return int64((second.Start.Sub(first.Start) + day - 1) / day)
}

// plan is a Rule that was read: either a number of days, or hours of the days
// that on accepts.
type plan struct {
	days   int64         // from the last rotation; 0 for a calendar
	hours  []int         // ascending, not empty
	apart  int           // the hours between two windows of a day; 24 for one window
	on     onDay         // nil for every day
	length time.Duration // of the window, which a day's end cuts short
}

func (r Rule) plan() (plan, error) {
	p, err := r.schedule()
	if err != nil {
		return plan{}, err
	}
	hours, err := parseDuration(r.Duration)
	if err != nil {
		return plan{}, err
	}
	if hours == 0 {
		return p, nil
	}
	if err := p.fits(hours); err != nil {
		return plan{}, err
	}
	p.length = time.Duration(hours) * time.Hour
	return p, nil
}

// schedule reads the rule without its Duration.
func (r Rule) schedule() (plan, error) {
	switch {
	case r.Days != 0 && r.Expr != "":
		return plan{}, invalid("You cannot specify both rotation frequency and schedule expression together.")
	case r.Days < 0 || r.Days > 1000:
		return plan{}, invalid("RotationRules.AutomaticallyAfterDays must be within 1-1000.")
	case r.Days > 0:
		return plan{days: r.Days, hours: []int{0}, apart: 24, length: day}, nil
	case r.Expr == "":
		return plan{}, errNoSchedule
	}
	name, rest, ok := strings.Cut(r.Expr, "(")
	body, closed := strings.CutSuffix(rest, ")")
	switch {
	case ok && closed && name == "rate":
		return parseRate(strings.Fields(body))
	case ok && closed && name == "cron":
		return parseCron(strings.Fields(strings.ToUpper(body)))
	}
	return plan{}, errExpression()
}

// fits checks that a window of so many hours ends before the next one opens,
// and before the day ends. The windows of rate(N hours) are cut at midnight
// instead, for nobody chose where they fall.
func (p plan) fits(hours int) error {
	if hours > p.apart {
		return invalid("Duration cannot be greater than Rate in hour.")
	}
	if p.on != nil && p.hours[len(p.hours)-1]+hours > 24 {
		return invalid("Starting hour and duration must be within a day.")
	}
	return nil
}

// parseRate reads the two words within rate().
func parseRate(words []string) (plan, error) {
	if len(words) != 2 {
		return plan{}, errExpression()
	}
	n, ok := number(words[0])
	if !ok {
		return plan{}, errExpression()
	}
	switch words[1] {
	case "day", "days":
		if n < 1 || n > 1000 {
			return plan{}, invalid("Rate in day should be greater than 0 and less than 1000.")
		}
		return plan{days: int64(n), hours: []int{0}, apart: 24, length: day}, nil
	case "hour", "hours":
		if n < minGap || n > 23 {
			return plan{}, invalid("Rate in hour should be least 4 and less than 24.")
		}
		return plan{hours: everyHours(n), apart: n, length: time.Hour}, nil
	}
	return plan{}, errExpression()
}

// everyHours returns midnight and every n hours of a day. An hour that is less
// than minGap from the next midnight is left out.
func everyHours(n int) []int {
	var hours []int
	for h := 0; h == 0 || h <= 24-minGap; h += n {
		hours = append(hours, h)
	}
	return hours
}

// parseDuration returns the hours of "3h", and 0 for an empty text.
func parseDuration(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	digits, ok := strings.CutSuffix(text, "h")
	n, isNumber := number(digits)
	if !ok || !isNumber || n < 1 || n > 24 {
		return 0, invalid("Duration must be at least 1 hour, at most 24 hour.")
	}
	return n, nil
}

// parseCron reads the six fields within cron(), in capitals.
func parseCron(f []string) (plan, error) {
	if len(f) != 6 || f[0] != "0" || f[5] != "*" || (f[2] == "?") == (f[4] == "?") {
		return plan{}, errExpression()
	}
	hours, okHours := hourField.values(f[1])
	months, okMonths := monthField.values(f[3])
	days, okDays := parseDays(f[2], f[4])
	if !okHours || !okMonths || !okDays || apart(hours) < minGap {
		return plan{}, errExpression()
	}
	p := plan{hours: hours, apart: apart(hours), length: day, on: func(d time.Time) bool {
		return slices.Contains(months, int(d.Month())) && days(d)
	}}
	if len(hours) > 1 {
		p.length = time.Hour
	}
	// February 30 never comes.
	if _, ok := p.next(clock{zone: time.UTC}, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); !ok {
		return plan{}, errExpression()
	}
	return p, nil
}

// apart returns the shortest time between two hours of a day, 24 for a single
// one. What lies between the last hour of a day and the first of the next is
// not looked at, because increments start anew with each day.
func apart(hours []int) int {
	shortest := 24
	for i := 1; i < len(hours); i++ {
		shortest = min(shortest, hours[i]-hours[i-1])
	}
	return shortest
}

// parseDays reads the two day fields, one of which is "?".
func parseDays(ofMonth, ofWeek string) (onDay, bool) {
	list, parse := ofMonth, monthDayField.day
	if ofMonth == "?" {
		list, parse = ofWeek, weekdayField.day
	}
	var days []onDay
	for item := range strings.SplitSeq(list, ",") {
		d, ok := parse(item)
		if !ok {
			return nil, false
		}
		days = append(days, d)
	}
	return func(d time.Time) bool {
		return slices.ContainsFunc(days, func(on onDay) bool { return on(d) })
	}, true
}

func errExpression() error { return invalid("Invalid schedule expression.") }

func invalid(text string) error { return secret.ErrInvalidParameter.Errorf("%s", text) }

// number reads one to four digits.
func number(text string) (int, bool) {
	if len(text) == 0 || len(text) > 4 || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}
