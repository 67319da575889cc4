package scheduler

import (
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // the names of time zones must mean the same on every machine

	"github.com/keyturn/keyturn/internal/secret"
)

// The tags of a secret that adjust its schedule; AWS knows nothing of the kind.
const (
	// TimeZoneTag holds the name of a time zone of the IANA database: the hours
	// and days of the rule are those of its clocks.
	TimeZoneTag = "keyturn:rotation-time-zone"
	// BlackoutTag holds dates and ranges of dates in that zone, separated by
	// spaces, such as "2026-12-24/2027-01-02 2026-11-27". No scheduled rotation
	// begins on one of these days; the first window after them is taken.
	BlackoutTag = "keyturn:rotation-blackout"
)

// maxSpan is the longest range of a blackout, in days.
const maxSpan = 366

// Calendar is what the tags of a secret say about its schedule. The zero value
// is AWS's calendar: UTC, and every day is as good as another.
type Calendar struct {
	Zone     string // of TimeZoneTag; empty: UTC
	Blackout string // of BlackoutTag; empty: none
}

// CalendarOf reads the calendar from the tags of a secret. Values that CheckTag
// refuses count as absent.
func CalendarOf(tags []secret.Tag) (c Calendar) {
	for _, t := range tags {
		if CheckTag(t) != nil {
			continue
		}
		switch t.Key {
		case TimeZoneTag:
			c.Zone = t.Value
		case BlackoutTag:
			c.Blackout = t.Value
		}
	}
	return c
}

// CheckTag returns an InvalidParameterException for a tag of this package whose
// value it does not understand.
func CheckTag(t secret.Tag) error {
	switch t.Key {
	case TimeZoneTag:
		if _, err := time.LoadLocation(t.Value); err != nil || t.Value == "" || t.Value == "Local" {
			return invalid("The value of the tag " + TimeZoneTag + " must be the name of a time zone of the IANA database, such as Europe/Berlin or UTC.")
		}
	case BlackoutTag:
		if days, ok := parseBlackout(t.Value); !ok || len(days) == 0 {
			return invalid("The value of the tag " + BlackoutTag + " must be dates such as 2026-11-27 and ranges of at most 366 days such as 2026-12-24/2027-01-02, separated by spaces.")
		}
	case DriftCheckTag:
		if _, err := ParseCheckInterval(t.Value); err != nil {
			return invalid("The value of the tag " + DriftCheckTag + " must be off or a time from a minute to 1000 days, such as 6h or 7d.")
		}
	}
	return nil
}

// days is a range of dates, given as midnights UTC; both ends belong to it.
type days struct{ first, last time.Time }

func parseBlackout(text string) (all []days, ok bool) {
	for item := range strings.FieldsSeq(text) {
		first, last, isRange := strings.Cut(item, "/")
		if !isRange {
			last = first
		}
		from, errFrom := time.Parse(time.DateOnly, first)
		to, errTo := time.Parse(time.DateOnly, last)
		if errFrom != nil || errTo != nil || to.Before(from) || to.Sub(from) >= maxSpan*day {
			return nil, false
		}
		all = append(all, days{from, to})
	}
	return all, true
}

// clock is a Calendar that was read. Readings of its clocks are kept as times in
// UTC that show the same date and hour, called walls.
type clock struct {
	zone     *time.Location
	blackout []days
}

// clock reads the calendar. A zone that this program does not know any more
// counts as UTC: a secret rotates at another hour rather than never.
func (c Calendar) clock() clock {
	zone, err := time.LoadLocation(c.Zone) // UTC if empty
	if err != nil {
		zone = time.UTC
	}
	blackout, _ := parseBlackout(c.Blackout)
	return clock{zone, blackout}
}

// wall returns what the clocks show at t.
func (c clock) wall(t time.Time) time.Time {
	t = t.In(c.zone)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// instant returns the first moment at which the clocks show wall or, where they
// are put forward over it, the moment when that happens.
func (c clock) instant(wall time.Time) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, c.zone)
	from, until := t.ZoneBounds()
	switch shown := c.wall(t); {
	case shown.Before(wall):
		return until.UTC()
	case shown.After(wall):
		return from.UTC()
	}
	if from.IsZero() {
		return t.UTC()
	}
	// Of two moments that show the same, time.Date returns either.
	_, before := from.Add(-time.Second).Zone()
	_, now := t.Zone()
	if first := t.Add(time.Duration(now-before) * time.Second); first.Before(from) && c.wall(first).Equal(wall) {
		return first.UTC()
	}
	return t.UTC()
}

// dark reports whether t is on a day of the blackout.
func (c clock) dark(t time.Time) bool {
	date := c.wall(t).Truncate(day)
	return slices.ContainsFunc(c.blackout, func(d days) bool {
		return !date.Before(d.first) && !date.After(d.last)
	})
}
