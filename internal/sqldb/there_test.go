package sqldb_test

import (
	"os"
	"path/filepath"
	"testing"
)

// What goes into a file that has lost its name is gone when the server ends, so it is
// not acknowledged. What was there can still be read.
func TestFilesThatWereRemoved(t *testing.T) {
	for _, gone := range []string{"", "-wal"} {
		path := filepath.Join(t.TempDir(), "db")
		db := open(t, path, numbers)
		if err := db.Write(t.Context(), insert(t.Context(), 1)); err != nil {
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
		if err := os.Rename(path+".elsewhere", path+gone); err != nil {
			t.Fatal(err)
		}
		if err := db.Write(t.Context(), insert(t.Context(), 2)); err != nil {
			t.Errorf("%q was put back: %v", gone, err)
		}
	}
}
