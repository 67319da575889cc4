package sqldb

import (
	"context"
	"errors"
	"testing"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

func failWrite(*libc.TLS, uintptr, uintptr, int32, int64) int32 { return sqlite3.SQLITE_FULL }

// What was gathered before a reading failed is not lost: SQLite may take back no
// more than the statement that read.
func TestFailureToWriteWhileReadingLosesNothing(t *testing.T) {
	db := openRows(t)
	ctx := context.Background()
	err := db.Write(ctx, func(tx *Tx) error {
		if err := tx.session.run(`PRAGMA cache_size = 10`); err != nil {
			return err
		}
		for n := range 100 {
			if err := put(n, 3000)(tx); err != nil {
				return err
			}
		}
		log := logOf(t, tx.session.engine)
		if log.size == 0 {
			t.Error("nothing is gathered")
		}
		system := log.system.FxWrite
		log.system.FxWrite = function(failWrite)
		_, err := tx.Exec(ctx, `INSERT INTO rows (n, b) SELECT n + 1000, b FROM rows`)
		log.system.FxWrite = system
		if err == nil {
			t.Error("the disk was full, and nobody noticed")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	checkWhole(t, db)
	if n := countRows(t, db, 0, 2000); n != 100 {
		t.Errorf("%d rows, want 100", n)
	}
}

// Whichever call to the system fails while several write, at once or later in a
// commit: who was told of a failure has written nothing, who was not has written
// all, and the database is whole.
func TestEveryCallOfALogMayFail(t *testing.T) {
	defer func() { failing.left = 0 }()
	for _, sync := range []bool{false, true} {
		for k, more := 1, true; more; k++ {
			more = failAt(t, k, sync)
		}
	}
}

// failing counts down to the call that fails; one test uses it.
var failing struct {
	left  int
	write func(*libc.TLS, uintptr, uintptr, int32, int64) int32
	sync  func(*libc.TLS, uintptr, int32) int32
}

func fails() bool {
	failing.left--
	return failing.left == 0
}

func writeOrFail(tls *libc.TLS, file, from uintptr, n int32, at int64) int32 {
	if fails() {
		return sqlite3.SQLITE_FULL
	}
	return failing.write(tls, file, from, n, at)
}

func syncOrFail(tls *libc.TLS, file uintptr, flags int32) int32 {
	if fails() {
		return sqlite3.SQLITE_IOERR_FSYNC
	}
	return failing.sync(tls, file, flags)
}

// failAt reports whether there was a k-th call.
func failAt(t *testing.T, k int, sync bool) bool {
	t.Helper()
	db := openRows(t)
	if err := db.Write(t.Context(), put(0, 1)); err != nil {
		t.Fatal(err)
	}
	failFrom(t, db, k, sync)
	b := &batch{db: db}
	for i := range 3 {
		b.writes = append(b.writes, &write{ctx: t.Context(), fn: putMany(100*i+100, i == 1), done: make(chan struct{})})
	}
	db.commit(b)
	for i, w := range b.writes {
		n := countRows(t, db, 100*i+100, 100*i+199)
		if w.err == nil && n != 20 || w.err != nil && n != 0 {
			t.Errorf("failure at %d: writer %d was told %v, and has %d rows", k, i, w.err, n)
		}
	}
	happened := failing.left <= 0
	failing.left = 0
	if err := db.Write(t.Context(), put(1, 100_000)); err != nil {
		t.Errorf("failure at %d: a write after it: %v", k, err)
	}
	checkWhole(t, db)
	return happened
}

// failFrom makes the k-th call fail, for a writer that keeps few pages.
func failFrom(t *testing.T, db *DB, k int, sync bool) {
	t.Helper()
	s := <-db.writer
	defer func() { db.writer <- s }()
	if err := s.run(`PRAGMA cache_size = 5`); err != nil {
		t.Fatal(err)
	}
	system := &logOf(t, s.engine).system
	failing.left = k
	failing.write = method[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](system.FxWrite)
	failing.sync = method[func(*libc.TLS, uintptr, int32) int32](system.FxSync)
	if sync {
		system.FxSync = function(syncOrFail)
	} else {
		system.FxWrite = function(writeOrFail)
	}
}

// putMany is a writer of twenty rows from first on, the latter half in one
// statement. One that spoils fails at its end.
func putMany(first int, spoils bool) func(*Tx) error {
	return func(tx *Tx) error {
		for n := range 10 {
			if err := put(first+n, 3000)(tx); err != nil {
				return err
			}
		}
		_, err := tx.Exec(context.Background(), `INSERT INTO rows (n, b) SELECT n + 10, b FROM rows WHERE n BETWEEN $1 AND $2`, first, first+9)
		if err == nil && spoils {
			err = errors.New("it is over")
		}
		return err
	}
}
