package sqldb_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/keyturn/keyturn/internal/sqldb"
)

func TestWatchersHearOfAChangeUntilItsTransactionHasEnded(t *testing.T) {
	db := open(t, ":memory:", numbers)
	var heard []string
	db.Watch(func(what any) func() {
		heard = append(heard, "begin "+what.(string))
		return func() { heard = append(heard, "end "+what.(string)) }
	})
	wrong := errors.New("wrong")
	for _, fails := range []error{nil, wrong} {
		heard = nil
		err := db.Write(t.Context(), func(tx *sqldb.Tx) error {
			tx.Touch("a")
			tx.Touch("a") // is told once
			tx.Touch("b")
			tx.OnCommit(func() { heard = append(heard, "committed") })
			heard = append(heard, "statement")
			return errors.Join(insert(t.Context(), 1)(tx), fails)
		})
		want := []string{"begin a", "begin b", "statement", "end a", "end b", "committed"}
		if fails != nil {
			want = want[:5]
		}
		if !errors.Is(err, fails) || !slices.Equal(heard, want) {
			t.Errorf("%v: heard %q, want %q", err, heard, want)
		}
	}
}

func TestReadersMayNotTouch(t *testing.T) {
	db := open(t, ":memory:", numbers)
	db.Watch(func(any) func() {
		t.Error("a reader was heard")
		return func() {}
	})
	err := db.Read(t.Context(), func(tx *sqldb.Tx) error {
		tx.Touch("a")
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestClosedDatabaseRefuses(t *testing.T) {
	db := open(t, ":memory:", numbers)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	nothing := func(*sqldb.Tx) error { return nil }
	for name, err := range map[string]error{"Read": db.Read(t.Context(), nothing), "ReadOne": db.ReadOne(t.Context(), nothing), "Write": db.Write(t.Context(), nothing)} {
		if !errors.Is(err, sqldb.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A writer that is alone has no savepoint: the whole transaction is its own.
func TestLoneWriterThatFailsChangesNothing(t *testing.T) {
	db := open(t, ":memory:", numbers)
	wrong := errors.New("wrong")
	err := db.Write(t.Context(), func(tx *sqldb.Tx) error { return errors.Join(insert(t.Context(), 1)(tx), wrong) })
	if !errors.Is(err, wrong) || count(t, db) != 0 {
		t.Errorf("%v, %d rows", err, count(t, db))
	}
	if err := db.Write(t.Context(), insert(t.Context(), 1)); err != nil || count(t, db) != 1 {
		t.Errorf("%v, %d rows", err, count(t, db))
	}
}
