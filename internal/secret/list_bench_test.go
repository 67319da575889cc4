package secret_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

var home = secret.Place{Account: "000000000000", Region: "us-east-1"}

// store is an open database with a vault.
type store struct {
	*secret.Vault
	db   *sqldb.DB
	now  time.Time
	puts int
}

func newStore(t testing.TB, path string) *store {
	t.Helper()
	key, err := envelope.NewLocal()
	if err != nil {
		t.Fatal(err)
	}
	s := &store{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	if s.db, err = sqldb.Open(t.Context(), path, func() time.Time { return s.now }, secret.Schema); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.db.Close(); err != nil {
			t.Error(err)
		}
	})
	s.Vault = secret.NewVault(s.db, envelope.NewKeyring(key))
	return s
}

func (s *store) write(t testing.TB, fn func(context.Context, *sqldb.Tx) error) {
	t.Helper()
	if err := s.db.Write(t.Context(), func(tx *sqldb.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// full is a store with many secrets, named app/000000/db and so on, each with a
// label, one in ten with a tag. KEYTURN_BENCH_SECRETS sets their number, at most
// a million.
func full(b *testing.B) (*store, int) {
	b.Helper()
	n, err := strconv.Atoi(os.Getenv("KEYTURN_BENCH_SECRETS"))
	if err != nil {
		n = 10_000
	}
	s := newStore(b, filepath.Join(b.TempDir(), "db"))
	s.write(b, func(ctx context.Context, tx *sqldb.Tx) error { return fill(ctx, tx, n) })
	return s, n
}

// fill adds n secrets without going through the vault, which would take long.
// By multiplying, neighbours in name are not neighbours in time.
func fill(ctx context.Context, tx *sqldb.Tx, n int) error {
	const each = `WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < $1 - 1),
		d(i, name) AS (SELECT i, 'app/' || substr('000000' || (i * 7919 % $1), -6) || '/db' FROM c),
		e(i, name, arn) AS (SELECT i, name, 'arn:aws:secretsmanager:us-east-1:000000000000:secret:' || name || '-AbCdEf' FROM d) `
	for _, insert := range []string{
		`INSERT INTO secrets (arn, account, region, name, description, kms_key_id, type, owning_service, tags, created_at, changed_at, changed_order, labels)
			SELECT arn, '000000000000', 'us-east-1', name, 'what ' || name || ' is for', '', '', '', CASE i % 10 WHEN 0 THEN '[["team","data"]]' ELSE '' END, 1700000000000 + i, 1700000000000 + i, 1700000000000 + i,
				'[["AWSCURRENT","00000000-0000-0000-0000-000000000001"]]' FROM e`,
	} {
		if _, err := tx.Exec(ctx, each+insert, n); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) add(ctx context.Context, tx *sqldb.Tx, name string, tagged bool) error {
	n := secret.New{ARN: secret.NewARN(home, name), Name: name, Description: "what " + name + " is for"}
	if tagged {
		n.Tags = []secret.Tag{{Key: "team", Value: "data"}}
	}
	version, err := s.Seal(ctx, secret.Slot{ARN: n.ARN, ID: "00000000-0000-0000-0000-000000000001"}, secret.Value{Binary: make([]byte, 300)})
	if err != nil {
		return err
	}
	_, err = s.Create(ctx, tx, n, version)
	return err
}

func BenchmarkList(b *testing.B) {
	s, n := full(b)
	prefix := func(matches int) []secret.Filter { // matches is a power of ten
		digits := 7 - len(strconv.Itoa(matches))
		return []secret.Filter{{Key: secret.Name, Values: []string{"app/" + fmt.Sprintf("%06d", n/2)[:digits]}}}
	}
	word := func(key secret.FilterKey, w string) []secret.Filter {
		return []secret.Filter{{Key: key, Values: []string{w}}}
	}
	for name, p := range map[string]secret.Page{
		"created":                  {},
		"changed":                  {By: secret.ByChanged, Descending: true},
		"accessed":                 {By: secret.ByAccessed, Descending: true},
		"name":                     {By: secret.ByName},
		"prefix-of-100":            {Filters: prefix(100)},
		"prefix-of-100/by-name":    {Filters: prefix(100), By: secret.ByName},
		"prefix-of-1000":           {Filters: prefix(1000)},
		"prefix-of-10000":          {Filters: prefix(10_000)},
		"prefix-of-10000/by-name":  {Filters: prefix(10_000), By: secret.ByName},
		"description/all-match":    {Filters: word(secret.Description, "what")},
		"description/nobody-match": {Filters: word(secret.Description, "nope")},
		"tag-key/tenth":            {Filters: word(secret.TagKey, "team")},
		"tag-key/nobody-match":     {Filters: word(secret.TagKey, "nope")},
	} {
		b.Run(name, func(b *testing.B) {
			p.At, p.Limit = home, 100
			got := 0
			for b.Loop() {
				err := s.db.Read(b.Context(), func(tx *sqldb.Tx) error {
					found, _, err := s.List(b.Context(), tx, p)
					if err != nil {
						return err
					}
					got = len(found)
					for _, f := range found {
						if _, err := f.Stages(); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(got), "secrets/page")
		})
	}
}

// BenchmarkPut tells what the indexes cost each write.
func BenchmarkPut(b *testing.B) {
	s, n := full(b)
	arns := make([]secret.ARN, 0, n)
	err := s.db.Read(b.Context(), func(tx *sqldb.Tx) error {
		for p := (secret.Page{At: home, Limit: 100}); ; {
			found, next, err := s.List(b.Context(), tx, p)
			if err != nil {
				return err
			}
			for _, f := range found {
				arns = append(arns, f.ARN)
			}
			if p.Token = next; next == "" || len(arns) >= 100_000 {
				return nil
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ { // in transactions of 64, as writers that arrive together
		s.now = s.now.Add(time.Millisecond)
		s.write(b, func(ctx context.Context, tx *sqldb.Tx) error {
			for j := range 64 {
				k := (i*64 + j) * 7919
				id := secret.VersionID(fmt.Sprintf("00000000-0000-0000-0000-%012d", 2+k))
				version, err := s.Seal(ctx, secret.Slot{ARN: arns[k%len(arns)], ID: id}, secret.Value{Binary: make([]byte, 300)})
				if err != nil {
					return err
				}
				if _, _, err := s.Put(ctx, tx, version, nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/64, "µs/put")
}
