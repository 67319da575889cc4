package secret_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// page returns one page and the token of the next.
func (s *store) page(t rapid.TB, p secret.Page) (found []*secret.Secret, next string) {
	t.Helper()
	if p.By == secret.ByChanged {
		if err := s.OrderChanges(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	err := s.db.Read(context.Background(), func(tx *sqldb.Tx) (err error) {
		found, next, err = s.List(context.Background(), tx, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, next
}

// all returns the names of a whole list, page by page.
func (s *store) all(t rapid.TB, p secret.Page, between func()) (names []string) {
	t.Helper()
	for {
		found, next := s.page(t, p)
		if len(found) > p.Limit {
			t.Fatalf("a page of %d has %d secrets", p.Limit, len(found))
		}
		for _, f := range found {
			names = append(names, f.Name)
		}
		if next == "" {
			return names
		}
		p.Token = next
		between()
	}
}

// bulk adds n secrets called bulk/1, bulk/2 and so on.
func (s *store) bulk(t testing.TB, n int) {
	t.Helper()
	s.write(t, func(ctx context.Context, tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < $1)
			INSERT INTO secrets (arn, account, region, name, description, kms_key_id, type, owning_service, created_at, changed_at, changed_order)
			SELECT 'arn:aws:secretsmanager:us-east-1:000000000000:secret:bulk/' || i || '-AbCdEf', '000000000000', 'us-east-1',
				'bulk/' || i, 'one of many', '', '', '', 1700000000000 + i, 1700000000000 - i, 1700000000000 - i FROM c`, n)
		return err
	})
}

// mixed is a store with secrets that differ in everything a list asks for.
func mixed(t testing.TB) *store {
	s := newStore(t, ":memory:")
	for i := range 80 {
		s.now = s.now.Add(time.Duration(i%3) * time.Millisecond) // some are as old as another
		name := []string{"app/", "app/db", "App", "b", "z/"}[i%5] + fmt.Sprint(i*37%80)
		s.write(t, func(ctx context.Context, tx *sqldb.Tx) error {
			if err := s.add(ctx, tx, name, i%4 == 0); err != nil {
				return err
			}
			arn, err := s.Resolve(ctx, tx, home, name)
			if err != nil {
				return err
			}
			return s.age(ctx, tx, arn, i)
		})
	}
	other := secret.Place{Account: home.Account, Region: "eu-west-1"}
	s.write(t, func(ctx context.Context, tx *sqldb.Tx) error {
		_, err := s.Create(ctx, tx, secret.New{ARN: secret.NewARN(other, "app/elsewhere"), Name: "app/elsewhere"}, nil)
		return err
	})
	return s
}

// age gives a secret a past, or an end.
func (s *store) age(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, i int) error {
	if i%3 == 0 {
		if err := s.Accessed(ctx, tx, arn, "", tx.Now.UTC().Truncate(24*time.Hour)); err != nil {
			return err
		}
	}
	if i%7 == 0 {
		return s.Delete(ctx, tx, arn, tx.Now.Add(time.Hour))
	}
	return nil
}

// expected is the list as one would make it who has all secrets in memory.
func expected(all []*secret.Secret, p secret.Page, prefixes []string) (names []string) {
	slices.SortFunc(all, func(a, b *secret.Secret) int {
		order := 0
		switch p.By {
		case secret.ByName:
			order = strings.Compare(a.Name, b.Name)
		case secret.ByChanged:
			order = a.Changed.Compare(b.Changed)
		case secret.ByAccessed:
			order = cmp.Or(moment(a.Accessed).Compare(moment(b.Accessed)), a.Created.Compare(b.Created))
		case secret.ByCreated:
			order = a.Created.Compare(b.Created)
		}
		order = cmp.Or(order, cmp.Compare(a.ARN, b.ARN))
		if p.Descending {
			return -order
		}
		return order
	})
	for _, s := range all {
		begins := func(prefix string) bool {
			rest, not := strings.CutPrefix(prefix, "!")
			return strings.HasPrefix(s.Name, rest) != not
		}
		if (p.WithDeleted || s.DeleteAt == nil) && (prefixes == nil || slices.ContainsFunc(prefixes, begins)) {
			names = append(names, s.Name)
		}
	}
	return names
}

func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// Whatever the order, the filters and the size of the pages: together they are
// the list. What is made or removed between two pages moves nothing else.
func TestPagesMakeTheList(t *testing.T) {
	s := mixed(t)
	all, _ := s.page(t, secret.Page{At: home, Limit: 100, WithDeleted: true})
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		prefixes := rapid.SampledFrom([][]string{nil, {"app/"}, {"app/db", "app/"}, {"z", "App"}, {"!app"}, {"b1", "b"}, {"nope"}, {""}}).Draw(t, "names")
		p := secret.Page{At: home, WithDeleted: rapid.Bool().Draw(t, "deleted"), Descending: rapid.Bool().Draw(t, "descending"),
			By: secret.Order(rapid.IntRange(0, 3).Draw(t, "order")), Limit: rapid.SampledFrom([]int{3, 7, 50, 79, 80, 100}).Draw(t, "limit")}
		if prefixes != nil {
			p.Filters = []secret.Filter{{Key: secret.Name, Values: prefixes}}
		}
		between := func() { s.churn(t, &n) }
		if diff := gocmp.Diff(expected(all, p, prefixes), withoutChurn(s.all(t, p, between))); diff != "" {
			t.Fatal(diff)
		}
	})
}

// churn makes one secret and removes the one before it.
func (s *store) churn(t rapid.TB, n *int) {
	err := s.db.Write(context.Background(), func(tx *sqldb.Tx) error {
		name := fmt.Sprintf("churn%d", *n)
		if arn, err := s.Resolve(context.Background(), tx, home, name); err != nil || s.Purge(context.Background(), tx, arn) != nil {
			return err
		}
		*n++
		name = fmt.Sprintf("churn%d", *n)
		_, err := s.Create(context.Background(), tx, secret.New{ARN: secret.NewARN(home, name), Name: name}, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func withoutChurn(names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, "churn") })
}

// A call that would have to look at very many secrets gives up with an empty
// page and a token; the pages that follow find what there is.
func TestLongSearchEnds(t *testing.T) {
	s := newStore(t, ":memory:")
	s.bulk(t, 12_000)
	s.write(t, func(ctx context.Context, tx *sqldb.Tx) error { return s.add(ctx, tx, "last", false) })
	for _, f := range []secret.Filter{
		{Key: secret.Description, Values: []string{"last"}},
		{Key: secret.Name, Values: []string{"!bulk"}},
	} {
		p := secret.Page{At: home, Limit: 10, Filters: []secret.Filter{f}}
		found, next := s.page(t, p)
		if len(found) != 0 || next == "" {
			t.Errorf("%s: the first page has %d secrets, token %q", f.Key, len(found), next)
		}
		if names := s.all(t, p, func() {}); !slices.Equal(names, []string{"last"}) {
			t.Errorf("%s found %v", f.Key, names)
		}
	}
}

// More secrets share a prefix than are sorted at once.
func TestManyShareAPrefix(t *testing.T) {
	s := newStore(t, ":memory:")
	s.bulk(t, 4_000)
	s.write(t, func(ctx context.Context, tx *sqldb.Tx) error { return s.add(ctx, tx, "other", false) })
	for by, first := range map[secret.Order]string{secret.ByCreated: "bulk/1", secret.ByChanged: "bulk/4000", secret.ByName: "bulk/1", secret.ByAccessed: "bulk/1"} {
		p := secret.Page{At: home, By: by, Limit: 100, Filters: []secret.Filter{{Key: secret.Name, Values: []string{"bulk/"}}}}
		names := s.all(t, p, func() {})
		if len(names) != 4_000 || names[0] != first {
			t.Errorf("order %d: %d secrets, the first is %s", by, len(names), names[0])
		}
	}
}

// New values, of more secrets than are moved at once and twice of some, change the
// order of the list, and nothing is left to be moved.
func TestNewValuesChangeTheOrder(t *testing.T) {
	const n = 2_500
	s := newStore(t, ":memory:")
	s.bulk(t, n)
	put := func(from, step int) {
		s.write(t, func(ctx context.Context, tx *sqldb.Tx) error {
			for i := from; i <= n; i += step {
				s.now = s.now.Add(time.Millisecond)
				tx.Now = s.now
				if err := s.putNext(ctx, tx, fmt.Sprintf("bulk/%d", i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	put(1, 1) // 1, 2, 3, …
	put(1, 2) // and then the odd ones again
	names := s.all(t, secret.Page{At: home, By: secret.ByChanged, Limit: 100}, func() {})
	if got := fmt.Sprintln(len(names), names[0], names[1249], names[1250], names[2499]); got != "2500 bulk/2 bulk/2500 bulk/1 bulk/2499\n" {
		t.Errorf("the list is %s", got)
	}
	if n := s.behind(t); n != 0 {
		t.Errorf("%d changes are left", n)
	}
}

// behind is how many rows of secret_changes there are.
func (s *store) behind(t testing.TB) (n int) {
	t.Helper()
	s.write(t, func(ctx context.Context, tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT COUNT(*) FROM secret_changes`).Scan(&n)
	})
	return n
}

// Nobody has to ask for the list: what has changed is worked off once few write,
// also what a process before this one has left.
func TestOrderIsKeptWhileQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, ":memory:")
		put := func() {
			s.now = s.now.Add(time.Hour)
			s.write(t, func(ctx context.Context, tx *sqldb.Tx) error {
				for i := range 300 {
					tx.Now = tx.Now.Add(time.Millisecond)
					if err := s.putNext(ctx, tx, fmt.Sprintf("bulk/%d", i+1)); err != nil {
						return err
					}
				}
				return nil
			})
		}
		s.bulk(t, 300)
		put()
		done := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- s.OrderWhileQuiet(ctx) }()
		time.Sleep(2 * time.Second)
		if n := s.behind(t); n != 0 {
			t.Errorf("%d changes from before are left", n)
		}
		for range 4 {
			put()
			time.Sleep(time.Second / 2)
		}
		if n := s.behind(t); n != 300 {
			t.Errorf("while values are stored, %d changes are left", n)
		}
		time.Sleep(2 * time.Second)
		if n := s.behind(t); n != 0 {
			t.Errorf("%d changes are left", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// putNext puts a value of the next id.
func (s *store) putNext(ctx context.Context, tx *sqldb.Tx, name string) error {
	s.puts++
	id := secret.VersionID(fmt.Sprintf("00000000-0000-0000-0000-%012d", s.puts))
	arn := secret.ARN("arn:aws:secretsmanager:us-east-1:000000000000:secret:" + name + "-AbCdEf")
	version, err := s.Seal(ctx, secret.Slot{ARN: arn, ID: id}, secret.Value{Binary: []byte("value")})
	if err == nil {
		_, _, err = s.Put(ctx, tx, version, nil)
	}
	return err
}
