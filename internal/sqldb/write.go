package sqldb

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

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
	if w.err != nil {
		return w.err
	}
	for _, fn := range w.last {
		fn()
	}
	return nil
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
	after    []func() // of Tx.OnCommit
	last     []func() // of Tx.BeforeReturn
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
		if errors.Is(w.err, errFull) {
			db.makeRoom()
		}
		w.finish()
		close(w.done)
	}
}

// runBatch runs the writers without savepoints first: a writer mostly succeeds, or
// finds before its first change that it cannot. Where one fails after that, all run
// again, each in a savepoint of its own. Where one ends the transaction even so,
// as when the disk is full, each has one of its own.
func (db *DB) runBatch(b *batch) error {
	s := <-db.writer
	defer func() { db.writer <- s }()
	err := db.runOnce(s, b, b.writes, false)
	if errors.Is(err, errSpoilt) {
		err = db.runOnce(s, b, b.writes, true)
	}
	if errors.Is(err, errEnded) && len(b.writes) > 1 {
		db.runEach(s, b)
		return nil
	}
	return err
}

func (db *DB) runEach(s *session, b *batch) {
	for i, w := range b.writes {
		if err := db.runOnce(s, b, b.writes[i:i+1], false); err != nil && w.err == nil {
			w.err = explain(err)
		}
	}
}

// errSpoilt says that a writer of several has failed and left changes.
var errSpoilt = errors.New("a writer that failed has changed something")

// errEnded says that a writer has made SQLite end the transaction.
var errEnded = errors.New("a writer has ended the transaction")

func (db *DB) runOnce(s *session, b *batch, writes []*write, savepoints bool) error {
	if err := s.run("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("beginning to write: %w", err)
	}
	now, alone := db.Now(), len(writes) == 1
	db.shared = !alone
	for _, w := range writes {
		w.after, w.last = nil, nil
		err := w.run(&Tx{session: s, Now: now, write: w, batch: b}, savepoints)
		if alone && w.failed() {
			return s.rollback()
		}
		if err != nil {
			return errors.Join(err, s.rollback())
		}
	}
	if err := db.stillThere(); err != nil {
		return errors.Join(err, s.rollback())
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
	e := tx.session.engine
	e.wrote = false
	if w.call(tx); w.failed() && (e.wrote || !e.inTransaction()) {
		return errSpoilt
	}
	return w.takenBack(tx)
}

// takenBack: some failures, such as a full disk, make SQLite take back the whole
// transaction, whatever the statement. What followed would be kept one by one.
func (w *write) takenBack(tx *Tx) error {
	if tx.session.engine.inTransaction() {
		return nil
	}
	return errEnded
}

func (w *write) runInSavepoint(tx *Tx) error {
	if err := tx.session.run("SAVEPOINT w"); err != nil {
		return fmt.Errorf("setting a savepoint: %w", err)
	}
	w.call(tx)
	if err := w.takenBack(tx); err != nil {
		return err
	}
	if w.failed() {
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
