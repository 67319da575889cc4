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
	cacheBytes = 32 << 20
	cacheParts = 64
	// maxAge is how long a data key serves after it was unwrapped, so that one
	// which AWS KMS no longer unwraps does not serve for ever.
	maxAge = 5 * time.Minute
)

// change runs a statement that changes a secret's rows; its $1 is the ARN. All
// writes to the tables of this package go through it or changeValue: they are
// what keeps the cache from telling of the past.
func change(ctx context.Context, tx *sqldb.Tx, query string, arn ARN, args ...any) (sql.Result, error) {
	tx.Touch(arn)
	return tx.Exec(ctx, query, append([]any{arn}, args...)...)
}

// changeValue is change for a statement that changes versions and labels alone,
// or the days of the last change and access.
func changeValue(ctx context.Context, tx *sqldb.Tx, query string, arn ARN, args ...any) (sql.Result, error) {
	tx.Touch(valueOf(arn))
	return tx.Exec(ctx, query, append([]any{arn}, args...)...)
}

type valueOf ARN

// cache keeps the entries of the secrets that are read most, by the place and
// name that an ARN and a SecretId have in common. No value lies in it open.
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
	entries  map[cacheKey]*list.Element // :: name → element of order
	order    list.List                  // of *cached; the next to go is in front
	bytes    int
	changes  uint64           // how often a change of any secret here began or ended
	changing map[cacheKey]int // :: name → transactions under way that change it
}

type cacheKey struct {
	at   Place
	name string
}

type cached struct {
	key   cacheKey
	entry *Entry
	bytes int
	since time.Time
	used  atomic.Bool // since it was last about to go
}

func newCache() *cache {
	c := &cache{seed: maphash.MakeSeed()}
	for i := range c.parts {
		c.parts[i].entries, c.parts[i].changing = map[cacheKey]*list.Element{}, map[cacheKey]int{}
	}
	return c
}

func (c *cache) part(k cacheKey) *cachePart {
	return &c.parts[maphash.String(c.seed, k.name)%cacheParts]
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
	p := c.part(k)
	p.RLock()
	var e *cached
	if element := p.entries[k]; element != nil {
		e = element.Value.(*cached)
	}
	p.RUnlock()
	if e == nil {
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
	p := c.part(k)
	p.RLock()
	defer p.RUnlock()
	return p.changes
}

// put keeps the entry of an existing secret, unless anything near it was changed
// since begin.
func (c *cache) put(e *Entry, changes uint64, now time.Time) {
	item := &cached{key: keyOf(e.ARN), entry: e, bytes: e.size(), since: now}
	p := c.part(item.key)
	if item.bytes > cacheBytes/cacheParts/4 {
		return
	}
	p.Lock()
	defer p.Unlock()
	if p.changes != changes || p.changing[item.key] > 0 {
		return
	}
	p.remove(item.key)
	p.entries[item.key] = p.order.PushBack(item)
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
			p.remove(item.key)
		}
	}
}

func (p *cachePart) remove(k cacheKey) {
	if element := p.entries[k]; element != nil {
		p.bytes -= p.order.Remove(element).(*cached).bytes
		delete(p.entries, k)
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

func (c *cache) forget(k cacheKey, remove func(*cachePart, cacheKey)) (ended func()) {
	p := c.part(k)
	p.Lock()
	defer p.Unlock()
	p.changes++
	p.changing[k]++
	remove(p, k)
	return func() { p.settle(k) }
}

// removeValue leaves what a request must know before permission is decided: a
// secret is mostly written again and again by those who need nothing else of it.
func (p *cachePart) removeValue(k cacheKey) {
	element := p.entries[k]
	if element == nil {
		return
	}
	old := element.Value.(*cached)
	head := &cached{key: k, entry: old.entry.head(), since: old.since}
	head.bytes = head.entry.size()
	p.bytes += head.bytes - old.bytes
	element.Value = head
}

func (p *cachePart) settle(k cacheKey) {
	p.Lock()
	defer p.Unlock()
	p.changes++
	if p.changing[k]--; p.changing[k] == 0 {
		delete(p.changing, k)
	}
}
