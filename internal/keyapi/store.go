package keyapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Store says where a feature keeps sealed values.
type Store struct {
	Table string
	Key   []string // columns of the primary key
	// Place is an SQL expression for the place that a value of a row is bound to.
	Place string
	// Document is the column that holds an envelope.Sealed as JSON, or an empty text
	// for none. Without it the columns key_id (empty for none) and wrapped do.
	Document string
}

// sealedRow is a sealed value where it lies. Its ciphertext is left out unless
// the store keeps documents.
type sealedRow struct {
	id       []string // values of Store.Key
	place    string
	sealed   envelope.Sealed
	document string
}

// page returns the sealed values that follow after, or the first ones if that is
// nil; pageSize at most.
func (s Store) page(ctx context.Context, tx *sqldb.Tx, after []string) ([]sealedRow, error) {
	key := strings.Join(s.Key, ", ")
	value, present := "key_id, wrapped", "key_id"
	if s.Document != "" {
		value, present = s.Document, s.Document
	}
	behind := ""
	if after != nil {
		behind = fmt.Sprintf(`(%s) > (%s) AND `, key, parameters(1, len(s.Key)))
	}
	rows, err := tx.Query(ctx, fmt.Sprintf(`SELECT %s, %s, %s FROM %s WHERE %s%s <> '' ORDER BY %[1]s LIMIT %[7]d`,
		key, s.Place, value, s.Table, behind, present, pageSize), texts(after)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []sealedRow
	for rows.Next() {
		row, err := s.scan(rows.Scan)
		if err != nil {
			return nil, err
		}
		page = append(page, row)
	}
	return page, rows.Err()
}

func (s Store) scan(scan func(...any) error) (sealedRow, error) {
	row := sealedRow{id: make([]string, len(s.Key))}
	var into []any
	for i := range row.id {
		into = append(into, &row.id[i])
	}
	if s.Document == "" {
		return row, scan(append(into, &row.place, &row.sealed.KeyID, &row.sealed.Wrapped)...)
	}
	if err := scan(append(into, &row.place, &row.document)...); err != nil {
		return row, err
	}
	return row, json.Unmarshal([]byte(row.document), &row.sealed)
}

// replace stores how a value is wrapped now, and reports whether it did: a row
// that was changed meanwhile is left alone.
func (s Store) replace(ctx context.Context, tx *sqldb.Tx, old sealedRow, now envelope.Sealed) (bool, error) {
	if old.sealed.KeyID == now.KeyID {
		return false, nil
	}
	set, was := `key_id = $1, wrapped = $2`, `key_id = $3 AND wrapped = $4`
	args := []any{now.KeyID, now.Wrapped, old.sealed.KeyID, old.sealed.Wrapped}
	if s.Document != "" {
		document, err := json.Marshal(now)
		if err != nil {
			return false, err
		}
		set, was = s.Document+` = $1`, s.Document+` = $2`
		args = []any{string(document), old.document}
	}
	done, err := tx.Exec(ctx, fmt.Sprintf(`UPDATE %s SET %s WHERE %s AND (%s) = (%s)`,
		s.Table, set, was, strings.Join(s.Key, ", "), parameters(len(args)+1, len(s.Key))), append(args, texts(old.id)...)...)
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n > 0, err
}

// fence makes the database refuse values sealed with retired material: a request
// that sealed one long ago may want to store it now, when nobody looks for it
// any more. Its client tries again, with the newest.
func (s Store) fence(ctx context.Context, tx *sqldb.Tx) error {
	column, material := "key_id", "NEW.key_id"
	if s.Document != "" {
		column = s.Document
		material = fmt.Sprintf(`CASE WHEN NEW.%s <> '' THEN json_extract(NEW.%[1]s, '$.KeyID') END`, s.Document)
	}
	for _, event := range []string{"INSERT", "UPDATE OF " + column} {
		_, err := tx.Exec(ctx, fmt.Sprintf(`CREATE TRIGGER IF NOT EXISTS fence_%s_%s_%s BEFORE %s ON %[1]s
			WHEN %[5]s IN (SELECT id FROM retired_key_materials)
			BEGIN SELECT RAISE(ABORT, 'sealed with retired key material'); END`,
			s.Table, column, event[:6], event, material))
		if err != nil {
			return fmt.Errorf("keeping retired key material out of %s: %w", s.Table, err)
		}
	}
	return nil
}

// parameters are n placeholders, from $first on.
func parameters(first, n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("$%d", first+i)
	}
	return strings.Join(all, ", ")
}

func texts(values []string) []any {
	all := make([]any, len(values))
	for i, v := range values {
		all[i] = v
	}
	return all
}
