package sqldb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// The write-ahead log is emptied into the database beside the commits: what they
// add meanwhile goes after it, and nobody commits while the last few pages go, for
// only an empty log is written over from its beginning.
//
// A commit that makes the log's file longer takes the disk two to three times as
// long as one that writes over what is there, since the file's size has to be made
// durable too. So that the time until the log is first emptied is no slower, a
// server that writes much makes the file that long ahead of its commits. Zeros
// behind the last commit mean nothing to SQLite, which looks for a frame with the
// log's salt there ("The WAL File Format" in SQLite's documentation).
const (
	// emptyPages is after how many pages the log is emptied. Each page is carried
	// over once, however often it was changed since, so a longer log costs less; but
	// a server that crashed reads all of it when it starts, 12,000 in 30 to 60 ms.
	emptyPages = 12000
	// logPages is how long the log is while commits go on beside that.
	logPages = 15000
	// overduePages is after how many a commit does it itself: readers may have been
	// in the way.
	overduePages = 24000

	logBytes = 32 + logPages*(24+pageBytes) // a header, and frames of a header and a page
	logStep  = 1 << 20
	// manyCommits is after how many commits a server writes much.
	manyCommits = 100
)

// tendLog is called after each commit, by the one who leads.
func (db *DB) tendLog(s *session) {
	if db.readers == db.writer { // in memory
		return
	}
	if db.commits++; db.commits == manyCommits {
		db.crew.Go(db.lengthenLog)
	}
	db.written += s.engine.pagesWritten()
	if db.written >= emptyPages && db.emptying.CompareAndSwap(false, true) {
		db.written = 0
		db.crew.Go(db.emptyLog)
	}
}

// emptyLog carries the log into the database. What fails is done by a commit,
// which tells.
func (db *DB) emptyLog() {
	defer db.emptying.Store(false)
	for _, sessions := range []chan *session{db.readers, db.readers, db.writer} {
		select {
		case s := <-sessions:
			_ = s.run(`PRAGMA wal_checkpoint(PASSIVE)`)
			sessions <- s
		case <-db.closing.begun:
			return
		}
	}
}

// makeRoom gives back what the log takes, where the disk is full: that may be all that
// the disk lacks, and nobody else can.
func (db *DB) makeRoom() {
	if db.readers != db.writer && db.emptying.CompareAndSwap(false, true) {
		db.crew.Go(db.cutLog)
	}
}

// cutLog cuts off the zeros first: without that room the database may not be able to
// take what is in the log.
func (db *DB) cutLog() {
	defer db.emptying.Store(false)
	select {
	case s := <-db.writer: // nobody commits meanwhile
		_ = cutZeros(db.path + "-wal")
		_ = s.run(`PRAGMA wal_checkpoint(TRUNCATE)`)
		db.writer <- s
	case <-db.closing.begun:
	}
}

// cutZeros cuts the log off behind its last frame. Its index would tell where that is,
// but whoever closes a file gives up the process's locks on it, and another process
// that opens the database, as for a backup, would begin the index anew under this one.
func cutZeros(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	end, err := endOfFrames(f)
	if err == nil {
		err = f.Truncate(end)
	}
	return errors.Join(err, f.Close())
}

// endOfFrames is where the last frame ends that has the log's salt ("The WAL File Format"
// in SQLite's documentation).
func endOfFrames(log io.ReaderAt) (int64, error) {
	var head [32]byte
	if _, err := log.ReadAt(head[:], 0); err != nil {
		return 0, err
	}
	page, salt := int64(binary.BigEndian.Uint32(head[8:])), head[16:24]
	for at := int64(len(head)); ; at += 24 + page {
		var frame [24]byte
		_, err := log.ReadAt(frame[:], at)
		if binary.BigEndian.Uint32(frame[:]) == 0 || !bytes.Equal(frame[8:16], salt) {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return at, err
		}
	}
}

// lengthenLog writes zeros behind the end of the log, step by step: commits go on
// in between. Where the disk is full, what it took is given back.
func (db *DB) lengthenLog() {
	for err := error(nil); err == nil; {
		select {
		case s := <-db.writer: // nobody commits meanwhile
			err = lengthen(db.path+"-wal", logStep)
			db.writer <- s
		case <-db.closing.begun:
			return
		}
		if err != nil && !errors.Is(err, errLongEnough) {
			db.makeRoom()
		}
	}
}

var errLongEnough = errors.New("the log is long enough")

// lengthen writes n zeros behind the end of a file, unless it is as long as the
// log becomes.
func lengthen(path string, n int) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() >= logBytes {
		return errLongEnough
	}
	if _, err := f.Write(make([]byte, n)); err != nil {
		return err
	}
	return f.Sync()
}
