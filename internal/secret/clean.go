package secret

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// A version without labels stays readable until there are more than maxVersions
// of its secret; then the oldest goes in the background, but none younger than
// keepAtLeast ("Secrets Manager quotas" in the AWS guide). Whoever adds a version
// beyond the quota writes a row of secret_cleanups in the same transaction, and
// the clean-up takes it from there.
const (
	maxVersions = 100
	keepAtLeast = 24 * time.Hour
)

// maxRemoved is how many removed versions of a secret are remembered, so that
// AWS's answer for them can be told from that for one that never was.
const maxRemoved = 100

// removable is a version without labels.
type removable struct {
	id      VersionID
	created time.Time
}

// removableOf returns those of a secret that have been there for so long, the
// oldest first.
func removableOf(ctx context.Context, tx *sqldb.Tx, b *board, age time.Duration) ([]removable, error) {
	rows, err := tx.Query(ctx, `SELECT id, created_at FROM secret_versions WHERE secret = $1 AND created_at <= $2
		ORDER BY created_at, id`, b.secret, sqldb.Millis(tx.Now.Add(-age)))
	if err != nil {
		return nil, fmt.Errorf("looking for old versions: %w", err)
	}
	defer rows.Close()
	labelled := b.allStages()
	var all []removable
	for rows.Next() {
		var r removable
		var created int64
		if err := rows.Scan(&r.id, &created); err != nil {
			return nil, fmt.Errorf("looking for old versions: %w", err)
		}
		if r.created = time.UnixMilli(created).UTC(); labelled[r.id] == nil {
			all = append(all, r)
		}
	}
	return all, rows.Err()
}

func (v *Vault) planCleanup(ctx context.Context, tx *sqldb.Tx, arn ARN) error {
	_, err := change(ctx, tx, `INSERT INTO secret_cleanups (arn, at) VALUES ($1, $2)
		ON CONFLICT (arn) DO UPDATE SET at = excluded.at`, arn, sqldb.Millis(tx.Now))
	if err != nil {
		return fmt.Errorf("planning a clean-up: %w", err)
	}
	tx.OnCommit(v.Poke)
	return nil
}

// makeRoom returns ErrLimitExceeded unless the clean-up can make room for one
// version more, of versions that have been there for so long.
func makeRoom(ctx context.Context, tx *sqldb.Tx, b *board, age time.Duration) error {
	old, err := removableOf(ctx, tx, b, age)
	if err != nil {
		return err
	}
	if b.versions-len(old) >= maxVersions {
		return ErrLimitExceeded.Errorf("The secret has %d versions, and too many of them have staging labels or are younger than 24 hours.", b.versions)
	}
	return nil
}

// NextCleanup returns the secret whose versions are to be cleaned up first, and
// when; empty: none is.
func (v *Vault) NextCleanup(ctx context.Context, tx *sqldb.Tx) (arn ARN, at time.Time, err error) {
	var ms int64
	err = tx.QueryRow(ctx, `SELECT arn, at FROM secret_cleanups ORDER BY at LIMIT 1`).Scan(&arn, &ms)
	if errors.Is(err, sql.ErrNoRows) {
		return "", time.Time{}, nil
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("looking for the next clean-up: %w", err)
	}
	return arn, time.UnixMilli(ms).UTC(), nil
}

// CleanUp removes what a secret has beyond the quota, as far as it is old enough,
// and plans the next clean-up if there is more. It returns the versions removed.
func (v *Vault) CleanUp(ctx context.Context, tx *sqldb.Tx, arn ARN) ([]VersionID, error) {
	b, err := readBoard(ctx, tx, arn)
	if err != nil {
		return nil, err
	}
	old, err := removableOf(ctx, tx, b, 0)
	if err != nil {
		return nil, err
	}
	var gone []VersionID
	for b.versions > maxVersions && len(old) > 0 && !old[0].created.After(tx.Now.Add(-keepAtLeast)) {
		if err := removeVersion(ctx, tx, b, old[0].id); err != nil {
			return nil, err
		}
		gone, old = append(gone, old[0].id), old[1:]
	}
	if len(gone) > 0 {
		if err := v.countAgain(ctx, tx, b); err != nil {
			return nil, err
		}
	}
	return gone, planNext(ctx, tx, b, old)
}

// countAgain stores how many versions there are, which is no change of the secret.
func (v *Vault) countAgain(ctx context.Context, tx *sqldb.Tx, b *board) error {
	if _, err := changeOf(ctx, tx, `UPDATE secrets SET versions = $2 WHERE number = $1`, b, b.versions); err != nil {
		return fmt.Errorf("counting versions: %w", err)
	}
	return v.outdate(ctx, tx, b.arn)
}

func versionIDs(rows *sqldb.Rows) ([]VersionID, error) {
	defer rows.Close()
	var all []VersionID
	for rows.Next() {
		var id VersionID
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("reading version ids: %w", err)
		}
		all = append(all, id)
	}
	return all, rows.Err()
}

func removeVersion(ctx context.Context, tx *sqldb.Tx, b *board, id VersionID) error {
	if err := deleteVersion(ctx, tx, b, id); err != nil {
		return err
	}
	_, err := change(ctx, tx, `INSERT INTO secret_removed_versions (arn, id, removed_at) VALUES ($1, $2, $3)`, b.arn, id, sqldb.Millis(tx.Now))
	if err != nil {
		return fmt.Errorf("noting a removed version: %w", err)
	}
	_, err = change(ctx, tx, `DELETE FROM secret_removed_versions WHERE arn = $1 AND (removed_at, id) <= (
		SELECT removed_at, id FROM secret_removed_versions WHERE arn = $1 ORDER BY removed_at DESC, id DESC LIMIT 1 OFFSET $2)`, b.arn, maxRemoved)
	return err
}

// planNext makes the clean-up come back when the next version is old enough. Where
// all that is left has labels it comes with the next new version.
func planNext(ctx context.Context, tx *sqldb.Tx, b *board, left []removable) error {
	query, args := `DELETE FROM secret_cleanups WHERE arn = $1`, []any(nil)
	if b.versions > maxVersions && len(left) > 0 {
		query, args = `UPDATE secret_cleanups SET at = $2 WHERE arn = $1`, []any{sqldb.Millis(left[0].created.Add(keepAtLeast))}
	}
	if _, err := change(ctx, tx, query, b.arn, args...); err != nil {
		return fmt.Errorf("planning a clean-up: %w", err)
	}
	return nil
}

// refuseRemoved returns ErrInvalidRequest for a version that the clean-up removed.
func refuseRemoved(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID) error {
	var removed bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM secret_removed_versions WHERE arn = $1 AND id = $2)`, arn, id).Scan(&removed)
	if err != nil {
		return fmt.Errorf("looking for a removed version: %w", err)
	}
	if removed {
		return errRemoved(id)
	}
	return nil
}

func errRemoved(id VersionID) error {
	return ErrInvalidRequest.Errorf("You can't perform this operation on secret version %s because it was deleted.", id)
}

// missing is the answer for a version that does not exist, or no longer.
func missing(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID) error {
	if err := refuseRemoved(ctx, tx, arn, id); err != nil {
		return err
	}
	return ErrNotFound.Errorf("Secrets Manager can't find the specified secret value for VersionId: %s", id)
}
