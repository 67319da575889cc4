package scheduler

import (
	"context"
	"errors"
	"time"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Explanation is why a secret rotates when it does.
type Explanation struct {
	Enabled     bool
	Rule        Rule
	LastRotated *time.Time
	CountedFrom *time.Time // what the rule counts from; nil: nothing yet
	Windows     []Window   // the next ones; none without a schedule, or before a deletion
}

// Explain tells the next n windows of a secret, if each rotation succeeds, and
// what they follow from. Where rotation was never configured it has the Calendar that
// it would have.
func (s *Scheduler) Explain(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, n int) (*Explanation, error) {
	r, err := load(ctx, tx, arn)
	if err != nil {
		return nil, err
	}
	if r == nil {
		c, err := s.calendar(ctx, tx, arn)
		return &Explanation{Rule: Rule{Calendar: c}}, err
	}
	e := &Explanation{Enabled: r.enabled, Rule: r.rule, LastRotated: r.lastRotated, CountedFrom: r.countedFrom}
	if r.nextRotation() == nil || r.dueBy == nil {
		return e, nil
	}
	if e.Windows, err = r.rule.WindowsFrom(*r.dueBy, string(arn), n); err != nil {
		return nil, err
	}
	e.notePassedOver(string(arn))
	return e, nil
}

// notePassedOver tells what the blackout took before the first window, which
// was found from its end.
func (e *Explanation) notePassedOver(arn string) {
	if e.CountedFrom == nil || len(e.Windows) == 0 {
		return
	}
	planned, err := e.Rule.next(*e.CountedFrom, arn)
	if err == nil && planned.End.Equal(e.Windows[0].End) {
		e.Windows[0].PassedOver = planned.PassedOver
	}
}

// WindowsFrom returns n windows, of which the first one ends at end, a
// NextRotationDate. If the rule has no such window, they come after it.
func (r Rule) WindowsFrom(end time.Time, arn string, n int) ([]Window, error) {
	first, err := r.windowTo(end, arn)
	if err != nil || n < 1 {
		return nil, err
	}
	more, err := r.Windows(first.At, arn, n-1)
	if errors.Is(err, errNever) || errors.Is(err, errNoSchedule) {
		err = nil
	}
	return append([]Window{first}, more...), err
}

// windowTo looks for the window that ends at end, in the two days before it.
func (r Rule) windowTo(end time.Time, arn string) (Window, error) {
	daily := r.afterBlackout() // a window in days may be on any day
	for t := end.Add(-2 * day); ; {
		w, err := daily.next(t, arn)
		if err != nil || !w.End.Before(end) {
			return w, err
		}
		t = w.Start
	}
}
