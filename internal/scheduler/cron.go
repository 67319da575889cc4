package scheduler

import (
	"slices"
	"strings"
	"time"
)

// onDay reports whether a day, given as its midnight, belongs to a schedule.
type onDay func(midnight time.Time) bool

// field is one field of a cron() expression: its bounds, and the names that
// stand for its values from low upwards.
type field struct {
	low, high int
	names     []string
}

var (
	hourField     = field{low: 0, high: 23}
	monthDayField = field{low: 1, high: 31}
	monthField    = field{low: 1, high: 12, names: []string{
		"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}}
	// Unlike in Unix cron, Sunday is 1.
	weekdayField = field{low: 1, high: 7, names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}}
)

// values returns what a list such as "1,8-10,20/2" names, ascending.
func (f field) values(list string) ([]int, bool) {
	var all []int
	for item := range strings.SplitSeq(list, ",") {
		v, ok := f.item(item)
		if !ok {
			return nil, false
		}
		all = append(all, v...)
	}
	slices.Sort(all)
	return slices.Compact(all), true
}

// item returns what one item names: a value, * for all, a range a-b that may
// wrap around the end, and any of these with /step. A value with a step runs to
// the end of the field; nothing before the slash means the field's beginning.
func (f field) item(item string) ([]int, bool) {
	span, stepText, stepped := strings.Cut(item, "/")
	step, ok := 1, true
	if stepped {
		step, ok = number(stepText)
	}
	from, to, okSpan := f.span(span, stepped)
	if !ok || !okSpan || step < 1 {
		return nil, false
	}
	if to < from {
		to += f.high - f.low + 1
	}
	var all []int
	for v := from; v <= to; v += step {
		all = append(all, f.low+(v-f.low)%(f.high-f.low+1))
	}
	return all, true
}

// span returns the ends of the part of an item before its slash.
func (f field) span(span string, stepped bool) (from, to int, ok bool) {
	if span == "*" || (span == "" && stepped) {
		return f.low, f.high, true
	}
	first, last, isRange := strings.Cut(span, "-")
	if from, ok = f.value(first); !ok {
		return 0, 0, false
	}
	if isRange {
		to, ok = f.value(last)
		return from, to, ok
	}
	if stepped {
		return from, f.high, true
	}
	return from, from, true
}

// value reads a number or a name.
func (f field) value(text string) (int, bool) {
	if i := slices.Index(f.names, text); i >= 0 {
		return f.low + i, true
	}
	n, ok := number(text)
	return n, ok && n >= f.low && n <= f.high
}

// day reads one item of a day field. Beside what item takes there are, for the
// day of the month, L (the last), 15W (the weekday nearest to the 15th) and SUNL
// (the last Sunday); for the day of the week, L (Saturday), SUNL or 1L (the last
// Sunday of the month) and SUN#2 or 1#2 (its second Sunday).
func (f field) day(item string) (onDay, bool) {
	ofMonth := f.high == monthDayField.high
	if before, ok := strings.CutSuffix(item, "L"); ok {
		return lastDay(before, ofMonth)
	}
	if before, ok := strings.CutSuffix(item, "W"); ok && ofMonth {
		n, ok := f.value(before)
		return func(d time.Time) bool { return d.Day() == nearestWeekday(d, n) }, ok
	}
	if before, after, ok := strings.Cut(item, "#"); ok && !ofMonth {
		return nthWeekday(before, after)
	}
	values, ok := f.item(item)
	if ofMonth {
		return func(d time.Time) bool { return slices.Contains(values, d.Day()) }, ok
	}
	return func(d time.Time) bool { return slices.Contains(values, weekday(d)) }, ok
}

// lastDay reads what stands before an L.
func lastDay(before string, ofMonth bool) (onDay, bool) {
	switch {
	case before == "" && ofMonth:
		return func(d time.Time) bool { return d.Day() == daysIn(d) }, true
	case before == "":
		return func(d time.Time) bool { return d.Weekday() == time.Saturday }, true
	case ofMonth && !slices.Contains(weekdayField.names, before):
		return nil, false
	}
	n, ok := weekdayField.value(before)
	return func(d time.Time) bool { return weekday(d) == n && d.Day() > daysIn(d)-7 }, ok
}

// nthWeekday reads what stands around a #.
func nthWeekday(before, after string) (onDay, bool) {
	w, okWeekday := weekdayField.value(before)
	n, ok := number(after)
	return func(d time.Time) bool {
		return weekday(d) == w && (d.Day()+6)/7 == n
	}, okWeekday && ok && n >= 1 && n <= 5
}

// nearestWeekday returns the day, Monday to Friday, that is nearest to day n of
// d's month and in the same month; 0 when the month has no day n.
func nearestWeekday(d time.Time, n int) int {
	last := daysIn(d)
	if n > last {
		return 0
	}
	switch d.AddDate(0, 0, n-d.Day()).Weekday() {
	case time.Saturday:
		if n == 1 {
			return 3
		}
		return n - 1
	case time.Sunday:
		if n == last {
			return n - 2
		}
		return n + 1
	}
	return n
}

// weekday counts as AWS does, from 1 for Sunday.
func weekday(d time.Time) int { return int(d.Weekday()) + 1 }

// daysIn returns the number of days in d's month.
func daysIn(d time.Time) int {
	return time.Date(d.Year(), d.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
}
