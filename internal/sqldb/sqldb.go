// Package sqldb opens the server's own database and gives each feature
// transactions in which to keep its tables. It is the only place that knows
// which database engine that is.
//
// Every write is on disk before Write returns (WAL with synchronous=FULL).
// Writers that arrive together share one commit, and so one fsync. One that fails
// takes nothing from its neighbours: see runBatch.
package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/keyturn/keyturn/internal/fault"
)

// maxBatch bounds how many writers share one commit.
const maxBatch = 256

// closeWait bounds how long Close waits for a reader that does not end.
const closeWait = 10 * time.Second

// ErrClosed is returned by Read and Write after Close.
var ErrClosed = errors.New("the database is closed")

// DB is an open database. It is safe for concurrent use.
type DB struct {
	path    string
	writer  chan *session // one; the same as readers for a database in memory
	readers chan *session
	now     func() time.Time

	queue chan *write
	lead  chan struct{} // holds one while a writer commits for those in the queue

	shared           bool           // the last commit was for more than one; of the one who leads
	commits, written int            // of the one who leads: see tendLog
	emptying         atomic.Bool    // emptyLog runs
	crew             sync.WaitGroup // what tendLog began

	watchers struct {
		sync.RWMutex
		all []func(what any) (ended func())
	}

	closing struct {
		sync.RWMutex // held for reading while a writer enters
		begun        chan struct{}
		closed       bool           // begun is
		writers      sync.WaitGroup // those that have entered
	}
}

// Open opens or creates the SQLite database in the file path, or in memory when
// path is ":memory:", and brings the tables of each schema up to date. now gives
// each transaction its time. Open refuses a database that a newer keyturn has
// changed (ErrNewerSchema).
func Open(ctx context.Context, path string, now func() time.Time, schemas ...Schema) (*DB, error) {
	db := &DB{path: path, now: now, queue: make(chan *write, maxBatch), lead: make(chan struct{}, 1)}
	db.closing.begun = make(chan struct{})
	if err := db.open(path); err != nil {
		return nil, errors.Join(err, db.closeSessions())
	}
	if err := db.migrate(ctx, schemas); err != nil {
		return nil, errors.Join(err, db.closeSessions())
	}
	return db, nil
}

func (db *DB) open(path string) (err error) {
	if db.writer, err = openSessions(newDSN(path, writerCache), 1); err != nil {
		return err
	}
	if path == ":memory:" { // a second connection would be a second database
		db.readers = db.writer
		return nil
	}
	db.readers, err = openSessions(newDSN(path, readerCache), 2*runtime.GOMAXPROCS(0))
	return err
}

// The most memory that a connection keeps pages in, in KiB. That of a reader is
// emptied by every commit, so a large one would mostly be filled again.
const (
	writerCache = 8000
	readerCache = 4000
)

func newDSN(path string, cache int) dsn {
	d := dsn{file: "file:" + url.PathEscape(path), pragmas: []string{
		"busy_timeout(10000)",
		"journal_mode(WAL)",
		"synchronous(FULL)", // in WAL mode only FULL syncs at each commit
		"cache_size(-" + strconv.Itoa(cache) + ")",
		"wal_autocheckpoint(" + strconv.Itoa(overduePages) + ")",
		"journal_size_limit(67108864)",
		"secure_delete(ON)", // what is deleted leaves no trace in the file
	}}
	if path == ":memory:" {
		d.file = path
	}
	return d
}

// Close waits for readers and writers under way and closes the database.
func (db *DB) Close() error {
	db.closing.Lock()
	first := !db.closing.closed
	db.closing.closed = true
	db.closing.Unlock()
	if !first {
		return nil
	}
	close(db.closing.begun)
	db.closing.writers.Wait()
	db.crew.Wait()
	return db.closeSessions()
}

func (db *DB) closeSessions() error {
	errs := []error{closeSessions(db.readers)}
	if db.writer != db.readers {
		errs = append(errs, closeSessions(db.writer))
	}
	return errors.Join(errs...)
}

// Tx is one transaction with one reading of the clock. Its statements are not
// cut short when a caller goes away: SQLite answers an interrupted statement by
// rolling back the whole transaction, which others may share.
type Tx struct {
	session *session
	once    bool      // texts are run once: they are not kept prepared
	Now     time.Time // UTC, whole milliseconds, as rows store it
	after   *[]func() // of the writer; nil while reading
	batch   *batch    // of the writer; nil while reading
	touched any       // what Touch was told last
}

// Watch has fn called with whatever a writer says it changes (Tx.Touch), before
// its statement runs. What fn returns is called once the transaction has ended,
// committed or not, and before any of its Writes returns. Between the two calls
// readers may see the state before or after; memory that is forgotten at the
// first and not filled before the second never holds what is past. fn must not
// call Read or Write, and must be quick.
func (db *DB) Watch(fn func(what any) (ended func())) {
	db.watchers.Lock()
	defer db.watchers.Unlock()
	db.watchers.all = append(db.watchers.all, fn)
}

// Touch tells those who watch that this transaction changes what.
func (tx *Tx) Touch(what any) {
	if tx.batch == nil || tx.touched == what {
		return
	}
	tx.touched = what
	tx.batch.touch(what)
}

// OnCommit runs fn once the transaction is on disk and before Write returns. A
// writer that fails, or whose commit does, runs nothing. fn must not call Read
// or Write; a crash may come before it.
func (tx *Tx) OnCommit(fn func()) { *tx.after = append(*tx.after, fn) }

// Exec runs a statement.
func (tx *Tx) Exec(_ context.Context, query string, args ...any) (sql.Result, error) {
	if tx.once {
		return tx.session.engine.run(query, args)
	}
	return tx.session.engine.exec(query, args)
}

// Query runs a statement that returns rows. Close them before the same text is
// run again in this transaction.
func (tx *Tx) Query(_ context.Context, query string, args ...any) (*Rows, error) {
	return tx.session.engine.query(query, args)
}

// QueryRow runs a statement that returns at most one row, which Scan must be
// called for.
func (tx *Tx) QueryRow(_ context.Context, query string, args ...any) Row {
	rows, err := tx.session.engine.query(query, args)
	return Row{rows, err}
}

// Now is the time that a transaction would have.
func (db *DB) Now() time.Time { return db.now().UTC().Truncate(time.Millisecond) }

// Read runs fn in a transaction that sees one state of the database. fn must
// not call Read or Write.
func (db *DB) Read(ctx context.Context, fn func(*Tx) error) error {
	return db.withReader(ctx, func(s *session) (err error) {
		if err := s.run("BEGIN"); err != nil {
			return fmt.Errorf("beginning to read: %w", err)
		}
		defer func() { err = errors.Join(err, s.rollback()) }()
		return fn(&Tx{session: s, Now: db.Now()})
	})
}

// ReadOne is Read for an fn that runs one statement and no more: that sees one
// state of the database without a transaction around it.
func (db *DB) ReadOne(ctx context.Context, fn func(*Tx) error) error {
	return db.withReader(ctx, func(s *session) error { return fn(&Tx{session: s, Now: db.Now()}) })
}

func (db *DB) withReader(ctx context.Context, fn func(*session) error) error {
	select {
	case s := <-db.readers:
		defer func() { db.readers <- s }()
		return fn(s)
	case <-db.closing.begun:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("beginning to read: %w", ctx.Err())
	}
}

// Write runs fn in a transaction and returns when its changes are on disk, or
// with the error of fn, which then has changed nothing. fn may run more than
// once and must have no other effects; it must not call Read or Write.
func (db *DB) Write(ctx context.Context, fn func(*Tx) error) error {
	if err := db.enter(); err != nil {
		return err
	}
	defer db.closing.writers.Done()
	w := &write{ctx: ctx, fn: fn, done: make(chan struct{})}
	db.queue <- w
	db.wait(w)
	if w.panicked != nil {
		panic(w.panicked)
	}
	return w.err
}

func (db *DB) enter() error {
	db.closing.RLock()
	defer db.closing.RUnlock()
	if db.closing.closed {
		return ErrClosed
	}
	db.closing.writers.Add(1)
	return nil
}

// wait returns when w is done. Nobody else works for the writers: one of those
// that wait commits for all, so that a writer alone hands nothing over.
func (db *DB) wait(w *write) {
	for {
		select {
		case <-w.done:
			return
		case db.lead <- struct{}{}:
			db.commitAll()
		}
	}
}

func (db *DB) commitAll() {
	defer func() { <-db.lead }()
	if db.shared { // others are likely on their way: a commit for more costs each less
		runtime.Gosched()
	}
	if writes := db.gather(); len(writes) > 0 {
		db.commit(&batch{db: db, writes: writes})
	}
}

type write struct {
	ctx      context.Context //nolint:containedctx // it lives as long as the call of Write that waits for it
	fn       func(*Tx) error
	done     chan struct{}
	after    []func()
	err      error
	panicked any
}

// finish runs what waits for the commit.
func (w *write) finish() {
	if w.failed() {
		return
	}
	for _, fn := range w.after {
		fn()
	}
}

// gather takes whatever is waiting; nobody waits to fill a batch.
func (db *DB) gather() (all []*write) {
	for len(all) < maxBatch {
		select {
		case w := <-db.queue:
			all = append(all, w)
		default:
			return all
		}
	}
	return all
}

// batch is the writers that share one transaction.
type batch struct {
	db     *DB
	writes []*write
	ended  []func() // of those who watch what was touched
}

func (b *batch) touch(what any) {
	b.db.watchers.RLock()
	defer b.db.watchers.RUnlock()
	for _, fn := range b.db.watchers.all {
		b.ended = append(b.ended, fn(what))
	}
}

func (db *DB) commit(b *batch) {
	err := db.runBatch(b)
	for _, fn := range b.ended {
		fn()
	}
	for _, w := range b.writes {
		if err != nil && w.err == nil {
			w.err = explain(err)
		}
		w.finish()
		close(w.done)
	}
}

// runBatch runs the writers without savepoints first: a writer mostly succeeds, or
// finds before its first change that it cannot. Where one fails after that, all run
// again, each in a savepoint of its own.
func (db *DB) runBatch(b *batch) error {
	s := <-db.writer
	defer func() { db.writer <- s }()
	err := db.runOnce(s, b, false)
	if errors.Is(err, errSpoilt) {
		err = db.runOnce(s, b, true)
	}
	return err
}

// errSpoilt says that a writer of several has failed and left changes.
var errSpoilt = errors.New("a writer that failed has changed something")

func (db *DB) runOnce(s *session, b *batch, savepoints bool) error {
	if err := s.run("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("beginning to write: %w", err)
	}
	now, alone := db.Now(), len(b.writes) == 1
	db.shared = !alone
	for _, w := range b.writes {
		w.after = nil
		err := w.run(&Tx{session: s, Now: now, after: &w.after, batch: b}, savepoints)
		if alone && w.failed() {
			return s.rollback()
		}
		if err != nil {
			return errors.Join(err, s.rollback())
		}
	}
	defer db.tendLog(s)
	return s.commit()
}

// run runs one writer, inside a savepoint or not. The error it returns is one that
// spoils the transaction for everybody; the writer's own error goes to w.err.
func (w *write) run(tx *Tx, savepoint bool) error {
	if w.err = w.ctx.Err(); w.err != nil {
		return nil //nolint:nilerr // it is the writer's own error
	}
	if savepoint {
		return w.runInSavepoint(tx)
	}
	tx.session.engine.wrote = false
	if w.call(tx); w.failed() && tx.session.engine.wrote {
		return errSpoilt
	}
	return nil
}

func (w *write) runInSavepoint(tx *Tx) error {
	if err := tx.session.run("SAVEPOINT w"); err != nil {
		return fmt.Errorf("setting a savepoint: %w", err)
	}
	if w.call(tx); w.failed() {
		if err := tx.session.run("ROLLBACK TO w"); err != nil {
			return fmt.Errorf("rolling back to a savepoint: %w", err)
		}
	}
	if err := tx.session.run("RELEASE w"); err != nil {
		return fmt.Errorf("releasing a savepoint: %w", err)
	}
	return nil
}

func (w *write) failed() bool { return w.err != nil || w.panicked != nil }

func (w *write) call(tx *Tx) {
	defer func() { w.panicked = recover() }()
	w.err = explain(w.fn(tx))
}

// explain turns a full disk into words that a caller may see: it is the one
// failure of the store that they can do something about.
func explain(err error) error {
	if e, ok := errors.AsType[*engineError](err); ok && e.code&0xff == sqlite3.SQLITE_FULL {
		return fault.Internal.Errorf("The disk that holds the server's data folder is full. Nothing was changed. Free some space and try again.")
	}
	return err
}

// IsUnique reports whether err says that a row with the same key exists.
func IsUnique(err error) bool {
	e, ok := errors.AsType[*engineError](err)
	return ok && (e.code == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
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
