package scheduler

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Schema is the tables of this package.
var Schema = sqldb.Schema{Name: "scheduler", Steps: []string{`
CREATE TABLE rotations (
	arn TEXT PRIMARY KEY,
	-- what RotateSecret configured
	enabled BIGINT NOT NULL, function TEXT NOT NULL,
	days BIGINT NOT NULL, expression TEXT NOT NULL, duration TEXT NOT NULL,
	counted_days BIGINT NOT NULL, -- of an expression, after a rotation
	suspended BIGINT NOT NULL, -- the secret is scheduled for deletion
	last_rotated_at BIGINT, counted_from BIGINT, due_at BIGINT, due_by BIGINT,
	strategy TEXT NOT NULL, -- of the last rotation that succeeded
	retire_at BIGINT, retire_token TEXT NOT NULL,
	-- what is under way
	kind TEXT NOT NULL, token TEXT NOT NULL, step TEXT NOT NULL, attempt BIGINT NOT NULL,
	refused BIGINT NOT NULL, try_at BIGINT NOT NULL,
	lease_until BIGINT NOT NULL, epoch BIGINT NOT NULL,
	-- when a worker must look at the row: derived from the above
	wake_at BIGINT
);
CREATE INDEX rotations_wake ON rotations (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX rotations_lease ON rotations (lease_until) WHERE lease_until > 0;
CREATE TABLE rotation_runs (
	id TEXT PRIMARY KEY, -- a UUID of version 7: in the order of time
	arn TEXT NOT NULL, version_id TEXT NOT NULL, kind TEXT NOT NULL,
	step TEXT NOT NULL, attempt BIGINT NOT NULL,
	started_at BIGINT NOT NULL, ended_at BIGINT,
	outcome TEXT NOT NULL, error_class TEXT NOT NULL, error TEXT NOT NULL, strategy TEXT NOT NULL
);
CREATE INDEX rotation_runs_arn ON rotation_runs (arn, id);
CREATE INDEX rotation_runs_running ON rotation_runs (outcome) WHERE outcome = 'running';`,
	checksSchema, `
ALTER TABLE rotations ADD COLUMN time_zone TEXT NOT NULL DEFAULT ''; -- from tags of the secret
ALTER TABLE rotations ADD COLUMN blackout TEXT NOT NULL DEFAULT '';
-- a row that waits for others at its database host has no wake_at meanwhile
ALTER TABLE rotations ADD COLUMN queue TEXT NOT NULL DEFAULT ''; -- a keyed hash of the host
ALTER TABLE rotations ADD COLUMN queued_at BIGINT;
CREATE INDEX rotations_queue ON rotations (queue, queued_at) WHERE queued_at IS NOT NULL;`, `
-- microseconds since 1970: when setSecret began to change the password; NULL: not told
ALTER TABLE rotation_runs ADD COLUMN changed_at_micros BIGINT;
-- how long, at most, the database refused the value of AWSCURRENT; NULL: not known
ALTER TABLE rotation_runs ADD COLUMN exposure_micros BIGINT;`, `
-- those under way do not wait for the ones that are to begin
CREATE INDEX rotations_under_way ON rotations (wake_at) WHERE wake_at IS NOT NULL AND kind <> '';`}}

// What may be under way.
const (
	idle       = ""
	rotating   = "rotation"
	trial      = "test" // RotateImmediately=false: testSecret on a copy of the current value
	retirement = "retirement"
)

// The steps, as AWS names them in the event; retireSecret is ours.
const (
	stepCreate = "createSecret"
	stepSet    = "setSecret"
	stepTest   = "testSecret"
	stepFinish = "finishSecret"
	stepRetire = "retireSecret"
)

var nextStep = map[string]string{stepCreate: stepSet, stepSet: stepTest, stepTest: stepFinish}

// row is a secret's rotation: its rule and what is under way.
type row struct {
	arn         secret.ARN
	enabled     bool
	function    string
	rule        Rule
	countedDays int64
	suspended   bool
	lastRotated *time.Time
	countedFrom *time.Time // the last rotation, a new value by hand, or the first rule: what the rule counts from
	due         *time.Time // when the next rotation begins
	dueBy       *time.Time // the end of its window: NextRotationDate
	strategy    string
	retireAt    *time.Time
	retireToken secret.VersionID

	kind       string
	token      secret.VersionID
	step       string
	attempt    int64
	refused    int64 // how often testSecret sent this rotation back to setSecret
	tryAt      time.Time
	leaseUntil time.Time
	epoch      int64
}

// claim is a worker's right to run one step.
type claim struct {
	arn      secret.ARN
	epoch    int64
	kind     string
	token    secret.VersionID
	step     string
	function string
	run      string // the record's id
	rejected int64  // how many passwords the database has rejected in a row
	told     told
}

func newToken() secret.VersionID { return secret.VersionID(uuid.NewString()) }

// wake is when a worker must look at the row; nil is never. While another worker
// holds the row that is not before its lease ends.
func (r *row) wake() *time.Time {
	at := r.nextWork()
	if at != nil && r.leaseUntil.After(*at) {
		return &r.leaseUntil
	}
	return at
}

func (r *row) nextWork() *time.Time {
	switch {
	case r.suspended:
		return nil
	case r.kind == retirement:
		return earlier(&r.tryAt, r.nextRotation())
	case r.kind != idle:
		return &r.tryAt
	}
	return earlier(r.retireAt, r.nextRotation())
}

func (r *row) nextRotation() *time.Time {
	if !r.enabled || r.suspended {
		return nil
	}
	return r.due
}

// earlier returns the earlier of two moments, of which either may be missing.
func earlier(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.Before(*a) {
		return b
	}
	return a
}

// rotationDue reports whether the next rotation is to begin.
func (r *row) rotationDue(now time.Time) bool {
	at := r.nextRotation()
	return at != nil && !at.After(now)
}

// replan sets the next rotation's date after a change of the rule. It counts as
// before, unless that leads into the past: a rule that became shorter, or comes
// back after a time without one, does not rotate at once.
func (r *row) replan(now time.Time) error {
	if r.countedFrom != nil {
		if err := r.plan(*r.countedFrom); err != nil || r.due == nil || r.due.After(now) {
			return err
		}
	}
	return r.plan(now)
}

// plan sets the next rotation's date, counting from after. Without a function
// there is none: what rotates such a secret is not of this server.
func (r *row) plan(after time.Time) error {
	r.due, r.dueBy = nil, nil
	if !r.enabled || r.function == "" || (r.rule.Days == 0 && r.rule.Expr == "") {
		return nil
	}
	return r.await(r.rule, after)
}

// rest makes the row idle.
func (r *row) rest() {
	r.kind, r.token, r.step, r.attempt, r.refused = idle, "", "", 0, 0
	r.tryAt, r.leaseUntil = time.Time{}, time.Time{}
}

func millis(t *time.Time) sql.NullInt64 {
	if t == nil {
		return sql.NullInt64{}
	}
	return sql.NullInt64{Int64: sqldb.Millis(*t), Valid: true}
}

// stored is a moment in a column that is never NULL: 0 is no moment.
func stored(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return sqldb.Millis(t)
}

const rowColumns = `arn, enabled, function, days, expression, duration, counted_days, suspended,
	last_rotated_at, counted_from, due_at, due_by, strategy, retire_at, retire_token,
	kind, token, step, attempt, refused, try_at, lease_until, epoch, time_zone, blackout`

// load returns the row of a secret, or nil when rotation was never configured.
func load(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (*row, error) {
	r, err := scanRow(tx.QueryRow(ctx, `SELECT `+rowColumns+` FROM rotations WHERE arn = $1`, arn).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // the caller asks whether there is one
	}
	if err != nil {
		return nil, fmt.Errorf("reading a rotation: %w", err)
	}
	return r, nil
}

func scanRow(scan func(...any) error) (*row, error) {
	r := &row{}
	var last, counted, due, dueBy, retire sql.NullInt64
	var tryAt, lease int64
	err := scan(&r.arn, &r.enabled, &r.function, &r.rule.Days, &r.rule.Expr, &r.rule.Duration, &r.countedDays, &r.suspended,
		&last, &counted, &due, &dueBy, &r.strategy, &retire, &r.retireToken,
		&r.kind, &r.token, &r.step, &r.attempt, &r.refused, &tryAt, &lease, &r.epoch,
		&r.rule.Calendar.Zone, &r.rule.Calendar.Blackout)
	r.lastRotated, r.countedFrom = sqldb.Time(last), sqldb.Time(counted)
	r.due, r.dueBy, r.retireAt = sqldb.Time(due), sqldb.Time(dueBy), sqldb.Time(retire)
	r.tryAt, r.leaseUntil = time.UnixMilli(tryAt).UTC(), time.UnixMilli(lease).UTC()
	return r, err
}

// save writes the whole row.
func (r *row) save(ctx context.Context, tx *sqldb.Tx) error {
	_, err := tx.Exec(ctx, `INSERT INTO rotations (`+rowColumns+`, wake_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26)
		ON CONFLICT (arn) DO UPDATE SET enabled = excluded.enabled, function = excluded.function,
			days = excluded.days, expression = excluded.expression, duration = excluded.duration,
			counted_days = excluded.counted_days, suspended = excluded.suspended,
			last_rotated_at = excluded.last_rotated_at, counted_from = excluded.counted_from, due_at = excluded.due_at, due_by = excluded.due_by,
			strategy = excluded.strategy, retire_at = excluded.retire_at, retire_token = excluded.retire_token,
			kind = excluded.kind, token = excluded.token, step = excluded.step, attempt = excluded.attempt,
			refused = excluded.refused, try_at = excluded.try_at, lease_until = excluded.lease_until, epoch = excluded.epoch,
			time_zone = excluded.time_zone, blackout = excluded.blackout,
			wake_at = excluded.wake_at, queue = '', queued_at = NULL`,
		r.arn, r.enabled, r.function, r.rule.Days, r.rule.Expr, r.rule.Duration, r.countedDays, r.suspended,
		millis(r.lastRotated), millis(r.countedFrom), millis(r.due), millis(r.dueBy), r.strategy, millis(r.retireAt), r.retireToken,
		r.kind, r.token, r.step, r.attempt, r.refused, stored(r.tryAt), stored(r.leaseUntil), r.epoch,
		r.rule.Calendar.Zone, r.rule.Calendar.Blackout, millis(r.wake()))
	if err != nil {
		return fmt.Errorf("storing a rotation: %w", err)
	}
	return nil
}

// leased returns the rows that somebody held when the server ended.
func leased(ctx context.Context, tx *sqldb.Tx) ([]secret.ARN, error) {
	rows, err := tx.Query(ctx, `SELECT arn FROM rotations WHERE lease_until > 0`)
	if err != nil {
		return nil, fmt.Errorf("looking for leases: %w", err)
	}
	defer rows.Close()
	var all []secret.ARN
	for rows.Next() {
		var arn secret.ARN
		if err := rows.Scan(&arn); err != nil {
			return nil, fmt.Errorf("looking for leases: %w", err)
		}
		all = append(all, arn)
	}
	return all, rows.Err()
}
