package sqldb

import (
	"errors"
	"os"
)

// A commit that makes the write-ahead log's file longer takes the disk two to
// three times as long as one that writes over what is there, since the file's
// size has to be made durable too. The log is emptied when it is logPages long,
// and is written over from then on. So that the time until then is no slower, a
// server that writes much makes the file that long ahead of its commits. Zeros
// behind the last commit mean nothing to SQLite, which looks for a frame with the
// log's salt there ("The WAL File Format" in SQLite's documentation).
const (
	logPages = 8000
	logBytes = 32 + logPages*(24+4096) // a header, and frames of a header and a page
	logStep  = 1 << 20
	// manyCommits is after how many commits a server writes much.
	manyCommits = 100
)

// lengthenLog writes zeros behind the end of the log, step by step: commits go on
// in between. Where the disk is full, SQLite tells that at a commit.
func (db *DB) lengthenLog() {
	for more := true; more; {
		select {
		case s := <-db.writer: // nobody commits meanwhile
			more = lengthen(db.path+"-wal", logStep) == nil
			db.writer <- s
		case <-db.closing.begun:
			return
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
