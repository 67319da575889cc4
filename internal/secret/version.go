package secret

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Version is a version of a secret, sealed.
type Version struct {
	ARN      ARN
	ID       VersionID
	Stages   []string // in the order in which they were attached
	Created  time.Time
	Accessed *time.Time // midnight UTC of the last day it was read
	KMSKeyID string     // the secret's when the value was sealed; empty: the default key
	kind     string
	sealed   envelope.Sealed
	// origin is what a version was made of whose value came from another one: the
	// mark of that, so that one can tell whether it is still the same.
	origin []byte
}

const (
	reserved = "reserved" // a rotation's version that has no value yet
	text     = "string"
	binary   = "binary"
)

// Reserved reports whether the version has no value yet.
func (v *Version) Reserved() bool { return v.kind == reserved }

func place(arn ARN, id VersionID) string { return string(appendPlace(nil, arn, id)) }

func appendPlace(dst []byte, arn ARN, id VersionID) []byte {
	return append(append(append(dst, arn...), '|'), id...)
}

// markBytes is how much of a ciphertext tells it from every other: it begins with
// a random nonce.
const markBytes = 16

// mark tells a version's value, as it was sealed, from all others; empty for a
// version without a value.
func (v *Version) mark() []byte {
	return v.sealed.Ciphertext[:min(markBytes, len(v.sealed.Ciphertext))]
}

// ByID returns a version with its labels, or nil.
func (v *Vault) ByID(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID) (*Version, error) {
	version := &Version{ARN: arn, ID: id}
	var created int64
	var accessed sql.NullInt64
	b, err := scanBoard(arn, tx.QueryRow(ctx, `SELECT `+boardColumns+`, v.kind, v.kms_key_id, v.key_id, v.wrapped, v.ciphertext, v.created_at, v.accessed_at
		FROM secrets s JOIN secret_versions v ON v.secret = s.number AND v.id = $2 WHERE `+byARN, arn, id).Scan, &version.kind, &version.KMSKeyID,
		&version.sealed.KeyID, &version.sealed.Wrapped, &version.sealed.Ciphertext, &created, &accessed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // the caller asks whether there is one
	}
	if err != nil {
		return nil, fmt.Errorf("reading version %s: %w", id, err)
	}
	version.Created, version.Accessed = time.UnixMilli(created).UTC(), sqldb.Time(accessed)
	version.Stages = b.stages(id)
	return version, nil
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
		return nil, missing(ctx, tx, arn, sel.ID)
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
	b, err := readBoard(ctx, tx, arn)
	if err != nil {
		return nil, err
	}
	id := b.holder(stage)
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

func (v *Version) has(stage string) bool { return slices.Contains(v.Stages, stage) }

// Accessed notes that a version was read on a day; AWS keeps the day only. The
// secret's own is the latest of any version. What is kept in memory of the secret
// stays: it holds true but for that day, which is told once it is on the disk.
func (v *Vault) Accessed(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID, day time.Time) error {
	if _, err := changeAccess(ctx, tx, `UPDATE secrets SET accessed_at = $2 WHERE `+byARN+` AND (accessed_at IS NULL OR accessed_at < $2)`, arn, sqldb.Millis(day)); err != nil {
		return fmt.Errorf("noting an access: %w", err)
	}
	_, err := changeAccess(ctx, tx, `UPDATE secret_versions SET accessed_at = $3 WHERE `+ofSecret+` AND id = $2`, arn, id, sqldb.Millis(day))
	tx.OnCommit(func() { v.cache.accessed(arn, id, day) })
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
// *TakenError, unless it is a reserved version, which takes its first value; that
// of a version which the clean-up removed is ErrInvalidRequest. Beyond the quota
// of versions it is ErrLimitExceeded.
func (v *Vault) Put(ctx context.Context, tx *sqldb.Tx, version *Version, labels []string) (stagesNow []string, promoted bool, err error) {
	c, err := takeCensus(ctx, tx, version.ARN, version.ID)
	if err != nil {
		return nil, false, err
	}
	if c.taken {
		err = v.fillReserved(ctx, tx, version)
	} else {
		labels, err = v.add(ctx, tx, version, c, labels)
	}
	if err != nil {
		return nil, false, err
	}
	if len(labels) == 0 {
		labels = []string{Current}
	}
	c.attachAll(version.ID, labels)
	if err := c.underLimit(version.ID); err != nil {
		return nil, false, err
	}
	return c.stages(version.ID), slices.Contains(labels, Current), v.save(ctx, tx, c.board)
}

// census is what there is beside a version that is to be stored.
type census struct {
	*board
	taken   bool // its id is that of one of them
	removed bool // its id is that of one that the clean-up took
}

// takeCensus reads all of it in one statement: every new value asks for it.
func takeCensus(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID) (c census, err error) {
	c.board, err = scanBoard(arn, tx.QueryRow(ctx, `SELECT `+boardColumns+`,
		EXISTS (SELECT 1 FROM secret_versions v WHERE v.secret = number AND v.id = $2),
		EXISTS (SELECT 1 FROM secret_removed_versions r WHERE r.arn = $1 AND r.id = $2)
		FROM secrets WHERE `+byARN, arn, id).Scan, &c.taken, &c.removed)
	if errors.Is(err, sql.ErrNoRows) {
		return c, notFound()
	}
	if err != nil {
		return c, fmt.Errorf("counting versions: %w", err)
	}
	return c, nil
}

// fillReserved gives a reserved version its value; any other of that id is a
// *TakenError.
func (v *Vault) fillReserved(ctx context.Context, tx *sqldb.Tx, version *Version) error {
	old, err := v.ByID(ctx, tx, version.ARN, version.ID)
	if err != nil {
		return err
	}
	if !old.Reserved() {
		return &TakenError{Version: old}
	}
	return fill(ctx, tx, version)
}

// add inserts a version that a caller made and returns the labels it is to have.
func (v *Vault) add(ctx context.Context, tx *sqldb.Tx, version *Version, c census, labels []string) ([]string, error) {
	if err := v.room(ctx, tx, version, c, keepAtLeast); err != nil {
		return nil, err
	}
	if c.versions == 0 && len(labels) > 0 {
		labels = withCurrent(labels)
	}
	return labels, insert(ctx, tx, c.board, version, tx.Now)
}

// room makes sure that one more version may be stored. At the quota, the clean-up
// has to make room by removing versions of that age; otherwise it is
// ErrLimitExceeded.
func (v *Vault) room(ctx context.Context, tx *sqldb.Tx, version *Version, c census, age time.Duration) error {
	if c.versions >= maxVersions {
		if err := makeRoom(ctx, tx, c.board, age); err != nil {
			return err
		}
		if err := v.planCleanup(ctx, tx, version.ARN); err != nil {
			return err
		}
	}
	if c.removed {
		return errRemoved(version.ID)
	}
	return nil
}

// insert stores a new version and counts it. Its caller saves the board.
func insert(ctx context.Context, tx *sqldb.Tx, b *board, version *Version, created time.Time) error {
	_, err := changeOf(ctx, tx, `INSERT INTO secret_versions (secret, id, kind, kms_key_id, key_id, wrapped, ciphertext, origin, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, b, version.ID, version.kind, version.KMSKeyID,
		version.sealed.KeyID, version.sealed.Wrapped, version.sealed.Ciphertext, version.origin, sqldb.Millis(created))
	if err != nil {
		return fmt.Errorf("storing a version: %w", err)
	}
	b.versions++
	return nil
}

func withCurrent(labels []string) []string {
	if slices.Contains(labels, Current) {
		return labels
	}
	return append(slices.Clip(labels), Current)
}

func fill(ctx context.Context, tx *sqldb.Tx, version *Version) error {
	_, err := changeValue(ctx, tx, `UPDATE secret_versions SET kind = $3, kms_key_id = $4, key_id = $5, wrapped = $6, ciphertext = $7, created_at = $8
		WHERE `+ofSecret+` AND id = $2`, version.ARN, version.ID, version.kind, version.KMSKeyID,
		version.sealed.KeyID, version.sealed.Wrapped, version.sealed.Ciphertext, sqldb.Millis(tx.Now))
	if err != nil {
		return fmt.Errorf("storing a version: %w", err)
	}
	return nil
}

// Reserve makes the version of a rotation: AWSPENDING and no value yet. A token
// in use is ErrExists.
func (v *Vault) Reserve(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID) error {
	return v.StagePending(ctx, tx, &Version{ARN: arn, ID: id, kind: reserved})
}

// StagePending stores a sealed version as AWSPENDING, whatever had that label
// before. A token in use is ErrExists. A rotation must not fail because there
// were many before it: versions may be more than the quota until the clean-up may
// take them, as long as it ever will; otherwise it is ErrLimitExceeded.
func (v *Vault) StagePending(ctx context.Context, tx *sqldb.Tx, version *Version) error {
	c, err := takeCensus(ctx, tx, version.ARN, version.ID)
	if err != nil {
		return err
	}
	if c.taken {
		return (&TakenError{Version: version}).Conflict()
	}
	if err := v.room(ctx, tx, version, c, 0); err != nil {
		return err
	}
	if err := insert(ctx, tx, c.board, version, tx.Now); err != nil {
		return err
	}
	c.set(Pending, version.ID)
	return v.save(ctx, tx, c.board)
}

// Remove takes a version and its labels away, as if it had never been.
func (v *Vault) Remove(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID) error {
	b, err := readBoard(ctx, tx, arn)
	if err != nil {
		return err
	}
	for _, label := range b.stages(id) {
		b.remove(label)
	}
	if err := deleteVersion(ctx, tx, b, id); err != nil {
		return err
	}
	return v.save(ctx, tx, b)
}

// deleteVersion deletes a version, if it is there. Its caller saves the board.
func deleteVersion(ctx context.Context, tx *sqldb.Tx, b *board, id VersionID) error {
	done, err := changeOf(ctx, tx, `DELETE FROM secret_versions WHERE secret = $1 AND id = $2`, b, id)
	if err != nil {
		return fmt.Errorf("removing version %s: %w", id, err)
	}
	n, err := done.RowsAffected()
	b.versions -= int(n)
	return err
}
