package sqldb

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

var rows = Schema{Name: "rows", Steps: []string{`CREATE TABLE rows (n BIGINT PRIMARY KEY, b BYTEA)`}}

func openRows(t *testing.T) *DB {
	t.Helper()
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "db"), time.Now, rows)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// logOf returns the file of the log of a connection that has it open.
func logOf(t *testing.T, e *engine) *logFile {
	t.Helper()
	out, err := e.alloc(wordBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer e.free(out)
	if rc := sqlite3.Xsqlite3_file_control(e.tls, e.db, 0, sqlite3.SQLITE_FCNTL_JOURNAL_POINTER, out); rc != sqlite3.SQLITE_OK {
		t.Fatal(e.fault(rc))
	}
	return logFileOf(word(out))
}

func failRead(*libc.TLS, uintptr, uintptr, int32, int64) int32 { return sqlite3.SQLITE_IOERR_READ }

func put(n, size int) func(*Tx) error {
	return func(tx *Tx) error {
		_, err := tx.Exec(context.Background(), `INSERT INTO rows (n, b) VALUES ($1, zeroblob($2))`, n, size)
		return err
	}
}

func countRows(t *testing.T, db *DB, from, to int) (n int) {
	t.Helper()
	err := db.ReadOne(t.Context(), func(tx *Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM rows WHERE n BETWEEN $1 AND $2`, from, to).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func checkWhole(t *testing.T, db *DB) {
	t.Helper()
	var result string
	err := db.ReadOne(t.Context(), func(tx *Tx) error {
		return tx.QueryRow(t.Context(), `PRAGMA integrity_check`).Scan(&result)
	})
	if err != nil || result != "ok" {
		t.Errorf("the database is not whole: %s, %v", result, err)
	}
}

// After a failure to read, SQLite has taken back the transaction that writers
// share. It takes nothing from the others.
func TestFailureToReadTakesNothingFromOthers(t *testing.T) {
	db := openRows(t)
	for n := range 3 {
		if err := db.Write(t.Context(), put(n, 20_000)); err != nil {
			t.Fatal(err)
		}
	}
	look := func(tx *Tx) error {
		log := logOf(t, tx.session.engine)
		system := log.system.FxRead
		if err := tx.session.run(`PRAGMA shrink_memory`); err != nil {
			return err
		}
		log.system.FxRead = function(failRead)
		defer func() { log.system.FxRead = system }()
		var size int
		return tx.QueryRow(context.Background(), `SELECT sum(length(b)) FROM rows`).Scan(&size)
	}
	b := &batch{db: db}
	for _, fn := range []func(*Tx) error{put(10, 1), look, put(11, 1)} {
		b.writes = append(b.writes, &write{ctx: t.Context(), fn: fn, done: make(chan struct{})})
	}
	db.commit(b)
	for i, w := range b.writes {
		if failed := w.err != nil; failed != (i == 1) {
			t.Errorf("writer %d was told: %v", i, w.err)
		}
	}
	if n := countRows(t, db, 0, 100); n != 5 {
		t.Errorf("%d rows, want 5", n)
	}
}
