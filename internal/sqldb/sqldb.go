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
	files   []opened      // none for a database in memory
	writer  chan *session // one; the same as readers for a database in memory
	readers chan *session
	lately  chan *session // the reader that read last, while it is free: see takeReader; nil for a database in memory
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
	if err := db.noteFiles(); err != nil {
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
	db.lately = make(chan *session, 1)
	db.readers, err = openSessions(newDSN(path, readerCache), 2*runtime.GOMAXPROCS(0))
	return err
}

// The most memory that a connection keeps pages in, in KiB. That of a reader is
// emptied by every commit, so a large one would mostly be filled again.
const (
	writerCache = 8000
	readerCache = 4000
)

// pageBytes is how large the pages of a new database are. A commit writes each page
// that it changed to the log, whole, and a new value changes a few hundred bytes in
// each of some: with half of SQLite's own 4,096 a large store is filled faster, and
// few rows are longer (docs/performance.md). A database that has larger ones keeps
// them.
const pageBytes = 2048

func newDSN(path string, cache int) dsn {
	d := dsn{file: "file:" + url.PathEscape(path), pragmas: []string{
		"page_size(" + strconv.Itoa(pageBytes) + ")",
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
	errs := []error{closeSessions(db.readers, db.lately)}
	if db.writer != db.readers {
		errs = append(errs, closeSessions(db.writer, nil))
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
	write   *write    // whose it is; nil while reading
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

// OnCommit runs fn once the transaction is on disk and before Write returns, one after
// the other in the order of commits: fn must be quick, for all writers wait for it, and
// must not call Read or Write. A writer that fails, or whose commit does, runs nothing; a
// crash may come before it.
func (tx *Tx) OnCommit(fn func()) { tx.write.after = append(tx.write.after, fn) }

// BeforeReturn is OnCommit for what may take its time: nobody waits for fn but the
// caller of Write, and it runs beside that of others, in no order.
func (tx *Tx) BeforeReturn(fn func()) { tx.write.last = append(tx.write.last, fn) }

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
	s, err := db.takeReader(ctx)
	if err != nil {
		return err
	}
	defer db.giveBack(s)
	return fn(s)
}

// takeReader prefers the reader that read last: it has the pages of the last commit
// more likely than others, which have to read all of them again.
func (db *DB) takeReader(ctx context.Context) (*session, error) {
	select {
	case s := <-db.lately:
		return s, nil
	default:
	}
	select {
	case s := <-db.lately:
		return s, nil
	case s := <-db.readers:
		return s, nil
	case <-db.closing.begun:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("beginning to read: %w", ctx.Err())
	}
}

func (db *DB) giveBack(s *session) {
	select {
	case db.lately <- s:
	default:
		db.readers <- s
	}
}

// explain turns a full disk into words that a caller may see: it is the one
// failure of the store that they can do something about.
func explain(err error) error {
	if e, ok := errors.AsType[*engineError](err); ok && e.code&0xff == sqlite3.SQLITE_FULL {
		return errFull
	}
	return err
}

var errFull = fault.Internal.Errorf("The disk that holds the server's data folder is full. Nothing was changed. Free some space and try again.")

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
