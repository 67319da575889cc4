package sqldb

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strconv"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// statement is one prepared statement of an engine.
type statement struct {
	*engine
	handle  uintptr // sqlite3_stmt *
	params  []int   // of each parameter: which argument it takes
	columns int     // of a row
	writes  bool    // it may change the database
	busy    bool    // rows of it are being read

	held     uintptr // where texts and bytes of its arguments lie
	heldSize int
}

// maxHeld is the most memory for arguments that a statement keeps for its next
// run.
const maxHeld = 16 << 10

func newStatement(e *engine, handle uintptr) *statement {
	s := &statement{engine: e, handle: handle, columns: int(sqlite3.Xsqlite3_column_count(e.tls, handle)),
		writes: sqlite3.Xsqlite3_stmt_readonly(e.tls, handle) == 0}
	for i := range sqlite3.Xsqlite3_bind_parameter_count(e.tls, handle) {
		name := libc.GoString(sqlite3.Xsqlite3_bind_parameter_name(e.tls, handle, i+1))
		s.params = append(s.params, argumentOf(name, int(i)))
	}
	return s
}

// argumentOf returns which argument a parameter takes: $3 the third one, whatever
// its place in the text; ? the one at its place.
func argumentOf(name string, place int) int {
	if len(name) > 1 {
		if n, err := strconv.Atoi(name[1:]); err == nil {
			return n - 1
		}
	}
	return place
}

func (s *statement) close() {
	sqlite3.Xsqlite3_finalize(s.tls, s.handle)
	s.free(s.held)
}

// changed is how many rows a statement has changed.
type changed int64

// LastInsertId is refused: PostgreSQL has none.
func (changed) LastInsertId() (int64, error) {
	return 0, errors.New("there is no last id: use RETURNING")
}

// RowsAffected never fails.
func (c changed) RowsAffected() (int64, error) { return int64(c), nil }

// exec runs the statement to its end.
func (s *statement) exec(args []any) (n changed, err error) {
	if err := s.bind(args); err != nil {
		return 0, err
	}
	rc := sqlite3.Xsqlite3_step(s.tls, s.handle)
	for rc == sqlite3.SQLITE_ROW {
		rc = sqlite3.Xsqlite3_step(s.tls, s.handle)
	}
	if rc == sqlite3.SQLITE_DONE {
		n = changed(sqlite3.Xsqlite3_changes(s.tls, s.db))
	} else {
		err = s.fault(rc)
	}
	s.reset()
	return n, err
}

// reset makes the statement ready for its next run.
func (s *statement) reset() {
	sqlite3.Xsqlite3_reset(s.tls, s.handle) // tells again how the run ended
	s.busy = false
	if s.heldSize <= maxHeld {
		return
	}
	for i := range s.params {
		sqlite3.Xsqlite3_bind_null(s.tls, s.handle, int32(i+1))
	}
	s.free(s.held)
	s.held, s.heldSize = 0, 0
}

// bind gives the parameters their arguments. The texts and bytes lie in held
// until the next run; SQLite makes no copies.
func (s *statement) bind(args []any) (err error) {
	s.wrote = s.wrote || s.writes
	if s.busy {
		return errors.New("the rows of this text have not been closed")
	}
	values, size := make([]any, len(args)), 0
	for i, a := range args {
		if values[i], err = argument(a); err != nil {
			return fmt.Errorf("argument %d: %w", i+1, err)
		}
		size += length(values[i])
	}
	if err := s.hold(size); err != nil {
		return err
	}
	at := s.held
	for i, n := range s.params {
		if n >= len(values) {
			return fmt.Errorf("argument %d is missing", n+1)
		}
		var rc int32
		if rc, at = s.bindOne(int32(i+1), values[n], at); rc != sqlite3.SQLITE_OK {
			return s.fault(rc)
		}
	}
	return nil
}

// length is how many bytes an argument takes in held. An argument that stands for
// two parameters is one parameter to SQLite.
func length(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []byte:
		return len(v)
	}
	return 0
}

// hold makes room for size bytes, one more at least: nothing has the address 0.
func (s *statement) hold(size int) error {
	if size < s.heldSize {
		return nil
	}
	s.free(s.held)
	s.held, s.heldSize = 0, 0
	n := max(256, size+1)
	p, err := s.alloc(uintptr(n))
	if err != nil {
		return err
	}
	s.held, s.heldSize = p, n
	return nil
}

// bindOne gives one parameter its value, which lies at the address at if it is a
// text or bytes, and returns where the next may lie.
func (s *statement) bindOne(i int32, v any, at uintptr) (rc int32, next uintptr) {
	switch v := v.(type) {
	case int64:
		return sqlite3.Xsqlite3_bind_int64(s.tls, s.handle, i, v), at
	case string:
		n := copy(memory(at, len(v)), v)
		return sqlite3.Xsqlite3_bind_text64(s.tls, s.handle, i, at, uint64(n), 0, sqlite3.SQLITE_UTF8), at + uintptr(n) //nolint:gosec // a length
	case []byte:
		if v == nil {
			break
		}
		n := copy(memory(at, len(v)), v)
		return sqlite3.Xsqlite3_bind_blob64(s.tls, s.handle, i, at, uint64(n), 0), at + uintptr(n) //nolint:gosec // a length
	case float64:
		return sqlite3.Xsqlite3_bind_double(s.tls, s.handle, i, v), at
	}
	return sqlite3.Xsqlite3_bind_null(s.tls, s.handle, i), at
}

// argument turns what a caller gives into nil, int64, float64, string or []byte.
func argument(v any) (any, error) {
	switch v := v.(type) {
	case nil, int64, float64, string, []byte:
		return v, nil
	case int:
		return int64(v), nil
	case bool:
		if v {
			return int64(1), nil
		}
		return int64(0), nil
	case driver.Valuer:
		value, err := driver.DefaultParameterConverter.ConvertValue(v)
		if err != nil {
			return nil, err
		}
		return argument(value)
	}
	return named(v)
}

// named is argument for types of other packages and for pointers.
func named(v any) (any, error) {
	if r := reflect.ValueOf(v); r.Kind() == reflect.String {
		return r.String(), nil
	}
	value, err := driver.DefaultParameterConverter.ConvertValue(v)
	if err != nil {
		return nil, err
	}
	switch value.(type) {
	case nil, int64, float64, string, []byte, bool:
		return argument(value)
	}
	return nil, fmt.Errorf("a %T cannot be stored", v)
}
