package sqldb

import (
	"errors"
	"fmt"
	"unsafe"

	"modernc.org/libc"
	_ "modernc.org/sqlite" // mends the library on some platforms
	sqlite3 "modernc.org/sqlite/lib"
)

// engine is one connection to SQLite, for one goroutine at a time. It stands in
// the place of database/sql and the library's own driver, which asks for the names
// of columns and parameters anew each time that a statement runs, and copies each
// argument into memory of its own: for the short statements here that takes as
// long as they do.
type engine struct {
	tls   *libc.TLS
	db    uintptr               // sqlite3 *
	ready map[string]*statement // :: text → statement
	wrote bool                  // a statement that may change the database has run since this was set to false
}

// dsn is what a connection is opened with.
type dsn struct {
	file    string // as sqlite3_open_v2 takes it
	pragmas []string
}

func (d dsn) open() (*engine, error) {
	e := &engine{tls: libc.NewTLS(), ready: map[string]*statement{}}
	if err := e.open(d.file); err != nil {
		return nil, errors.Join(err, e.close())
	}
	for _, p := range d.pragmas {
		if _, err := e.run("PRAGMA "+p, nil); err != nil {
			return nil, errors.Join(fmt.Errorf("setting %s: %w", p, err), e.close())
		}
	}
	return e, nil
}

func (e *engine) open(file string) error {
	vfs, err := gathering()
	if err != nil {
		return err
	}
	name, err := e.text(file)
	if err != nil {
		return err
	}
	defer e.free(name)
	out, err := e.alloc(wordBytes)
	if err != nil {
		return err
	}
	defer e.free(out)
	rc := sqlite3.Xsqlite3_open_v2(e.tls, name, out,
		sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_CREATE|sqlite3.SQLITE_OPEN_NOMUTEX|sqlite3.SQLITE_OPEN_URI, vfs)
	e.db = word(out) // there is one also after a failure, to tell it
	if rc != sqlite3.SQLITE_OK {
		return e.fault(rc)
	}
	sqlite3.Xsqlite3_extended_result_codes(e.tls, e.db, 1)
	return nil
}

// close ends the connection.
func (e *engine) close() error {
	for _, s := range e.ready {
		s.close()
	}
	e.ready = nil
	rc := int32(sqlite3.SQLITE_OK)
	if e.db != 0 {
		rc = sqlite3.Xsqlite3_close_v2(e.tls, e.db)
	}
	e.tls.Close()
	if rc != sqlite3.SQLITE_OK {
		return &engineError{rc, "closing the database"}
	}
	return nil
}

// query begins to run a statement that returns rows, kept prepared.
func (e *engine) query(query string, args []any) (*Rows, error) {
	s, err := e.statement(query)
	if err != nil {
		return nil, err
	}
	return s.query(args)
}

// exec runs a statement to its end, kept prepared.
func (e *engine) exec(query string, args []any) (changed, error) {
	s, err := e.statement(query)
	if err != nil {
		return 0, err
	}
	return s.exec(args)
}

// statement returns the prepared statement of a text.
func (e *engine) statement(query string) (*statement, error) {
	if s := e.ready[query]; s != nil {
		return s, nil
	}
	text, err := e.text(query)
	if err != nil {
		return nil, err
	}
	defer e.free(text)
	s, tail, err := e.prepare(text)
	if err != nil {
		return nil, err
	}
	if s == nil || *(*byte)(pointer(tail)) != 0 {
		if s != nil {
			s.close()
		}
		return nil, errors.New("a text that is kept prepared must be one statement")
	}
	e.ready[query] = s
	return s, nil
}

// run runs a text of any number of statements once, each with the same arguments.
func (e *engine) run(query string, args []any) (last changed, err error) {
	text, err := e.text(query)
	if err != nil {
		return 0, err
	}
	defer e.free(text)
	for at := text; *(*byte)(pointer(at)) != 0; {
		s, tail, err := e.prepare(at)
		if err != nil {
			return 0, err
		}
		if at = tail; s == nil { // a comment
			continue
		}
		last, err = s.exec(args)
		s.close()
		if err != nil {
			return 0, err
		}
	}
	return last, nil
}

// prepare returns the first statement of a text, nil if there is none, and where
// the rest begins.
func (e *engine) prepare(text uintptr) (s *statement, tail uintptr, err error) {
	out, err := e.alloc(2 * wordBytes)
	if err != nil {
		return nil, 0, err
	}
	defer e.free(out)
	if rc := sqlite3.Xsqlite3_prepare_v2(e.tls, e.db, text, -1, out, out+wordBytes); rc != sqlite3.SQLITE_OK {
		return nil, 0, e.fault(rc)
	}
	if word(out) == 0 {
		return nil, word(out + wordBytes), nil
	}
	return newStatement(e, word(out)), word(out + wordBytes), nil
}

// inTransaction tells whether one has begun and not ended, be it by a failure.
func (e *engine) inTransaction() bool { return sqlite3.Xsqlite3_get_autocommit(e.tls, e.db) == 0 }

// pagesWritten is how many pages this connection has written to the log since it
// was asked last.
func (e *engine) pagesWritten() int {
	out, err := e.alloc(2 * wordBytes)
	if err != nil {
		return 0
	}
	defer e.free(out)
	sqlite3.Xsqlite3_db_status(e.tls, e.db, sqlite3.SQLITE_DBSTATUS_CACHE_WRITE, out, out+wordBytes, 1)
	return int(*(*int32)(pointer(out)))
}

// engineError is a failure of SQLite.
type engineError struct {
	code int32 // extended
	text string
}

func (e *engineError) Error() string { return fmt.Sprintf("%s (%d)", e.text, e.code) }

// fault is the failure that a call has just returned.
func (e *engine) fault(rc int32) error {
	general := libc.GoString(sqlite3.Xsqlite3_errstr(e.tls, rc))
	if e.db == 0 {
		return &engineError{rc, general}
	}
	if text := libc.GoString(sqlite3.Xsqlite3_errmsg(e.tls, e.db)); text != general {
		general += ": " + text
	}
	return &engineError{rc, general}
}

// The library's memory is none of Go's: what it points to neither moves nor is
// collected.

const wordBytes = unsafe.Sizeof(uintptr(0))

// pointer turns an address of the library into a pointer.
func pointer(p uintptr) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(&p)) //nolint:gosec // the library gave the address
}

func word(p uintptr) uintptr { return *(*uintptr)(pointer(p)) }

// memory is n bytes of the library.
func memory(p uintptr, n int) []byte {
	return unsafe.Slice((*byte)(pointer(p)), n) //nolint:gosec // the library gave the address
}

func (e *engine) alloc(n uintptr) (uintptr, error) {
	p := sqlite3.Xsqlite3_malloc64(e.tls, uint64(n))
	if p == 0 {
		return 0, fmt.Errorf("no memory for %d bytes", n)
	}
	return p, nil
}

func (e *engine) free(p uintptr) { sqlite3.Xsqlite3_free(e.tls, p) }

// text copies a text for the library, with the zero that ends it there.
func (e *engine) text(s string) (uintptr, error) {
	p, err := e.alloc(uintptr(len(s)) + 1)
	if err != nil {
		return 0, err
	}
	to := memory(p, len(s)+1)
	copy(to, s)
	to[len(s)] = 0
	return p, nil
}
