package sqldb_test

import (
	"bytes"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/sqldb"
)

type name string

// inTx runs fn in a transaction of an empty database.
func inTx(t *testing.T, fn func(*sqldb.Tx) error) {
	t.Helper()
	if err := open(t, ":memory:").Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// What an argument becomes, and what a column of it is read into.
func TestArgumentsComeBack(t *testing.T) {
	text, big := "a\x00b", strings.Repeat("é", 100_000)
	var noText *string
	for _, tc := range []struct {
		arg  any
		kind string // typeof(), as SQLite has it
		want string
	}{
		{nil, "null", ""}, {noText, "null", ""}, {[]byte(nil), "null", ""}, {sql.NullInt64{}, "null", ""},
		{"", "text", ""}, {text, "text", text}, {&text, "text", text}, {name("n"), "text", "n"}, {big, "text", big},
		{sql.NullString{String: "s", Valid: true}, "text", "s"},
		{[]byte{}, "blob", ""}, {[]byte(big), "blob", big},
		{7, "integer", "7"}, {int64(-1) << 63, "integer", "-9223372036854775808"}, {int32(3), "integer", "3"},
		{true, "integer", "1"}, {false, "integer", "0"}, {1.5, "real", "1.5"},
		{sql.NullInt64{Int64: 9, Valid: true}, "integer", "9"},
	} {
		inTx(t, func(tx *sqldb.Tx) error {
			var kind string
			var got sql.NullString
			err := tx.QueryRow(t.Context(), `SELECT typeof($1), $1`, tc.arg).Scan(&kind, &got)
			if err == nil && (kind != tc.kind || got.String != tc.want || got.Valid != (tc.kind != "null")) {
				t.Errorf("%.20v (%[1]T): %s, %.20q", tc.arg, kind, got.String)
			}
			return err
		})
	}
}

// What a column is read into, beside sql.Scanners.
func TestColumnsAreRead(t *testing.T) {
	inTx(t, func(tx *sqldb.Tx) error {
		var s string
		var named name
		var i int
		var small int8
		var f float64
		var b bool
		var none, some *int64
		var v any
		var bytes []byte
		row := tx.QueryRow(t.Context(), `SELECT 7, 'n', 7, 7, 1.5, 1, NULL, 7, 'v', x'00ff'`)
		if err := row.Scan(&s, &named, &i, &small, &f, &b, &none, &some, &v, &bytes); err != nil {
			return err
		}
		if s != "7" || named != "n" || i != 7 || small != 7 || f != 1.5 || !b || none != nil || *some != 7 || v != "v" || string(bytes) != "\x00\xff" {
			t.Errorf("%q %q %d %d %v %v %v %d %v %x", s, named, i, small, f, b, none, *some, v, bytes)
		}
		for text, to := range map[string]any{
			`SELECT NULL`: new(string), `SELECT NULL AS a`: new(int64), `SELECT NULL AS b`: new(bool), `SELECT NULL AS c`: new(name),
			`SELECT 'x'`: new(int64), `SELECT 'x' AS a`: new(int), `SELECT 300`: new(int8), `SELECT 2`: new(bool),
			`SELECT 1.5`: new(int64), `SELECT 1, 2`: new(int64), `SELECT 1`: int64(0),
		} {
			if err := tx.QueryRow(t.Context(), text).Scan(to); err == nil {
				t.Errorf("%s into a %T: no error", text, to)
			}
		}
		return nil
	})
}

// A parameter takes the argument that it names, wherever it stands.
func TestParametersNameTheirArguments(t *testing.T) {
	inTx(t, func(tx *sqldb.Tx) error {
		for range 2 {
			var got string
			err := tx.QueryRow(t.Context(), `SELECT $3 || $1 || $2 || $1`, "a", "b", "c").Scan(&got)
			if err != nil || got != "caba" {
				t.Errorf("%q, %v", got, err)
			}
			if err = tx.QueryRow(t.Context(), `SELECT ? || ?`, "a", "b").Scan(&got); err != nil || got != "ab" {
				t.Errorf("%q, %v", got, err)
			}
		}
		return nil
	})
}

// Each run of a statement has its own arguments only, also after a large one.
func TestStatementsRunAgain(t *testing.T) {
	inTx(t, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), `CREATE TABLE b (n BIGINT PRIMARY KEY, b BYTEA)`)
		for n, size := range []int{10, 100_000, 0, 5, 20_000} {
			if err == nil {
				_, err = tx.Exec(t.Context(), `INSERT INTO b (n, b) VALUES ($1, $2)`, n, bytes.Repeat([]byte{byte(n)}, size))
			}
			var got []byte
			if err == nil {
				err = tx.QueryRow(t.Context(), `SELECT b FROM b WHERE n = $1`, n).Scan(&got)
			}
			if !bytes.Equal(got, bytes.Repeat([]byte{byte(n)}, size)) {
				t.Errorf("%d: %d bytes, want %d", n, len(got), size)
			}
		}
		if err != nil {
			return err
		}
		res, err := tx.Exec(t.Context(), `UPDATE b SET b = NULL WHERE n > $1`, 1)
		if n, _ := res.RowsAffected(); n != 3 {
			t.Errorf("%d rows changed, want 3", n)
		}
		return err
	})
}

func TestFailuresOfStatements(t *testing.T) {
	inTx(t, func(tx *sqldb.Tx) error {
		for text, args := range map[string][]any{
			"SELEC 1":                      nil,
			"SELECT $1, $2":                {1},
			"SELECT 1; SELECT 2":           nil,
			"SELECT $1":                    {struct{}{}},
			"SELECT abs($1)":               {int64(-1) << 63},
			"INSERT INTO none VALUES ($1)": {1},
		} {
			if _, err := tx.Exec(t.Context(), text, args...); err == nil {
				t.Errorf("%s: no error", text)
			}
			if err := tx.QueryRow(t.Context(), text, args...).Scan(new(any)); err == nil {
				t.Errorf("%s: no error of a query", text)
			}
		}
		if err := tx.QueryRow(t.Context(), `SELECT 1 WHERE 0`).Scan(new(any)); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("no rows: %v", err)
		}
		return nil
	})
}

// Rows that are open keep their text, and no other, from being run.
func TestOpenRows(t *testing.T) {
	inTx(t, func(tx *sqldb.Tx) error {
		const text = `SELECT 1 UNION SELECT 2`
		rows, err := tx.Query(t.Context(), text)
		if err != nil {
			return err
		}
		defer rows.Close()
		rows.Next()
		if err := tx.QueryRow(t.Context(), text).Scan(new(int)); err == nil {
			t.Error("the text was run again")
		}
		if err := tx.QueryRow(t.Context(), `SELECT 3`).Scan(new(int)); err != nil {
			t.Error(err)
		}
		n := 0
		if err := errors.Join(rows.Scan(&n), rows.Err()); err != nil || n != 1 {
			t.Errorf("%d, %v", n, err)
		}
		if err := rows.Close(); err != nil {
			return err
		}
		return tx.QueryRow(t.Context(), text).Scan(&n)
	})
}
