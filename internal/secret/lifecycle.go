package secret

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// ownerTag shows on a managed secret which service it belongs to.
const ownerTag = "aws:secretsmanager:owningService"

// New describes a secret to be created.
type New struct {
	ARN         ARN
	Name        string
	Description string
	KMSKeyID    string
	Type        string
	Tags        []Tag
	// OwningService makes the secret one that only this service changes, such as
	// rds. Its tag aws:secretsmanager:owningService comes by itself.
	OwningService string
	Replicas      []ReplicaRegion
}

// Create makes a secret, with a first version if version is not nil.
//
// A secret of that name whose version version.ID exists is a *TakenError: the
// request may be a repetition. Any other secret of that name is ErrExists, or
// ErrInvalidRequest when it is scheduled for deletion. One whose recovery window
// has ended is purged, and its ARN returned. The version's Slot must have the
// secret's KMSKeyID.
func (v *Vault) Create(ctx context.Context, tx *sqldb.Tx, n New, version *Version) (purged ARN, err error) {
	b, err := insertSecret(ctx, tx, n, version)
	if err == nil && b == nil { // the name is mostly free, so nobody asks first
		if purged, err = v.makeFree(ctx, tx, n, version); err != nil {
			return "", err
		}
		b, err = insertSecret(ctx, tx, n, version)
	}
	if err == nil && version != nil {
		err = insert(ctx, tx, b, version, tx.Now)
	}
	if err != nil {
		return "", fmt.Errorf("creating a secret: %w", err)
	}
	if len(n.Replicas) == 0 {
		return purged, nil
	}
	return purged, v.AddReplicas(ctx, tx, n.ARN, n.Replicas)
}

// insertSecret stores the secret's own row, with what it tells of a first version.
// It returns nil if the name is not free.
func insertSecret(ctx context.Context, tx *sqldb.Tx, n New, version *Version) (*board, error) {
	b := &board{arn: n.ARN}
	if version != nil {
		b.set(Current, version.ID)
	}
	labels, err := b.text()
	if err != nil {
		return nil, err
	}
	tags, err := n.tagsText()
	if err != nil {
		return nil, err
	}
	now, at := sqldb.Millis(tx.Now), n.ARN.Place()
	err = changeReturning(ctx, tx, `INSERT INTO secrets (arn, account, region, name, description, kms_key_id, type,
			owning_service, created_at, changed_at, changed_order, labels, current, versions, tags)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $9, $10, $11, $12, $13)
		ON CONFLICT (place_name) DO NOTHING RETURNING number`, n.ARN,
		at.Account, at.Region, n.Name, n.Description, n.KMSKeyID, n.Type, n.OwningService, now,
		labels, b.holder(Current), len(b.pins), tags).Scan(&b.secret)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // the caller asks whether the name was free
	}
	return b, err
}

// tagsText is tagsText of the tags, with that of the service that manages the secret.
func (n New) tagsText() (string, error) {
	tags := withTags(nil, n.Tags)
	if n.OwningService != "" {
		tags = withTags(tags, []Tag{{Key: ownerTag, Value: n.OwningService}})
	}
	if err := checkCount(tags); err != nil {
		return "", err
	}
	return tagsText(tags)
}

func (v *Vault) makeFree(ctx context.Context, tx *sqldb.Tx, n New, version *Version) (purged ARN, err error) {
	arn, err := lookUp(ctx, tx, n.ARN.Place(), n.Name)
	if err != nil {
		return "", fmt.Errorf("looking up a name: %w", err)
	}
	if arn == UnknownARN(n.ARN.Place(), n.Name) {
		return "", nil
	}
	old, err := v.Find(ctx, tx, arn)
	if errors.Is(err, ErrNotFound) { // its recovery window has ended
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
	if version != nil && !old.IsReplica() {
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
type Change struct {
	Description, Type *string
	Key               *Rekeying // see Rekey
}

// Update changes what c names. It returns ErrStale when c.Key no longer fits.
func (v *Vault) Update(ctx context.Context, tx *sqldb.Tx, arn ARN, c Change) error {
	if c.Key != nil {
		if err := v.rekey(ctx, tx, arn, c.Key); err != nil {
			return err
		}
	}
	_, err := change(ctx, tx, `UPDATE secrets SET description = COALESCE($2, description), type = COALESCE($3, type)
		WHERE `+byARN, arn, c.Description, c.Type)
	if err != nil {
		return fmt.Errorf("updating a secret: %w", err)
	}
	return v.Touch(ctx, tx, arn)
}

// SetExternal stores what RotateSecret says of a managed external secret.
func (v *Vault) SetExternal(ctx context.Context, tx *sqldb.Tx, arn ARN, e External) error {
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("storing an external secret: %w", err)
	}
	if _, err := change(ctx, tx, `UPDATE secrets SET external = $2 WHERE `+byARN, arn, string(text)); err != nil {
		return fmt.Errorf("storing an external secret: %w", err)
	}
	return v.Touch(ctx, tx, arn)
}

// Delete schedules deletion for the moment at. A secret with replicas is
// ErrInvalidParameter.
func (v *Vault) Delete(ctx context.Context, tx *sqldb.Tx, arn ARN, at time.Time) error {
	s, err := v.Find(ctx, tx, arn)
	if err != nil {
		return err
	}
	if s.Deleted() {
		return ErrInvalidRequest.Errorf("You can't perform this operation on the secret because it was already scheduled for deletion.")
	}
	if err := v.requireNoReplicas(ctx, tx, arn); err != nil {
		return err
	}
	_, err = change(ctx, tx, `UPDATE secrets SET delete_at = $2 WHERE `+byARN, arn, sqldb.Millis(at))
	return errors.Join(err, v.Touch(ctx, tx, arn))
}

// Restore takes back a scheduled deletion; on another secret it does nothing.
func (v *Vault) Restore(ctx context.Context, tx *sqldb.Tx, arn ARN) (*Secret, error) {
	s, err := v.Find(ctx, tx, arn)
	if err != nil || !s.Deleted() {
		return s, err
	}
	_, err = change(ctx, tx, `UPDATE secrets SET delete_at = NULL WHERE `+byARN, arn)
	return s, errors.Join(err, v.Touch(ctx, tx, arn))
}

// requireNoReplicas returns ErrInvalidParameter for a secret that has replicas:
// they go first.
func (v *Vault) requireNoReplicas(ctx context.Context, tx *sqldb.Tx, arn ARN) error {
	replicas, err := v.Replicas(ctx, tx, arn)
	if err != nil || len(replicas) == 0 {
		return err
	}
	regions := make([]string, len(replicas))
	for i, r := range replicas {
		regions[i] = r.Region
	}
	slices.Sort(regions)
	return ErrInvalidParameter.Errorf("You can't delete secret %s that still has replica regions [%s].", arn, strings.Join(regions, ", "))
}

// DeleteNow is ForceDeleteWithoutRecovery: it removes a secret at once, also one
// that is scheduled for deletion. One that does not exist is no error; one with
// replicas is ErrInvalidParameter. It returns the versions that there were.
func (v *Vault) DeleteNow(ctx context.Context, tx *sqldb.Tx, arn ARN) ([]VersionID, error) {
	if err := v.requireNoReplicas(ctx, tx, arn); err != nil {
		return nil, err
	}
	all, err := v.VersionIDs(ctx, tx, arn)
	if err != nil {
		return nil, err
	}
	return all, v.Purge(ctx, tx, arn)
}

// VersionIDs returns the ids of all versions of a secret, the oldest first.
func (v *Vault) VersionIDs(ctx context.Context, tx *sqldb.Tx, arn ARN) ([]VersionID, error) {
	rows, err := tx.Query(ctx, `SELECT id FROM secret_versions WHERE `+ofSecret+` ORDER BY created_at, id`, arn)
	if err != nil {
		return nil, fmt.Errorf("reading version ids: %w", err)
	}
	return versionIDs(rows)
}

// Purge removes a secret and all its versions at once. An unknown ARN is no
// error.
func (v *Vault) Purge(ctx context.Context, tx *sqldb.Tx, arn ARN) error {
	for _, rows := range []string{"secret_versions WHERE " + ofSecret, "secret_replicas WHERE arn = $1", "secret_removed_versions WHERE arn = $1",
		"secret_cleanups WHERE arn = $1", "secrets WHERE " + byARN} {
		if _, err := change(ctx, tx, `DELETE FROM `+rows, arn); err != nil {
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
