package accesskey

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// entry is what is kept in memory of a key, so that requests ask the database
// for no key twice, and for unknown keys not at all.
type entry struct {
	id, account, user string
	created           time.Time
	expires           time.Time // zero: never
	active            atomic.Bool
	credential        atomic.Pointer[iam.Credential] // nil until it is used
	used              atomic.Pointer[Use]            // nil: never
	saved             atomic.Pointer[Use]            // what the database has of used
}

func newEntry(k *Key) *entry {
	e := &entry{id: k.ID, account: k.Account, user: k.UserName, created: k.Created}
	if k.Expires != nil {
		e.expires = *k.Expires
	}
	e.active.Store(k.Active)
	e.used.Store(k.LastUsed)
	e.saved.Store(k.LastUsed)
	return e
}

func (s *Service) find(id string) *entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byID[id]
}

func (s *Service) add(k *Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[k.ID] = newEntry(k)
}

func (s *Service) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, id)
}

// Account returns the account of a key in whatever state, or "" for one that
// nobody has.
func (s *Service) Account(id string) string {
	if e := s.find(id); e != nil {
		return e.account
	}
	return ""
}

// Lookup implements iam.Keys. A disabled key is an unknown one.
func (s *Service) Lookup(ctx context.Context, id string) (iam.Credential, error) {
	e := s.find(id)
	if e == nil || !e.active.Load() {
		return iam.Credential{}, iam.ErrUnknownKey
	}
	if c := e.credential.Load(); c != nil {
		return *c, nil
	}
	c, err := s.open(ctx, e)
	if err != nil {
		return iam.Credential{}, err
	}
	e.credential.Store(&c)
	return c, nil
}

// open makes the credential of a key.
func (s *Service) open(ctx context.Context, e *entry) (c iam.Credential, err error) {
	texts, sealed, err := s.read(ctx, e.id)
	if errors.Is(err, sql.ErrNoRows) {
		return c, iam.ErrUnknownKey // it was deleted this moment
	}
	if err != nil {
		return c, fmt.Errorf("reading access key %s: %w", e.id, err)
	}
	plaintext, err := s.keys.Open(ctx, sealed, place(e.id))
	if err != nil {
		return c, fmt.Errorf("opening access key %s: %w", e.id, err)
	}
	c.Principal = iam.User(e.account, e.user)
	if c.Principal.Policies, err = parse(texts); err != nil {
		return c, fmt.Errorf("reading the policies of access key %s: %w", e.id, err)
	}
	if !e.expires.IsZero() {
		c.Principal.Issued = e.created
	}
	c.Secret, c.SessionToken, _ = strings.Cut(string(plaintext), "\n")
	c.Expires = e.expires
	return c, nil
}

// read returns the policies and the sealed secret of a key.
func (s *Service) read(ctx context.Context, id string) (texts []string, sealed envelope.Sealed, err error) {
	err = s.db.Read(ctx, func(tx *sqldb.Tx) error {
		var policies string
		err := tx.QueryRow(ctx, `SELECT policies, key_id, wrapped, ciphertext FROM access_keys WHERE id = $1`, id).
			Scan(&policies, &sealed.KeyID, &sealed.Wrapped, &sealed.Ciphertext)
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(policies), &texts)
	})
	return texts, sealed, err
}
