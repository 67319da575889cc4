package secret

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// A replica is a secret of its own in another region: same name, same ARN but
// for the region, values sealed anew for that ARN under the replica's own key.
// It is read-only there. secret_replicas has a row for each region of a primary,
// and its status says what is to be done:
//
//	AddReplicas ──▶ InProgress ──▶ InSync ──▶ (any change of the primary) InProgress …
//	                    └────────▶ Failed ──▶ (AddReplicas again) InProgress
//
// A change of a primary makes its rows InProgress in the change's own
// transaction, so that none is ever lost; Copy makes the replica like its primary
// again. Only the first copy can fail: whatever stands in the way of a later one
// is tried again.

// The values of a Replica's Status, as AWS names them.
const (
	InProgress = "InProgress"
	InSync     = "InSync"
	Failed     = "Failed"
)

const succeeded = "Replication succeeded"

// Replica is one region of a secret's ReplicationStatus.
type Replica struct {
	Region   string
	KMSKeyID string // empty: the default key
	Status   string
	Message  string
	Accessed *time.Time // midnight UTC of the last day it was read there
}

// ReplicaRegion is a region to which a secret is to be replicated.
type ReplicaRegion struct {
	Region    string
	KMSKeyID  string // empty: the default key
	Overwrite bool   // ForceOverwriteReplicaSecret
}

// awsRegion is what AWS's SDKs take for a region of the partition aws, in which
// all ARNs of this server lie; secrets are not replicated beyond a partition.
var awsRegion = regexp.MustCompile(`^(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-\d+$`)

// CheckReplicaRegion returns ErrInvalidParameter if a secret in place at can't be
// replicated to region.
func CheckReplicaRegion(at Place, region string) error {
	if region == at.Region || !awsRegion.MatchString(region) {
		return ErrInvalidParameter.Errorf("Invalid replica region.")
	}
	return nil
}

// Replicas returns the ReplicationStatus of a primary, in the order in which the
// regions were added; nil when it has none.
func (v *Vault) Replicas(ctx context.Context, tx *sqldb.Tx, arn ARN) ([]Replica, error) {
	at := arn.Place()
	rows, err := tx.Query(ctx, `SELECT r.region, r.kms_key_id, r.status, r.message, s.accessed_at
		FROM secret_replicas r LEFT JOIN secrets s
			ON s.place_name = r.region || $2 AND s.primary_region = $3
		WHERE r.arn = $1 ORDER BY r.position`, arn, Place{Account: at.Account}.placeName(arn.Name()), at.Region)
	if err != nil {
		return nil, fmt.Errorf("reading replicas: %w", err)
	}
	defer rows.Close()
	var all []Replica
	for rows.Next() {
		var r Replica
		var accessed sql.NullInt64
		if err := rows.Scan(&r.Region, &r.KMSKeyID, &r.Status, &r.Message, &accessed); err != nil {
			return nil, fmt.Errorf("reading replicas: %w", err)
		}
		r.Accessed = sqldb.Time(accessed)
		all = append(all, r)
	}
	return all, rows.Err()
}

// AddReplicas begins to replicate a secret to more regions. One that has a
// replica already stays as it is; one that has failed is tried again.
func (v *Vault) AddReplicas(ctx context.Context, tx *sqldb.Tx, arn ARN, regions []ReplicaRegion) error {
	for _, r := range regions {
		_, err := change(ctx, tx, `INSERT INTO secret_replicas (position, arn, region, kms_key_id, overwrite, status, message)
			VALUES ((SELECT COALESCE(MAX(position), 0) + 1 FROM secret_replicas WHERE arn = $1), $1, $2, $3, $4, 'InProgress', '')
			ON CONFLICT (arn, region) DO UPDATE SET kms_key_id = excluded.kms_key_id,
				overwrite = excluded.overwrite, status = excluded.status, message = excluded.message
			WHERE secret_replicas.status = 'Failed'`, arn, r.Region, r.KMSKeyID, r.Overwrite)
		if err != nil {
			return fmt.Errorf("adding a replica: %w", err)
		}
	}
	_, err := change(ctx, tx, `UPDATE secrets SET primary_region = region WHERE `+byARN, arn)
	tx.OnCommit(v.Poke)
	return err
}

// RemoveReplicas ends replication to regions and removes the replicas there at
// once. A region without one is no error.
func (v *Vault) RemoveReplicas(ctx context.Context, tx *sqldb.Tx, arn ARN, regions []string) error {
	for _, region := range regions {
		replica, err := v.replicaIn(ctx, tx, arn, region)
		if err != nil {
			return err
		}
		if replica != nil {
			if err := v.Purge(ctx, tx, replica.ARN); err != nil {
				return err
			}
		}
		if err := dropReplica(ctx, tx, arn, region); err != nil {
			return err
		}
	}
	return nil
}

// Promote makes an ordinary secret of a replica; its primary forgets it. A service
// that manages the primary knows nothing of it: as that service's secret nobody
// could change or delete it. Promote returns ErrInvalidRequest for a secret that is
// no replica.
func (v *Vault) Promote(ctx context.Context, tx *sqldb.Tx, arn ARN) error {
	s, err := v.FindLive(ctx, tx, arn)
	if err != nil {
		return err
	}
	if !s.IsReplica() {
		return ErrInvalidRequest.Errorf("You can't perform this operation on a secret that isn't a replica secret.")
	}
	if err := dropReplica(ctx, tx, s.PrimaryARN(), arn.Place().Region); err != nil {
		return err
	}
	if _, err := change(ctx, tx, `UPDATE secrets SET primary_region = '', owning_service = '' WHERE `+byARN, arn); err != nil {
		return fmt.Errorf("promoting a replica: %w", err)
	}
	if err := v.dropReserved(ctx, tx, arn); err != nil {
		return err
	}
	return v.Untag(ctx, tx, arn, []string{ownerTag})
}

// dropReserved takes away the version that waits for a rotation of the primary: here
// nothing gives it a value, and it would keep every other rotation from beginning.
func (v *Vault) dropReserved(ctx context.Context, tx *sqldb.Tx, arn ARN) error {
	id, err := v.Holder(ctx, tx, arn, Pending)
	if err != nil || id == "" {
		return err
	}
	version, err := v.ByID(ctx, tx, arn, id)
	if err != nil || !version.Reserved() {
		return err
	}
	return v.Remove(ctx, tx, arn, id)
}

// dropReplica takes a region off a primary's list. Without any it is an ordinary
// secret again.
func dropReplica(ctx context.Context, tx *sqldb.Tx, arn ARN, region string) error {
	if _, err := change(ctx, tx, `DELETE FROM secret_replicas WHERE arn = $1 AND region = $2`, arn, region); err != nil {
		return fmt.Errorf("removing a replica: %w", err)
	}
	_, err := change(ctx, tx, `UPDATE secrets SET primary_region = ''
		WHERE `+byARN+` AND NOT EXISTS (SELECT 1 FROM secret_replicas WHERE arn = $1)`, arn)
	return err
}

// replicaIn returns the replica of a primary in a region, or nil. In its own region a
// primary has none.
func (v *Vault) replicaIn(ctx context.Context, tx *sqldb.Tx, primary ARN, region string) (*Secret, error) {
	s, err := v.Find(ctx, tx, primary.In(region))
	if errors.Is(err, ErrNotFound) {
		return nil, nil //nolint:nilnil // the caller asks whether there is one
	}
	if err != nil || !s.IsReplica() || s.PrimaryRegion != primary.Place().Region {
		return nil, err
	}
	return s, nil
}

// outdate notes that the replicas of a secret are no longer like it. What the
// cache holds of the secret says nothing of that.
func (v *Vault) outdate(ctx context.Context, tx *sqldb.Tx, arn ARN) error {
	res, err := changeValue(ctx, tx, `UPDATE secret_replicas SET status = 'InProgress', message = '' WHERE arn = $1 AND status = 'InSync'`, arn)
	if err != nil {
		return fmt.Errorf("marking replicas: %w", err)
	}
	n, err := res.RowsAffected()
	if n > 0 {
		tx.OnCommit(v.Poke)
	}
	return err
}
