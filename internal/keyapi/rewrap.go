package keyapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/sqldb"
)

const (
	// pageSize bounds what is read at once.
	pageSize = 1000
	// batchSize bounds what one transaction re-wraps: other writers wait for it.
	batchSize = 50
	// atOnce is how many data keys are re-wrapped at the same time: AWS KMS takes
	// some milliseconds for each.
	atOnce = 8
	// longestWait is that between two attempts after a failure.
	longestWait = 10 * time.Minute
)

// Run re-wraps what is not sealed with the newest material of its key, until ctx
// ends: once at the start, and after every rotation. First it tells which material
// the key file lacks.
func (s *Service) Run(ctx context.Context) error {
	if err := s.tellMissing(ctx); err != nil && ctx.Err() == nil {
		s.config.Log.Error("looking for key material that the key file lacks", "error", err)
	}
	failures := 0
	for ctx.Err() == nil {
		err := s.rewrapAll(ctx)
		if err == nil {
			failures = 0
			s.pause(ctx, 0)
			continue
		}
		if ctx.Err() == nil {
			s.config.Log.Error("re-wrapping what older key material sealed", "error", err)
		}
		s.pause(ctx, min(time.Second<<min(failures, 20), longestWait))
		failures++
	}
	return nil
}

// pause waits for a rotation, and no longer than most, if that is not 0.
func (s *Service) pause(ctx context.Context, most time.Duration) {
	var over <-chan time.Time
	if most > 0 {
		t := time.NewTimer(most)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-ctx.Done():
	case <-s.wake:
	case <-over:
	}
}

// poke makes Run look again.
func (s *Service) poke() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// rewrapAll counts what is to be re-wrapped and goes through all stores, again
// and again until nothing is left: a value may have been sealed before a
// rotation and stored after it.
func (s *Service) rewrapAll(ctx context.Context) error {
	for {
		rotations := s.rotations()
		left, err := s.count(ctx)
		if err != nil {
			return err
		}
		s.publish(rotations, left)
		if total(left) == 0 {
			return nil
		}
		done, err := s.pass(ctx, rotations)
		if err != nil {
			return err
		}
		if done == 0 {
			return fmt.Errorf("%d values can't be re-wrapped", total(left))
		}
	}
}

func total(left map[string]int64) (n int64) {
	for _, values := range left {
		n += values
	}
	return n
}

// count returns how many values each material that is not the newest sealed.
// Without such material nothing is read.
func (s *Service) count(ctx context.Context) (map[string]int64, error) {
	left := map[string]int64{}
	for _, k := range s.config.Keys.Keys() {
		for _, m := range k.Materials[:len(k.Materials)-1] {
			left[m.ID] = 0
		}
	}
	if len(left) == 0 {
		return left, nil
	}
	err := s.walk(ctx, func(_ Store, page []sealedRow) error {
		for _, row := range page {
			if _, stale := s.config.Keys.Newest(row.sealed.KeyID); stale {
				left[row.sealed.KeyID]++
			}
		}
		return nil
	})
	return left, err
}

// walk visits all sealed values, page by page, each page in a transaction that
// has ended when it is visited.
func (s *Service) walk(ctx context.Context, visit func(Store, []sealedRow) error) error {
	for _, store := range s.config.Stores {
		var page []sealedRow
		for more := true; more; more = len(page) == pageSize {
			if err := ctx.Err(); err != nil {
				return err
			}
			var after []string
			if len(page) > 0 {
				after = page[len(page)-1].id
			}
			err := s.config.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
				page, err = store.page(ctx, tx, after)
				return err
			})
			if err != nil {
				return fmt.Errorf("reading sealed values: %w", err)
			}
			if err := visit(store, page); err != nil {
				return err
			}
		}
	}
	return nil
}

// pass re-wraps what is stale, and returns how many values that were.
func (s *Service) pass(ctx context.Context, rotations int) (done int, err error) {
	err = s.walk(ctx, func(store Store, page []sealedRow) error {
		var stale []sealedRow
		for _, row := range page {
			if _, is := s.config.Keys.Newest(row.sealed.KeyID); is {
				stale = append(stale, row)
			}
		}
		for len(stale) > 0 {
			batch := stale[:min(batchSize, len(stale))]
			stale = stale[len(batch):]
			n, err := s.rewrap(ctx, store, batch, rotations)
			if done += n; err != nil {
				return err
			}
		}
		return nil
	})
	return done, err
}

// rewrap re-wraps some values in one transaction.
func (s *Service) rewrap(ctx context.Context, store Store, batch []sealedRow, rotations int) (done int, err error) {
	fresh, err := s.wrap(ctx, batch)
	if err != nil {
		return 0, fmt.Errorf("re-wrapping values: %w", err)
	}
	changed := map[string]int64{}
	err = s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		clear(changed)
		for i, row := range batch {
			ok, err := store.replace(ctx, tx, row, fresh[i])
			if err != nil {
				return fmt.Errorf("storing re-wrapped values: %w", err)
			}
			if ok {
				changed[row.sealed.KeyID]++
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	s.tick(rotations, changed)
	return int(total(changed)), nil
}

// wrap wraps the data keys of a batch anew. A value that does not open is left as
// it is: it must not keep the others from their new key.
func (s *Service) wrap(ctx context.Context, batch []sealedRow) ([]envelope.Sealed, error) {
	fresh := make([]envelope.Sealed, len(batch))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, row := range batch {
		g.Go(func() (err error) {
			fresh[i], err = s.config.Keys.Rewrap(ctx, row.sealed, row.place)
			if errors.Is(err, envelope.ErrWrongPlace) || errors.Is(err, envelope.ErrUnknownKey) {
				s.config.Log.Error("re-wrapping a value", "place", row.place, "error", err)
				fresh[i], err = row.sealed, nil
			}
			return err
		})
	}
	return fresh, g.Wait()
}

func (s *Service) rotations() int {
	s.progress.Lock()
	defer s.progress.Unlock()
	return s.progress.rotations
}

// forget makes what was counted void, since a key was rotated, and has Run count
// again.
func (s *Service) forget() {
	s.progress.Lock()
	s.progress.rotations++
	s.progress.left = nil
	s.progress.Unlock()
	s.poke()
}

// publish tells what was counted, unless a key was rotated meanwhile.
func (s *Service) publish(rotations int, left map[string]int64) {
	s.progress.Lock()
	defer s.progress.Unlock()
	if s.progress.rotations == rotations {
		s.progress.left = left
	}
}

func (s *Service) tick(rotations int, done map[string]int64) {
	s.progress.Lock()
	defer s.progress.Unlock()
	if s.progress.rotations != rotations {
		return
	}
	for id, n := range done {
		s.progress.left[id] = max(0, s.progress.left[id]-n)
	}
}

// left returns how many values a material that is not the newest still holds, or
// nil if they are not counted.
func (s *Service) left(id string) *int64 {
	s.progress.Lock()
	defer s.progress.Unlock()
	n, counted := s.progress.left[id]
	if !counted {
		return nil
	}
	return &n
}
