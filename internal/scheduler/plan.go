package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// calendar reads the secret's tags.
func (s *Scheduler) calendar(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (Calendar, error) {
	found, err := s.vault.Find(ctx, tx, arn)
	if err != nil {
		return Calendar{}, err
	}
	return CalendarOf(found.Tags), nil
}

// TagsChanged tells that tags of a secret were set or removed. The next rotation
// is planned anew if they concern its schedule.
func (s *Scheduler) TagsChanged(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	r, err := load(ctx, tx, arn)
	if err != nil || r == nil {
		return err
	}
	before := r.rule.Calendar
	if r.rule.Calendar, err = s.calendar(ctx, tx, arn); err != nil || r.rule.Calendar == before {
		return err
	}
	if err := r.replan(tx.Now); err != nil {
		return fmt.Errorf("planning the next rotation: %w", err)
	}
	return r.save(ctx, tx)
}

// await plans the next rotation for the first window of a rule after a moment.
// If a blackout leaves none, none is planned.
func (r *row) await(rule Rule, after time.Time) error {
	w, err := rule.next(after, string(r.arn))
	if errors.Is(err, errNever) {
		r.due, r.dueBy = nil, nil
		return nil
	}
	if err != nil {
		return err
	}
	r.due, r.dueBy = &w.At, &w.End
	return nil
}

// giveWay puts a scheduled rotation off that is due on a day of the blackout:
// its window was before, but the server did not run, or had no room for it.
func (r *row) giveWay(now time.Time) error {
	if r.kind == rotating || r.kind == trial || !r.rotationDue(now) || !r.rule.Calendar.clock().dark(now) {
		return nil
	}
	return r.await(r.rule.afterBlackout(), now)
}
