package keyturn

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// AuditFsync is when lines of the audit log are forced to the disk.
type AuditFsync string

// The values of Config.AuditFsync. Whichever it is, a call's line was handed to
// the operating system before the call is answered.
const (
	AuditFsyncInterval AuditFsync = "interval" // once in a second: a power cut may take the last one
	AuditFsyncAlways   AuditFsync = "always"   // a call is answered when its line is on disk
	AuditFsyncNever    AuditFsync = "never"    // when the operating system likes
)

// AuditDir is the folder of the audit log in the data folder.
const AuditDir = "audit"

// auditSchema holds the key that signs the audit log. known is set when there is
// a log.
var auditSchema = sqldb.Schema{Name: "audit", Steps: []string{`
CREATE TABLE audit_keys (
	id TEXT PRIMARY KEY, known BIGINT NOT NULL,
	key_id TEXT NOT NULL, wrapped BLOB NOT NULL, ciphertext BLOB NOT NULL
);`}}

const (
	auditKey   = "log"
	auditPlace = "audit-key|" + auditKey
)

// openAudit opens the audit log with its key, which a new server makes.
func (s *Server) openAudit(ctx context.Context) error {
	sealed, known, err := readAuditKey(ctx, s.db.Read)
	if errors.Is(err, sql.ErrNoRows) {
		sealed, err = s.createAuditKey(ctx)
	}
	if err != nil {
		return err
	}
	key, err := openAuditKey(ctx, s.keys, sealed)
	if err != nil {
		return err
	}
	s.audit, err = audit.Open(audit.Config{Dir: filepath.Join(s.folder, AuditDir), Key: key, Known: known,
		Fsync: audit.Fsync(cmp.Or(s.config.AuditFsync, AuditFsyncInterval)), Now: s.now, Log: s.config.Log})
	if err != nil || known {
		return err
	}
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE audit_keys SET known = 1 WHERE id = $1`, auditKey)
		return err
	})
}

func readAuditKey(ctx context.Context, read func(context.Context, func(*sqldb.Tx) error) error) (sealed envelope.Sealed, known bool, err error) {
	err = read(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT known, key_id, wrapped, ciphertext FROM audit_keys WHERE id = $1`, auditKey).
			Scan(&known, &sealed.KeyID, &sealed.Wrapped, &sealed.Ciphertext)
	})
	if err != nil {
		return sealed, false, fmt.Errorf("reading the audit log's key: %w", err)
	}
	return sealed, known, nil
}

func (s *Server) createAuditKey(ctx context.Context) (envelope.Sealed, error) {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed)
	sealed, err := s.keys.Seal(ctx, seed, auditPlace)
	if err != nil {
		return sealed, fmt.Errorf("sealing the audit log's key: %w", err)
	}
	err = s.db.Write(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO audit_keys (id, known, key_id, wrapped, ciphertext) VALUES ($1, 0, $2, $3, $4)`,
			auditKey, sealed.KeyID, sealed.Wrapped, sealed.Ciphertext)
		return err
	})
	if err != nil {
		return sealed, fmt.Errorf("storing the audit log's key: %w", err)
	}
	return sealed, nil
}

func openAuditKey(ctx context.Context, keys *envelope.Keyring, sealed envelope.Sealed) (ed25519.PrivateKey, error) {
	seed, err := keys.Open(ctx, sealed, auditPlace)
	if errors.Is(err, envelope.ErrUnknownKey) { // this is where a wrong key file is noticed
		return nil, fmt.Errorf("the key file does not have the key material %s, with which this data folder is sealed: it is that of another server, or older than the folder: put back the newest copy; or the folder is a backup from before that material was retired: put back the copy of that time: %w", sealed.KeyID, err)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the audit log's key: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// ErrNoAuditKey says that a data folder does not tell with which key its audit
// log is signed: it has no server's state, or lacks its key file.
var ErrNoAuditKey = errors.New("the key of the audit log is not there")

// AuditPublicKey returns the key with which the audit log of a data folder is
// signed, in base64. The folder may be in use; nothing in it is changed. It
// returns ErrNoAuditKey, ErrPassphrase, or why the keys can't be opened.
func AuditPublicKey(ctx context.Context, data string, keys Keys) (string, error) {
	s := &Server{config: Config{Data: data, Keys: keys}, folder: data}
	ring, err := s.readKeys(ctx)
	if err != nil {
		return "", err
	}
	path := filepath.Join(data, databaseFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: there is no file %s", ErrNoAuditKey, path)
	}
	sealed, _, err := readAuditKey(ctx, func(ctx context.Context, fn func(*sqldb.Tx) error) error {
		return sqldb.ReadFile(ctx, path, fn)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return "", ErrNoAuditKey
	}
	if err != nil {
		return "", err
	}
	key, err := openAuditKey(ctx, ring, sealed)
	if err != nil {
		return "", err
	}
	return audit.PublicKey(key.Public().(ed25519.PublicKey)).String(), nil
}

// readKeys opens the keys as they are, without making or changing a key file.
func (s *Server) readKeys(ctx context.Context) (*envelope.Keyring, error) {
	c := s.config.Keys
	if c.Content == "" {
		c.From = cmp.Or(c.File, filepath.Join(s.folder, keyFile))
		text, err := os.ReadFile(c.From)
		if errors.Is(err, fs.ErrNotExist) && c.File == "" { // one that was named is missed
			return nil, fmt.Errorf("%w: there is no file %s", ErrNoAuditKey, c.From)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the key file: %w", err)
		}
		c.Content = string(text)
	}
	return envelope.Open(ctx, envelope.Source{Text: c.Content, From: c.From, Passphrase: envelope.Passphrase(c.Passphrase), AWS: s.kmsConfig})
}
