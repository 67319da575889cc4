package scheduler

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Watched is what an operator's graphs show of one secret.
type Watched struct {
	ARN         secret.ARN
	LastRotated *time.Time
	Next        *time.Time // the moment of the next rotation
	Overdue     bool       // its window has ended without one
	OldValid    bool       // an older password is valid, until retireSecret
	Drift       []string   // kinds
}

// watchedText reads rows that sleep until something falls due, the soonest
// first, and then those that nothing wakes, of which the ones that are stuck in
// a step come first. Two indexes give both orders, so a limit bounds the work.
const watchedText = `SELECT * FROM (SELECT ` + watchedColumns + ` FROM rotations r LEFT JOIN rotation_checks c ON c.arn = r.arn
		WHERE r.wake_at IS NOT NULL ORDER BY r.wake_at LIMIT $1)
	UNION ALL SELECT * FROM (SELECT ` + watchedColumns + ` FROM rotations r LEFT JOIN rotation_checks c ON c.arn = r.arn
		WHERE r.wake_at IS NULL AND r.suspended = 0 ORDER BY r.kind DESC LIMIT $1)
	LIMIT $1`

const watchedColumns = `r.arn, r.last_rotated_at, r.enabled, r.due_at, r.due_by, r.retire_at IS NOT NULL OR r.kind = 'retirement', COALESCE(c.drift, ''), COALESCE(c.version_id, '')`

// Watch returns at most limit secrets that rotate. Where there are more, those
// that are due last are left out.
func (s *Scheduler) Watch(ctx context.Context, tx *sqldb.Tx, limit int) ([]Watched, error) {
	rows, err := tx.Query(ctx, watchedText, limit)
	if err != nil {
		return nil, fmt.Errorf("reading rotations: %w", err)
	}
	defer rows.Close()
	var all []Watched
	drifting := map[int]secret.VersionID{} // :: index → AWSCURRENT at the time of the proof
	for rows.Next() {
		w, version, err := scanWatched(rows, tx.Now)
		if err != nil {
			return nil, fmt.Errorf("reading rotations: %w", err)
		}
		if w.Drift != nil {
			drifting[len(all)] = version
		}
		all = append(all, w)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading rotations: %w", err)
	}
	return all, s.dropStale(ctx, tx, all, drifting)
}

func scanWatched(rows *sqldb.Rows, now time.Time) (w Watched, version secret.VersionID, err error) {
	var last, due, dueBy sql.NullInt64
	var enabled bool
	var drift string
	err = rows.Scan(&w.ARN, &last, &enabled, &due, &dueBy, &w.OldValid, &drift, &version)
	w.LastRotated, w.Drift = sqldb.Time(last), kindsOf(drift)
	if enabled {
		w.Next = sqldb.Time(due)
		w.Overdue = dueBy.Valid && dueBy.Int64 < sqldb.Millis(now)
	}
	return w, version, err
}

// dropStale takes away drift that was seen on another version than AWSCURRENT
// is now. Few secrets drift, so each is asked for by itself.
func (s *Scheduler) dropStale(ctx context.Context, tx *sqldb.Tx, all []Watched, drifting map[int]secret.VersionID) error {
	for i, version := range drifting {
		current, err := s.vault.Holder(ctx, tx, all[i].ARN, secret.Current)
		if err != nil {
			return err
		}
		if current != version {
			all[i].Drift = nil
		}
	}
	return nil
}
