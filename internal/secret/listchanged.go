package secret

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// The index of the list by Changed is the dearest part of a new value, and such a
// list is seldom asked for. So a new value moves changed_at alone, which has no
// index, and notes the secret in secret_changes unless it is there; OrderChanges
// makes changed_order, which the index has, equal again.

// orderedAtOnce is how many secrets one transaction of OrderChanges moves.
const orderedAtOnce = 1000

// noteChange notes that changed_order is behind, in the transaction in which it
// comes to be.
func noteChange(ctx context.Context, tx *sqldb.Tx, b *board) error {
	if b.behind {
		return nil
	}
	if _, err := tx.Exec(ctx, `INSERT INTO secret_changes (secret) VALUES ($1)`, b.secret); err != nil {
		return fmt.Errorf("noting a change: %w", err)
	}
	return nil
}

// OrderChanges brings the order of a list by Changed up to date: who asks for one
// calls it first. It takes as long as there are secrets that have changed since
// (about 10 µs for each), and others may write in between.
func (v *Vault) OrderChanges(ctx context.Context) error {
	for more := true; more; {
		var last sql.NullInt64
		err := v.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
			last, more, err = nextChanges(ctx, tx)
			return err
		})
		if err != nil || !last.Valid {
			return err
		}
		err = v.db.Write(ctx, func(tx *sqldb.Tx) error { return orderChanges(ctx, tx, last.Int64) })
		if err != nil {
			return err
		}
	}
	return nil
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
