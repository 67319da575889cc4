package sqldb

import (
	"database/sql"
	"errors"
	"fmt"
	"reflect"

	sqlite3 "modernc.org/sqlite/lib"
)

// Rows is the rows of a statement that runs, read one after the other:
//
//	defer rows.Close()
//	for rows.Next() {
//		if err := rows.Scan(&arn, &at); err != nil {
//			return err
//		}
//	}
//	return rows.Err()
type Rows struct {
	*statement
	rc     int32 // of the last step
	begun  bool
	closed bool
	err    error
}

// query begins to run the statement.
func (s *statement) query(args []any) (*Rows, error) {
	if err := s.bind(args); err != nil {
		return nil, err
	}
	r := &Rows{statement: s, rc: sqlite3.Xsqlite3_step(s.tls, s.handle)}
	if r.rc != sqlite3.SQLITE_ROW && r.rc != sqlite3.SQLITE_DONE {
		err := s.fault(r.rc)
		s.reset()
		return nil, err
	}
	s.busy = true
	return r, nil
}

// Next goes to the next row, the first one at first. It returns false where there
// is none, or none could be read: see Err.
func (r *Rows) Next() bool {
	if r.closed {
		return false
	}
	if r.begun {
		r.rc = sqlite3.Xsqlite3_step(r.tls, r.handle)
	}
	r.begun = true
	if r.rc == sqlite3.SQLITE_ROW {
		return true
	}
	if r.rc != sqlite3.SQLITE_DONE {
		r.err = r.fault(r.rc)
	}
	_ = r.Close()
	return false
}

// Err returns why Next could not read a row, or nil.
func (r *Rows) Err() error { return r.err }

// Close ends the run; rows of which the last one was read are closed. It returns
// nil.
func (r *Rows) Close() error {
	if !r.closed {
		r.closed = true
		r.reset()
	}
	return nil
}

// Scan reads the columns of a row into pointers: to string, int64, int, bool, and
// types of these kinds, or to pointers to them, which are nil for NULL; to []byte,
// in which bytes of no length are nil; to any; to a sql.Scanner, such as
// sql.NullString.
func (r *Rows) Scan(to ...any) error {
	if r.closed || !r.begun {
		return errors.New("there is no row to read")
	}
	if len(to) != r.columns {
		return fmt.Errorf("%d columns are read of %d", len(to), r.columns)
	}
	for i, p := range to {
		if err := r.read(int32(i), p); err != nil {
			return fmt.Errorf("reading column %d: %w", i+1, err)
		}
	}
	return nil
}

func (r *Rows) read(i int32, to any) error {
	kind := sqlite3.Xsqlite3_column_type(r.tls, r.handle, i)
	switch to := to.(type) {
	case *string:
		if kind != sqlite3.SQLITE_NULL {
			*to = r.text(i)
			return nil
		}
	case *int64:
		if kind == sqlite3.SQLITE_INTEGER {
			*to = sqlite3.Xsqlite3_column_int64(r.tls, r.handle, i)
			return nil
		}
	case *[]byte:
		*to = r.bytes(i)
		return nil
	case *sql.NullString:
		if to.Valid = kind != sqlite3.SQLITE_NULL; to.Valid {
			to.String = r.text(i)
		}
		return nil
	case *sql.NullInt64:
		if to.Valid = kind == sqlite3.SQLITE_INTEGER; to.Valid {
			to.Int64 = sqlite3.Xsqlite3_column_int64(r.tls, r.handle, i)
			return nil
		}
	}
	return r.assign(i, kind, to)
}

// assign is read for what need not be fast.
func (r *Rows) assign(i, kind int32, to any) error {
	switch to := to.(type) {
	case *any:
		*to = r.value(i, kind)
		return nil
	case sql.Scanner:
		return to.Scan(r.value(i, kind))
	}
	p := reflect.ValueOf(to)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("a %T points to nothing", to)
	}
	switch e := p.Elem(); {
	case e.Kind() == reflect.Pointer && kind == sqlite3.SQLITE_NULL:
		e.SetZero()
		return nil
	case e.Kind() == reflect.Pointer:
		e.Set(reflect.New(e.Type().Elem()))
		return r.read(i, e.Interface())
	case e.Kind() == reflect.String && kind != sqlite3.SQLITE_NULL:
		e.SetString(r.text(i))
		return nil
	case kind == sqlite3.SQLITE_INTEGER && assignInt(e, sqlite3.Xsqlite3_column_int64(r.tls, r.handle, i)):
		return nil
	case e.CanFloat() && kind == sqlite3.SQLITE_FLOAT:
		e.SetFloat(sqlite3.Xsqlite3_column_double(r.tls, r.handle, i))
		return nil
	}
	return fmt.Errorf("a %T does not go into a %T", r.value(i, kind), to)
}

// text returns a column as text, whatever it is, "" for NULL.
func (r *Rows) text(i int32) string {
	p := sqlite3.Xsqlite3_column_text(r.tls, r.handle, i)
	return string(memory(p, int(sqlite3.Xsqlite3_column_bytes(r.tls, r.handle, i))))
}

func (r *Rows) bytes(i int32) []byte {
	p := sqlite3.Xsqlite3_column_blob(r.tls, r.handle, i)
	return append([]byte(nil), memory(p, int(sqlite3.Xsqlite3_column_bytes(r.tls, r.handle, i)))...)
}

// value returns a column of that kind as nil, int64, float64, string or []byte.
func (r *Rows) value(i, kind int32) any {
	switch kind {
	case sqlite3.SQLITE_INTEGER:
		return sqlite3.Xsqlite3_column_int64(r.tls, r.handle, i)
	case sqlite3.SQLITE_FLOAT:
		return sqlite3.Xsqlite3_column_double(r.tls, r.handle, i)
	case sqlite3.SQLITE_TEXT:
		return r.text(i)
	case sqlite3.SQLITE_BLOB:
		return r.bytes(i)
	}
	return nil
}

// assignInt reports whether n goes into to.
func assignInt(to reflect.Value, n int64) bool {
	switch {
	case to.CanInt() && !to.OverflowInt(n):
		to.SetInt(n)
	case to.Kind() == reflect.Bool && (n == 0 || n == 1):
		to.SetBool(n == 1)
	default:
		return false
	}
	return true
}

// Row is what QueryRow returns.
type Row struct {
	rows *Rows
	err  error
}

// Scan reads the columns of the row as Rows.Scan does. It returns sql.ErrNoRows if
// there is none.
func (r Row) Scan(to ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return sql.ErrNoRows
	}
	return r.rows.Scan(to...)
}
