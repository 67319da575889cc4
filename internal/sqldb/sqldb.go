// Package sqldb opens the server's own database and gives each feature
// transactions in which to keep its tables. It is the only place that knows
// which database engine that is.
//
// Every write is on disk before Write returns (WAL with synchronous=FULL).
// Writers that arrive together share one commit, and so one fsync: each runs in
// a savepoint of its own, so one that fails takes nothing from its neighbours.
package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/keyturn/keyturn/internal/fault"
)

// maxBatch bounds how many writers share one commit.
const maxBatch = 256

// ErrClosed is returned by Write after Close.
var ErrClosed = errors.New("the database is closed")

// DB is an open database. It is safe for concurrent use.
type DB struct {
	writer, reader       *sql.DB
	toWriter, fromReader *statements
	now                  func() time.Time

	queue chan *write

	closing struct {
		sync.RWMutex // held for reading while a writer enters the queue
		closed       bool
	}
	loop sync.WaitGroup
}

// Open opens or creates the SQLite database in the file path, or in memory when
// path is ":memory:", and brings the tables of each schema up to date. now gives
// each transaction its time. Open refuses a database that a newer keyturn has
// changed (ErrNewerSchema).
func Open(ctx context.Context, path string, now func() time.Time, schemas ...Schema) (*DB, error) {
	db := &DB{now: now, queue: make(chan *write, maxBatch)}
	if err := db.open(path); err != nil {
		return nil, err
	}
	if err := db.migrate(ctx, schemas); err != nil {
		return nil, errors.Join(err, db.closeHandles())
	}
	db.toWriter, db.fromReader = newStatements(db.writer), newStatements(db.reader)
	db.loop.Go(db.run)
	return db, nil
}

func (db *DB) open(path string) (err error) {
	if db.writer, err = sql.Open("sqlite", dsn(path, "immediate")); err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	db.writer.SetMaxOpenConns(1)
	if path == ":memory:" { // a second connection would be a second database
		db.reader = db.writer
		return nil
	}
	if db.reader, err = sql.Open("sqlite", dsn(path, "deferred")); err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	readers := 2 * runtime.GOMAXPROCS(0)
	db.reader.SetMaxOpenConns(readers)
	db.reader.SetMaxIdleConns(readers)
	return nil
}

func dsn(path, lock string) string {
	q := url.Values{"_txlock": {lock}, "_pragma": {
		"busy_timeout(10000)",
		"journal_mode(WAL)",
		"synchronous(FULL)", // in WAL mode only FULL syncs at each commit
		"cache_size(-8000)", // KiB for each connection
		"secure_delete(ON)", // what is deleted leaves no trace in the file
	}}
	if path == ":memory:" {
		return path + "?" + q.Encode()
	}
	return "file:" + url.PathEscape(path) + "?" + q.Encode()
}

// Close waits for writers under way and closes the database.
func (db *DB) Close() error {
	db.closing.Lock()
	first := !db.closing.closed
	db.closing.closed = true
	db.closing.Unlock()
	if !first {
		return nil
	}
	close(db.queue)
	db.loop.Wait()
	return db.closeHandles()
}

func (db *DB) closeHandles() error {
	err := db.writer.Close()
	if db.reader != nil && db.reader != db.writer {
		err = errors.Join(db.reader.Close(), err)
	}
	return err
}

// Tx is one transaction with one reading of the clock. Its statements are not
// cut short when a caller goes away: SQLite answers an interrupted statement by
// rolling back the whole transaction, which others may share.
type Tx struct {
	tx       *sql.Tx
	prepared *statements
	Now      time.Time // UTC, whole milliseconds, as rows store it
	after    *[]func() // of the writer; nil while reading
}

// OnCommit runs fn once the transaction is on disk and before Write returns. A
// writer that fails, or whose commit does, runs nothing. fn must not call Read
// or Write; a crash may come before it.
func (tx *Tx) OnCommit(fn func()) { *tx.after = append(*tx.after, fn) }

// Exec runs a statement.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	ctx = context.WithoutCancel(ctx)
	if stmt := tx.prepared.find(query); stmt != nil {
		return tx.tx.StmtContext(ctx, stmt).ExecContext(ctx, args...) //nolint:sqlclosecheck // the end of the transaction closes it
	}
	return tx.tx.ExecContext(ctx, query, args...)
}

// Query runs a statement that returns rows. Close them before the same text is
// run again in this transaction.
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx = context.WithoutCancel(ctx)
	if stmt := tx.prepared.find(query); stmt != nil {
		return tx.tx.StmtContext(ctx, stmt).QueryContext(ctx, args...) //nolint:sqlclosecheck // the end of the transaction closes it
	}
	return tx.tx.QueryContext(ctx, query, args...)
}

// QueryRow runs a statement that returns at most one row.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	ctx = context.WithoutCancel(ctx)
	if stmt := tx.prepared.find(query); stmt != nil {
		return tx.tx.StmtContext(ctx, stmt).QueryRowContext(ctx, args...) //nolint:sqlclosecheck // the end of the transaction closes it
	}
	return tx.tx.QueryRowContext(ctx, query, args...)
}

func (db *DB) clock() time.Time { return db.now().UTC().Truncate(time.Millisecond) }

// Read runs fn in a transaction that sees one state of the database. fn must
// not call Read or Write.
func (db *DB) Read(ctx context.Context, fn func(*Tx) error) error {
	tx, err := db.reader.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning to read: %w", err)
	}
	defer db.fromReader.prepare(ctx)
	defer tx.Rollback() //nolint:errcheck // nothing was written
	return fn(&Tx{tx: tx, prepared: db.fromReader, Now: db.clock()})
}

// Write runs fn in a transaction and returns when its changes are on disk, or
// with the error of fn, which then has changed nothing. fn may run more than
// once and must have no other effects; it must not call Read or Write.
func (db *DB) Write(ctx context.Context, fn func(*Tx) error) error {
	w := &write{ctx: ctx, fn: fn, done: make(chan struct{})}
	if err := db.enqueue(w); err != nil {
		return err
	}
	<-w.done
	if w.panicked != nil {
		panic(w.panicked)
	}
	return w.err
}

func (db *DB) enqueue(w *write) error {
	db.closing.RLock()
	defer db.closing.RUnlock()
	if db.closing.closed {
		return ErrClosed
	}
	db.queue <- w
	return nil
}

type write struct {
	ctx      context.Context //nolint:containedctx // it lives as long as the call of Write that waits for it
	fn       func(*Tx) error
	done     chan struct{}
	after    []func()
	err      error
	panicked any
}

func (db *DB) run() {
	for w := range db.queue {
		batch := db.gather(w)
		db.commit(batch)
		for _, w := range batch {
			w.finish()
			close(w.done)
		}
	}
}

// finish runs what waits for the commit.
func (w *write) finish() {
	if w.err != nil || w.panicked != nil {
		return
	}
	for _, fn := range w.after {
		fn()
	}
}

// gather takes whatever else is waiting already; nobody waits to fill a batch.
func (db *DB) gather(first *write) []*write {
	batch := []*write{first}
	for len(batch) < maxBatch {
		select {
		case w, open := <-db.queue:
			if !open {
				return batch
			}
			batch = append(batch, w)
		default:
			return batch
		}
	}
	return batch
}

func (db *DB) commit(batch []*write) {
	err := db.runBatch(batch)
	for _, w := range batch {
		if err != nil && w.err == nil {
			w.err = explain(err)
		}
	}
}

func (db *DB) runBatch(batch []*write) error {
	tx, err := db.writer.BeginTx(context.Background(), nil)
	if err != nil {
		return fmt.Errorf("beginning to write: %w", err)
	}
	defer db.toWriter.prepare(context.Background())
	now := db.clock()
	for _, w := range batch {
		if err := w.run(&Tx{tx: tx, prepared: db.toWriter, Now: now, after: &w.after}); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	if err := tx.Commit(); err != nil {
		return errors.Join(fmt.Errorf("committing: %w", err), tx.Rollback())
	}
	return nil
}

// run runs one writer inside a savepoint. The error it returns is one that
// spoils the transaction for everybody; the writer's own error goes to w.err.
func (w *write) run(tx *Tx) error {
	if w.err = w.ctx.Err(); w.err != nil {
		return nil //nolint:nilerr // it is the writer's own error
	}
	if _, err := tx.Exec(w.ctx, "SAVEPOINT w"); err != nil {
		return fmt.Errorf("setting a savepoint: %w", err)
	}
	if w.call(tx); w.err != nil || w.panicked != nil {
		w.err = explain(w.err)
		if _, err := tx.Exec(w.ctx, "ROLLBACK TO w"); err != nil {
			return fmt.Errorf("rolling back to a savepoint: %w", err)
		}
	}
	if _, err := tx.Exec(w.ctx, "RELEASE w"); err != nil {
		return fmt.Errorf("releasing a savepoint: %w", err)
	}
	return nil
}

func (w *write) call(tx *Tx) {
	defer func() { w.panicked = recover() }()
	w.err = w.fn(tx)
}

// explain turns a full disk into words that a caller may see: it is the one
// failure of the store that they can do something about.
func explain(err error) error {
	if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code()&0xff == sqlite3.SQLITE_FULL {
		return fault.Internal.Errorf("The disk that holds the server's data folder is full. Nothing was changed. Free some space and try again.")
	}
	return err
}

// IsUnique reports whether err says that a row with the same key exists.
func IsUnique(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// Millis is how rows store a moment: UTC milliseconds since 1970.
func Millis(t time.Time) int64 { return t.UnixMilli() }

// Time reads a stored moment; NULL is nil.
func Time(ms sql.NullInt64) *time.Time {
	if !ms.Valid {
		return nil
	}
	t := time.UnixMilli(ms.Int64).UTC()
	return &t
}
