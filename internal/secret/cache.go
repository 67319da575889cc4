package secret

import (
	"container/list"
	"context"
	"database/sql"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn/internal/sqldb"
)

const (
	// cacheBytes bounds what the entries of a Vault may hold in memory; each is
	// counted by an estimate that errs upwards.
	cacheBytes = 28 << 20
	cacheParts = 32
	// maxAge is how long a data key serves after it was unwrapped, so that one
	// which AWS KMS no longer unwraps does not serve for ever.
	maxAge = 5 * time.Minute
)

// change runs a statement that changes a secret's rows; its $1 is the ARN. All
// writes to the tables of this package go through it or those below: they are what
// keeps the cache from telling of the past.
func change(ctx context.Context, tx *sqldb.Tx, query string, arn ARN, args ...any) (sql.Result, error) {
	tx.Touch(arn)
	return tx.Exec(ctx, query, append([]any{arn}, args...)...)
}

// changeReturning is change for a statement that returns a row.
func changeReturning(ctx context.Context, tx *sqldb.Tx, query string, arn ARN, args ...any) sqldb.Row {
	tx.Touch(arn)
	return tx.QueryRow(ctx, query, append([]any{arn}, args...)...)
}

// changeValue is change for a statement that changes versions and labels alone,
// or the days of the last change and access.
func changeValue(ctx context.Context, tx *sqldb.Tx, query string, arn ARN, args ...any) (sql.Result, error) {
	tx.Touch(valueOf(arn))
	return tx.Exec(ctx, query, append([]any{arn}, args...)...)
}

// changeOf is changeValue for a statement whose $1 is the secret's number.
func changeOf(ctx context.Context, tx *sqldb.Tx, query string, b *board, args ...any) (sql.Result, error) {
	tx.Touch(valueOf(b.arn))
	return tx.Exec(ctx, query, append([]any{b.secret}, args...)...)
}

type valueOf ARN

// changeAccess is change for a statement that changes days of access alone. The
// cache keeps the day of a current version, which Vault.Accessed tells it.
func changeAccess(ctx context.Context, tx *sqldb.Tx, query string, arn ARN, args ...any) (sql.Result, error) {
	return tx.Exec(ctx, query, append([]any{arn}, args...)...)
}

// changeOrder is change for a statement that changes no more than where secrets
// stand in a list, of which the cache holds nothing.
func changeOrder(ctx context.Context, tx *sqldb.Tx, query string, args ...any) (sql.Result, error) {
	return tx.Exec(ctx, query, args...)
}

// cache keeps the entries of the secrets that are read most, by a hash of the
// place and name that an ARN and a SecretId have in common. Of two secrets with
// one hash it keeps the latter. No value lies in it open.
//
// It never answers with what was overwritten before the question. A writer
// empties the place of a secret before its statement, and until its transaction
// has ended nothing may be put there (changing). A reader that was under way at
// one of these two moments saw them pass (changes), and does not put its entry.
type cache struct {
	seed  maphash.Seed
	parts [cacheParts]cachePart
}

type cachePart struct {
	sync.RWMutex
	entries  map[uint64]*list.Element // :: hash → element of order
	order    list.List                // of *cached; the next to go is in front
	bytes    int
	changes  uint64         // how often a change of any secret here began or ended
	changing map[uint64]int // :: hash → transactions under way that change it
}

type cacheKey struct {
	at   Place
	name string
}

type cached struct {
	hash  uint64
	entry *Entry
	bytes int
	since time.Time
	used  atomic.Bool // since it was last about to go
}

func newCache() *cache {
	c := &cache{seed: maphash.MakeSeed()}
	for i := range c.parts {
		c.parts[i].entries, c.parts[i].changing = map[uint64]*list.Element{}, map[uint64]int{}
	}
	return c
}

func (c *cache) part(k cacheKey) (p *cachePart, hash uint64) {
	var h maphash.Hash
	h.SetSeed(c.seed)
	_, _ = h.WriteString(k.at.Region)
	_, _ = h.WriteString(k.at.Account)
	_, _ = h.WriteString(k.name)
	hash = h.Sum64()
	return &c.parts[hash%cacheParts], hash
}

// keyOf is the place and name of a complete ARN. It shares the ARN's memory.
func keyOf(arn ARN) cacheKey {
	rest, _ := strings.CutPrefix(string(arn), "arn:aws:secretsmanager:")
	region, rest, _ := strings.Cut(rest, ":")
	account, rest, _ := strings.Cut(rest, ":")
	name, _ := strings.CutPrefix(rest, "secret:")
	return cacheKey{Place{Account: account, Region: region}, name[:max(0, len(name)-len(unknownSuffix))]}
}

// find returns the entry of a name, or nil. Entries of secrets whose recovery
// window has ended by now are gone.
func (c *cache) find(k cacheKey, now time.Time) *Entry {
	p, hash := c.part(k)
	p.RLock()
	var e *cached
	if element := p.entries[hash]; element != nil {
		e = element.Value.(*cached)
	}
	p.RUnlock()
	if e == nil || keyOf(e.entry.ARN) != k {
		return nil
	}
	if at := e.entry.Secret.DeleteAt; at != nil && !at.After(now) || now.Sub(e.since) > maxAge || now.Before(e.since) {
		return nil
	}
	if !e.used.Load() {
		e.used.Store(true)
	}
	return e.entry
}

// begin returns what put wants from a reader that has not read yet.
func (c *cache) begin(k cacheKey) (changes uint64) {
	p, _ := c.part(k)
	p.RLock()
	defer p.RUnlock()
	return p.changes
}

// put keeps the entry of an existing secret, unless anything near it was changed
// since begin.
func (c *cache) put(e *Entry, changes uint64, now time.Time) {
	p, hash := c.part(keyOf(e.ARN))
	item := &cached{hash: hash, entry: e, bytes: e.size(), since: now}
	if item.bytes > cacheBytes/cacheParts/4 {
		return
	}
	p.Lock()
	defer p.Unlock()
	if p.changes != changes || p.changing[item.hash] > 0 {
		return
	}
	p.remove(item.hash)
	p.entries[item.hash] = p.order.PushBack(item)
	p.bytes += item.bytes
	p.shrink()
}

// shrink lets entries go, the oldest first, but for those that were used since
// it was their turn.
func (p *cachePart) shrink() {
	for p.bytes > cacheBytes/cacheParts {
		front := p.order.Front()
		if item := front.Value.(*cached); item.used.Swap(false) {
			p.order.MoveToBack(front)
		} else {
			p.remove(item.hash)
		}
	}
}

func (p *cachePart) remove(hash uint64) {
	if element := p.entries[hash]; element != nil {
		p.bytes -= p.order.Remove(element).(*cached).bytes
		delete(p.entries, hash)
	}
}

// watch forgets the secret, or the value, that a writer is about to change; see
// sqldb.DB.Watch.
func (c *cache) watch(what any) (ended func()) {
	switch what := what.(type) {
	case ARN:
		return c.forget(keyOf(what), (*cachePart).remove)
	case valueOf:
		return c.forget(keyOf(ARN(what)), (*cachePart).removeValue)
	}
	return func() {}
}

func (c *cache) forget(k cacheKey, remove func(*cachePart, uint64)) (ended func()) {
	p, hash := c.part(k)
	p.Lock()
	defer p.Unlock()
	p.changes++
	p.changing[hash]++
	remove(p, hash)
	return func() { p.settle(hash) }
}

// removeValue leaves what a request must know before permission is decided: a
// secret is mostly written again and again by those who need nothing else of it.
func (p *cachePart) removeValue(hash uint64) {
	element := p.entries[hash]
	if element == nil {
		return
	}
	old := element.Value.(*cached)
	head := &cached{hash: hash, entry: old.entry.head(), since: old.since}
	head.bytes = head.entry.size()
	p.bytes += head.bytes - old.bytes
	element.Value = head
}

// accessed notes the day on which the current version of a secret was read.
func (c *cache) accessed(arn ARN, id VersionID, day time.Time) {
	p, hash := c.part(keyOf(arn))
	p.Lock()
	defer p.Unlock()
	element := p.entries[hash]
	if element == nil {
		return
	}
	old := element.Value.(*cached)
	if e := old.entry; e.ARN == arn && e.current != nil && e.current.ID == id {
		element.Value = &cached{hash: hash, entry: e.readOn(day), bytes: old.bytes, since: old.since}
	}
}

func (p *cachePart) settle(hash uint64) {
	p.Lock()
	defer p.Unlock()
	p.changes++
	if p.changing[hash]--; p.changing[hash] == 0 {
		delete(p.changing, hash)
	}
}
