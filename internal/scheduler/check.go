package scheduler

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// A canary login is work on a row that stays as it is: idle, or with a
// retirement that waits for its next attempt, maybe for the very reason that
// the check finds. The worker holds the row's lease, so a rotation that begins
// meanwhile waits, and no kind is needed for what leaves nothing to be taken up.
// Its next date is written before it begins: a crash skips one check and never
// repeats a wrong login.
//
//	idle, no lease ── check_at ──▶ idle, leased: proveSecret ──▶ idle, no lease
const stepProve = "proveSecret"

const (
	// checkers bounds how many canary logins run at once. Rotations come first
	// and do not wait for them.
	checkers = 4
	// afterWork is when a secret that is at work is looked at again. It is no
	// multiple of a pause between two attempts.
	afterWork = 7 * time.Minute
	// maxRefused bounds the back-off after refused logins: the interval is
	// doubled for each, up to eight times.
	maxRefused = 3
)

// checkToken tells a function who asks for proveSecret.
const checkToken = "drift-check"

// checkQueue knows when the next canary login is due, so that a busy scheduler
// does not ask each time that it looks for rotations.
type checkQueue struct {
	mu    sync.Mutex
	known bool
	next  time.Time // zero: none is planned
	slots chan struct{}
}

// offer tells of one that was planned, and reports whether it may be the next.
func (q *checkQueue) offer(at time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.known && !q.next.IsZero() && !at.Before(q.next) {
		return false
	}
	q.next = at // unknown stays unknown
	return true
}

func (q *checkQueue) set(next time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.known, q.next = true, next
}

// asleep tells whether the next one is known not to be due, and when it is.
func (q *checkQueue) asleep(now time.Time) (next time.Time, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.next, q.known && (q.next.IsZero() || q.next.After(now))
}

// dispatchChecks starts a worker for every canary login that is due, as long as
// there are checkers, and returns when to look again; zero is a poke only.
func (s *Scheduler) dispatchChecks(ctx context.Context, crew *sync.WaitGroup) (wake time.Time) {
	if s.drift.Every == 0 {
		return time.Time{}
	}
	for ctx.Err() == nil {
		if next, ok := s.checks.asleep(s.now()); ok {
			return next
		}
		select {
		case s.checks.slots <- struct{}{}:
		default:
			return time.Time{} // a worker that ends pokes
		}
		c, err := s.claimCheck(ctx)
		if err != nil {
			<-s.checks.slots
			s.log.Error("looking for canary logins", "error", err)
			return s.now().Add(afterTrouble)
		}
		if c == nil {
			<-s.checks.slots
			continue
		}
		s.startCheck(ctx, crew, c)
	}
	return time.Time{}
}

func (s *Scheduler) startCheck(ctx context.Context, crew *sync.WaitGroup, c *claim) {
	s.take(c.arn)
	crew.Go(func() {
		o := s.measured(ctx, c)
		end := context.WithoutCancel(ctx)
		if err := s.settleCheck(end, c, o); err != nil { // the lease runs out
			s.log.Error("recording a canary login", "secret", c.arn, "error", err)
		}
		s.leave(c.arn)
		<-s.checks.slots
		s.Poke()
	})
}

// claimCheck takes the first secret whose check is due; nil if there is none,
// or if that one was put off.
func (s *Scheduler) claimCheck(ctx context.Context) (c *claim, err error) {
	err = s.db.Write(ctx, func(tx *sqldb.Tx) error {
		c = nil
		arn, at, err := earliestCheck(ctx, tx)
		if err != nil {
			return err
		}
		if arn == "" || at.After(tx.Now) {
			s.checks.set(at)
			return nil
		}
		c, err = s.claimCheckOf(ctx, tx, arn)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claiming a canary login: %w", err)
	}
	return c, nil
}

// claimCheckOf leases an idle row, after it has planned the next check.
func (s *Scheduler) claimCheckOf(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (*claim, error) {
	r, err := load(ctx, tx, arn)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, forgetCheck(ctx, tx, arn)
	}
	if !s.checkable(r) {
		return nil, setCheck(ctx, tx, arn, nil)
	}
	if r.busy(tx.Now) || s.isAtWork(arn) {
		later := tx.Now.Add(afterWork)
		return nil, setCheck(ctx, tx, arn, &later)
	}
	if planned, err := s.planAgain(ctx, tx, arn, 0); err != nil || !planned {
		return nil, err
	}
	r.epoch++
	r.leaseUntil = tx.Now.Add(leaseTime)
	return &claim{arn: arn, epoch: r.epoch, kind: r.kind, token: r.token, step: stepProve, function: r.function, run: checkToken}, r.save(ctx, tx)
}

// checkable tells whether canary logins are made for a secret.
func (s *Scheduler) checkable(r *row) bool {
	return r.enabled && !r.suspended && s.drift.proves(r.function)
}

func (d Drift) proves(function string) bool { return d.Proves != nil && d.Proves(function) }

// busy tells whether the row is at work, or about to be.
func (r *row) busy(now time.Time) bool {
	next := r.nextWork()
	return !r.quiet() || r.leaseUntil.After(now) || next != nil && next.Before(now.Add(stepTime))
}

// quiet tells whether no rotation or test is under way.
func (r *row) quiet() bool { return r.kind == idle || r.kind == retirement }

// planAgain sets the date after this one; there is none where checks are off.
func (s *Scheduler) planAgain(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, refused int64) (planned bool, err error) {
	every, err := s.checkInterval(ctx, tx, arn)
	if err != nil {
		return false, err
	}
	if every == 0 {
		return false, setCheck(ctx, tx, arn, nil)
	}
	next := nextCheck(tx.Now, slotOf(arn), every).Add(backOff(every, refused))
	return true, setCheck(ctx, tx, arn, &next)
}

// backOff is what comes on top of the interval after so many refused logins.
func backOff(every time.Duration, refused int64) time.Duration {
	return every<<min(refused, maxRefused) - every
}

// settleCheck gives the row back and stores what was seen. If something else
// has begun or changed meanwhile, it tells nothing about that.
func (s *Scheduler) settleCheck(ctx context.Context, c *claim, o outcome) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		r, err := load(ctx, tx, c.arn)
		if err != nil || r == nil || r.epoch != c.epoch {
			return err
		}
		if err := s.releaseCheck(ctx, tx, r, c); err != nil {
			return err
		}
		if o.interrupted {
			return nil
		}
		p := Proof{Logins: o.answer.Logins}
		if o.err != nil {
			p = Proof{Class: class(o.err), Error: shown(o.err)}
		}
		refused, err := s.proved(ctx, tx, r, p, SourceCheck)
		if err != nil || refused == 0 {
			return err
		}
		_, err = s.planAgain(ctx, tx, c.arn, refused)
		return err
	})
}

// releaseCheck gives the row back as it was. What has begun meanwhile may go on.
func (s *Scheduler) releaseCheck(ctx context.Context, tx *sqldb.Tx, r *row, c *claim) error {
	if r.kind != c.kind || r.token != c.token {
		return s.release(ctx, tx, r)
	}
	r.leaseUntil = time.Time{}
	return r.save(ctx, tx)
}
