package scheduler

import (
	"errors"
	"hash/fnv"
	"time"
)

// Window is a span of time in which a scheduled rotation happens.
type Window struct {
	// Its first and its last second. The latter is what DescribeSecret shows as
	// NextRotationDate, 23:59:59 for a window that lasts until the end of the day.
	Start, End time.Time
	At         time.Time  // when the secret rotates
	PassedOver *time.Time // the first window before it that a blackout took; nil: none
}

// Windows returns the next n windows of the secret with this ARN, if each
// rotation succeeds at its moment.
func (r Rule) Windows(after time.Time, arn string, n int) (all []Window, err error) {
	for range n {
		w, err := r.next(after, arn)
		if err != nil {
			return all, err
		}
		all = append(all, w)
		after = w.At
	}
	return all, nil
}

// errNever says that no window of a rule is outside of its blackout.
var errNever = errors.New("no rotation window outside of the blackout")

// next returns the first window that opens after a moment.
func (r Rule) next(after time.Time, arn string) (Window, error) {
	p, err := r.plan()
	if err != nil {
		return Window{}, err
	}
	c := r.Calendar.clock()
	o, ok := p.next(c, after)
	if !ok {
		return Window{}, errNever
	}
	w := Window{Start: o.start, End: p.end(c, o).Add(-time.Second), PassedOver: o.passedOver}
	w.At = w.Start.Add(spread(arn, w.End.Sub(w.Start)))
	return w, nil
}

// spread returns the secret's own part of a window: always the same for the same
// secret, so that they do not all rotate at midnight. The last quarter is left to
// retries.
func spread(arn string, window time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(arn)) // a hash never fails
	seconds := max(1, int64(window/time.Second)*3/4)
	return time.Duration(int64(h.Sum32())%seconds) * time.Second
}

// afterBlackout returns the rule by which the next window is found when a
// blackout kept a rotation from beginning that was due: days do not count anew.
func (r Rule) afterBlackout() Rule {
	if p, err := r.plan(); err == nil && p.days > 0 {
		r.Days, r.Expr = 1, ""
	}
	return r
}

// opening is where a window begins.
type opening struct {
	wall       time.Time // what the rule says
	start      time.Time
	passedOver *time.Time
}

// next returns the first opening after t that is not in the blackout. A day
// whose date the clocks leave out has none.
func (p plan) next(c clock, t time.Time) (o opening, ok bool) {
	date := c.wall(t).Truncate(day).AddDate(0, 0, int(p.days))
	for range horizon {
		for _, h := range p.hoursOf(date) {
			o.wall = date.Add(time.Duration(h) * time.Hour)
			o.start = c.instant(o.wall)
			if !o.start.After(t) || !c.wall(o.start).Truncate(day).Equal(date) {
				continue
			}
			if !c.dark(o.start) {
				return o, true
			}
			if o.passedOver == nil {
				o.passedOver = new(o.start)
			}
		}
		date = date.Add(day)
	}
	return opening{}, false
}

// hoursOf returns the hours of a date at which windows open.
func (p plan) hoursOf(date time.Time) []int {
	if p.on != nil && !p.on(date) {
		return nil
	}
	return p.hours
}

// end returns when the window that begins with o is over, at midnight at the
// latest. It is told by the clocks too, so that no window reaches into the next;
// one that they are put forward over is made up for.
func (p plan) end(c clock, o opening) time.Time {
	wall := o.wall.Add(p.length)
	if midnight := o.wall.Truncate(day).Add(day); wall.After(midnight) {
		wall = midnight
	}
	if end := c.instant(wall); end.After(o.start) {
		return end
	}
	return o.start.Add(p.length)
}
