package accesskey

import (
	"context"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/sqldb"
)

const (
	useGrain     = time.Minute     // a use so soon after the noted one is not noted
	saveInterval = 5 * time.Minute // how much of what is noted a crash may lose
	keepExpired  = 24 * time.Hour  // how long an expired key is still listed
)

// Used notes that c signed a request. It is called for every request and writes
// nothing to disk.
func (s *Service) Used(c *iam.Caller, now time.Time) {
	e := s.find(c.AccessKeyID)
	if e == nil {
		return
	}
	if last := e.used.Load(); last != nil && now.Sub(last.At) < useGrain {
		return
	}
	// The caller's strings are parts of a whole header; copies let it go.
	e.used.Store(&Use{At: now.UTC().Truncate(time.Millisecond), Region: strings.Clone(c.Region), Service: strings.Clone(c.Service)})
}

// Run writes to disk from time to time when keys were last used, and removes
// keys that expired long ago, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(saveInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.save(context.WithoutCancel(ctx))
		case <-tick.C:
		}
		if err := s.save(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("noting the use of access keys", "error", err)
		}
	}
}

func (s *Service) save(ctx context.Context) error {
	entries := s.unsaved()
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		for _, e := range entries {
			if err := saveUse(ctx, tx, e); err != nil {
				return err
			}
		}
		return s.sweep(ctx, tx, tx.Now.Add(-keepExpired))
	})
}

func (s *Service) unsaved() (entries []*entry) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, e := range s.byID {
		if e.used.Load() != e.saved.Load() {
			entries = append(entries, e)
		}
	}
	return entries
}

func saveUse(ctx context.Context, tx *sqldb.Tx, e *entry) error {
	u := e.used.Load()
	tx.OnCommit(func() { e.saved.Store(u) })
	_, err := tx.Exec(ctx, `UPDATE access_keys SET used_at = $2, used_region = $3, used_service = $4 WHERE id = $1`,
		e.id, sqldb.Millis(u.At), u.Region, u.Service)
	return err
}

// sweep removes keys that expired before a moment.
func (s *Service) sweep(ctx context.Context, tx *sqldb.Tx, before time.Time) error {
	tx.OnCommit(func() { s.forget(before) })
	_, err := tx.Exec(ctx, `DELETE FROM access_keys WHERE expires_at < $1`, sqldb.Millis(before))
	return err
}

func (s *Service) forget(expiredBefore time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, e := range s.byID {
		if !e.expires.IsZero() && e.expires.Before(expiredBefore) {
			delete(s.byID, id)
		}
	}
}
