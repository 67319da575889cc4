// Package scheduler decides when a rotation is due and carries it through its
// four steps: createSecret, setSecret, testSecret, finishSecret.
//
// A rotation is one row. A worker claims the row with a lease and an epoch,
// invokes the function for one step after the other, and writes each step's end
// and the next one's beginning in one transaction. A crash leaves a row whose
// lease ends; the step is run again, for every step may run twice.
//
//	idle ── due, or RotateSecret ──▶ createSecret ▶ setSecret ▶ testSecret ▶ finishSecret ──▶ idle
//	     ── grace period over ─────▶ retireSecret ──▶ idle
//
// A step that fails is tried again, later each time. A testSecret whose login
// was refused goes back to setSecret.
package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

const (
	// workers bounds how many rotations run at once.
	workers = 16
	// stepTime is how long a function may take for one step. It is well below
	// leaseTime, so a worker has given up before another may claim its row.
	stepTime  = 30 * time.Second
	leaseTime = 60 * time.Second
	// afterTrouble is the pause after a failure of the server's own database.
	afterTrouble = 5 * time.Second
	// longestSleep bounds a sleep: timers stand still while a machine is
	// suspended, the clock does not.
	longestSleep = time.Hour
)

// Functions invokes rotation functions. It is safe for concurrent use.
type Functions interface {
	// Invoke runs a function to its end and returns its answer. A failure of
	// the function itself is a *FunctionError.
	Invoke(ctx context.Context, function string, event []byte) (answer []byte, err error)
}

// FunctionError is what a rotation function that failed says of it.
type FunctionError struct {
	Type    string // the error's class, such as auth or tcp, if the function tells
	Message string
}

// Error returns the message.
func (e *FunctionError) Error() string { return e.Message }

// Scheduler runs rotations.
type Scheduler struct {
	db        *sqldb.DB
	vault     *secret.Vault
	functions Functions
	now       func() time.Time
	audit     audit.Recorder
	log       *slog.Logger
	poke      chan struct{}
	meter     Meter
	drift     Drift
	checks    checkQueue

	// atWork is the secrets that workers of this process are at, whatever the
	// leases say: a clock that jumps ends a lease, but not a worker.
	atWork struct {
		sync.Mutex
		arns map[secret.ARN]bool
	}
	hosts  *queues
	pace   pace      // of dispatch
	latest time.Time // when dispatch looked last
}

// Config is what New needs; all of it but Audit, Hosts, PerHost and PerSecond.
type Config struct {
	DB        *sqldb.DB
	Vault     *secret.Vault
	Functions Functions
	// Hosts tells where rotations work; nil means that no host has a ceiling.
	Hosts Hosts
	// PerHost is how many rotations may be at work on one database host at a
	// time; 0 is DefaultPerHost.
	PerHost int
	// PerSecond is how many rotations may begin by their schedule in a second; 0 is
	// DefaultPerSecond, and less is no bound.
	PerSecond int
	// Audit takes the events of rotations; nil means that none are kept.
	Audit audit.Recorder
	Now   func() time.Time
	Log   *slog.Logger
	// Drift asks for canary logins; the zero value asks for none.
	Drift Drift
	// Meter counts steps and rotations; nil means that nobody does.
	Meter Meter
}

// New returns a Scheduler; nothing happens until Run.
func New(c Config) *Scheduler {
	s := &Scheduler{db: c.DB, vault: c.Vault, functions: c.Functions, now: c.Now, audit: c.Audit, log: c.Log, poke: make(chan struct{}, 1)}
	s.meter = meterOr(c.Meter)
	s.drift, s.checks.slots = c.Drift, make(chan struct{}, checkers)
	s.atWork.arns = map[secret.ARN]bool{}
	s.hosts, s.pace = newQueues(c.Hosts, c.PerHost), newPace(c.PerSecond)
	return s
}

// Poke makes Run look again: a row was changed, or the clock.
func (s *Scheduler) Poke() {
	select {
	case s.poke <- struct{}{}:
	default: // one is waiting already
	}
}

// Run carries rotations until ctx ends, and then waits for steps under way,
// which are cut short. It sleeps until the next row is due.
func (s *Scheduler) Run(ctx context.Context) error {
	if err := s.recover(ctx); err != nil {
		if ctx.Err() != nil { // it was told to end before it began
			return nil
		}
		return err
	}
	var crew sync.WaitGroup
	defer crew.Wait()
	slots := make(chan struct{}, workers)
	for ctx.Err() == nil {
		wake, err := s.dispatch(ctx, &crew, slots)
		if err != nil {
			s.log.Error("looking for rotations", "error", err)
			wake = s.now().Add(afterTrouble)
		}
		s.sleep(ctx, sooner(wake, s.dispatchChecks(ctx, &crew)))
	}
	return nil
}

// sooner returns the earlier of two moments; zero ones are none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// sleep waits for a poke or for the moment wake; a zero wake is a poke only.
func (s *Scheduler) sleep(ctx context.Context, wake time.Time) { s.wait(ctx, wake, s.poke) }

// pause waits for the moment until.
func (s *Scheduler) pause(ctx context.Context, until time.Time) { s.wait(ctx, until, nil) }

func (s *Scheduler) wait(ctx context.Context, wake time.Time, poke <-chan struct{}) {
	var due <-chan time.Time
	if !wake.IsZero() {
		t := time.NewTimer(min(wake.Sub(s.now()), longestSleep))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-poke:
	case <-due:
	}
}

// claimRow returns nil for a row whose rotation gives way to a blackout.
func (s *Scheduler) claimRow(ctx context.Context, tx *sqldb.Tx, r *row) (*claim, error) {
	if err := r.giveWay(tx.Now); err != nil {
		return nil, err
	}
	if at := r.wake(); at == nil || at.After(tx.Now) {
		return nil, r.save(ctx, tx)
	}
	if r.kind == idle || r.kind == retirement && r.rotationDue(tx.Now) {
		if err := s.begin(ctx, tx, r); err != nil {
			return nil, err
		}
	}
	if err := interrupt(ctx, tx, r.arn, "interrupted"); err != nil { // a lease ran out
		return nil, err
	}
	r.epoch++
	return s.beginStep(ctx, tx, r)
}

// postpone makes the others' turn come when a rotation cannot begin, and
// records why.
func (s *Scheduler) postpone(ctx context.Context, arn secret.ARN, why *fault.Fault) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		r, err := load(ctx, tx, arn)
		if err != nil || r == nil {
			return err
		}
		begun := &row{arn: arn, function: r.function, strategy: r.strategy, kind: rotating, step: stepCreate, attempt: 1}
		id, err := beginRun(ctx, tx, begun)
		if err != nil {
			return err
		}
		failure := &FunctionError{Type: "api", Message: why.Message}
		if err := endRun(ctx, tx, id, outcome{err: failure}); err != nil {
			return err
		}
		s.noteFailed(tx, begun, failure)
		at := tx.Now.Add(longestBackoff)
		r.due = &at
		return r.save(ctx, tx)
	})
}

// begin gives a row the work that is due: a rotation before the retirement of
// an old password, for it makes that unneeded once its setSecret is through.
func (s *Scheduler) begin(ctx context.Context, tx *sqldb.Tx, r *row) error {
	if r.rotationDue(tx.Now) {
		r.putRetirementBack(tx.Now)
		return s.beginRotation(ctx, tx, r)
	}
	r.kind, r.token, r.step, r.attempt = retirement, r.retireToken, stepRetire, 1
	r.retireAt, r.retireToken = nil, ""
	return nil
}

// beginRotation reserves the version to be. A version that a rotation left
// unfinished is taken up again instead.
func (s *Scheduler) beginRotation(ctx context.Context, tx *sqldb.Tx, r *row) error {
	token, err := s.unfinished(ctx, tx, r.arn)
	if err != nil {
		return err
	}
	if token == "" {
		token = newToken()
		err = s.vault.Reserve(ctx, tx, r.arn, token)
	}
	r.kind, r.token, r.step, r.attempt, r.refused = rotating, token, stepCreate, 1, 0
	s.noteStarted(tx, r)
	return err
}

// unfinished returns the version with AWSPENDING, unless that is the current
// one.
func (s *Scheduler) unfinished(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (secret.VersionID, error) {
	pending, err := s.vault.Holder(ctx, tx, arn, secret.Pending)
	if err != nil || pending == "" {
		return "", err
	}
	current, err := s.vault.Holder(ctx, tx, arn, secret.Current)
	if pending == current {
		return "", err
	}
	return pending, err
}

// beginStep leases the row for one step and notes its beginning.
func (s *Scheduler) beginStep(ctx context.Context, tx *sqldb.Tx, r *row) (*claim, error) {
	until := tx.Now.Add(leaseTime)
	r.leaseUntil, r.tryAt = until, until
	if err := r.save(ctx, tx); err != nil {
		return nil, err
	}
	run, err := beginRun(ctx, tx, r)
	if err != nil {
		return nil, err
	}
	c := &claim{arn: r.arn, epoch: r.epoch, kind: r.kind, token: r.token, step: r.step,
		function: r.function, run: run}
	if c.step == stepCreate {
		c.rejected, err = rejections(ctx, tx, c.arn)
	}
	return c, err
}

// recover takes over from a process that ended: a data folder has one server at
// a time, so no lease is anybody's.
func (s *Scheduler) recover(ctx context.Context) error {
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		if err := interruptRuns(ctx, tx); err != nil {
			return err
		}
		if err := dissolveQueues(ctx, tx); err != nil {
			return err
		}
		if err := takeBack(ctx, tx); err != nil {
			return err
		}
		leased, err := leased(ctx, tx)
		if err != nil {
			return err
		}
		for _, arn := range leased {
			if err := s.takeUp(ctx, tx, arn); err != nil {
				return err
			}
		}
		return s.spreadChecks(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("taking up rotations: %w", err)
	}
	return nil
}

func (s *Scheduler) takeUp(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	r, err := load(ctx, tx, arn)
	if err != nil || r == nil {
		return err
	}
	return s.release(ctx, tx, r)
}
