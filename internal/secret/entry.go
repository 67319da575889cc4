package secret

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/iam/policy"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Entry is a secret as a request meets it, before permission is decided. It is
// shared between requests: never change what it holds. Changed and Accessed of
// its Secret may be of the past.
type Entry struct {
	ARN    ARN              // that of a missing secret is the one it would have
	Secret *Secret          // nil: there is none
	Policy *policy.Document // its resource policy, parsed; nil: none

	headOnly bool                             // current is not known
	current  *Version                         // has AWSCURRENT and a value; nil: there is none
	key      atomic.Pointer[envelope.DataKey] // opens current, once somebody wanted its value
}

// Lookup turns a SecretId, as the caller in place at wrote it, into an Entry.
// See Resolve for what it accepts and returns.
func (v *Vault) Lookup(ctx context.Context, at Place, id string) (*Entry, error) {
	return v.lookup(ctx, at, id, entryHead)
}

// LookupToRead is Lookup for those who mean to call Read: it reads the value, too.
func (v *Vault) LookupToRead(ctx context.Context, at Place, id string) (*Entry, error) {
	return v.lookup(ctx, at, id, wholeEntry)
}

func (v *Vault) lookup(ctx context.Context, at Place, id string, texts *entryTexts) (*Entry, error) {
	if !strings.HasPrefix(id, "arn:") {
		if e := v.cache.find(cacheKey{at, id}, v.db.Now()); e != nil {
			return e, nil
		}
		if err := CheckName(id); err != nil {
			return nil, err
		}
		return v.load(ctx, cacheKey{at, id}, "", texts)
	}
	if k := keyOf(ARN(id)); k.at.Region == at.Region {
		if e := v.cache.find(k, v.db.Now()); e != nil && string(e.ARN) == id {
			return e, nil
		}
	}
	var arn ARN
	err := v.db.ReadOne(ctx, func(tx *sqldb.Tx) (err error) {
		arn, err = v.Resolve(ctx, tx, at, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return v.lookupARN(ctx, arn, texts)
}

// LookupARN returns the Entry of an ARN that Lookup returned.
func (v *Vault) LookupARN(ctx context.Context, arn ARN) (*Entry, error) {
	return v.lookupARN(ctx, arn, entryHead)
}

func (v *Vault) lookupARN(ctx context.Context, arn ARN, texts *entryTexts) (*Entry, error) {
	k := keyOf(arn)
	if e := v.cache.find(k, v.db.Now()); e != nil && e.ARN == arn {
		return e, nil
	}
	return v.load(ctx, k, arn, texts)
}

// FindToWrite is FindLive for a transaction that is about to change the values or
// labels of a secret. While such a transaction runs, what is kept in memory is what
// it would read, but for Changed and Accessed. It is shared: do not change it.
func (v *Vault) FindToWrite(ctx context.Context, tx *sqldb.Tx, arn ARN) (*Secret, error) {
	if e := v.cache.find(keyOf(arn), tx.Now); e != nil && e.ARN == arn {
		return e.Secret, e.Secret.RequireLive()
	}
	return v.FindLive(ctx, tx, arn)
}

// load reads the entry of an ARN, or of a name if arn is empty, and keeps it for
// those who come after.
func (v *Vault) load(ctx context.Context, k cacheKey, arn ARN, texts *entryTexts) (e *Entry, err error) {
	changes := v.cache.begin(k)
	now := v.db.Now()
	err = v.db.ReadOne(ctx, func(tx *sqldb.Tx) (err error) {
		e, err = readEntry(ctx, tx, k, arn, texts)
		return err
	})
	if err != nil || e.Secret == nil {
		return e, err
	}
	if e.Secret.Policy != "" {
		if e.Policy, err = policy.ParseResource(e.Secret.Policy); err != nil {
			return nil, fmt.Errorf("reading the resource policy of %s: %w", e.ARN, err)
		}
	}
	v.cache.put(e, changes, now)
	return e, nil
}

// head is e without its value.
func (e *Entry) head() *Entry {
	return &Entry{ARN: e.ARN, Secret: e.Secret, Policy: e.Policy, headOnly: true}
}

// readOn is e after its current version was read on a day.
func (e *Entry) readOn(day time.Time) *Entry {
	version := *e.current
	version.Accessed = &day
	now := &Entry{ARN: e.ARN, Secret: e.Secret, Policy: e.Policy, current: &version}
	now.key.Store(e.key.Load())
	return now
}

// entryTexts is the statements that read an Entry.
type entryTexts struct{ byARN, byName string }

// wholeEntry reads a secret and its current version; entryHead the secret alone.
var (
	wholeEntry = newEntryTexts(`s.current, v.kind, v.key_id, v.wrapped, v.ciphertext, v.created_at, v.accessed_at`,
		` LEFT JOIN secret_versions v ON v.secret = s.number AND v.id = s.current`)
	entryHead = newEntryTexts(`NULL, NULL, NULL, NULL, NULL, NULL, NULL`, "")
)

func newEntryTexts(columns, joins string) *entryTexts {
	text := `SELECT ` + columns + `, s.` + strings.Join(strings.Fields(secretColumns), " s.") + `
	FROM secrets s` + joins + `
	WHERE (s.delete_at IS NULL OR s.delete_at > $1) AND `
	return &entryTexts{text + byOtherARN, text + `place_name = $2`}
}

func readEntry(ctx context.Context, tx *sqldb.Tx, k cacheKey, arn ARN, texts *entryTexts) (*Entry, error) {
	query, args := texts.byARN, []any{sqldb.Millis(tx.Now), string(arn)}
	if arn == "" {
		query, args = texts.byName, []any{sqldb.Millis(tx.Now), k.at.placeName(k.name)}
		arn = UnknownARN(k.at, k.name)
	}
	e := &Entry{ARN: arn, headOnly: texts == entryHead}
	var row entryRow
	s, err := scanSecret(row.before(tx.QueryRow(ctx, query, args...).Scan))
	if errors.Is(err, sql.ErrNoRows) {
		return e, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a secret: %w", err)
	}
	e.ARN, e.Secret = s.ARN, s
	if row.hasValue() {
		e.current, err = row.version(s)
	}
	s.labels = "" // a cache need not keep them
	return e, err
}

// entryRow is what an entry's statement reads before the columns of the secret:
// NULL where there is no version that has AWSCURRENT.
type entryRow struct {
	id, kind, keyID     sql.NullString
	wrapped, ciphertext []byte
	created, accessed   sql.NullInt64
}

// before returns a scan that reads r, and what it is given from the columns
// behind it.
func (r *entryRow) before(scan func(...any) error) func(...any) error {
	return func(more ...any) error {
		own := []any{&r.id, &r.kind, &r.keyID, &r.wrapped, &r.ciphertext, &r.created, &r.accessed}
		return scan(append(own, more...)...)
	}
}

func (r *entryRow) hasValue() bool { return r.kind.Valid && r.kind.String != reserved }

func (r *entryRow) version(of *Secret) (*Version, error) {
	b := board{arn: of.ARN}
	err := b.parse(of.labels)
	id := VersionID(r.id.String)
	return &Version{ARN: of.ARN, ID: id, Stages: b.stages(id), kind: r.kind.String,
		sealed:  envelope.Sealed{KeyID: r.keyID.String, Wrapped: r.wrapped, Ciphertext: r.ciphertext},
		Created: time.UnixMilli(r.created.Int64).UTC(), Accessed: sqldb.Time(r.accessed)}, err
}

// size estimates the bytes that e takes in memory, with the data key that it
// may get.
func (e *Entry) size() int {
	const fixed = 1700 // the structs, the cipher, and the cache's own
	n := fixed + len(e.ARN) + len(e.Secret.Name) + len(e.Secret.Description) + len(e.Secret.KMSKeyID) + 5*len(e.Secret.Policy)
	for _, t := range slices.Concat(e.Secret.Tags, e.Secret.External.Metadata) {
		n += 64 + len(t.Key) + len(t.Value)
	}
	if e.current == nil {
		return n
	}
	for _, s := range e.current.Stages {
		n += 32 + len(s)
	}
	return n + len(e.current.sealed.Ciphertext) + len(e.current.sealed.Wrapped)
}

// Read returns the version that GetSecretValue would read, and its value,
// decrypted for this call alone; or the error that AWS answers: ErrNotFound or
// ErrInvalidRequest. What it returns of the version is shared: do not change it.
func (v *Vault) Read(ctx context.Context, arn ARN, sel Selector) (*Version, Value, error) {
	e, err := v.lookupARN(ctx, arn, wholeEntry)
	if err == nil && e.headOnly {
		e, err = v.load(ctx, keyOf(arn), arn, wholeEntry)
	}
	if err != nil {
		return nil, Value{}, err
	}
	if e.Secret == nil {
		return nil, Value{}, notFound()
	}
	if err := e.Secret.RequireLive(); err != nil {
		return nil, Value{}, err
	}
	if e.isCurrent(sel) {
		value, err := v.openCurrent(ctx, e)
		return e.current, value, err
	}
	return v.readOther(ctx, arn, sel)
}

// isCurrent reports whether sel means the version that the entry holds.
func (e *Entry) isCurrent(sel Selector) bool {
	return e.current != nil && (sel.ID == "" || sel.ID == e.current.ID) &&
		(sel.Stage == "" || e.current.has(sel.Stage))
}

func (v *Vault) openCurrent(ctx context.Context, e *Entry) (Value, error) {
	key := e.key.Load()
	if key == nil {
		var err error
		if key, err = v.keys.DataKey(ctx, e.current.sealed, place(e.ARN, e.current.ID)); err != nil {
			return Value{}, openFault(e.current, err)
		}
		e.key.Store(key)
	}
	o := openings.Get().(*opening)
	defer o.done()
	o.place = appendPlace(o.place[:0], e.ARN, e.current.ID)
	plain, err := key.Open(o.plain[:0], e.current.sealed.Ciphertext, o.place)
	if err != nil {
		return Value{}, openFault(e.current, err)
	}
	o.plain = plain
	return e.current.copied(plain), nil
}

// opening is memory in which a value is opened, and the place that it is bound to.
type opening struct{ place, plain []byte }

// keptOpening is the most bytes that an opening keeps for the next value.
const keptOpening = 4 << 10

var openings = sync.Pool{New: func() any { return &opening{place: make([]byte, 0, 256), plain: make([]byte, 0, 512)} }}

// done gives the memory back, without the value.
func (o *opening) done() {
	clear(o.plain)
	if cap(o.plain) <= keptOpening {
		openings.Put(o)
	}
}

// readOther reads a version that is not the current one, of a secret that is
// there and live.
func (v *Vault) readOther(ctx context.Context, arn ARN, sel Selector) (*Version, Value, error) {
	var version *Version
	err := v.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		version, err = v.Select(ctx, tx, arn, sel)
		return err
	})
	if err != nil {
		return nil, Value{}, err
	}
	value, err := v.Open(ctx, version)
	return version, value, err
}
