package smapi

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

const (
	// accessBatch is how many accesses one transaction notes, so that none keeps
	// other writers waiting for long.
	accessBatch = 100
	// maxAccesses bounds how many wait. What finds no room is noted when the
	// version is read again.
	maxAccesses = 10_000
)

// accesses are the versions that were read for the first time on their day. A
// read does not wait for the disk: they are noted in the background, by a
// goroutine that lives while there is something to note.
type accesses struct {
	sync.Mutex
	waiting map[access]time.Time     // :: version → the day it was read
	days    map[secret.ARN]time.Time // :: secret → the day it was read
	running bool
	crew    sync.WaitGroup
}

type access struct {
	arn secret.ARN
	id  secret.VersionID
}

// noteAccess notes the day of a read, once for each version and day.
func (s *Service) noteAccess(version *secret.Version) {
	now := s.db.Now()
	if version.AccessedToday(now) {
		return
	}
	a := &s.accesses
	a.Lock()
	defer a.Unlock()
	key, day := access{version.ARN, version.ID}, now.UTC().Truncate(24*time.Hour)
	if a.waiting[key].Equal(day) || len(a.waiting) >= maxAccesses {
		return
	}
	if a.waiting == nil {
		a.waiting, a.days = map[access]time.Time{}, map[secret.ARN]time.Time{}
	}
	a.waiting[key], a.days[key.arn] = day, day
	if !a.running {
		a.running = true
		a.crew.Go(s.noteAccesses)
	}
}

// lastAccess is the day on which a secret was read last, of which noted is what
// the store knows.
func (s *Service) lastAccess(arn secret.ARN, noted *time.Time) *time.Time {
	a := &s.accesses
	a.Lock()
	defer a.Unlock()
	if day, ok := a.days[arn]; ok {
		return &day
	}
	return noted
}

// noteAccesses writes what waits, until nothing does. A read does not fail
// because the disk is full; nor does it matter much that its day is lost.
func (s *Service) noteAccesses() {
	for batch := s.accesses.next(); len(batch) > 0; batch = s.accesses.next() {
		err := s.db.Write(context.Background(), func(tx *sqldb.Tx) error {
			for a, day := range batch {
				if err := s.vault.Accessed(context.Background(), tx, a.arn, a.id, day); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			s.log.Warn("noting the day of accesses", "error", err)
		}
		s.accesses.done(batch)
	}
}

func (a *accesses) next() map[access]time.Time {
	a.Lock()
	defer a.Unlock()
	batch := make(map[access]time.Time, min(len(a.waiting), accessBatch))
	for key, day := range a.waiting {
		if batch[key] = day; len(batch) == accessBatch {
			return batch
		}
	}
	a.running = len(batch) > 0
	return batch
}

// done forgets what was noted. Who was read meanwhile on another day still waits.
func (a *accesses) done(batch map[access]time.Time) {
	a.Lock()
	defer a.Unlock()
	for key, day := range batch {
		if a.waiting[key].Equal(day) {
			delete(a.waiting, key)
		}
	}
	left := map[secret.ARN]bool{} // secrets of which another version waits
	for key := range a.waiting {
		left[key.arn] = true
	}
	maps.DeleteFunc(a.days, func(arn secret.ARN, _ time.Time) bool { return !left[arn] })
}

// Close waits until the accesses of all reads are noted.
func (s *Service) Close() { s.accesses.crew.Wait() }
