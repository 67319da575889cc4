package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// dispatch starts a worker for every row that is due, as long as there are
// slots, and returns when to look again.
func (s *Scheduler) dispatch(ctx context.Context, crew *sync.WaitGroup, slots chan struct{}) (wake time.Time, err error) {
	for len(slots) < cap(slots) { // a worker that ends pokes
		due, wake, err := s.due(ctx, cap(slots)-len(slots))
		if err != nil {
			return wake, err
		}
		if len(due) == 0 {
			if found, err := s.dequeueStranded(ctx); !found {
				return wake, err
			}
		}
		for _, arn := range due {
			slots <- struct{}{}
			s.take(arn)
			s.hosts.begin()
			crew.Go(func() {
				s.work(ctx, arn)
				s.hosts.end()
				s.leave(arn)
				<-slots
				s.Poke()
			})
		}
	}
	return time.Time{}, nil
}

// What due reads: rows that are due or will be, the first ones first. The second
// leaves out those that are to begin.
const (
	dueText      = `SELECT arn, wake_at, kind FROM rotations WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT $1`
	underWayText = `SELECT arn, wake_at, kind FROM rotations WHERE wake_at IS NOT NULL AND kind <> '' ORDER BY wake_at LIMIT $1`
)

// due returns at most n rows at which no worker is, in the order in which they
// are due, or else when to look again; zero: nothing is planned. Of those that are
// to begin it returns as many as the pace allows.
func (s *Scheduler) due(ctx context.Context, n int) (arns []secret.ARN, wake time.Time, err error) {
	var now time.Time
	err = s.db.ReadOne(ctx, func(tx *sqldb.Tx) error {
		now = tx.Now
		held := s.pace.holds(tx.Now)
		if arns, wake, err = s.dueBy(ctx, tx, held, n); held {
			wake = sooner(wake, s.pace.next)
		}
		return err
	})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("looking for the next rotation: %w", err)
	}
	return arns, wake, s.follow(ctx, now)
}

func (s *Scheduler) dueBy(ctx context.Context, tx *sqldb.Tx, held bool, n int) (arns []secret.ARN, wake time.Time, err error) {
	text := dueText
	if held {
		text = underWayText
	}
	rows, err := tx.Query(ctx, text, n+workers) // of the rows that are due, workers have workers at most
	if err != nil {
		return nil, wake, err
	}
	defer rows.Close()
	for len(arns) < n && rows.Next() {
		var arn secret.ARN
		var at int64
		var kind string
		if err := rows.Scan(&arn, &at, &kind); err != nil {
			return nil, wake, err
		}
		if at := time.UnixMilli(at).UTC(); at.After(tx.Now) {
			return arns, at, nil
		}
		if !s.isAtWork(arn) && s.mayGo(kind, tx.Now) {
			arns = append(arns, arn)
		}
	}
	return arns, wake, rows.Err()
}

// mayGo tells whether a row that is due may have a worker now.
func (s *Scheduler) mayGo(kind string, now time.Time) bool {
	if kind != idle {
		return true
	}
	if s.pace.holds(now) {
		return false
	}
	s.pace.begun(now)
	return true
}

func (s *Scheduler) take(arn secret.ARN) {
	s.atWork.Lock()
	defer s.atWork.Unlock()
	s.atWork.arns[arn] = true
}

func (s *Scheduler) leave(arn secret.ARN) {
	s.atWork.Lock()
	defer s.atWork.Unlock()
	delete(s.atWork.arns, arn)
}

func (s *Scheduler) isAtWork(arn secret.ARN) bool {
	s.atWork.Lock()
	defer s.atWork.Unlock()
	return s.atWork.arns[arn]
}

// work does what is due for a secret, if its host has room for it.
func (s *Scheduler) work(ctx context.Context, arn secret.ARN) {
	host := s.hosts.of(ctx, arn)
	if err := s.workAt(ctx, arn, host); err != nil && ctx.Err() == nil {
		s.log.Error("claiming a rotation", "secret", arn, "error", err)
		s.pause(ctx, s.now().Add(afterTrouble))
	}
}

func (s *Scheduler) workAt(ctx context.Context, arn secret.ARN, host string) error {
	if !s.hosts.enter(host) {
		return s.enqueue(ctx, arn, host)
	}
	c, err := s.claim(ctx, arn)
	if c != nil {
		s.carry(ctx, c)
	}
	if s.hosts.leave(host) {
		err = errors.Join(err, s.dequeue(context.WithoutCancel(ctx), host))
	}
	return err
}

// claim takes a row that is due; nil says that it is not, or not any more.
func (s *Scheduler) claim(ctx context.Context, arn secret.ARN) (c *claim, err error) {
	err = s.db.Write(ctx, func(tx *sqldb.Tx) error {
		c = nil
		r, err := load(ctx, tx, arn)
		if err != nil || r == nil {
			return err
		}
		c, err = s.claimRow(ctx, tx, r)
		return err
	})
	if refused := fault.Of(err); err != nil && refused.Kind != fault.Internal {
		err = s.postpone(ctx, arn, refused) // this row is in trouble, not the database
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}
