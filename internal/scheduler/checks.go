package scheduler

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// checksSchema holds what canary logins need and have shown. A check is no row
// of rotation_runs: it changes nothing. Secrets that were there before it are
// due at once, and so spread over the first interval by spreadChecks.
const checksSchema = `
CREATE TABLE rotation_checks (
	arn TEXT PRIMARY KEY,
	slot BIGINT NOT NULL, -- the secret's place in the interval
	check_at BIGINT, -- NULL: nothing to check
	refused BIGINT NOT NULL, -- checks in a row that found AWSCURRENT refused
	-- the last proof, by a check or by hand
	proved_at BIGINT, source TEXT NOT NULL, proof TEXT NOT NULL, -- JSON of Proof
	version_id TEXT NOT NULL, -- AWSCURRENT at that time: for another one the rest says nothing
	drift TEXT NOT NULL, drift_since BIGINT
);
CREATE INDEX rotation_checks_at ON rotation_checks (check_at) WHERE check_at IS NOT NULL;
INSERT INTO rotation_checks (arn, slot, check_at, refused, source, proof, version_id, drift)
	SELECT arn, ABS(RANDOM() % 4294967296), 0, 0, '', '', '', '' FROM rotations;
CREATE INDEX rotations_asleep ON rotations (kind, arn) WHERE wake_at IS NULL;`

// Drift configures the canary logins that find out whether a database's
// password is still what the secret says.
type Drift struct {
	// Every is the interval; 0 means no canary logins.
	Every time.Duration
	// Proves tells whether a function answers proveSecret. Others must not be
	// invoked outside a rotation; nil means that none does.
	Proves func(function string) bool
}

// DriftCheckTag is the tag of a secret with its own interval, such as 6h or 7d,
// or "off".
const DriftCheckTag = "keyturn:rotation-drift-check"

// A secret's own interval is within these bounds.
const (
	shortestCheck = time.Minute
	longestDays   = 1000
)

// usualCheck plans checks while there are none, so that they have their place
// when they are switched on.
const usualCheck = 24 * time.Hour

// ParseCheckInterval reads the value of DriftCheckTag: 0 is "off".
func ParseCheckInterval(text string) (time.Duration, error) {
	if text == "off" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(min(n, longestDays+1)) * 24 * time.Hour
	}
	if err != nil || d < shortestCheck || d > longestDays*24*time.Hour {
		return 0, fmt.Errorf("%q is neither off nor a time such as 6h or 7d, from a minute to 1000 days", text)
	}
	return d, nil
}

// PlanCheck gives a secret its next canary login, after its rotation was
// configured or the tag was changed.
func (s *Scheduler) PlanCheck(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	every, err := s.checkInterval(ctx, tx, arn)
	if err != nil {
		return err
	}
	slot := slotOf(arn)
	var at *time.Time
	if every > 0 {
		next := nextCheck(tx.Now, slot, every)
		at = &next
	}
	_, err = tx.Exec(ctx, `INSERT INTO rotation_checks (arn, slot, check_at, refused, source, proof, version_id, drift)
		SELECT arn, $2, $3, 0, '', '', '', '' FROM rotations WHERE arn = $1
		ON CONFLICT (arn) DO UPDATE SET check_at = excluded.check_at, refused = 0`, arn, slot, millis(at))
	if err != nil {
		return fmt.Errorf("planning a canary login: %w", err)
	}
	if at != nil {
		tx.OnCommit(func() { s.offer(*at) })
	}
	return nil
}

// offer wakes the scheduler for a check that comes before the others.
func (s *Scheduler) offer(at time.Time) {
	if s.checks.offer(at) {
		s.Poke()
	}
}

// checkInterval is the interval of a secret; 0 is off.
func (s *Scheduler) checkInterval(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (time.Duration, error) {
	usual := s.drift.Every
	if usual == 0 {
		usual = usualCheck
	}
	found, err := s.vault.Find(ctx, tx, arn)
	if errors.Is(err, secret.ErrNotFound) {
		return 0, nil // it is about to be purged
	}
	if err != nil {
		return 0, err
	}
	for _, t := range found.Tags {
		if t.Key != DriftCheckTag {
			continue
		}
		every, err := ParseCheckInterval(t.Value)
		if err == nil {
			return every, nil
		}
		s.log.Warn("a tag is not understood", "secret", arn, "tag", DriftCheckTag, "error", err)
	}
	return usual, nil
}

// slotOf is always the same for the same secret, so that checks are spread.
func slotOf(arn secret.ARN) int64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte("check:" + arn)) // a hash never fails
	return int64(h.Sum32())
}

// nextCheck is the first moment after now that has the slot's place in the
// interval.
func nextCheck(now time.Time, slot int64, every time.Duration) time.Time {
	length := every.Milliseconds()
	at := now.UnixMilli()/length*length + slot%length
	if at <= now.UnixMilli() {
		at += length
	}
	return time.UnixMilli(at).UTC()
}

// spreadChecks gives checks that were missed, while the server or the checks
// were off, their next place: they must not come all at once.
func (s *Scheduler) spreadChecks(ctx context.Context, tx *sqldb.Tx) error {
	if s.drift.Every == 0 {
		return nil
	}
	now, length := sqldb.Millis(tx.Now), s.drift.Every.Milliseconds()
	_, err := tx.Exec(ctx, `UPDATE rotation_checks SET check_at = $1 - $1 % $2 + slot % $2 +
		CASE WHEN slot % $2 <= $1 % $2 THEN $2 ELSE 0 END WHERE check_at <= $1`, now, length)
	if err != nil {
		return fmt.Errorf("spreading canary logins: %w", err)
	}
	return nil
}

// earliestCheck returns the secret to check first, and when.
func earliestCheck(ctx context.Context, tx *sqldb.Tx) (arn secret.ARN, at time.Time, err error) {
	var due int64
	err = tx.QueryRow(ctx, `SELECT arn, check_at FROM rotation_checks
		WHERE check_at IS NOT NULL ORDER BY check_at LIMIT 1`).Scan(&arn, &due)
	if errors.Is(err, sql.ErrNoRows) {
		return "", time.Time{}, nil
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("looking for the next canary login: %w", err)
	}
	return arn, time.UnixMilli(due).UTC(), nil
}

func setCheck(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, at *time.Time) error {
	if _, err := tx.Exec(ctx, `UPDATE rotation_checks SET check_at = $2 WHERE arn = $1`, arn, millis(at)); err != nil {
		return fmt.Errorf("planning a canary login: %w", err)
	}
	return nil
}

func forgetCheck(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	_, err := tx.Exec(ctx, `DELETE FROM rotation_checks WHERE arn = $1`, arn)
	return err
}

// check is a row of rotation_checks.
type check struct {
	slot    int64
	at      *time.Time
	refused int64
	proved  *time.Time
	source  string
	proof   Proof
	version secret.VersionID
	drift   []string
	since   *time.Time
}

// loadCheck returns nil for a secret that has no row.
func loadCheck(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (*check, error) {
	c := &check{}
	var at, proved, since sql.NullInt64
	var proof, drift string
	err := tx.QueryRow(ctx, `SELECT slot, check_at, refused, proved_at, source, proof, version_id, drift, drift_since
		FROM rotation_checks WHERE arn = $1`, arn).
		Scan(&c.slot, &at, &c.refused, &proved, &c.source, &proof, &c.version, &drift, &since)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // the caller asks whether there is one
	}
	if err != nil {
		return nil, fmt.Errorf("reading a proof: %w", err)
	}
	c.at, c.proved, c.since = sqldb.Time(at), sqldb.Time(proved), sqldb.Time(since)
	c.drift = kindsOf(drift)
	if proof != "" {
		err = json.Unmarshal([]byte(proof), &c.proof)
	}
	return c, err
}

// save writes what a proof has shown.
func (c *check) save(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	proof, err := json.Marshal(c.proof)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE rotation_checks SET check_at = $2, refused = $3, proved_at = $4, source = $5,
		proof = $6, version_id = $7, drift = $8, drift_since = $9 WHERE arn = $1`,
		arn, millis(c.at), c.refused, millis(c.proved), c.source, string(proof), c.version, strings.Join(c.drift, " "), millis(c.since))
	if err != nil {
		return fmt.Errorf("storing a proof: %w", err)
	}
	return nil
}

func kindsOf(drift string) []string {
	if drift == "" {
		return nil
	}
	return strings.Fields(drift)
}
