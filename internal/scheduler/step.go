package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// event is what a rotation function gets; see "Lambda rotation functions" in
// the AWS guide.
type event struct {
	Step               string `json:"Step"`
	SecretID           string `json:"SecretId"`
	ClientRequestToken string `json:"ClientRequestToken"`
	RotationToken      string `json:"RotationToken"`
	// Rejections is ours: how many passwords in a row the database has rejected,
	// so that createSecret makes one that fits better.
	Rejections int64 `json:"Rejections,omitempty"`
	// Created and Strategy are ours too, for functions that have told them: see told.
	Created  bool   `json:"Created,omitempty"`
	Strategy string `json:"Strategy,omitempty"`
}

// answer is what keyturn's own functions say beyond what AWS asks of them.
type answer struct {
	Strategy           string `json:"strategy"`
	Created            bool   `json:"created"`
	RetireAfterSeconds int64  `json:"retireAfterSeconds"`
	ChangedAtMicros    int64  `json:"changedAtMicros"`
	PromotedAtMicros   int64  `json:"promotedAtMicros"`
	ExposureMicros     *int64 `json:"exposureMicros"`

	Logins []Login `json:"logins"` // of proveSecret
}

// strategies are how keyturn's own functions rotate.
var strategies = []string{singleUser, "DualPassword", alternating}

// longestRetire is how long, at most, a function may keep an old password.
const longestRetire = 365 * 24 * time.Hour

// sane is what counts of an answer, whoever made the function.
func (a answer) sane() answer {
	if !slices.Contains(strategies, a.Strategy) {
		a.Strategy = ""
	}
	a.RetireAfterSeconds = min(a.RetireAfterSeconds, int64(longestRetire/time.Second))
	return a
}

// outcome is how one step ended.
type outcome struct {
	answer   answer
	err      error
	exposure *int64 // see Run.ExposureMicros
	// interrupted: the server stops; the step is no failure and runs again.
	interrupted bool
}

// carry runs one step after the other until the row rests, waits for a later
// attempt, or is another's.
func (s *Scheduler) carry(ctx context.Context, c *claim) {
	for c != nil {
		o := s.measured(ctx, c)
		next, err := s.settle(context.WithoutCancel(ctx), c, o)
		if err != nil { // the lease runs out, and the step runs again
			s.log.Error("recording a rotation's step", "secret", c.arn, "step", c.step, "error", err)
			return
		}
		if next != nil {
			next.told = c.told.after(c.step, o.answer)
		}
		c = next
	}
}

// told is what the steps before have answered, which spares those that follow
// some logins. It lives as long as one worker carries the rotation and every step
// succeeds at once: after anything else a step looks for itself.
type told struct {
	created  bool   // createSecret has made the pending value
	strategy string // by which setSecret has changed the password
}

func (t told) after(step string, a answer) told {
	switch step {
	case stepCreate:
		t.created = a.Created
	case stepSet:
		t = told{strategy: a.Strategy}
	}
	return t
}

func (c *claim) event() event {
	e := event{Step: c.step, SecretID: string(c.arn), ClientRequestToken: string(c.token), RotationToken: c.run, Rejections: c.rejected}
	e.Created = c.told.created
	if c.step == stepFinish {
		e.Strategy = c.told.strategy
	}
	return e
}

func (s *Scheduler) invoke(ctx context.Context, c *claim) outcome {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	payload, err := json.Marshal(c.event())
	if err != nil {
		return outcome{err: err}
	}
	raw, err := s.functions.Invoke(ctx, c.function, payload)
	if err != nil {
		o := outcome{err: err, interrupted: errors.Is(ctx.Err(), context.Canceled)}
		s.logInternal(c, o)
		return o
	}
	o := outcome{}
	_ = json.Unmarshal(raw, &o.answer) // a function may answer what it likes
	o.answer = o.answer.sane()
	return o
}

// logInternal keeps what callers do not see: a failure that is not the
// function's own.
func (s *Scheduler) logInternal(c *claim, o outcome) {
	if _, own := errors.AsType[*FunctionError](o.err); own || o.interrupted {
		return
	}
	s.log.Error("invoking a rotation function", "secret", c.arn, "function", c.function, "step", c.step, "error", o.err)
}

// settle writes a step's end and, in the same transaction, the beginning of the
// next one.
func (s *Scheduler) settle(ctx context.Context, c *claim, o outcome) (next *claim, err error) {
	err = s.db.Write(ctx, func(tx *sqldb.Tx) error {
		next = nil
		o := o // this function may run again
		r, err := load(ctx, tx, c.arn)
		if err != nil || r == nil || r.epoch != c.epoch {
			return err // purged, or another's
		}
		if r.kind != c.kind || r.token != c.token || r.step != c.step {
			return s.release(ctx, tx, r)
		}
		if o.err == nil && c.step == stepFinish {
			if o.err, err = s.promoted(ctx, tx, c); err != nil {
				return err
			}
		}
		if o.exposure, err = exposure(ctx, tx, c, o); err != nil {
			return err
		}
		if e := o.exposure; e != nil {
			tx.OnCommit(func() { s.meter.Exposed(time.Duration(*e) * time.Microsecond) })
		}
		if err := endRun(ctx, tx, c.run, o); err != nil {
			return err
		}
		next, err = s.advance(ctx, tx, r, o)
		return err
	})
	return next, err
}

// release gives a row back whose work was taken away or replaced meanwhile.
func (s *Scheduler) release(ctx context.Context, tx *sqldb.Tx, r *row) error {
	r.leaseUntil = time.Time{}
	if r.kind != idle {
		r.tryAt = tx.Now
	}
	return r.save(ctx, tx)
}

// promoted checks what makes a rotation a success: AWSCURRENT is on the token.
func (s *Scheduler) promoted(ctx context.Context, tx *sqldb.Tx, c *claim) (failure, err error) {
	current, err := s.vault.Holder(ctx, tx, c.arn, secret.Current)
	if err == nil && current != c.token {
		failure = &FunctionError{Type: "api", Message: "The function's finishSecret succeeded, but did not move AWSCURRENT to version " + string(c.token) + "."}
	}
	return failure, err
}

// advance moves the row on after a step.
func (s *Scheduler) advance(ctx context.Context, tx *sqldb.Tx, r *row, o outcome) (*claim, error) {
	if o.err != nil && (r.kind != trial || o.interrupted) {
		return nil, s.again(ctx, tx, r, o)
	}
	if r.step == stepSet {
		r.retireAt, r.retireToken = nil, "" // the new password took the old one's place
	}
	if o.answer.Strategy != "" {
		r.strategy = o.answer.Strategy
	}
	if next, more := nextStep[r.step]; more && r.kind == rotating {
		r.step, r.attempt = next, 1
		if next == stepTest {
			r.attempt += r.refused
		}
		return s.beginStep(ctx, tx, r)
	}
	if err := s.complete(ctx, tx, r, o); err != nil {
		return nil, err
	}
	r.rest()
	return nil, r.save(ctx, tx)
}

// complete does what belongs to the end of a rotation, test or retirement.
func (s *Scheduler) complete(ctx context.Context, tx *sqldb.Tx, r *row, o outcome) error {
	switch {
	case o.err != nil: // a test is not tried again
		s.noteFailed(tx, r, o.err)
	case r.kind != retirement || o.answer.RetireAfterSeconds <= 0:
		s.noteSucceeded(tx, r)
	}
	switch r.kind {
	case trial:
		return s.vault.Remove(ctx, tx, r.arn, r.token)
	case rotating:
		if err := s.countTime(ctx, tx, r); err != nil {
			return err
		}
		return s.rotated(ctx, tx, r, o.answer)
	}
	r.retire(tx.Now, o.answer) // the function may ask to be called once more
	return nil
}

// retire plans the retirement that a function asked for.
func (r *row) retire(now time.Time, a answer) {
	if a.RetireAfterSeconds > 0 {
		at := now.Add(time.Duration(a.RetireAfterSeconds) * time.Second)
		r.retireAt, r.retireToken = &at, r.token
	}
}

// StrategyTag is the system tag that shows on DescribeSecret how the last
// rotation was done.
const StrategyTag = "aws:keyturn:rotation-strategy"

func (s *Scheduler) rotated(ctx context.Context, tx *sqldb.Tx, r *row, a answer) error {
	r.lastRotated, r.countedFrom = &tx.Now, &tx.Now
	r.retire(tx.Now, a)
	if err := r.plan(tx.Now); err != nil {
		return fmt.Errorf("planning the next rotation: %w", err)
	}
	if r.rule.Expr != "" {
		r.countedDays = r.rule.AutomaticallyAfterDays(tx.Now)
	}
	return s.showStrategy(ctx, tx, r)
}

// showStrategy sets the tag, which is the same after most rotations.
func (s *Scheduler) showStrategy(ctx context.Context, tx *sqldb.Tx, r *row) error {
	now := secret.Tag{Key: StrategyTag, Value: r.strategy}
	if r.strategy == "" {
		return nil
	}
	if has, err := s.vault.HasTag(ctx, tx, r.arn, now); has || err != nil {
		return err
	}
	return s.vault.Tag(ctx, tx, r.arn, []secret.Tag{now})
}

// again plans the next attempt of a step that failed.
func (s *Scheduler) again(ctx context.Context, tx *sqldb.Tx, r *row, o outcome) error {
	r.leaseUntil = time.Time{}
	if o.interrupted {
		r.tryAt = tx.Now
		return r.save(ctx, tx)
	}
	s.noteFailed(tx, r, o.err)
	if r.kind == rotating && r.step == stepSet && isRejected(o.err) {
		return s.renew(ctx, tx, r)
	}
	r.tryAt = tx.Now.Add(pause(r, o.err))
	r.attempt++
	if r.kind == rotating && r.step == stepTest && class(o.err) == "auth" {
		r.step = stepSet // the database does not have the pending password
		r.refused++
	}
	return r.save(ctx, tx)
}

// longestBackoff is the longest pause between two attempts.
const longestBackoff = 10 * time.Minute

// backoff is the pause after the n-th attempt: 1 s, 2 s, 4 s … 10 minutes. None
// were counted where a clock was set back.
func backoff(n int64) time.Duration {
	if n > 10 {
		return longestBackoff
	}
	return min(time.Second<<max(0, n-1), longestBackoff)
}

// class is the error class that a function told, or what can be said without.
func class(err error) string {
	if f, ok := errors.AsType[*FunctionError](err); ok && f.Type != "" {
		if f.Type == rejected {
			return "policy"
		}
		return f.Type
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "timeout"
	}
	return "api"
}
