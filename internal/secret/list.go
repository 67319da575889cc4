package secret

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// Page asks for part of the list of secrets.
type Page struct {
	At          Place
	WithDeleted bool   // IncludePlannedDeletion
	Descending  bool   // newest first
	Limit       int    // 1 to 100
	Token       string // of the page before; empty: the first
}

// cursor is the position after a page: the last secret's creation and ARN. New
// secrets and deletions between two pages move nothing.
type cursor struct {
	created int64
	arn     ARN
}

func (c cursor) token() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "1|%d|%s", c.created, c.arn))
}

func parseCursor(token string) (cursor, error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	f := strings.SplitN(string(raw), "|", 3)
	if err != nil || len(f) != 3 || f[0] != "1" {
		return cursor{}, ErrInvalidNextToken.Errorf("The NextToken value is invalid.")
	}
	created, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return cursor{}, ErrInvalidNextToken.Errorf("The NextToken value is invalid.")
	}
	return cursor{created: created, arn: ARN(f[2])}, nil
}

// List returns a page of secrets in the order of their creation, and the token
// of the next page, empty on the last. A bad token is ErrInvalidNextToken.
func (v *Vault) List(ctx context.Context, tx *sqldb.Tx, p Page) (all []*Secret, next string, err error) {
	query, args, err := p.query(sqldb.Millis(tx.Now))
	if err != nil {
		return nil, "", err
	}
	if all, err = v.list(ctx, tx, query, args); err != nil {
		return nil, "", err
	}
	if len(all) > p.Limit {
		all = all[:p.Limit]
		last := all[p.Limit-1]
		next = cursor{created: sqldb.Millis(last.Created), arn: last.ARN}.token()
	}
	for _, s := range all {
		if s.Tags == nil {
			continue
		}
		if s.Tags, err = tags(ctx, tx, s.ARN); err != nil {
			return nil, "", err
		}
	}
	return all, next, nil
}

// query asks for one row more than the page holds, to know if there is more.
func (p Page) query(now int64) (query string, args []any, err error) {
	args = []any{p.At.Account, p.At.Region, p.WithDeleted, now, p.Limit + 1}
	query = `SELECT ` + secretColumns + ` FROM secrets WHERE account = $1 AND region = $2
		AND (delete_at IS NULL OR ($3 AND delete_at > $4))`
	order, after := "", ">"
	if p.Descending {
		order, after = " DESC", "<"
	}
	if p.Token != "" {
		c, err := parseCursor(p.Token)
		if err != nil {
			return "", nil, err
		}
		query += ` AND (created_at, arn) ` + after + ` ($6, $7)`
		args = append(args, c.created, c.arn)
	}
	return query + ` ORDER BY created_at` + order + `, arn` + order + ` LIMIT $5`, args, nil
}

func (v *Vault) list(ctx context.Context, tx *sqldb.Tx, query string, args []any) ([]*Secret, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("listing secrets: %w", err)
	}
	defer rows.Close()
	var all []*Secret
	for rows.Next() {
		s, err := scanSecret(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("listing secrets: %w", err)
		}
		all = append(all, s)
	}
	return all, rows.Err()
}
