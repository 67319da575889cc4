package secret

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// New describes a secret to be created.
type New struct {
	ARN         ARN
	Name        string
	Description string
	KMSKeyID    string
	Type        string
	Tags        []Tag
}

// Create makes a secret, with a first version if version is not nil.
//
// A secret of that name whose version version.ID exists is a *TakenError: the
// request may be a repetition. Any other secret of that name is ErrExists, or
// ErrInvalidRequest when it is scheduled for deletion. One whose recovery window
// has ended is purged, and its ARN returned.
func (v *Vault) Create(ctx context.Context, tx *sqldb.Tx, n New, version *Version) (purged ARN, err error) {
	if purged, err = v.makeFree(ctx, tx, n, version); err != nil {
		return "", err
	}
	return purged, v.insertSecret(ctx, tx, n, version)
}

func (v *Vault) insertSecret(ctx context.Context, tx *sqldb.Tx, n New, version *Version) error {
	now, at := sqldb.Millis(tx.Now), n.ARN.Place()
	_, err := tx.Exec(ctx, `INSERT INTO secrets (arn, account, region, name, description, kms_key_id, type,
			owning_service, tagged, created_at, changed_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, '', 0, $8, $8)`,
		n.ARN, at.Account, at.Region, n.Name, n.Description, n.KMSKeyID, n.Type, now)
	if err != nil {
		return fmt.Errorf("creating a secret: %w", err)
	}
	for _, t := range n.Tags {
		if err := v.SetTag(ctx, tx, n.ARN, t); err != nil {
			return err
		}
	}
	if version == nil {
		return nil
	}
	_, _, err = v.Put(ctx, tx, version, nil)
	return err
}

func (v *Vault) makeFree(ctx context.Context, tx *sqldb.Tx, n New, version *Version) (purged ARN, err error) {
	arn, err := lookUp(ctx, tx, n.ARN.Place(), n.Name)
	if err != nil {
		return "", fmt.Errorf("looking up a name: %w", err)
	}
	old, err := v.Find(ctx, tx, arn)
	if errors.Is(err, ErrNotFound) { // free, or its recovery window has ended
		return arn, v.Purge(ctx, tx, arn)
	}
	if err != nil {
		return "", err
	}
	if old.Deleted() {
		return "", ErrInvalidRequest.Errorf("You can't create this secret because a secret with this name is already scheduled for deletion.")
	}
	return "", v.takenBy(ctx, tx, old, version)
}

func (v *Vault) takenBy(ctx context.Context, tx *sqldb.Tx, old *Secret, version *Version) error {
	if version != nil {
		same, err := v.ByID(ctx, tx, old.ARN, version.ID)
		if err != nil {
			return err
		}
		if same != nil && !same.Reserved() {
			return &TakenError{Version: same}
		}
	}
	return ErrExists.Errorf("The operation failed because the secret %s already exists.", old.Name)
}

// Change describes an UpdateSecret; nil fields stay as they are.
type Change struct{ Description, KMSKeyID, Type *string }

// Update changes what c names.
func (v *Vault) Update(ctx context.Context, tx *sqldb.Tx, arn ARN, c Change) error {
	_, err := tx.Exec(ctx, `UPDATE secrets SET description = COALESCE($2, description),
		kms_key_id = COALESCE($3, kms_key_id), type = COALESCE($4, type) WHERE arn = $1`,
		arn, c.Description, c.KMSKeyID, c.Type)
	if err != nil {
		return fmt.Errorf("updating a secret: %w", err)
	}
	return touch(ctx, tx, arn)
}

// Delete schedules deletion for the moment at.
func (v *Vault) Delete(ctx context.Context, tx *sqldb.Tx, arn ARN, at time.Time) error {
	s, err := v.Find(ctx, tx, arn)
	if err != nil {
		return err
	}
	if s.Deleted() {
		return ErrInvalidRequest.Errorf("You can't perform this operation on the secret because it was already scheduled for deletion.")
	}
	_, err = tx.Exec(ctx, `UPDATE secrets SET delete_at = $2 WHERE arn = $1`, arn, sqldb.Millis(at))
	return errors.Join(err, touch(ctx, tx, arn))
}

// Restore takes back a scheduled deletion; on another secret it does nothing.
func (v *Vault) Restore(ctx context.Context, tx *sqldb.Tx, arn ARN) (*Secret, error) {
	s, err := v.Find(ctx, tx, arn)
	if err != nil || !s.Deleted() {
		return s, err
	}
	_, err = tx.Exec(ctx, `UPDATE secrets SET delete_at = NULL WHERE arn = $1`, arn)
	return s, errors.Join(err, touch(ctx, tx, arn))
}

// Purge removes a secret and all its versions at once. An unknown ARN is no
// error.
func (v *Vault) Purge(ctx context.Context, tx *sqldb.Tx, arn ARN) error {
	for _, table := range []string{"secret_labels", "secret_versions", "secret_tags", "secrets"} {
		if _, err := tx.Exec(ctx, `DELETE FROM `+table+` WHERE arn = $1`, arn); err != nil {
			return fmt.Errorf("removing a secret: %w", err)
		}
	}
	return nil
}

// Expired returns the secrets whose recovery window has ended, at most limit.
func (v *Vault) Expired(ctx context.Context, tx *sqldb.Tx, limit int) ([]ARN, error) {
	rows, err := tx.Query(ctx, `SELECT arn FROM secrets WHERE delete_at <= $1 LIMIT $2`, sqldb.Millis(tx.Now), limit)
	if err != nil {
		return nil, fmt.Errorf("looking for expired secrets: %w", err)
	}
	defer rows.Close()
	var all []ARN
	for rows.Next() {
		var arn ARN
		if err := rows.Scan(&arn); err != nil {
			return nil, fmt.Errorf("looking for expired secrets: %w", err)
		}
		all = append(all, arn)
	}
	return all, rows.Err()
}

// NextExpiry returns when the next recovery window ends, or nil.
func (v *Vault) NextExpiry(ctx context.Context, tx *sqldb.Tx) (*time.Time, error) {
	var at sql.NullInt64
	err := tx.QueryRow(ctx, `SELECT MIN(delete_at) FROM secrets WHERE delete_at IS NOT NULL`).Scan(&at)
	if err != nil {
		return nil, fmt.Errorf("looking for the next expiry: %w", err)
	}
	return sqldb.Time(at), nil
}
