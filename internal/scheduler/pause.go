package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// rejected is the error type with which a function's setSecret says that the
// database refused the new password, but may take another one.
const rejected = "rejected"

const (
	// longPause is the pause after a failure that somebody has to mend: a
	// missing privilege, a rule of the server, passwords that nobody knows. It
	// ends early by RotateSecret. Few logins are refused meanwhile, so that no
	// account is locked.
	longPause = time.Hour
	// quickRejections is how many passwords in a row may be rejected before the
	// long pause.
	quickRejections = 3
	// recentRuns bounds how far back rejections are counted.
	recentRuns = 4 * quickRejections
)

// pause is how long to wait before the next attempt of a step that failed.
func pause(r *row, err error) time.Duration {
	switch class(err) {
	case "privilege", "policy":
		return longPause
	case "auth":
		if r.step != stepTest { // which leads back to setSecret
			return longPause
		}
	}
	return backoff(r.attempt)
}

// takeBack makes attempts due that are planned further ahead than any pause is long: by
// a clock that was set back since. A machine that took its local time for UTC when it
// started may be hours ahead.
func takeBack(ctx context.Context, tx *sqldb.Tx) error {
	_, err := tx.Exec(ctx, `UPDATE rotations SET try_at = $1, wake_at = $1 WHERE kind <> '' AND lease_until = 0 AND wake_at > $2`,
		sqldb.Millis(tx.Now), sqldb.Millis(tx.Now.Add(longPause)))
	if err != nil {
		return fmt.Errorf("taking back what a wrong clock has planned: %w", err)
	}
	return nil
}

// follow notes the time, and takes back what was planned where that has gone back.
func (s *Scheduler) follow(ctx context.Context, now time.Time) error {
	if now.Before(s.latest) {
		if err := s.db.Write(ctx, func(tx *sqldb.Tx) error { return takeBack(ctx, tx) }); err != nil {
			return err
		}
		s.Poke()
	}
	s.latest = now
	return nil
}

func isRejected(err error) bool {
	f, ok := errors.AsType[*FunctionError](err)
	return ok && f.Type == rejected
}

// renew begins a rotation again whose password the database rejected: a version
// keeps its value, so there is a new one, and createSecret is told.
func (s *Scheduler) renew(ctx context.Context, tx *sqldb.Tx, r *row) error {
	n, err := rejections(ctx, tx, r.arn)
	if err != nil {
		return err
	}
	r.attempt++
	r.tryAt = tx.Now.Add(longPause)
	token := newToken()
	err = s.vault.Reserve(ctx, tx, r.arn, token)
	if full := fault.Of(err); err != nil && full.Kind != fault.Internal {
		return r.save(ctx, tx) // no room for a version; the clean-up may make some
	}
	if err != nil {
		return fmt.Errorf("beginning again with a new password: %w", err)
	}
	if n <= quickRejections {
		r.tryAt = tx.Now.Add(backoff(n))
	}
	r.token, r.step, r.attempt, r.refused = token, stepCreate, 1, 0
	s.noteStarted(tx, r)
	return r.save(ctx, tx)
}

// rejections counts how many passwords in a row the database has rejected, by
// the latest records.
func rejections(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (n int64, err error) {
	rows, err := tx.Query(ctx, `SELECT step, outcome, error_class FROM rotation_runs
		WHERE arn = $1 AND kind = $2 ORDER BY id DESC LIMIT $3`, arn, rotating, recentRuns)
	if err != nil {
		return 0, fmt.Errorf("counting rejected passwords: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var step, outcome, class string
		if err := rows.Scan(&step, &outcome, &class); err != nil {
			return 0, fmt.Errorf("counting rejected passwords: %w", err)
		}
		if step == stepSet && outcome == "succeeded" {
			break
		}
		if step == stepSet && class == "policy" {
			n++
		}
	}
	return n, rows.Err()
}
