package accesskey

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/keyturnapi"
)

const operators = "000000000000"

// store is a database with its clock and key.
type store struct {
	path string
	keys *envelope.Keyring
	now  time.Time
}

func newStore(t testing.TB) *store {
	t.Helper()
	key, err := envelope.NewLocal()
	if err != nil {
		t.Fatal(err)
	}
	return &store{path: filepath.Join(t.TempDir(), "db"), keys: envelope.NewKeyring(key), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func (st *store) database(t testing.TB, schema sqldb.Schema) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), st.path, func() time.Time { return st.now }, schema)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// open reads the database as a server does when it starts.
func (st *store) open(t testing.TB) *Service {
	t.Helper()
	s, err := New(t.Context(), Config{DB: st.database(t, Schema), Keys: st.keys, Operators: operators, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t testing.TB, s *Service, k Key, lifetime time.Duration) *Key {
	t.Helper()
	if _, err := s.Create(t.Context(), &k, lifetime); err != nil {
		t.Fatal(err)
	}
	return &k
}

// The key of a data folder from before there were users and policies is that of
// an administrator, under the same secret.
func TestOldKeyIsAnAdministrator(t *testing.T) {
	st, ctx := newStore(t), t.Context()
	old := st.database(t, sqldb.Schema{Name: Schema.Name, Steps: Schema.Steps[:1]})
	sealed, err := st.keys.Seal(ctx, []byte("the secret"), place("AKIAOLD"))
	if err != nil {
		t.Fatal(err)
	}
	err = old.Write(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO access_keys (id, account, key_id, wrapped, ciphertext, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
			"AKIAOLD", operators, sealed.KeyID, sealed.Wrapped, sealed.Ciphertext, 0)
		return err
	})
	if err := errors.Join(err, old.Close()); err != nil {
		t.Fatal(err)
	}
	s := st.open(t)
	id, c, err := s.First(ctx)
	if err != nil || id != "AKIAOLD" || c.Secret != "the secret" || c.SessionToken != "" || c.Principal.ARN != "arn:aws:iam::000000000000:user/admin" {
		t.Errorf("the first key is %s of %s: %v", id, c.Principal.ARN, err)
	}
	keys, err := s.list(ctx, filter{})
	if err != nil || len(keys) != 1 || !s.administers(&keys[0]) || keys[0].Policies[0] != keyturnapi.AdministratorPolicy {
		t.Errorf("the keys are %+v, %v", keys, err)
	}
}

func TestLookup(t *testing.T) {
	st, ctx := newStore(t), t.Context()
	s := st.open(t)
	k := Key{Account: "111122223333", UserName: "app", Policies: []string{keyturnapi.AdministratorPolicy}}
	made, err := s.Create(ctx, &k, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Service{"the same server": s, "after a restart": st.open(t)} {
		c, err := s.Lookup(ctx, k.ID)
		if err != nil || c.Secret != made.Secret || c.SessionToken != made.SessionToken || !c.Expires.Equal(st.now.Add(time.Hour)) {
			t.Errorf("%s: %v", name, err)
		}
		if c.Principal.Account != "111122223333" || c.Principal.ARN != "arn:aws:iam::111122223333:user/app" || len(c.Principal.Policies) != 1 {
			t.Errorf("%s: %+v", name, c.Principal)
		}
		if _, err := s.Lookup(ctx, "AKIANOBODY"); !errors.Is(err, iam.ErrUnknownKey) {
			t.Errorf("%s: an unknown key: %v", name, err)
		}
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	st, ctx := newStore(t), t.Context()
	s := st.open(t)
	k := create(t, s, Key{Account: operators, UserName: "app"}, 0)
	caller := iam.Caller{AccessKeyID: k.ID, Region: "us-east-1", Service: "secretsmanager"}
	got := testing.AllocsPerRun(100, func() {
		_, _ = s.Lookup(ctx, k.ID)
		_, _ = s.Lookup(ctx, "AKIANOBODY")
		s.Used(&caller, st.now)
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// Whoever asks while a key is switched sees one state or the other, and the
// last state afterwards.
func TestStatusHoldsAtOnce(t *testing.T) {
	st, ctx := newStore(t), t.Context()
	s := st.open(t)
	k := create(t, s, Key{Account: operators, UserName: "app"}, 0)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := s.Lookup(ctx, k.ID); err != nil && !errors.Is(err, iam.ErrUnknownKey) {
					t.Error(err)
				}
			}
		})
	}
	for i := range 20 {
		active := i%2 == 1
		if err := s.SetActive(ctx, k.ID, active); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lookup(ctx, k.ID); (err == nil) != active {
			t.Errorf("active %v: %v", active, err)
		}
	}
	if err := s.Delete(ctx, k.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lookup(ctx, k.ID); !errors.Is(err, iam.ErrUnknownKey) {
		t.Errorf("after its deletion: %v", err)
	}
	close(stop)
	wg.Wait()
}

func TestUseIsNotedOnceAMinuteAndSavedOnce(t *testing.T) {
	st, ctx := newStore(t), t.Context()
	s := st.open(t)
	k := create(t, s, Key{Account: operators, UserName: "app"}, 0)
	for _, use := range []struct {
		after  time.Duration
		region string
		want   string
	}{
		{0, "us-east-1", "us-east-1 after 0s"},
		{59 * time.Second, "eu-west-1", "us-east-1 after 0s"},
		{time.Minute, "eu-west-1", "eu-west-1 after 1m0s"},
	} {
		s.Used(&iam.Caller{AccessKeyID: k.ID, Region: use.region, Service: "rds"}, st.now.Add(use.after))
		last := s.find(k.ID).used.Load()
		if got := fmt.Sprintf("%s after %s", last.Region, last.At.Sub(st.now)); got != use.want {
			t.Errorf("after %s: used in %s, want %s", use.after, got, use.want)
		}
	}
	if n := len(s.unsaved()); n != 1 {
		t.Errorf("%d uses to save", n)
	}
	if err := s.save(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(s.unsaved()); n != 0 {
		t.Errorf("%d uses to save after saving", n)
	}
	want := &Use{At: st.now.Add(time.Minute), Region: "eu-west-1", Service: "rds"}
	keys, err := st.open(t).list(ctx, filter{id: k.ID})
	if err != nil || cmp.Diff(want, keys[0].LastUsed) != "" {
		t.Errorf("after a restart: %v, %s", err, cmp.Diff(want, keys[0].LastUsed))
	}
}

// An expired key is listed for a day, then it is gone from memory and disk.
func TestExpiredKeysAreRemoved(t *testing.T) {
	st, ctx := newStore(t), t.Context()
	s := st.open(t)
	lasting := create(t, s, Key{Account: operators, UserName: "app"}, 0)
	temporary := create(t, s, Key{Account: operators, UserName: "app"}, time.Hour)
	for _, step := range []struct {
		later time.Duration
		want  int
	}{{time.Hour, 2}, {24 * time.Hour, 2}, {time.Millisecond, 1}} {
		st.now = st.now.Add(step.later)
		if err := s.save(ctx); err != nil {
			t.Fatal(err)
		}
		keys, err := s.list(ctx, filter{})
		if err != nil || len(keys) != step.want {
			t.Errorf("%s: %d keys, want %d; %v", st.now, len(keys), step.want, err)
		}
	}
	if s.Account(temporary.ID) != "" || s.Account(lasting.ID) != operators {
		t.Error("the wrong key was removed from memory")
	}
}

func TestListGoesByPages(t *testing.T) {
	s := newStore(t).open(t)
	for range 5 {
		create(t, s, Key{Account: operators, UserName: "app"}, 0)
	}
	create(t, s, Key{Account: "111122223333", UserName: "app"}, 0)
	create(t, s, Key{Account: operators, UserName: "other"}, 0)
	ctx := iam.WithCaller(t.Context(), &iam.Caller{Principal: iam.User(operators, "boss")})
	seen := map[string]bool{}
	in := keyturnapi.ListAccessKeysInput{UserName: "app", MaxItems: 2}
	for pages := 1; ; pages++ {
		if _, err := s.listTarget(ctx, &in); err != nil {
			t.Fatal(err)
		}
		out, err := s.listKeys(ctx, &in)
		if err != nil || len(out.AccessKeys) > 2 {
			t.Fatal(len(out.AccessKeys), err)
		}
		for _, k := range out.AccessKeys {
			seen[k.AccessKeyID] = true
		}
		if in.Marker = out.Marker; !out.IsTruncated {
			if pages != 3 || len(seen) != 5 {
				t.Errorf("%d keys on %d pages", len(seen), pages)
			}
			return
		}
	}
}

func TestAccountIsFull(t *testing.T) {
	st := newStore(t)
	s := st.open(t)
	create(t, s, Key{Account: operators, UserName: "ci"}, time.Hour)
	err := s.db.Write(t.Context(), func(tx *sqldb.Tx) error {
		for i := range maxKeys - 1 {
			k := Key{ID: fmt.Sprintf("AKIA%016d", i), Account: operators, UserName: "app", Created: tx.Now}
			if err := insert(t.Context(), tx, &k, envelope.Sealed{Wrapped: []byte{}, Ciphertext: []byte{}}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	full := func() {
		t.Helper()
		if _, err := s.Create(t.Context(), &Key{Account: operators, UserName: "app"}, 0); !errors.Is(err, ErrLimit) {
			t.Errorf("got %v, want ErrLimit", err)
		}
	}
	full()
	create(t, s, Key{Account: "111122223333", UserName: "app"}, 0)
	st.now = st.now.Add(time.Hour + time.Millisecond) // one key has expired
	create(t, s, Key{Account: operators, UserName: "app"}, 0)
	full()
}

// Run ends in order: what was noted is on disk when it returns.
func TestRunSavesAtItsEnd(t *testing.T) {
	st := newStore(t)
	s := st.open(t)
	k := create(t, s, Key{Account: operators, UserName: "app"}, 0)
	s.Used(&iam.Caller{AccessKeyID: k.ID, Region: "us-east-1", Service: "sts"}, st.now)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if e := st.open(t).find(k.ID); e.used.Load() == nil {
		t.Error("the use is lost")
	}
}

func BenchmarkLookup(b *testing.B) {
	st := newStore(b)
	s := st.open(b)
	k := create(b, s, Key{Account: operators, UserName: "app"}, 0)
	caller := iam.Caller{AccessKeyID: k.ID, Region: "us-east-1", Service: "secretsmanager"}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Lookup(b.Context(), k.ID); err != nil {
				b.Error(err)
			}
			s.Used(&caller, st.now)
		}
	})
}
