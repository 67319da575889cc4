package smapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

const (
	// perBatch bounds how many secrets one transaction removes, and how many copies
	// are looked up at once.
	perBatch = 100
	// copiers bounds how many replicas are written at once; they share commits.
	copiers = 8
	// afterTrouble is the pause before work that failed is tried again.
	afterTrouble = 5 * time.Second
	// longestSleep bounds a sleep: timers stand still while a machine is
	// suspended, the clock does not.
	longestSleep = time.Hour
)

// Run does in the background what belongs to secrets, until ctx ends: it carries
// changes to replicas, removes old versions beyond the quota, removes secrets whose
// recovery window has ended, and keeps the order of the list by LastChangedDate. It
// sleeps until something is due, or changes.
func (s *Service) Run(ctx context.Context) error {
	var crew sync.WaitGroup
	defer crew.Wait()
	crew.Go(func() { s.order(ctx) })
	for ctx.Err() == nil {
		wait, err := s.work(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Error("working in the background", "error", err)
			}
			wait = afterTrouble
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-s.vault.Pokes():
		case <-t.C:
		}
		t.Stop()
	}
	return nil
}

func (s *Service) order(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.vault.OrderWhileQuiet(ctx)
		if err == nil {
			return
		}
		s.log.Error("ordering secrets by their last change", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(afterTrouble):
		}
	}
}

// Poke makes Run look again: the clock was changed.
func (s *Service) Poke() { s.vault.Poke() }

// work does all that is due and returns when to look again. One duty that fails
// does not keep the others from being done.
func (s *Service) work(ctx context.Context) (wait time.Duration, err error) {
	err = s.replicateAll(ctx)
	untilCleanup, cleanup := s.cleanUp(ctx)
	untilExpiry, expiry := s.purgeExpired(ctx)
	return min(untilCleanup, untilExpiry), errors.Join(err, cleanup, expiry)
}

// replicateAll carries changes to all replicas that wait for them.
func (s *Service) replicateAll(ctx context.Context) error {
	var failed []error
	for last := (secret.Copying{}); ; {
		var waiting []secret.Copying
		err := s.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
			waiting, err = s.vault.Waiting(ctx, tx, last, perBatch)
			return err
		})
		if err != nil || len(waiting) == 0 {
			return errors.Join(append(failed, err)...)
		}
		if err := s.copyAll(ctx, waiting); err != nil {
			failed = append(failed, err)
		}
		last = waiting[len(waiting)-1]
	}
}

func (s *Service) copyAll(ctx context.Context, waiting []secret.Copying) error {
	var g errgroup.Group // one that fails does not keep the others from being done
	g.SetLimit(copiers)
	for _, c := range waiting {
		g.Go(func() error { return s.copy(ctx, c) })
	}
	return g.Wait()
}

func (s *Service) copy(ctx context.Context, c secret.Copying) error {
	err := s.vault.Copy(ctx, c, func(tx *sqldb.Tx, gone secret.ARN) error { return s.sched.Forget(ctx, tx, gone) })
	if err != nil {
		return fmt.Errorf("replicating %s to %s: %w", c.Primary, c.Region, err)
	}
	return nil
}

// until is how long it is from a transaction's time to at.
func until(tx *sqldb.Tx, at time.Time) time.Duration {
	return min(max(at.Sub(tx.Now), time.Millisecond), longestSleep)
}

// cleanUp removes old versions beyond the quota, and returns when the next one
// may go.
func (s *Service) cleanUp(ctx context.Context) (wait time.Duration, err error) {
	for {
		var arn secret.ARN
		var removed []secret.VersionID
		err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
			next, at, err := s.vault.NextCleanup(ctx, tx)
			arn, removed, wait = "", nil, longestSleep
			if err != nil || next == "" {
				return err
			}
			if wait = until(tx, at); at.After(tx.Now) {
				return nil
			}
			arn = next
			removed, err = s.vault.CleanUp(ctx, tx, arn)
			return err
		})
		if err != nil {
			return longestSleep, fmt.Errorf("removing old versions: %w", err)
		}
		if arn == "" {
			return wait, nil
		}
		s.note(versionDeleted, arn, removed)
	}
}

// purgeExpired removes the secrets whose recovery window has ended, and returns
// when the next one ends.
func (s *Service) purgeExpired(ctx context.Context) (wait time.Duration, err error) {
	for {
		gone := map[secret.ARN][]secret.VersionID{}
		err := s.db.Write(ctx, func(tx *sqldb.Tx) (err error) {
			clear(gone)
			wait, err = s.purgeBatch(ctx, tx, gone)
			return err
		})
		if err != nil {
			return longestSleep, fmt.Errorf("removing secrets whose recovery window has ended: %w", err)
		}
		for arn, versions := range gone {
			s.note(endDelete, arn, versions)
		}
		if len(gone) < perBatch {
			return wait, nil
		}
	}
}

func (s *Service) purgeBatch(ctx context.Context, tx *sqldb.Tx, gone map[secret.ARN][]secret.VersionID) (wait time.Duration, err error) {
	expired, err := s.vault.Expired(ctx, tx, perBatch)
	if err != nil {
		return 0, err
	}
	for _, arn := range expired {
		if gone[arn], err = s.purge(ctx, tx, arn); err != nil {
			return 0, err
		}
	}
	next, err := s.vault.NextExpiry(ctx, tx)
	if err != nil || next == nil {
		return longestSleep, err
	}
	return until(tx, *next), nil
}

// The events of deletions, as CloudTrail names them: one for each version of the
// secret.
const (
	startDelete    = "StartSecretVersionDelete"
	cancelDelete   = "CancelSecretVersionDelete"
	endDelete      = "EndSecretVersionDelete"
	versionDeleted = "SecretVersionDeletion" // the clean-up took an old version
)

// note records what became of versions. It comes after the change itself, so that
// nothing is noted that did not happen.
func (s *Service) note(event string, arn secret.ARN, versions []secret.VersionID) {
	if s.audit == nil {
		return
	}
	at := arn.Place()
	for _, id := range versions {
		err := s.audit.Record(&audit.Event{Time: s.db.Now(), Type: audit.ServiceEvent, Source: "secretsmanager.amazonaws.com",
			Name: event, Account: at.Account, Region: at.Region, Resource: string(arn), VersionID: string(id)})
		if err != nil {
			s.log.Error("recording an event", "event", event, "secret", arn, "error", err)
			return
		}
	}
}
