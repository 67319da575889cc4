package secret

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// Unfinished returns, of these secrets, those whose AWSPENDING is on a version
// that is not AWSCURRENT, and when that version was made.
func (v *Vault) Unfinished(ctx context.Context, tx *sqldb.Tx, arns []ARN) (map[ARN]time.Time, error) {
	since := map[ARN]time.Time{}
	for len(arns) > 0 {
		page := arns[:min(len(arns), batchSize)]
		arns = arns[len(page):]
		if err := unfinished(ctx, tx, page, since); err != nil {
			return nil, fmt.Errorf("looking for pending versions: %w", err)
		}
	}
	return since, nil
}

func unfinished(ctx context.Context, tx *sqldb.Tx, page []ARN, since map[ARN]time.Time) error {
	boards, err := boardsOf(ctx, tx, page)
	if err != nil {
		return err
	}
	for arn, b := range boards {
		pending := b.holder(Pending)
		if current := b.holder(Current); pending == "" || current == "" || pending == current {
			continue
		}
		var made int64
		err := tx.QueryRow(ctx, `SELECT created_at FROM secret_versions WHERE `+ofSecret+` AND id = $2`, arn, pending).Scan(&made)
		if err != nil {
			return err
		}
		since[arn] = time.UnixMilli(made).UTC()
	}
	return nil
}

// boardsOf returns the boards of those of arns, at most batchSize, that exist; they
// know their labels alone.
func boardsOf(ctx context.Context, tx *sqldb.Tx, arns []ARN) (map[ARN]*board, error) {
	names := make([]string, len(arns))
	for i, arn := range arns {
		names[i] = arn.Place().placeName(arn.Name())
	}
	rows, err := tx.Query(ctx, labelsText, inArgs(names)...)
	if err != nil {
		return nil, fmt.Errorf("reading the staging labels of a page: %w", err)
	}
	defer rows.Close()
	all := make(map[ARN]*board, len(arns))
	for rows.Next() {
		b := &board{}
		var labels string
		if err := errors.Join(rows.Scan(&b.arn, &labels), b.parse(labels)); err != nil {
			return nil, fmt.Errorf("reading the staging labels of a page: %w", err)
		}
		all[b.arn] = b
	}
	return all, rows.Err()
}

var labelsText = `SELECT arn, labels FROM secrets WHERE place_name IN ` + inList
