package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/sqldb"
)

var numbers = sqldb.Schema{Name: "numbers", Steps: []string{`CREATE TABLE numbers (n BIGINT PRIMARY KEY)`}}

func open(t testing.TB, path string, schemas ...sqldb.Schema) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), path, time.Now, schemas...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func insert(ctx context.Context, n int) func(*sqldb.Tx) error {
	return func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO numbers (n) VALUES ($1)`, n)
		return err
	}
}

func count(t testing.TB, db *sqldb.DB) (n int) {
	t.Helper()
	err := db.Read(t.Context(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT COUNT(*) FROM numbers`).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Writers that share a commit do not share their failures.
func TestWritersStandAlone(t *testing.T) {
	for _, path := range []string{":memory:", filepath.Join(t.TempDir(), "a ?%#b.db")} {
		db := open(t, path, numbers)
		var wg sync.WaitGroup
		var wrong = errors.New("wrong")
		var committed, returning atomic.Int32
		for i := range 200 {
			wg.Go(func() {
				err := db.Write(t.Context(), func(tx *sqldb.Tx) error {
					tx.OnCommit(func() { committed.Add(1) })
					tx.BeforeReturn(func() { returning.Add(1) })
					if err := insert(t.Context(), i)(tx); err != nil {
						return err
					}
					if i%4 == 0 {
						return wrong
					}
					return nil
				})
				if i%4 == 0 != errors.Is(err, wrong) {
					t.Errorf("writer %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if n, m, k := count(t, db), committed.Load(), returning.Load(); n != 150 || m != 150 || k != 150 {
			t.Errorf("%s: %d rows, %d and %d told of the commit, want 150", path, n, m, k)
		}
	}
}

// What takes its time before a Write returns holds up no other.
func TestWriterThatIsSlowToReturn(t *testing.T) {
	db := open(t, ":memory:", numbers)
	committed, others, slow := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		slow <- db.Write(t.Context(), func(tx *sqldb.Tx) error {
			tx.OnCommit(func() { close(committed) })
			tx.BeforeReturn(func() { <-others })
			return insert(t.Context(), 1)(tx)
		})
	}()
	<-committed
	if err := db.Write(t.Context(), insert(t.Context(), 2)); err != nil {
		t.Error(err)
	}
	close(others)
	if err := <-slow; err != nil || count(t, db) != 2 {
		t.Errorf("%v, %d rows", err, count(t, db))
	}
}

func TestPanicReachesItsCallerAlone(t *testing.T) {
	db := open(t, ":memory:", numbers)
	func() {
		defer func() {
			if p := recover(); p != "oh" {
				t.Errorf("recovered %v", p)
			}
		}()
		_ = db.Write(t.Context(), func(tx *sqldb.Tx) error {
			_ = insert(t.Context(), 1)(tx)
			panic("oh")
		})
	}()
	if err := db.Write(t.Context(), insert(t.Context(), 2)); err != nil {
		t.Error(err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

func TestCancelledWriterWritesNothing(t *testing.T) {
	db := open(t, ":memory:", numbers)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Write(ctx, insert(ctx, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n := count(t, db); n != 0 {
		t.Errorf("%d rows, want 0", n)
	}
}

func TestUniqueIsTold(t *testing.T) {
	db := open(t, ":memory:", numbers)
	for i, want := range []bool{false, true} {
		if err := db.Write(t.Context(), insert(t.Context(), 7)); sqldb.IsUnique(err) != want {
			t.Errorf("write %d: %v", i, err)
		}
	}
}

// A full disk is an answer in words, and everything from before is still there.
func TestFullDisk(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "db")
	pages := sqldb.Schema{Name: "pages", Steps: []string{`CREATE TABLE pages (b BYTEA); PRAGMA max_page_count = 40`}}
	db := open(t, path, numbers, pages)
	if err := db.Write(ctx, insert(ctx, 1)); err != nil {
		t.Fatal(err)
	}
	err := db.Write(ctx, func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO numbers (n) VALUES (2)`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO pages (b) VALUES (zeroblob(1000000))`)
		return err
	})
	if !errors.Is(err, fault.Internal) || fault.Of(err).Message == fault.Of(errors.New("x")).Message {
		t.Errorf("got %v, want words about the disk", err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	if err := db.Write(ctx, insert(ctx, 3)); err != nil {
		t.Errorf("a small write after that: %v", err)
	}
}

// What the log takes on a full disk is given back.
func TestFullDiskGetsWhatTheLogTakes(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "db")
	pages := sqldb.Schema{Name: "pages", Steps: []string{`CREATE TABLE pages (b BYTEA); PRAGMA max_page_count = 400`}}
	db := open(t, path, numbers, pages)
	store := func(bytes int) error {
		return db.Write(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO pages (b) VALUES (zeroblob($1))`, bytes)
			return err
		})
	}
	if err := store(500_000); err != nil {
		t.Fatal(err)
	}
	if size := fileSize(t, path+"-wal"); size < 500_000 {
		t.Fatalf("the log has %d bytes", size)
	}
	if err := store(1_000_000); err == nil {
		t.Fatal("the disk was not full")
	}
	for begin := time.Now(); fileSize(t, path+"-wal") > 0; time.Sleep(time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the log keeps what it takes")
		}
	}
	if err := store(1000); err != nil {
		t.Error(err)
	}
	renew := func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM numbers`)
		return errors.Join(err, insert(ctx, 1)(tx))
	}
	for ended, more := elsewhere(t, path), true; more; { // a backup beside it does no harm
		if err := db.Write(ctx, renew); err != nil || count(t, db) != 1 {
			t.Fatalf("beside another process: %v", err)
		}
		select {
		case <-ended:
			more = false
		default:
		}
	}
}

// elsewhere has other processes read the database, one after the other, until the
// channel that it returns is closed.
func elsewhere(t *testing.T, path string) <-chan struct{} {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range 20 {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestReadElsewhere$")
			cmd.Env = append(os.Environ(), "SQLDB_READ="+path)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
	}()
	return ended
}

// TestReadElsewhere is one of the processes of elsewhere; by itself it has nothing to read.
func TestReadElsewhere(t *testing.T) {
	path := os.Getenv("SQLDB_READ")
	if path == "" {
		return
	}
	err := sqldb.ReadFile(t.Context(), path, func(tx *sqldb.Tx) error {
		var n int
		return tx.QueryRow(t.Context(), `SELECT COUNT(*) FROM numbers`).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSchema(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "db")
	next := sqldb.Schema{Name: "numbers", Steps: append(numbers.Steps[:1:1], `ALTER TABLE numbers ADD COLUMN name TEXT`)}
	broken := sqldb.Schema{Name: "numbers", Steps: append(numbers.Steps[:1:1], `CREATE TABLE other (a TEXT); CREATE TABLE numbers (n TEXT)`)}
	for _, step := range []struct {
		name    string
		schemas []sqldb.Schema
		ok      bool
		newer   bool
	}{
		{"new", []sqldb.Schema{numbers}, true, false},
		{"same", []sqldb.Schema{numbers}, true, false},
		{"broken upgrade leaves it as it was", []sqldb.Schema{broken}, false, false},
		{"upgrade", []sqldb.Schema{next}, true, false},
		{"older program", []sqldb.Schema{numbers}, false, true},
		{"program without that feature", nil, false, true},
	} {
		t.Run(step.name, func(t *testing.T) {
			db, err := sqldb.Open(ctx, path, time.Now, step.schemas...)
			if (err == nil) != step.ok || errors.Is(err, sqldb.ErrNewerSchema) != step.newer {
				t.Fatalf("got %v", err)
			}
			if db != nil {
				_ = db.Close()
			}
		})
	}
}

func TestClosed(t *testing.T) {
	db, err := sqldb.Open(t.Context(), ":memory:", time.Now, numbers)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Close(), db.Close()); err != nil {
		t.Error(err)
	}
	if err := db.Write(t.Context(), insert(t.Context(), 1)); !errors.Is(err, sqldb.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			db := open(b, filepath.Join(b.TempDir(), "db"), numbers)
			todo := make(chan int)
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for n := range todo {
						if err := db.Write(b.Context(), insert(b.Context(), n)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.ResetTimer()
			for i := range b.N {
				todo <- i
			}
			close(todo)
			wg.Wait()
		})
	}
}
