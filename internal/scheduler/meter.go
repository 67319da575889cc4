package scheduler

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// Meter counts what the scheduler does. It is safe for concurrent use, and
// quick: some of it is called while a transaction commits.
type Meter interface {
	// StepEnded tells of one attempt of a step; class is that of its error,
	// empty for success.
	StepEnded(step, class string, took time.Duration)
	// RotationEnded tells of a rotation that ended (success), was given up
	// (abandoned), or failed at one attempt of a step (failure); function is the
	// name of the secret's rotation function, which for keyturn's own tells the engine.
	RotationEnded(function, strategy, result string)
	// RotationTook tells how long a rotation took that ended well.
	RotationTook(d time.Duration)
	// Exposed tells for how long the database refused AWSCURRENT.
	Exposed(d time.Duration)
}

// noMeter counts nothing.
type noMeter struct{}

func (noMeter) StepEnded(string, string, time.Duration) {}
func (noMeter) RotationEnded(string, string, string)    {}
func (noMeter) RotationTook(time.Duration)              {}
func (noMeter) Exposed(time.Duration)                   {}

// meterOr is m, or one that counts nothing.
func meterOr(m Meter) Meter {
	if m == nil {
		return noMeter{}
	}
	return m
}

// measured invokes a step and counts it. A step that was interrupted runs again.
func (s *Scheduler) measured(ctx context.Context, c *claim) outcome {
	start := s.now()
	o := s.invoke(ctx, c)
	if o.interrupted {
		return o
	}
	failed := ""
	if o.err != nil {
		failed = class(o.err)
	}
	s.meter.StepEnded(c.step, failed, s.now().Sub(start))
	return o
}

// The results of RotationEnded.
const (
	success   = "success"
	failure   = "failure"
	abandoned = "abandoned"
)

// count counts the end of a rotation when the transaction is on disk.
func (s *Scheduler) count(tx *sqldb.Tx, r *row, result string) {
	if r.kind != rotating {
		return
	}
	function, strategy := functionName(r.function), r.strategy
	tx.OnCommit(func() { s.meter.RotationEnded(function, strategy, result) })
}

// functionName is the name in a function's ARN, without a version or alias.
func functionName(arn string) string {
	_, name, _ := strings.Cut(arn, ":function:")
	name, _, _ = strings.Cut(name, ":")
	return name
}

// countTime counts how long a rotation took that has come to its end.
func (s *Scheduler) countTime(ctx context.Context, tx *sqldb.Tx, r *row) error {
	var began int64
	err := tx.QueryRow(ctx, `SELECT started_at FROM rotation_runs
		WHERE arn = $1 AND version_id = $2 AND step = $3 AND attempt = 1 ORDER BY id DESC LIMIT 1`,
		r.arn, r.token, stepCreate).Scan(&began)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // it took so many attempts that its first record is gone
	}
	if err != nil {
		return fmt.Errorf("reading a rotation's beginning: %w", err)
	}
	took := tx.Now.Sub(time.UnixMilli(began))
	tx.OnCommit(func() { s.meter.RotationTook(took) })
	return nil
}
