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

var unfinishedText = `SELECT p.arn, v.created_at FROM secret_labels p
	JOIN secret_labels c ON c.arn = p.arn AND c.label = 'AWSCURRENT' AND c.version <> p.version
	JOIN secret_versions v ON v.arn = p.arn AND v.id = p.version
	WHERE p.label = 'AWSPENDING' AND p.arn IN (` + strings.TrimSuffix(strings.Repeat("?,", unfinishedPage), ",") + `)`

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
		var arn ARN
		var made int64
		if err := rows.Scan(&arn, &made); err != nil {
			return err
		}
		since[arn] = time.UnixMilli(made).UTC()
	}
	return rows.Err()
}
