package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Settings is what RotateSecret configures; zero fields stay as they were.
type Settings struct {
	Function string // an ARN
	Rule     *Rule
}

// State is what DescribeSecret shows of a rotation.
type State struct {
	Enabled     bool
	Function    string
	Rule        Rule
	Days        int64 // AutomaticallyAfterDays: as given, or computed from the expression
	LastRotated *time.Time
	DueBy       *time.Time // NextRotationDate: the end of the next window
	Strategy    string     // of the last rotation that succeeded
	Pending     *Step      // what a worker does next, nil when nothing is planned
}

// Step is the next thing that a worker does for a secret.
type Step struct {
	Name    string
	At      time.Time
	Attempt int64 // 1 for the first try
}

// State returns the rotation of a secret, or nil when none was ever configured.
func (s *Scheduler) State(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (*State, error) {
	r, err := load(ctx, tx, arn)
	if err != nil || r == nil {
		return nil, err
	}
	return r.state(), nil
}

func (r *row) state() *State {
	st := &State{Enabled: r.enabled, Function: r.function, Rule: r.rule, Days: r.rule.Days,
		LastRotated: r.lastRotated, Strategy: r.strategy, Pending: r.pending()}
	if r.rule.Expr != "" {
		st.Days = r.countedDays
	}
	if r.enabled {
		st.DueBy = r.dueBy
	}
	return st
}

func (r *row) pending() *Step {
	at := r.wake()
	switch {
	case at == nil:
		return nil
	case r.kind != idle:
		return &Step{Name: r.step, At: *at, Attempt: r.attempt}
	case at == r.retireAt:
		return &Step{Name: stepRetire, At: *at, Attempt: 1}
	}
	return &Step{Name: stepCreate, At: *at, Attempt: 1}
}

// ErrIncomplete is what RotateSecret answers while AWSPENDING is on a version
// that is not AWSCURRENT.
var ErrIncomplete = secret.ErrInvalidRequest.Errorf("A previous rotation isn't complete. That rotation will be reattempted.")

// Configure stores what RotateSecret says, and enables rotation. The next
// rotation counts from the last one, or from when rotation was first configured.
func (s *Scheduler) Configure(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, c Settings) error {
	r, err := load(ctx, tx, arn)
	if err != nil {
		return err
	}
	if r == nil {
		r = &row{arn: arn}
	}
	r.enabled = true
	if c.Function != "" {
		r.function = c.Function
	}
	if c.Rule != nil {
		r.rule, r.countedDays = *c.Rule, 0
	}
	if r.rule.Calendar, err = s.calendar(ctx, tx, arn); err != nil {
		return err
	}
	if r.countedFrom == nil {
		r.countedFrom = &tx.Now
	}
	if err := r.replan(tx.Now); err != nil {
		return fmt.Errorf("planning the next rotation: %w", err)
	}
	if err := r.save(ctx, tx); err != nil {
		return err
	}
	return s.PlanCheck(ctx, tx, arn)
}

// Start begins a rotation at once: it stages the version token as AWSPENDING,
// without a value. Another rotation under way is ErrIncomplete, unless it
// is this very one, asked for again.
func (s *Scheduler) Start(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, token secret.VersionID) error {
	unfinished, err := s.unfinished(ctx, tx, arn)
	if err != nil {
		return err
	}
	if unfinished == token {
		return s.startAgain(ctx, tx, arn, token)
	}
	if unfinished != "" {
		return ErrIncomplete
	}
	if ending, err := s.ends(ctx, tx, arn, token); ending || err != nil {
		return err
	}
	if done, err := hasRotated(ctx, tx, arn, token); done || err != nil {
		return err
	}
	if err := s.vault.Reserve(ctx, tx, arn, token); err != nil {
		return err
	}
	return s.enter(ctx, tx, arn, rotating, token, stepCreate)
}

// startAgain starts a rotation whose version is staged already: the request is
// a repetition, or the rotation was cancelled, or the version staged by hand. One
// that waits for its next attempt tries at once.
func (s *Scheduler) startAgain(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, token secret.VersionID) error {
	r, err := load(ctx, tx, arn)
	switch {
	case err != nil:
		return err
	case r.kind == rotating:
		return r.retry(ctx, tx)
	case r.kind == trial:
		return ErrIncomplete
	}
	return s.enter(ctx, tx, arn, rotating, token, stepCreate)
}

// ends tells whether the rotation to a version is on the way to its end with AWSCURRENT
// moved already, and makes it try at once.
func (s *Scheduler) ends(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, token secret.VersionID) (bool, error) {
	r, err := load(ctx, tx, arn)
	if err != nil || r.kind != rotating || r.token != token {
		return false, err
	}
	return true, r.retry(ctx, tx)
}

// RequireComplete is ErrIncomplete while a rotation is under way, unless it is that
// of token.
func (s *Scheduler) RequireComplete(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, token secret.VersionID) error {
	unfinished, err := s.unfinished(ctx, tx, arn)
	if err == nil && unfinished != "" && unfinished != token {
		return ErrIncomplete
	}
	return err
}

// StartTest begins a test at once: the sealed copy of the current value is
// staged as AWSPENDING until testSecret has run on it.
func (s *Scheduler) StartTest(ctx context.Context, tx *sqldb.Tx, copied *secret.Version) error {
	unfinished, err := s.unfinished(ctx, tx, copied.ARN)
	if err != nil {
		return err
	}
	if unfinished == copied.ID {
		return nil
	}
	if unfinished != "" {
		return ErrIncomplete
	}
	if err := s.vault.StagePending(ctx, tx, copied); err != nil {
		return err
	}
	return s.enter(ctx, tx, copied.ARN, trial, copied.ID, stepTest)
}

// enter gives the row its work. A worker that still holds the row, retiring an
// old password, is waited for: two at one account could undo each other.
func (s *Scheduler) enter(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, kind string, token secret.VersionID, step string) error {
	r, err := load(ctx, tx, arn)
	if err != nil {
		return err
	}
	if r.kind == rotating { // AWSCURRENT has moved to it, but it has not come to its end
		if err := s.abandon(ctx, tx, r); err != nil {
			return err
		}
	}
	r.putRetirementBack(tx.Now)
	r.kind, r.token, r.step, r.attempt, r.refused, r.tryAt = kind, token, step, 1, 0, tx.Now
	s.noteStarted(tx, r)
	return r.save(ctx, tx) // a lease that is held delays it
}

// putRetirementBack keeps a retirement that has begun on the list, for it may
// not have come to its end.
func (r *row) putRetirementBack(now time.Time) {
	if r.kind == retirement {
		r.retireAt, r.retireToken = &now, r.token
	}
}

// Retry makes a rotation that waits for its next attempt try at once. A version that
// has AWSPENDING without a rotation, such as one from which AWSCURRENT was moved back,
// is taken up, as the next rotation by schedule would do; not while rotation is off.
func (s *Scheduler) Retry(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	r, err := load(ctx, tx, arn)
	if err != nil || r == nil {
		return err
	}
	if r.kind == rotating || r.kind == trial {
		return r.retry(ctx, tx)
	}
	token, err := s.unfinished(ctx, tx, arn)
	if err != nil || token == "" || !r.enabled {
		return err
	}
	return s.enter(ctx, tx, arn, rotating, token, stepCreate)
}

// retry makes what is under way try at once, unless a worker is at it.
func (r *row) retry(ctx context.Context, tx *sqldb.Tx) error {
	if r.leaseUntil.After(tx.Now) {
		return nil
	}
	r.tryAt = tx.Now
	return r.save(ctx, tx)
}

// Cancel disables rotation and ends one under way. AWSPENDING stays where it
// is, as on AWS; its version is returned.
func (s *Scheduler) Cancel(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (secret.VersionID, error) {
	r, err := load(ctx, tx, arn)
	if err != nil {
		return "", err
	}
	if r == nil {
		return "", secret.ErrInvalidRequest.Errorf("You can't cancel rotation of a secret for which rotation was never configured.")
	}
	if err := s.abandon(ctx, tx, r); err != nil {
		return "", err
	}
	r.enabled, r.due, r.dueBy = false, nil, nil
	if err := r.save(ctx, tx); err != nil {
		return "", err
	}
	return s.unfinished(ctx, tx, arn)
}

// ValueChanged tells that somebody else than a rotation made a new AWSCURRENT:
// a rotation under way is abandoned, and the next one counts from now.
func (s *Scheduler) ValueChanged(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	r, err := load(ctx, tx, arn)
	if err != nil || r == nil {
		return err
	}
	if err := s.abandon(ctx, tx, r); err != nil {
		return err
	}
	r.countedFrom = &tx.Now
	if err := r.plan(tx.Now); err != nil {
		return fmt.Errorf("planning the next rotation: %w", err)
	}
	tx.OnCommit(s.Poke)
	return r.save(ctx, tx)
}

// PendingMoved tells that AWSPENDING may have been moved by hand. A rotation
// that lost it is abandoned: that is how an operator ends one that is stuck. The
// next one comes at its date. A finishSecret that has moved AWSCURRENT may take
// AWSPENDING away, as on AWS.
func (s *Scheduler) PendingMoved(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	r, err := load(ctx, tx, arn)
	if err != nil || r == nil || (r.kind != rotating && r.kind != trial) {
		return err
	}
	pending, err := s.vault.Holder(ctx, tx, arn, secret.Pending)
	if err != nil || pending == r.token {
		return err
	}
	if pending == "" && r.step == stepFinish {
		if current, err := s.vault.Holder(ctx, tx, arn, secret.Current); err != nil || current == r.token {
			return err
		}
	}
	if err := s.abandon(ctx, tx, r); err != nil {
		return err
	}
	if err := r.replan(tx.Now); err != nil {
		return fmt.Errorf("planning the next rotation: %w", err)
	}
	tx.OnCommit(s.Poke)
	return r.save(ctx, tx)
}

// abandon ends what is under way. A worker that is in the middle of a step keeps
// its lease, so that nobody else begins before it is done.
func (s *Scheduler) abandon(ctx context.Context, tx *sqldb.Tx, r *row) error {
	if r.kind == idle {
		return nil
	}
	s.noteAbandoned(tx, r)
	if r.kind == trial {
		if err := s.vault.Remove(ctx, tx, r.arn, r.token); err != nil {
			return err
		}
	}
	r.putRetirementBack(tx.Now)
	lease := r.leaseUntil
	r.rest()
	r.leaseUntil = lease
	return abandonRuns(ctx, tx, r.arn)
}

// Suspend stops all work on a secret that is scheduled for deletion.
func (s *Scheduler) Suspend(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	return suspend(ctx, tx, arn, true)
}

// Resume takes it up again after RestoreSecret.
func (s *Scheduler) Resume(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	if err := suspend(ctx, tx, arn, false); err != nil {
		return err
	}
	return s.PlanCheck(ctx, tx, arn)
}

func suspend(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, on bool) error {
	r, err := load(ctx, tx, arn)
	if err != nil || r == nil {
		return err
	}
	r.suspended = on
	return r.save(ctx, tx)
}

// Forget removes everything about a secret that is gone.
func (s *Scheduler) Forget(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	if _, err := tx.Exec(ctx, `DELETE FROM rotations WHERE arn = $1`, arn); err != nil {
		return fmt.Errorf("removing a rotation: %w", err)
	}
	if err := forgetCheck(ctx, tx, arn); err != nil {
		return fmt.Errorf("removing a proof: %w", err)
	}
	_, err := tx.Exec(ctx, `DELETE FROM rotation_runs WHERE arn = $1`, arn)
	return err
}
