package secret

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// The index of the list by Changed is the dearest part of a new value, and such a
// list is seldom asked for. So a new value moves changed_at alone, which has no
// index, and notes the secret in secret_changes unless it is there. What is noted is
// worked off while few values are stored, or when a list by Changed is asked for:
// changed_order, which the index has, becomes equal again.

const (
	// orderedAtOnce is how many secrets one transaction moves: other writers wait
	// for it.
	orderedAtOnce = 200
	// quietTime is how long no more than fewSaves values may have been stored.
	quietTime = time.Second
	fewSaves  = 100
)

// lag is what is to be known of secret_changes without asking the database.
type lag struct {
	saves atomic.Uint64 // how often values or labels were stored
	noted chan struct{} // there may be rows
}

// noteChange notes that changed_order is behind, in the transaction in which it
// comes to be.
func (v *Vault) noteChange(ctx context.Context, tx *sqldb.Tx, b *board) error {
	v.lag.saves.Add(1)
	if b.behind {
		return nil
	}
	if _, err := tx.Exec(ctx, `INSERT INTO secret_changes (secret) VALUES ($1)`, b.secret); err != nil {
		return fmt.Errorf("noting a change: %w", err)
	}
	tx.OnCommit(v.lag.note)
	return nil
}

func (l *lag) note() {
	select {
	case l.noted <- struct{}{}:
	default: // so it is already
	}
}

// OrderWhileQuiet brings the order of a list by Changed up to date when few values
// were stored in the last second, until ctx ends or something fails.
func (v *Vault) OrderWhileQuiet(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-v.lag.noted:
		}
		if err := v.orderAll(ctx); err != nil && ctx.Err() == nil {
			v.lag.note()
			return err
		}
	}
}

// orderAll returns when nothing is left, or ctx has ended.
func (v *Vault) orderAll(ctx context.Context) error {
	for more := true; more; {
		before := v.lag.saves.Load()
		if !sleep(ctx, quietTime) {
			return nil
		}
		now := v.lag.saves.Load()
		for more && now-before <= fewSaves {
			var err error
			if more, err = v.orderSome(ctx); err != nil {
				return err
			}
			if v.lag.saves.Load() != now {
				break
			}
		}
	}
	return nil
}

// sleep reports false if ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// OrderChanges brings that order up to date now: who asks for a list by Changed calls
// it first. It takes as long as there are secrets that have changed since somebody
// last asked or it was quiet; others may write in between.
func (v *Vault) OrderChanges(ctx context.Context) error {
	for more := true; more; {
		var err error
		if more, err = v.orderSome(ctx); err != nil {
			return err
		}
	}
	return nil
}

// orderSome works off rows of secret_changes, and tells whether there are likely
// more. With none it does not write.
func (v *Vault) orderSome(ctx context.Context) (more bool, err error) {
	var last sql.NullInt64
	err = v.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		last, more, err = nextChanges(ctx, tx)
		return err
	})
	if err != nil || !last.Valid {
		return false, err
	}
	return more, v.db.Write(ctx, func(tx *sqldb.Tx) error { return orderChanges(ctx, tx, last.Int64) })
}

// nextChanges returns the last row of secret_changes that is to be worked off now,
// and whether there are likely more.
func nextChanges(ctx context.Context, tx *sqldb.Tx) (last sql.NullInt64, more bool, err error) {
	var n int
	err = tx.QueryRow(ctx, `SELECT MAX(position), COUNT(*) FROM (SELECT position FROM secret_changes
		ORDER BY position LIMIT $1)`, orderedAtOnce).Scan(&last, &n)
	if err != nil {
		return last, false, fmt.Errorf("looking for changed secrets: %w", err)
	}
	return last, n == orderedAtOnce, nil
}

func orderChanges(ctx context.Context, tx *sqldb.Tx, last int64) error {
	_, err := changeOrder(ctx, tx, `UPDATE secrets SET changed_order = changed_at
		WHERE number IN (SELECT secret FROM secret_changes WHERE position <= $1) AND changed_order <> changed_at`, last)
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM secret_changes WHERE position <= $1`, last)
	}
	if err != nil {
		return fmt.Errorf("ordering changed secrets: %w", err)
	}
	return nil
}
