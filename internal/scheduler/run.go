package scheduler

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Run is the record of one step.
type Run struct {
	VersionID  secret.VersionID
	Kind       string // rotation, test, retirement
	Step       string
	Attempt    int64
	Started    time.Time
	Ended      *time.Time // nil while it runs
	Outcome    string     // running, succeeded, failed, abandoned, interrupted
	ErrorClass string
	Error      string
	Strategy   string
	// ExposureMicros is how long, at most, the database refused the value of
	// AWSCURRENT, in microseconds; nil: not known, or another step tells it.
	ExposureMicros *int64
}

// maxError bounds, in bytes, what is kept of a function's error.
const maxError = 1000

// maxRuns is how many records of a secret are kept.
const maxRuns = 1000

func trimRuns(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	_, err := tx.Exec(ctx, `DELETE FROM rotation_runs WHERE arn = $1 AND id <= (
		SELECT id FROM rotation_runs WHERE arn = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)`, arn, maxRuns)
	if err != nil {
		return fmt.Errorf("removing old records: %w", err)
	}
	return nil
}

// hasRotated reports whether a rotation to this version came to its end.
func hasRotated(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, id secret.VersionID) (bool, error) {
	var n int
	err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM rotation_runs WHERE arn = $1 AND version_id = $2 AND kind = $3 AND step = $4 AND outcome = 'succeeded'`,
		arn, id, rotating, stepFinish).Scan(&n)
	return n > 0, err
}

func beginRun(ctx context.Context, tx *sqldb.Tx, r *row) (id string, err error) {
	if r.step == stepCreate || r.attempt > 1 {
		if err := trimRuns(ctx, tx, r.arn); err != nil {
			return "", err
		}
	}
	u, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	_, err = tx.Exec(ctx, `INSERT INTO rotation_runs
		(id, arn, version_id, kind, step, attempt, started_at, outcome, error_class, error, strategy)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 'running', '', '', '')`,
		u.String(), r.arn, r.token, r.kind, r.step, r.attempt, sqldb.Millis(tx.Now))
	if err != nil {
		return "", fmt.Errorf("recording a step's beginning: %w", err)
	}
	return u.String(), nil
}

func endRun(ctx context.Context, tx *sqldb.Tx, id string, o outcome) error {
	result, errClass, text := "succeeded", "", ""
	switch {
	case o.interrupted:
		result = "interrupted"
	case o.err != nil:
		result, errClass, text = "failed", class(o.err), shown(o.err)
	}
	_, err := tx.Exec(ctx, `UPDATE rotation_runs SET ended_at = $2, outcome = $3, error_class = $4, error = $5, strategy = $6,
			changed_at_micros = NULLIF($7, 0), exposure_micros = $8
		WHERE id = $1`, id, sqldb.Millis(tx.Now), result, errClass, text, o.answer.Strategy, o.answer.ChangedAtMicros, o.exposure)
	if err != nil {
		return fmt.Errorf("recording a step's end: %w", err)
	}
	return nil
}

// shown is what a caller may read of an error: the function's own words. Other
// errors are the server's and stay in its log.
func shown(err error) string {
	f, ok := errors.AsType[*FunctionError](err)
	switch {
	case !ok && errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("The function did not answer within %s.", stepTime)
	case !ok:
		return "The function could not be invoked. The server's log says why."
	}
	return clip(f.Message)
}

// clip is what is kept of an error's text: the store and JSON take UTF-8 alone.
func clip(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxError)], "")
}

// interrupt ends the record of a step whose worker is gone.
func interrupt(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, result string) error {
	_, err := tx.Exec(ctx, `UPDATE rotation_runs SET ended_at = $2, outcome = $3 WHERE arn = $1 AND outcome = 'running'`,
		arn, sqldb.Millis(tx.Now), result)
	if err != nil {
		return fmt.Errorf("ending a record: %w", err)
	}
	return nil
}

func abandonRuns(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	return interrupt(ctx, tx, arn, "abandoned")
}

func interruptRuns(ctx context.Context, tx *sqldb.Tx) error {
	_, err := tx.Exec(ctx, `UPDATE rotation_runs SET ended_at = $1, outcome = 'interrupted' WHERE outcome = 'running'`,
		sqldb.Millis(tx.Now))
	return err
}

// Runs returns the latest records of a secret, newest first.
func (s *Scheduler) Runs(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, limit int64) ([]Run, error) {
	rows, err := tx.Query(ctx, `SELECT version_id, kind, step, attempt, started_at, ended_at, outcome, error_class, error, strategy, exposure_micros
		FROM rotation_runs WHERE arn = $1 ORDER BY id DESC LIMIT $2`, arn, limit)
	if err != nil {
		return nil, fmt.Errorf("reading rotation records: %w", err)
	}
	defer rows.Close()
	var all []Run
	for rows.Next() {
		run, err := scanRun(rows)
		if err != nil {
			return nil, fmt.Errorf("reading rotation records: %w", err)
		}
		all = append(all, run)
	}
	return all, rows.Err()
}

// tested is when testSecret last succeeded for a version, or nil.
func tested(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, version secret.VersionID) (*time.Time, error) {
	return endOf(ctx, tx, `SELECT ended_at FROM rotation_runs WHERE arn = $1 AND version_id = $2 AND step = '`+stepTest+`'
		AND outcome = 'succeeded' ORDER BY id DESC LIMIT 1`, arn, version)
}

// failingSince is when a secret's first failure ended after the last success of all steps.
// It is nil unless the newest step that has ended failed.
func failingSince(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (*time.Time, error) {
	return endOf(ctx, tx, `SELECT ended_at FROM rotation_runs WHERE arn = $1 AND outcome = 'failed'
		AND 'failed' = (SELECT outcome FROM rotation_runs WHERE arn = $1 AND outcome IN ('succeeded', 'failed') ORDER BY id DESC LIMIT 1)
		AND id > COALESCE((SELECT id FROM rotation_runs WHERE arn = $1 AND outcome = 'succeeded'
			AND (kind = '`+trial+`' OR step IN ('`+stepFinish+`', '`+stepRetire+`')) ORDER BY id DESC LIMIT 1), '')
		ORDER BY id LIMIT 1`, arn)
}

func endOf(ctx context.Context, tx *sqldb.Tx, text string, args ...any) (*time.Time, error) {
	var ended sql.NullInt64
	err := tx.QueryRow(ctx, text, args...).Scan(&ended)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("reading rotation records: %w", err)
	}
	return sqldb.Time(ended), nil
}

func scanRun(rows *sqldb.Rows) (Run, error) {
	var r Run
	var started int64
	var ended sql.NullInt64
	err := rows.Scan(&r.VersionID, &r.Kind, &r.Step, &r.Attempt, &started, &ended,
		&r.Outcome, &r.ErrorClass, &r.Error, &r.Strategy, &r.ExposureMicros)
	r.Started, r.Ended = time.UnixMilli(started).UTC(), sqldb.Time(ended)
	return r, err
}
