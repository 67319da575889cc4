package keyturn

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/sqldb"
)

var accessKeySchema = sqldb.Schema{Name: "accesskeys", Steps: []string{`
CREATE TABLE access_keys (
	id TEXT PRIMARY KEY, account TEXT NOT NULL,
	key_id TEXT NOT NULL, wrapped BYTEA NOT NULL, ciphertext BYTEA NOT NULL, -- the secret access key
	created_at BIGINT NOT NULL
);`}}

// accessKeys is the lasting access keys of this server. Their secrets lie
// sealed in the database; those in use stay open in memory.
type accessKeys struct {
	db   *sqldb.DB
	keys *envelope.Keyring

	mu   sync.RWMutex
	open map[string]iam.Credential // :: access key id → credential
}

func newAccessKeys(db *sqldb.DB, keys *envelope.Keyring) *accessKeys {
	return &accessKeys{db: db, keys: keys, open: map[string]iam.Credential{}}
}

// Lookup implements iam.Keys.
func (a *accessKeys) Lookup(ctx context.Context, id string) (iam.Credential, error) {
	a.mu.RLock()
	c, ok := a.open[id]
	a.mu.RUnlock()
	if ok {
		return c, nil
	}
	c, err := a.read(ctx, id)
	if err != nil {
		return iam.Credential{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open[id] = c
	return c, nil
}

func (a *accessKeys) read(ctx context.Context, id string) (iam.Credential, error) {
	var account string
	var sealed envelope.Sealed
	err := a.db.Read(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT account, key_id, wrapped, ciphertext FROM access_keys WHERE id = $1`, id).
			Scan(&account, &sealed.KeyID, &sealed.Wrapped, &sealed.Ciphertext)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return iam.Credential{}, iam.ErrUnknownKey
	}
	if err != nil {
		return iam.Credential{}, fmt.Errorf("reading an access key: %w", err)
	}
	secretKey, err := a.keys.Open(ctx, sealed, place(id))
	if err != nil {
		return iam.Credential{}, fmt.Errorf("opening access key %s: %w", id, err)
	}
	return iam.Credential{Secret: string(secretKey), Principal: iam.Administrator(account)}, nil
}

func place(accessKeyID string) string { return "access-key|" + accessKeyID }

// first returns the server's first access key, and makes it if there is none.
func (a *accessKeys) first(ctx context.Context) (id string, c iam.Credential, err error) {
	candidate, secretKey := "AKIA"+rand.Text()[:16], make([]byte, 30)
	rand.Read(secretKey)
	sealed, err := a.keys.Seal(ctx, []byte(base64.StdEncoding.EncodeToString(secretKey)), place(candidate))
	if err != nil {
		return "", c, err
	}
	err = a.db.Write(ctx, func(tx *sqldb.Tx) error {
		err := tx.QueryRow(ctx, `SELECT id FROM access_keys ORDER BY created_at, id LIMIT 1`).Scan(&id)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		id = candidate
		_, err = tx.Exec(ctx, `INSERT INTO access_keys (id, account, key_id, wrapped, ciphertext, created_at)
			VALUES ($1, $2, $3, $4, $5, $6)`, id, DefaultAccount, sealed.KeyID, sealed.Wrapped, sealed.Ciphertext, sqldb.Millis(tx.Now))
		return err
	})
	if err != nil {
		return "", c, fmt.Errorf("making the first access key: %w", err)
	}
	c, err = a.Lookup(ctx, id)
	return id, c, err
}

// CredentialsFile returns the path of the file with the server's first access
// key, in the form that AWS_SHARED_CREDENTIALS_FILE names.
func (s *Server) CredentialsFile() string { return filepath.Join(s.folder, credentialsFile) }

// openCredentials writes that file if it is not there.
func (s *Server) openCredentials(ctx context.Context) error {
	id, c, err := s.admin.first(ctx)
	if err != nil {
		return err
	}
	if _, err := os.Stat(s.CredentialsFile()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\nregion = %s\n", id, c.Secret, DefaultRegion)
	part := s.CredentialsFile() + ".part" // a crash never leaves half a file under the real name
	if err := os.WriteFile(part, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the credentials: %w", err)
	}
	return os.Rename(part, s.CredentialsFile())
}
