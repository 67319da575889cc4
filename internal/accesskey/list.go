package accesskey

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// filter chooses keys; empty fields choose all.
type filter struct {
	id, account, user string
	after             string // keys whose ids come after this one
	limit             int    // 0: none
}

// list returns keys in the order of their ids.
func (s *Service) list(ctx context.Context, f filter) (keys []Key, err error) {
	err = s.db.Read(ctx, func(tx *sqldb.Tx) error {
		keys, err = selectKeys(ctx, tx, f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the access keys: %w", err)
	}
	for i := range keys {
		if e := s.find(keys[i].ID); e != nil {
			keys[i].LastUsed = e.used.Load() // memory is ahead of the disk
		}
	}
	return keys, nil
}

func selectKeys(ctx context.Context, tx *sqldb.Tx, f filter) (keys []Key, err error) {
	limit := int64(f.limit)
	if limit == 0 {
		limit = 1 << 62
	}
	rows, err := tx.Query(ctx, `SELECT id, account, user_name, policies, active, created_at, expires_at, used_at, used_region, used_service
		FROM access_keys
		WHERE ($1 = '' OR id = $1) AND ($2 = '' OR account = $2) AND ($3 = '' OR user_name = $3) AND id > $4
		ORDER BY id LIMIT $5`, f.id, f.account, f.user, f.after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		k, err := scan(rows)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, rows.Err()
}

func scan(rows *sqldb.Rows) (k Key, err error) {
	var policies string
	var created, expires, used sql.NullInt64
	var region, service sql.NullString
	err = rows.Scan(&k.ID, &k.Account, &k.UserName, &policies, &k.Active, &created, &expires, &used, &region, &service)
	if err != nil {
		return k, err
	}
	k.Created, k.Expires = *sqldb.Time(created), sqldb.Time(expires)
	if at := sqldb.Time(used); at != nil {
		k.LastUsed = &Use{At: *at, Region: region.String, Service: service.String}
	}
	if err := json.Unmarshal([]byte(policies), &k.Policies); err != nil {
		return k, fmt.Errorf("reading the policies of access key %s: %w", k.ID, err)
	}
	return k, nil
}
