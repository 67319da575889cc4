package sqldb

import (
	"context"
	"fmt"
	"os"
)

// A database whose file was removed or replaced goes on in a file that nobody
// finds any more, and SQLite with it: what is committed is gone when the process
// ends. So its files are looked at before each commit, which takes the time of a
// hundredth of an fsync.

// opened is a file as it was when the database was opened.
type opened struct {
	path string
	info os.FileInfo
}

// noteFiles notes the files that hold what was committed.
func (db *DB) noteFiles() error {
	if db.path == ":memory:" {
		return nil
	}
	for _, path := range []string{db.path, db.path + "-wal"} {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("opening the database: %w", err)
		}
		db.files = append(db.files, opened{path, info})
	}
	return nil
}

// stillThere makes sure that what is committed can be found.
func (db *DB) stillThere() error {
	for _, f := range db.files {
		if named, err := os.Stat(f.path); err != nil || !os.SameFile(f.info, named) {
			return fmt.Errorf("%s was removed or replaced under the server: nothing is stored any more; "+
				"what is in it can be read until the server ends, as by \"keyturn export\"", f.path)
		}
	}
	return nil
}

// Ready returns nil if a read and a write would get their turn before ctx ends,
// and what is written would be kept.
func (db *DB) Ready(ctx context.Context) error {
	if err := db.stillThere(); err != nil {
		return err
	}
	if err := db.Read(ctx, func(*Tx) error { return nil }); err != nil {
		return err
	}
	select {
	case s := <-db.writer:
		db.writer <- s
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for a commit to end: %w", ctx.Err())
	}
}
