package sqldb_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// A log that was made longer ahead of its commits holds what it held: after a
// crash the zeros behind the last commit are no frames.
func TestLogIsLengthenedAheadOfCommits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db := open(t, path, numbers)
	n := 0
	write := func(times int) {
		for range times {
			if err := db.Write(t.Context(), insert(t.Context(), n)); err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	write(90)
	if size := fileSize(t, path+"-wal"); size > 1<<20 {
		t.Errorf("the log of a server that writes little has %d bytes", size)
	}
	write(20)
	for begin := time.Now(); fileSize(t, path+"-wal") < 15000*2048; write(1) {
		if time.Since(begin) > time.Minute {
			t.Fatal("the log does not become longer")
		}
	}
	write(10)
	crashed := open(t, crash(t, path), numbers)
	if got := count(t, crashed); got != n {
		t.Errorf("%d rows after a crash, want %d", got, n)
	}
	if err := crashed.Write(t.Context(), insert(t.Context(), n)); err != nil || count(t, crashed) != n+1 {
		t.Errorf("a write after that: %v", err)
	}
}

// The log of a server that goes on writing is emptied beside the commits, and
// written over from its beginning.
func TestLogIsEmptiedBesideCommits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	pages := sqldb.Schema{Name: "pages", Steps: []string{`CREATE TABLE pages (n BIGINT PRIMARY KEY, b BYTEA)`}}
	db := open(t, path, numbers, pages)
	const commits, bytes = 3000, 80 << 10 // five times what the log takes
	for n := range commits {
		err := db.Write(t.Context(), func(tx *sqldb.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO pages (n, b) VALUES ($1, zeroblob($2))
				ON CONFLICT (n) DO UPDATE SET b = excluded.b`, n%50, bytes)
			if err != nil {
				return err
			}
			return insert(t.Context(), n)(tx)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if size := fileSize(t, path+"-wal"); size > 80<<20 { // a commit empties it at 99 MB
		t.Errorf("the log has %d bytes", size)
	}
	if got := count(t, open(t, crash(t, path), numbers, pages)); got != commits {
		t.Errorf("%d rows after a crash, want %d", got, commits)
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// crash returns a database as a crash at this moment would leave it.
func crash(t *testing.T, path string) string {
	t.Helper()
	left := filepath.Join(t.TempDir(), "db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(left+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return left
}

// A transaction that is larger than what the log's file gathers, and than the
// pages that a connection keeps, is found after a crash; one that was taken back
// is not.
func TestLogOfLargeTransactions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	pages := sqldb.Schema{Name: "pages", Steps: []string{`CREATE TABLE pages (n BIGINT PRIMARY KEY, b BYTEA)`}}
	db := open(t, path, numbers, pages)
	no := errors.New("no")
	for n := range 6 {
		err := db.Write(t.Context(), func(tx *sqldb.Tx) error {
			if _, err := tx.Exec(t.Context(), `INSERT INTO pages (n, b) VALUES ($1, zeroblob(12000000))`, n); err != nil {
				return err
			}
			if err := insert(t.Context(), n)(tx); err != nil || n%2 == 0 {
				return err
			}
			return no
		})
		if n%2 == 1 && !errors.Is(err, no) || n%2 == 0 && err != nil {
			t.Fatal(err)
		}
		if got := count(t, open(t, crash(t, path), numbers, pages)); got != n/2+1 {
			t.Errorf("%d rows after transaction %d, want %d", got, n, n/2+1)
		}
	}
	if got := count(t, db); got != 3 {
		t.Errorf("%d rows, want 3", got)
	}
}
