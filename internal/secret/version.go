package secret

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// maxVersions is AWS's quota of versions of one secret.
const maxVersions = 100

// Value is a secret's value: text or bytes, never both.
type Value struct {
	Text   *string
	Binary []byte
}

// String hides the value.
func (Value) String() string { return "[redacted]" }

// GoString hides the value.
func (Value) GoString() string { return "[redacted]" }

// IsZero reports whether there is no value.
func (v Value) IsZero() bool { return v.Text == nil && v.Binary == nil }

// Equal reports whether both are the same value.
func (v Value) Equal(w Value) bool {
	return (v.Text == nil) == (w.Text == nil) && bytes.Equal(v.bytes(), w.bytes())
}

func (v Value) bytes() []byte {
	if v.Text != nil {
		return []byte(*v.Text)
	}
	return v.Binary
}

// Version is a version of a secret, sealed.
type Version struct {
	ARN      ARN
	ID       VersionID
	Stages   []string // in the order in which they were attached
	Created  time.Time
	Accessed *time.Time // midnight UTC of the last day it was read
	kind     string
	sealed   envelope.Sealed
}

const (
	reserved = "reserved" // a rotation's version that has no value yet
	text     = "string"
	binary   = "binary"
)

// Reserved reports whether the version has no value yet.
func (v *Version) Reserved() bool { return v.kind == reserved }

func place(arn ARN, id VersionID) string { return string(arn) + "|" + string(id) }

// Seal encrypts a value for one version of one secret.
func (v *Vault) Seal(ctx context.Context, arn ARN, id VersionID, value Value) (*Version, error) {
	sealed, err := v.keys.Seal(ctx, value.bytes(), place(arn, id))
	if err != nil {
		return nil, fmt.Errorf("sealing version %s: %w", id, err)
	}
	kind := binary
	if value.Text != nil {
		kind = text
	}
	return &Version{ARN: arn, ID: id, kind: kind, sealed: sealed}, nil
}

// Open decrypts a version.
func (v *Vault) Open(ctx context.Context, version *Version) (Value, error) {
	plain, err := v.keys.Open(ctx, version.sealed, place(version.ARN, version.ID))
	if err != nil {
		return Value{}, fmt.Errorf("opening version %s of %s: %w", version.ID, version.ARN, err)
	}
	if version.kind == binary {
		return Value{Binary: plain}, nil
	}
	s := string(plain)
	return Value{Text: &s}, nil
}

// TakenError says that a ClientRequestToken is already the id of a version with
// a value. Whether that is a repeated request or a conflict depends on the
// value: see Vault.SameValue.
type TakenError struct{ Version *Version }

// Error names the version.
func (e *TakenError) Error() string { return "version " + string(e.Version.ID) + " exists" }

// Conflict is what a caller sees when the values differ.
func (e *TakenError) Conflict() error {
	return ErrExists.Errorf("You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", e.Version.ID, e.Version.ARN)
}

// SameValue returns nil if the taken version holds value, which makes the
// request a repetition, or else ErrExists.
func (v *Vault) SameValue(ctx context.Context, taken *TakenError, value Value) error {
	old, err := v.Open(ctx, taken.Version)
	if err != nil {
		return err
	}
	if !old.Equal(value) {
		return taken.Conflict()
	}
	return nil
}

// ByID returns a version with its labels, or nil.
func (v *Vault) ByID(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID) (*Version, error) {
	version := &Version{ARN: arn, ID: id}
	var created int64
	var accessed sql.NullInt64
	err := tx.QueryRow(ctx, `SELECT kind, key_id, wrapped, ciphertext, created_at, accessed_at
		FROM secret_versions WHERE arn = $1 AND id = $2`, arn, id).
		Scan(&version.kind, &version.sealed.KeyID, &version.sealed.Wrapped, &version.sealed.Ciphertext, &created, &accessed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // the caller asks whether there is one
	}
	if err != nil {
		return nil, fmt.Errorf("reading version %s: %w", id, err)
	}
	version.Created, version.Accessed = time.UnixMilli(created).UTC(), sqldb.Time(accessed)
	version.Stages, err = stages(ctx, tx, arn, id)
	return version, err
}

// Selector says which version GetSecretValue means; both empty: AWSCURRENT.
type Selector struct {
	ID    VersionID
	Stage string
}

// Select returns the version that GetSecretValue would read, or the error that
// AWS answers: ErrNotFound or ErrInvalidRequest.
func (v *Vault) Select(ctx context.Context, tx *sqldb.Tx, arn ARN, sel Selector) (*Version, error) {
	if sel.ID == "" {
		return v.byStage(ctx, tx, arn, sel.Stage)
	}
	version, err := v.ByID(ctx, tx, arn, sel.ID)
	if err != nil {
		return nil, err
	}
	if version == nil {
		return nil, ErrNotFound.Errorf("Secrets Manager can't find the specified secret value for VersionId: %s", sel.ID)
	}
	if sel.Stage != "" && !version.has(sel.Stage) {
		return nil, ErrInvalidRequest.Errorf("You provided a VersionStage that is not associated to the provided VersionId.")
	}
	if version.Reserved() && sel.Stage != "" {
		return nil, noStage(sel.Stage)
	}
	if version.Reserved() {
		return nil, ErrNotFound.Errorf("Secrets Manager can't find the specified secret value for VersionId: %s", sel.ID)
	}
	return version, nil
}

func (v *Vault) byStage(ctx context.Context, tx *sqldb.Tx, arn ARN, stage string) (*Version, error) {
	if stage == "" {
		stage = Current
	}
	id, err := holder(ctx, tx, arn, stage)
	if err != nil {
		return nil, err
	}
	if id == "" {
		return nil, noStage(stage)
	}
	version, err := v.ByID(ctx, tx, arn, id)
	if err == nil && version.Reserved() {
		return nil, noStage(stage)
	}
	return version, err
}

func noStage(stage string) error {
	return ErrNotFound.Errorf("Secrets Manager can't find the specified secret value for staging label: %s", stage)
}

func (v *Version) has(stage string) bool {
	for _, s := range v.Stages {
		if s == stage {
			return true
		}
	}
	return false
}

// Accessed notes that a version was read today; AWS keeps the day only.
func (v *Vault) Accessed(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID) error {
	day := sqldb.Millis(today(tx.Now))
	if _, err := tx.Exec(ctx, `UPDATE secrets SET accessed_at = $2 WHERE arn = $1`, arn, day); err != nil {
		return fmt.Errorf("noting an access: %w", err)
	}
	_, err := tx.Exec(ctx, `UPDATE secret_versions SET accessed_at = $3 WHERE arn = $1 AND id = $2`, arn, id, day)
	return err
}

// AccessedToday reports whether the version's day of access is up to date.
func (v *Version) AccessedToday(now time.Time) bool {
	return v.Accessed != nil && v.Accessed.Equal(today(now))
}

func today(now time.Time) time.Time { return now.UTC().Truncate(24 * time.Hour) }

// Put stores a sealed version and attaches labels to it: AWSCURRENT if none are
// named, and AWSCURRENT as well on the first version of a secret. It returns
// the version's labels and whether AWSCURRENT is new on it. A token in use is a
// *TakenError, unless it is a reserved version, which takes its first value.
func (v *Vault) Put(ctx context.Context, tx *sqldb.Tx, version *Version, labels []string) (stagesNow []string, promoted bool, err error) {
	old, err := v.ByID(ctx, tx, version.ARN, version.ID)
	switch {
	case err != nil:
		return nil, false, err
	case old == nil:
		labels, err = v.insert(ctx, tx, version, labels, keepAtLeast)
	case old.Reserved():
		err = fill(ctx, tx, version)
	default:
		return nil, false, &TakenError{Version: old}
	}
	if err != nil {
		return nil, false, err
	}
	if len(labels) == 0 {
		labels = []string{Current}
	}
	if promoted, err = attachAll(ctx, tx, version.ARN, version.ID, labels); err != nil {
		return nil, false, err
	}
	stagesNow, err = stages(ctx, tx, version.ARN, version.ID)
	return stagesNow, promoted, errors.Join(err, touch(ctx, tx, version.ARN))
}

// keepAtLeast is how long a version without labels is kept, whatever the quota
// says ("Secrets Manager quotas" in the AWS guide).
const keepAtLeast = 24 * time.Hour

// insert adds the version and returns the labels it is to have. Beyond the quota
// a version that has been without labels for long enough makes room.
func (v *Vault) insert(ctx context.Context, tx *sqldb.Tx, version *Version, labels []string, keep time.Duration) ([]string, error) {
	var count int
	err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM secret_versions WHERE arn = $1`, version.ARN).Scan(&count)
	if err != nil {
		return nil, fmt.Errorf("counting versions: %w", err)
	}
	if count == 0 && len(labels) > 0 {
		labels = withCurrent(labels)
	}
	if count >= maxVersions {
		if err := prune(ctx, tx, version.ARN, keep); err != nil {
			return nil, err
		}
	}
	_, err = tx.Exec(ctx, `INSERT INTO secret_versions (arn, id, kind, key_id, wrapped, ciphertext, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, version.ARN, version.ID, version.kind,
		version.sealed.KeyID, version.sealed.Wrapped, version.sealed.Ciphertext, sqldb.Millis(tx.Now))
	if err != nil {
		return nil, fmt.Errorf("storing a version: %w", err)
	}
	return labels, nil
}

func withCurrent(labels []string) []string {
	for _, l := range labels {
		if l == Current {
			return labels
		}
	}
	return append(labels[:len(labels):len(labels)], Current)
}

func fill(ctx context.Context, tx *sqldb.Tx, version *Version) error {
	_, err := tx.Exec(ctx, `UPDATE secret_versions SET kind = $3, key_id = $4, wrapped = $5, ciphertext = $6, created_at = $7
		WHERE arn = $1 AND id = $2`, version.ARN, version.ID, version.kind,
		version.sealed.KeyID, version.sealed.Wrapped, version.sealed.Ciphertext, sqldb.Millis(tx.Now))
	if err != nil {
		return fmt.Errorf("storing a version: %w", err)
	}
	return nil
}

// prune makes room for one more version: of those without a label the oldest
// goes, but none younger than keep. Otherwise it is ErrLimitExceeded.
func prune(ctx context.Context, tx *sqldb.Tx, arn ARN, keep time.Duration) error {
	res, err := tx.Exec(ctx, `DELETE FROM secret_versions WHERE arn = $1 AND id = (
		SELECT v.id FROM secret_versions v WHERE v.arn = $1 AND v.created_at <= $2
			AND NOT EXISTS (SELECT 1 FROM secret_labels l WHERE l.arn = v.arn AND l.version = v.id)
		ORDER BY v.created_at, v.id LIMIT 1)`, arn, sqldb.Millis(tx.Now.Add(-keep)))
	if err != nil {
		return fmt.Errorf("removing an old version: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return ErrLimitExceeded.Errorf("The secret has %d versions, and each of them has staging labels or is younger than 24 hours.", maxVersions)
}

// Reserve makes the version of a rotation: AWSPENDING and no value yet. A token
// in use is ErrExists.
func (v *Vault) Reserve(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID) error {
	return v.StagePending(ctx, tx, &Version{ARN: arn, ID: id, kind: reserved})
}

// StagePending stores a sealed version as AWSPENDING, whatever had that label
// before. A token in use is ErrExists.
func (v *Vault) StagePending(ctx context.Context, tx *sqldb.Tx, version *Version) error {
	old, err := v.ByID(ctx, tx, version.ARN, version.ID)
	if err != nil {
		return err
	}
	if old != nil {
		return (&TakenError{Version: old}).Conflict()
	}
	// A rotation must not fail because there were many before it: on this path
	// the quota removes young versions too.
	if _, err := v.insert(ctx, tx, version, nil, 0); err != nil {
		return err
	}
	return attach(ctx, tx, version.ARN, version.ID, Pending)
}

// Remove takes a version and its labels away, as if it had never been.
func (v *Vault) Remove(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID) error {
	if _, err := tx.Exec(ctx, `DELETE FROM secret_labels WHERE arn = $1 AND version = $2`, arn, id); err != nil {
		return fmt.Errorf("removing version %s: %w", id, err)
	}
	_, err := tx.Exec(ctx, `DELETE FROM secret_versions WHERE arn = $1 AND id = $2`, arn, id)
	return err
}
