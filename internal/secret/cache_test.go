package secret_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// shelf is a vault on a real database with one secret in it.
type shelf struct {
	t     testing.TB
	db    *sqldb.DB
	vault *secret.Vault
	arn   secret.ARN
	now   func() time.Time
}

var shelfPlace = secret.Place{Account: "000000000000", Region: "us-east-1"}

func newShelf(t testing.TB, now func() time.Time) *shelf {
	t.Helper()
	db, err := sqldb.Open(t.Context(), filepath.Join(t.TempDir(), "db"), now, secret.Schema)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	key, err := envelope.NewLocal()
	if err != nil {
		t.Fatal(err)
	}
	return &shelf{t: t, db: db, vault: secret.NewVault(db, envelope.NewKeyring(key)), arn: secret.NewARN(shelfPlace, "app/db"), now: now}
}

func (s *shelf) write(fn func(*sqldb.Tx) error) error { return s.db.Write(context.Background(), fn) }

func versionID(n int) secret.VersionID { return secret.VersionID(fmt.Sprintf("%032d", n)) }

func (s *shelf) sealed(n int) *secret.Version {
	text := fmt.Sprint(n)
	v, err := s.vault.Seal(context.Background(), secret.Slot{ARN: s.arn, ID: versionID(n)}, secret.Value{Text: &text})
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

func (s *shelf) create(n int) {
	s.t.Helper()
	err := s.write(func(tx *sqldb.Tx) error {
		_, err := s.vault.Create(context.Background(), tx, secret.New{ARN: s.arn, Name: s.arn.Name()}, s.sealed(n))
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// read reads as GetSecretValue does: the SecretId, then the value.
func (s *shelf) read(id string) (string, error) {
	e, err := s.vault.LookupToRead(context.Background(), shelfPlace, id)
	if err != nil {
		return "", err
	}
	version, value, err := s.vault.Read(context.Background(), e.ARN, secret.Selector{})
	if err != nil {
		return "", err
	}
	if !version.AccessedToday(s.now()) {
		err = s.write(func(tx *sqldb.Tx) error {
			return s.vault.Accessed(context.Background(), tx, e.ARN, version.ID, tx.Now.UTC().Truncate(24*time.Hour))
		})
	}
	return *value.Text, err
}

// The first read of a day changes the day, and nothing for those who read then.
func TestFirstReadOfADayLeavesTheSecretInMemory(t *testing.T) {
	s := newShelf(t, time.Now)
	s.create(1)
	for range 2 {
		if got, err := s.read("app/db"); err != nil || got != "1" {
			t.Errorf("%q, %v", got, err)
		}
		_ = s.db.Close() // and nobody asks it any more
	}
}

func TestCachedSecretIsGoneWhenItsRecoveryWindowEnds(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := newShelf(t, func() time.Time { return now })
	s.create(1)
	if err := s.write(func(tx *sqldb.Tx) error { return s.vault.Delete(t.Context(), tx, s.arn, now.Add(time.Hour)) }); err != nil {
		t.Fatal(err)
	}
	for range 2 { // from the database, from memory
		if _, err := s.read("app/db"); !errors.Is(err, secret.ErrInvalidRequest) {
			t.Errorf("before: %v", err)
		}
	}
	now = now.Add(time.Hour)
	if _, err := s.read("app/db"); !errors.Is(err, secret.ErrNotFound) {
		t.Errorf("after: %v", err)
	}
}

func TestNameMeansTheSecretThatHasItNow(t *testing.T) {
	s := newShelf(t, time.Now)
	s.create(1)
	old := s.arn
	for _, id := range []string{"app/db", string(old), strings.TrimSuffix(string(old), string(old[len(old)-7:]))} {
		if got, err := s.read(id); err != nil || got != "1" {
			t.Errorf("%s: %q, %v", id, got, err)
		}
	}
	if err := s.write(func(tx *sqldb.Tx) error { return s.vault.Purge(t.Context(), tx, old) }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.read("app/db"); !errors.Is(err, secret.ErrNotFound) {
		t.Errorf("purged: %v", err)
	}
	s.arn = secret.NewARN(shelfPlace, "app/db")
	s.create(2)
	if got, err := s.read("app/db"); err != nil || got != "2" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.read(string(old)); !errors.Is(err, secret.ErrNotFound) {
		t.Errorf("the old ARN: %v", err)
	}
}

func TestOtherVersionsAreReadFromTheDatabase(t *testing.T) {
	s := newShelf(t, time.Now)
	s.create(1)
	if err := s.write(func(tx *sqldb.Tx) error { _, _, err := s.vault.Put(t.Context(), tx, s.sealed(2), nil); return err }); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		sel  secret.Selector
		want string
		kind error
	}{
		{secret.Selector{}, "2", nil},
		{secret.Selector{Stage: secret.Current}, "2", nil},
		{secret.Selector{ID: versionID(2)}, "2", nil},
		{secret.Selector{Stage: secret.Previous}, "1", nil},
		{secret.Selector{ID: versionID(1)}, "1", nil},
		{secret.Selector{ID: versionID(2), Stage: secret.Previous}, "", secret.ErrInvalidRequest},
		{secret.Selector{ID: versionID(3)}, "", secret.ErrNotFound},
		{secret.Selector{Stage: secret.Pending}, "", secret.ErrNotFound},
	} {
		_, value, err := s.vault.Read(t.Context(), s.arn, tc.sel)
		if tc.kind != nil && !errors.Is(err, tc.kind) || tc.kind == nil && (err != nil || *value.Text != tc.want) {
			t.Errorf("%+v: %v", tc.sel, err)
		}
	}
}

// What a read answers is what a single copy of the secret would have answered at
// some moment between the question and the answer.
func TestReadsAreLinearizable(t *testing.T) {
	for round := range 3 {
		s := newShelf(t, time.Now)
		s.create(0)
		log := &history{begin: time.Now()}
		var readers, writers sync.WaitGroup
		done := make(chan struct{})
		for i := range 3 {
			readers.Go(func() { s.readAll(i, log, done) })
			writers.Go(func() { s.writeAll(3+i, log) })
		}
		writers.Wait()
		close(done)
		readers.Wait()
		if result := porcupine.CheckOperationsTimeout(secretModel, log.all, 5*time.Minute); result != porcupine.Ok {
			t.Fatalf("round %d: the history is %s", round, result)
		}
	}
}

// history is what happened, as a checker takes it.
type history struct {
	sync.Mutex
	begin time.Time
	all   []porcupine.Operation
}

func (h *history) time(client int, in action, act func() string) porcupine.Operation {
	call := time.Since(h.begin).Nanoseconds()
	out := act()
	return porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: time.Since(h.begin).Nanoseconds()}
}

func (h *history) add(o porcupine.Operation) {
	h.Lock()
	defer h.Unlock()
	h.all = append(h.all, o)
}

// action is one operation on the secret.
type action struct {
	op string // read, put, back, delete, restore
	n  int    // of put: the value
}

// readAll reads until the writers are done. Only what differs from the answer
// before goes into the history: the checker's time grows with its length.
func (s *shelf) readAll(client int, log *history, done <-chan struct{}) {
	last := ""
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		default:
			id := []string{"app/db", string(s.arn)}[i%2]
			if o := log.time(client, action{op: "read"}, func() string { return s.outcome(s.read(id)) }); o.Output != last {
				last = o.Output.(string)
				log.add(o)
			}
		}
	}
}

func (s *shelf) writeAll(client int, log *history) {
	draw := rand.New(rand.NewPCG(uint64(client), 1))
	for i := range 20 {
		a := action{op: []string{"put", "put", "put", "back", "delete", "restore"}[draw.IntN(6)], n: client*1000 + i}
		log.add(log.time(client, a, func() string { return s.outcome("ok", s.change(a)) }))
	}
}

func (s *shelf) outcome(text string, err error) string {
	switch {
	case err == nil:
		return text
	case errors.Is(err, secret.ErrInvalidRequest):
		return "deleted"
	}
	s.t.Error(err)
	return err.Error()
}

func (s *shelf) change(a action) error {
	ctx := context.Background()
	version := s.sealed(a.n)
	return s.write(func(tx *sqldb.Tx) error {
		if a.op == "restore" {
			_, err := s.vault.Restore(ctx, tx, s.arn)
			return err
		}
		if a.op == "delete" {
			return s.vault.Delete(ctx, tx, s.arn, tx.Now.Add(time.Hour))
		}
		if _, err := s.vault.FindLive(ctx, tx, s.arn); err != nil {
			return err
		}
		if a.op == "put" {
			_, _, err := s.vault.Put(ctx, tx, version, nil)
			return err
		}
		return s.back(ctx, tx)
	})
}

// back moves AWSCURRENT to the version that had it before, if there is one.
func (s *shelf) back(ctx context.Context, tx *sqldb.Tx) error {
	from, err := s.vault.Holder(ctx, tx, s.arn, secret.Current)
	if err != nil {
		return err
	}
	to, err := s.vault.Holder(ctx, tx, s.arn, secret.Previous)
	if err != nil || to == "" {
		return err
	}
	return s.vault.MoveLabel(ctx, tx, s.arn, secret.Current, from, to)
}

// one is a single copy of the secret.
type one struct {
	current, previous string
	deleted           bool
}

var secretModel = porcupine.Model{
	Init: func() any { return one{current: "0"} },
	Step: func(state, input, output any) (bool, any) {
		next, want := state.(one).step(input.(action))
		return output.(string) == want, next
	},
}

func (s one) step(a action) (one, string) {
	switch {
	case a.op == "restore":
		s.deleted = false
		return s, "ok"
	case s.deleted:
		return s, "deleted"
	case a.op == "read":
		return s, s.current
	case a.op == "delete":
		s.deleted = true
	case a.op == "put":
		s.current, s.previous = fmt.Sprint(a.n), s.current
	case s.previous != "":
		s.current, s.previous = s.previous, s.current
	}
	return s, "ok"
}

// What is kept in memory never hides what the same transaction, or an earlier one
// of the same commit, has changed.
func TestWriterFindsWhatWasWrittenBefore(t *testing.T) {
	h := newHouse(t, ":memory:")
	arn := h.create("app")
	remember := func() {
		if _, err := h.Lookup(t.Context(), here, "app"); err != nil {
			t.Fatal(err)
		}
	}
	remember()
	h.write(func(tx *sqldb.Tx) error {
		if _, err := h.FindToWrite(t.Context(), tx, arn); err != nil {
			t.Errorf("before: %v", err)
		}
		if err := h.Delete(t.Context(), tx, arn, tx.Now.Add(time.Hour)); err != nil {
			return err
		}
		if _, err := h.FindToWrite(t.Context(), tx, arn); !errors.Is(err, secret.ErrInvalidRequest) {
			t.Errorf("scheduled for deletion: %v", err)
		}
		return nil
	})
	remember()
	h.now = h.now.Add(time.Hour)
	h.write(func(tx *sqldb.Tx) error {
		if _, err := h.FindToWrite(t.Context(), tx, arn); !errors.Is(err, secret.ErrNotFound) {
			t.Errorf("after the recovery window: %v", err)
		}
		return nil
	})
}
