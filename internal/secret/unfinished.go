package secret

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// unfinishedPage is how many secrets one statement of Unfinished asks for.
const unfinishedPage = 100

// unfinishedText has a row for each version of these secrets that may be pending.
var unfinishedText = `SELECT s.arn, s.labels, v.id, v.created_at FROM secrets s
	JOIN secret_versions v ON v.secret = s.number AND v.id <> s.current
	WHERE s.current <> '' AND s.labels LIKE '%"AWSPENDING"%' AND s.arn IN (` + strings.TrimSuffix(strings.Repeat("?,", unfinishedPage), ",") + `)`

// Unfinished returns, of these secrets, those whose AWSPENDING is on a version
// that is not AWSCURRENT, and when that version was made.
func (v *Vault) Unfinished(ctx context.Context, tx *sqldb.Tx, arns []ARN) (map[ARN]time.Time, error) {
	since := map[ARN]time.Time{}
	for len(arns) > 0 {
		page := arns[:min(len(arns), unfinishedPage)]
		arns = arns[len(page):]
		if err := unfinished(ctx, tx, page, since); err != nil {
			return nil, fmt.Errorf("looking for pending versions: %w", err)
		}
	}
	return since, nil
}

func unfinished(ctx context.Context, tx *sqldb.Tx, page []ARN, since map[ARN]time.Time) error {
	args := make([]any, unfinishedPage) // the rest is NULL, which is in no list
	for i, arn := range page {
		args[i] = arn
	}
	rows, err := tx.Query(ctx, unfinishedText, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var b board
		var labels string
		var id VersionID
		var made int64
		if err := rows.Scan(&b.arn, &labels, &id, &made); err != nil {
			return err
		}
		if err := b.parse(labels); err != nil {
			return err
		}
		if b.holder(Pending) == id {
			since[b.arn] = time.UnixMilli(made).UTC()
		}
	}
	return rows.Err()
}
