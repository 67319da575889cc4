package sqldb_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// What goes into a file that has lost its name is gone when the server ends, so it is
// not acknowledged. What was there can still be read.
func TestFilesThatWereRemoved(t *testing.T) {
	for _, gone := range []string{"", "-wal"} {
		path := filepath.Join(t.TempDir(), "db")
		db := open(t, path, numbers)
		if err := errors.Join(db.Write(t.Context(), insert(t.Context(), 1)), db.Ready(t.Context())); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+gone, path+".elsewhere"); err != nil {
			t.Fatal(err)
		}
		if err := db.Write(t.Context(), insert(t.Context(), 2)); err == nil {
			t.Errorf("%q was removed, and a write was acknowledged", gone)
		}
		if n := count(t, db); n != 1 {
			t.Errorf("%q was removed: %d rows", gone, n)
		}
		if db.Ready(t.Context()) == nil {
			t.Errorf("%q was removed, and the database seems to be well", gone)
		}
		if err := os.Rename(path+".elsewhere", path+gone); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Write(t.Context(), insert(t.Context(), 2)), db.Ready(t.Context())); err != nil {
			t.Errorf("%q was put back: %v", gone, err)
		}
	}
}

// A disk that hangs lets no commit end.
func TestReadyWaitsForACommit(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "db"), numbers)
	begun, hangs, written := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		written <- db.Write(t.Context(), func(*sqldb.Tx) error {
			close(begun)
			<-hangs
			return nil
		})
	}()
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan error, 1)
	go func() { ready <- db.Ready(ctx) }()
	cancel()
	if err := <-ready; err == nil {
		t.Error("the database seems to be well")
	}
	close(hangs)
	if err := errors.Join(<-written, db.Ready(t.Context())); err != nil {
		t.Error(err)
	}
}
