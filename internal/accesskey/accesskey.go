// Package accesskey keeps the server's access keys: whom each stands for and
// what its policies allow. A secret access key is shown once, when it is made,
// and lies sealed in the database; a key that is disabled or deleted stops
// working before the call that did so is answered.
package accesskey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/iam/policy"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/keyturnapi"
)

// Schema is the tables of this package. Keys from before there were users and
// policies are those of administrators.
var Schema = sqldb.Schema{Name: "accesskeys", Steps: []string{`
CREATE TABLE access_keys (
	id TEXT PRIMARY KEY, account TEXT NOT NULL,
	key_id TEXT NOT NULL, wrapped BYTEA NOT NULL, ciphertext BYTEA NOT NULL, -- the secret access key, and after a newline the session token
	created_at BIGINT NOT NULL
);`, `
ALTER TABLE access_keys ADD COLUMN user_name TEXT NOT NULL DEFAULT 'admin';
ALTER TABLE access_keys ADD COLUMN policies TEXT NOT NULL DEFAULT '[]'; -- a JSON list of policy documents
ALTER TABLE access_keys ADD COLUMN active BOOLEAN NOT NULL DEFAULT TRUE;
ALTER TABLE access_keys ADD COLUMN expires_at BIGINT; -- NULL: it lasts
ALTER TABLE access_keys ADD COLUMN used_at BIGINT; -- with the two below; NULL: never
ALTER TABLE access_keys ADD COLUMN used_region TEXT;
ALTER TABLE access_keys ADD COLUMN used_service TEXT;
UPDATE access_keys SET policies = '["{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}]}"]';`}}

// The refusals of this package, under the names that AWS's IAM and its kin use.
var (
	// ErrNotFound: there is no such key, or none that the caller may know of.
	ErrNotFound = fault.Kind{Code: "NoSuchEntityException", Status: http.StatusBadRequest}
	// ErrMalformedPolicy: a policy document cannot be understood.
	ErrMalformedPolicy = fault.Kind{Code: "MalformedPolicyDocumentException", Status: http.StatusBadRequest}
	// ErrLimit: the account has as many keys as it may have.
	ErrLimit = fault.Kind{Code: "LimitExceededException", Status: http.StatusBadRequest}
	// ErrLastAdministrator: nobody could make access keys after that.
	ErrLastAdministrator = fault.Kind{Code: "ConflictException", Status: http.StatusBadRequest}
)

// maxKeys is how many keys an account may have: as many as AWS allows users.
const maxKeys = 5000

// firstUser is the user of the key that a new server makes.
const firstUser = "admin"

// Key is an access key without its secret.
type Key struct {
	ID       string // AKIA…, or ASIA… when it expires
	Account  string // 12 digits
	UserName string
	Active   bool
	Created  time.Time
	Expires  *time.Time // nil: it lasts
	Policies []string   // identity policies in JSON
	LastUsed *Use       // nil: never
}

// Use is one use of a key.
type Use struct {
	At      time.Time // to the minute
	Region  string
	Service string
}

// Config is what New needs; all of it.
type Config struct {
	DB   *sqldb.DB
	Keys *envelope.Keyring
	// Operators is the account whose administrators manage the keys of all.
	Operators string
	Log       *slog.Logger
}

// Service keeps the keys. It is safe for concurrent use.
type Service struct {
	db        *sqldb.DB
	keys      *envelope.Keyring
	operators string
	log       *slog.Logger
	trust     *policy.Document // what lets the operators' account at the users of others

	mu   sync.RWMutex
	byID map[string]*entry // :: access key id → key; every key of the database
}

// New reads which keys there are. Their secrets are opened when they are used.
func New(ctx context.Context, c Config) (*Service, error) {
	s := &Service{db: c.DB, keys: c.Keys, operators: c.Operators, log: c.Log, byID: map[string]*entry{}}
	var err error
	if s.trust, err = policy.ParseResource(trusting(c.Operators)); err != nil {
		return nil, fmt.Errorf("trusting the operators' account: %w", err)
	}
	err = c.DB.Read(ctx, func(tx *sqldb.Tx) error {
		keys, err := selectKeys(ctx, tx, filter{})
		for i := range keys {
			s.byID[keys[i].ID] = newEntry(&keys[i])
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the access keys: %w", err)
	}
	return s, nil
}

// trusting is a resource policy as AWS's for access from another account: what
// that account's own policies allow, it may.
func trusting(account string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"keyturn:*","Resource":"*",` +
		`"Principal":{"AWS":"arn:aws:iam::` + account + `:root"}}]}`
}

// First returns the id and the credential of the lasting key that the server
// made at its beginning, and makes it if there are no keys at all. The id is
// empty when that key is gone.
func (s *Service) First(ctx context.Context) (id string, c iam.Credential, err error) {
	if id = s.first(); id != "" || !s.isEmpty() {
		c, err = s.Lookup(ctx, id)
		if errors.Is(err, iam.ErrUnknownKey) {
			return "", iam.Credential{}, nil
		}
		return id, c, err
	}
	k := Key{Account: s.operators, UserName: firstUser, Policies: []string{keyturnapi.AdministratorPolicy}}
	c, err = s.Create(ctx, &k, 0)
	return k.ID, c, err
}

func (s *Service) isEmpty() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byID) == 0
}

// first is the oldest key of the first user.
func (s *Service) first() (id string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var oldest time.Time
	for _, e := range s.byID {
		if e.account == s.operators && e.user == firstUser && e.active.Load() && e.expires.IsZero() &&
			(id == "" || e.created.Before(oldest)) {
			id, oldest = e.id, e.created
		}
	}
	return id
}

// Create makes a key for the account, user and policies of k, fills in the rest
// of k, and returns the secret, for no principal. With a lifetime above 0 the
// key expires and has a session token. It returns ErrMalformedPolicy or ErrLimit.
func (s *Service) Create(ctx context.Context, k *Key, lifetime time.Duration) (iam.Credential, error) {
	if _, err := parse(k.Policies); err != nil {
		return iam.Credential{}, err
	}
	id, c := iam.NewLasting()
	if lifetime > 0 {
		id, c = iam.NewTemporary()
	}
	sealed, err := s.keys.Seal(ctx, []byte(strings.TrimSuffix(c.Secret+"\n"+c.SessionToken, "\n")), place(id))
	if err != nil {
		return iam.Credential{}, fmt.Errorf("sealing an access key: %w", err)
	}
	err = s.db.Write(ctx, func(tx *sqldb.Tx) error {
		k.ID, k.Active, k.Created, k.Expires = id, true, tx.Now, nil
		if lifetime > 0 {
			end := tx.Now.Add(lifetime)
			k.Expires = &end
		}
		if err := s.makeRoom(ctx, tx, k.Account); err != nil {
			return err
		}
		tx.OnCommit(func() { s.add(k) })
		return insert(ctx, tx, k, sealed)
	})
	return c, err
}

func place(id string) string { return "access-key|" + id }

// parse reads policy documents.
func parse(texts []string) ([]*policy.Document, error) {
	documents := make([]*policy.Document, len(texts))
	for i, text := range texts {
		var err error
		if documents[i], err = policy.ParseIdentity(text); err != nil {
			return nil, ErrMalformedPolicy.Errorf("Policy document %d: %s", i+1, err)
		}
	}
	return documents, nil
}

// makeRoom returns ErrLimit if an account is full. Expired keys, which are only
// still listed, give way.
func (s *Service) makeRoom(ctx context.Context, tx *sqldb.Tx, account string) error {
	n, err := countKeys(ctx, tx, account)
	if err != nil || n < maxKeys {
		return err
	}
	if err := s.sweep(ctx, tx, tx.Now); err != nil {
		return err
	}
	if n, err = countKeys(ctx, tx, account); err == nil && n >= maxKeys {
		err = ErrLimit.Errorf("Cannot exceed quota for AccessKeysPerAccount: %d", maxKeys)
	}
	return err
}

func countKeys(ctx context.Context, tx *sqldb.Tx, account string) (n int, err error) {
	err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM access_keys WHERE account = $1`, account).Scan(&n)
	return n, err
}

func insert(ctx context.Context, tx *sqldb.Tx, k *Key, sealed envelope.Sealed) error {
	policies, err := json.Marshal(k.Policies)
	if err != nil {
		return fmt.Errorf("writing policy documents: %w", err)
	}
	var expires *int64
	if k.Expires != nil {
		ms := sqldb.Millis(*k.Expires)
		expires = &ms
	}
	_, err = tx.Exec(ctx, `INSERT INTO access_keys (id, account, user_name, policies, active, created_at, expires_at, key_id, wrapped, ciphertext)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`, k.ID, k.Account, k.UserName, string(policies), k.Active,
		sqldb.Millis(k.Created), expires, sealed.KeyID, sealed.Wrapped, sealed.Ciphertext)
	return err
}

// SetActive enables or disables a key. It returns ErrNotFound, and
// ErrLastAdministrator rather than lock everybody out.
func (s *Service) SetActive(ctx context.Context, id string, active bool) error {
	return s.change(ctx, id, !active, func(tx *sqldb.Tx) error {
		tx.OnCommit(func() {
			if e := s.find(id); e != nil {
				e.active.Store(active)
			}
		})
		_, err := tx.Exec(ctx, `UPDATE access_keys SET active = $2 WHERE id = $1`, id, active)
		return err
	})
}

// Delete ends a key for good, with the errors of SetActive.
func (s *Service) Delete(ctx context.Context, id string) error {
	return s.change(ctx, id, true, func(tx *sqldb.Tx) error {
		tx.OnCommit(func() { s.remove(id) })
		_, err := tx.Exec(ctx, `DELETE FROM access_keys WHERE id = $1`, id)
		return err
	})
}

// change alters a key that exists. ends says that it will not work afterwards.
func (s *Service) change(ctx context.Context, id string, ends bool, alter func(*sqldb.Tx) error) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		keys, err := selectKeys(ctx, tx, filter{id: id})
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return notFound(id)
		}
		if ends {
			if err := s.checkLast(ctx, tx, &keys[0]); err != nil {
				return err
			}
		}
		return alter(tx)
	})
}

func notFound(id string) error {
	return ErrNotFound.Errorf("The Access Key with id %s cannot be found.", id)
}

// checkLast returns ErrLastAdministrator if k administers the operators' account
// and no other key does.
func (s *Service) checkLast(ctx context.Context, tx *sqldb.Tx, k *Key) error {
	if !s.administers(k) {
		return nil
	}
	colleagues, err := selectKeys(ctx, tx, filter{account: s.operators})
	if err != nil {
		return err
	}
	for i := range colleagues {
		if colleagues[i].ID != k.ID && s.administers(&colleagues[i]) {
			return nil
		}
	}
	return ErrLastAdministrator.Errorf("Access key %s is the last one that may make access keys in account %s, the account of the server's operators."+
		" Make another one there first.", k.ID, s.operators)
}

// administers reports whether a lasting key may make keys in the operators'
// account from anywhere and at any time.
func (s *Service) administers(k *Key) bool {
	documents, err := parse(k.Policies)
	if k.Account != s.operators || !k.Active || k.Expires != nil || err != nil {
		return false
	}
	p := iam.User(k.Account, k.UserName)
	question := policy.Request{Action: "keyturn:CreateAccessKey", Resource: p.ARN,
		Principal: policy.Principal{ARN: p.ARN, Account: p.Account},
		Keys:      func(string) ([]string, bool) { return nil, false }}
	strongest := policy.None
	for _, d := range documents {
		strongest = max(strongest, d.Decide(&question))
	}
	return strongest == policy.Allow
}
