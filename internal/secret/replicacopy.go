package secret

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Copying is a region in which a secret's replica has to become like its primary.
type Copying struct {
	Primary ARN
	Region  string
}

// Waiting returns what has to be copied, at most limit, in the order of ARN and
// region, beginning after one of them.
func (v *Vault) Waiting(ctx context.Context, tx *sqldb.Tx, after Copying, limit int) ([]Copying, error) {
	rows, err := tx.Query(ctx, `SELECT arn, region FROM secret_replicas
		WHERE status = 'InProgress' AND (arn, region) > ($1, $2) ORDER BY arn, region LIMIT $3`, after.Primary, after.Region, limit)
	if err != nil {
		return nil, fmt.Errorf("looking for changed secrets: %w", err)
	}
	defer rows.Close()
	var all []Copying
	for rows.Next() {
		var c Copying
		if err := rows.Scan(&c.Primary, &c.Region); err != nil {
			return nil, fmt.Errorf("looking for changed secrets: %w", err)
		}
		all = append(all, c)
	}
	return all, rows.Err()
}

// Copy makes a replica like its primary, in one transaction. Values are sealed
// before that, for a key may be remote; if others came meanwhile it begins again.
// Where a secret of that name gives way, gaveWay is told its ARN, in the same
// transaction. An error means that nothing was copied and that it is worth trying
// again; what can't succeed is noted as Failed.
func (v *Vault) Copy(ctx context.Context, c Copying, gaveWay func(tx *sqldb.Tx, arn ARN) error) error {
	return UntilFresh(func() error {
		plan, err := v.planCopy(ctx, c)
		if plan == nil || err != nil {
			return err
		}
		return v.db.Write(ctx, func(tx *sqldb.Tx) error { return v.carryOut(ctx, tx, plan, gaveWay) })
	})
}

// copyPlan is one region's row, and the values that the replica lacks.
type copyPlan struct {
	Copying
	key       string // KmsKeyId of the replica
	overwrite bool
	exists    bool         // the replica was there when the plan was made
	refused   *fault.Fault // why nothing can be copied
	versions  map[VersionID]*Version
}

func (p *copyPlan) replica() ARN { return p.Primary.In(p.Region) }

// planCopy returns nil when there is nothing to do.
func (v *Vault) planCopy(ctx context.Context, c Copying) (*copyPlan, error) {
	var plan *copyPlan
	var lacking []*Version
	err := v.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		if plan, err = readPlan(ctx, tx, c); plan == nil || err != nil {
			return err
		}
		replica, err := v.replicaIn(ctx, tx, c.Primary, c.Region)
		if err != nil {
			return err
		}
		compared := ARN("") // the ARN may be that of an ordinary secret, which was promoted
		if plan.exists = replica != nil; plan.exists {
			compared = replica.ARN
		}
		lacking, err = v.lacking(ctx, tx, c.Primary, compared)
		return err
	})
	if plan == nil || err != nil {
		return nil, err
	}
	err = v.sealCopies(ctx, plan, lacking)
	refused := fault.Of(err)
	if err != nil && !plan.exists && refused.Kind != fault.Internal {
		plan.refused, err = refused, nil
	}
	return plan, err
}

func readPlan(ctx context.Context, tx *sqldb.Tx, c Copying) (*copyPlan, error) {
	p := &copyPlan{Copying: c, versions: map[VersionID]*Version{}}
	err := tx.QueryRow(ctx, `SELECT kms_key_id, overwrite FROM secret_replicas
		WHERE arn = $1 AND region = $2 AND status = 'InProgress'`, c.Primary, c.Region).Scan(&p.key, &p.overwrite)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // there is nothing to do
	}
	if err != nil {
		return nil, fmt.Errorf("reading a replica: %w", err)
	}
	return p, nil
}

// lacking returns the versions of a primary that its replica does not have, or
// that hold another value there.
func (v *Vault) lacking(ctx context.Context, tx *sqldb.Tx, primary, replica ARN) ([]*Version, error) {
	rows, err := tx.Query(ctx, `SELECT v.id FROM secret_versions v
		LEFT JOIN secret_versions r ON r.secret = (SELECT number FROM secrets WHERE `+byOtherARN+`) AND r.id = v.id
		WHERE v.`+ofSecret+` AND (r.id IS NULL OR r.kind <> v.kind
			OR COALESCE(r.origin, x'') <> COALESCE(substr(v.ciphertext, 1, $3), x''))`, primary, replica, markBytes)
	if err != nil {
		return nil, fmt.Errorf("comparing a replica: %w", err)
	}
	ids, err := versionIDs(rows)
	if err != nil {
		return nil, err
	}
	all := make([]*Version, len(ids))
	for i, id := range ids {
		if all[i], err = v.ByID(ctx, tx, primary, id); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// sealCopies seals values for the replica, under its key.
func (v *Vault) sealCopies(ctx context.Context, p *copyPlan, lacking []*Version) error {
	if err := v.CheckKey(p.key); err != nil {
		return err
	}
	for _, version := range lacking {
		copied := &Version{ARN: p.replica(), ID: version.ID, Created: version.Created, kind: reserved}
		if !version.Reserved() {
			var err error
			if copied, err = v.sealAgain(ctx, version, Slot{p.replica(), version.ID, p.key}); err != nil {
				return err
			}
		}
		p.versions[version.ID] = copied
	}
	return nil
}

// carryOut does what the plan says, in one transaction. It is ErrStale if the
// plan lacks a value by now.
func (v *Vault) carryOut(ctx context.Context, tx *sqldb.Tx, p *copyPlan, gaveWay func(*sqldb.Tx, ARN) error) error {
	now, err := readPlan(ctx, tx, p.Copying)
	if now == nil || err != nil {
		return err
	}
	if now.key != p.key {
		return ErrStale
	}
	primary, err := v.Find(ctx, tx, p.Primary)
	if err != nil {
		return err
	}
	if p.refused != nil {
		return setStatus(ctx, tx, p, Failed, "Replication failed: "+p.refused.Message)
	}
	free, err := v.claimName(ctx, tx, p, gaveWay)
	if err != nil {
		return err
	}
	if !free {
		return setStatus(ctx, tx, p, Failed, fmt.Sprintf("Replication failed: Secret name %s already exists in region %s.", primary.Name, p.Region))
	}
	if err := v.copyVersions(ctx, tx, p); err != nil {
		return err
	}
	if err := copyDetails(ctx, tx, p); err != nil {
		return err
	}
	return setStatus(ctx, tx, p, InSync, succeeded)
}

func setStatus(ctx context.Context, tx *sqldb.Tx, p *copyPlan, status, message string) error {
	_, err := change(ctx, tx, `UPDATE secret_replicas SET status = $3, message = $4, overwrite = 0 WHERE arn = $1 AND region = $2`,
		p.Primary, p.Region, status, message)
	if err != nil {
		return fmt.Errorf("noting how replication ended: %w", err)
	}
	return nil
}

// claimName makes sure that the replica exists. Another secret of its name gives
// way only if that was asked for, and only an ordinary one: none that a service
// manages, and none that is replicated itself.
func (v *Vault) claimName(ctx context.Context, tx *sqldb.Tx, p *copyPlan, gaveWay func(*sqldb.Tx, ARN) error) (free bool, err error) {
	replica := p.replica()
	arn, err := lookUp(ctx, tx, replica.Place(), replica.Name())
	if err != nil {
		return false, fmt.Errorf("looking up a name: %w", err)
	}
	old, err := v.Find(ctx, tx, arn)
	switch {
	case errors.Is(err, ErrNotFound): // free, or its recovery window has ended
	case err != nil:
		return false, err
	case arn == replica && old.PrimaryRegion == p.Primary.Place().Region:
		return true, nil
	case !p.overwrite || old.PrimaryRegion != "" || old.OwningService != "":
		return false, nil
	}
	if arn != UnknownARN(replica.Place(), replica.Name()) {
		if err := errors.Join(v.Purge(ctx, tx, arn), gaveWay(tx, arn)); err != nil {
			return false, err
		}
	}
	_, err = change(ctx, tx, `INSERT INTO secrets (arn, account, region, name, description, kms_key_id, type,
			owning_service, tags, created_at, changed_at, changed_order, primary_region)
		SELECT $1, account, $3, name, description, $4, type, owning_service, tags, $5, changed_at, changed_at, region
		FROM secrets WHERE `+byOtherARN, replica, p.Primary, p.Region, p.key, sqldb.Millis(tx.Now))
	if err != nil {
		return false, fmt.Errorf("creating a replica: %w", err)
	}
	return true, nil
}

// copyVersions gives the replica the versions of its primary.
func (v *Vault) copyVersions(ctx context.Context, tx *sqldb.Tx, p *copyPlan) error {
	lacking, err := v.lacking(ctx, tx, p.Primary, p.replica())
	if err != nil {
		return err
	}
	b, err := readBoard(ctx, tx, p.replica())
	if err != nil {
		return err
	}
	for _, version := range lacking {
		copied := p.versions[version.ID]
		if copied == nil || !bytes.Equal(copied.origin, version.mark()) {
			return ErrStale
		}
		if err := errors.Join(deleteVersion(ctx, tx, b, version.ID), insert(ctx, tx, b, copied, version.Created)); err != nil {
			return fmt.Errorf("replacing a version: %w", err)
		}
	}
	_, err = changeOf(ctx, tx, `DELETE FROM secret_versions WHERE secret = $1
		AND id NOT IN (SELECT id FROM secret_versions WHERE secret = (SELECT number FROM secrets WHERE `+byOtherARN+`))`, b, p.Primary)
	return err
}

// copyDetails copies all but the versions. What is the replica's own stays: its key
// and when it was made and read.
func copyDetails(ctx context.Context, tx *sqldb.Tx, p *copyPlan) error {
	if _, err := change(ctx, tx, `DELETE FROM secret_removed_versions WHERE arn = $1`, p.replica()); err != nil {
		return fmt.Errorf("copying to a replica: %w", err)
	}
	_, removed := change(ctx, tx, `INSERT INTO secret_removed_versions (arn, id, removed_at)
		SELECT $1, id, removed_at FROM secret_removed_versions WHERE arn = $2`, p.replica(), p.Primary)
	_, details := change(ctx, tx, `UPDATE secrets SET (description, type, owning_service, tags, changed_at, changed_order, resource_policy, external, labels, current, versions)
		= (SELECT description, type, owning_service, tags, changed_at, changed_at, resource_policy, external, labels, current, versions FROM secrets WHERE `+byOtherARN+`)
		WHERE `+byARN, p.replica(), p.Primary)
	if err := errors.Join(removed, details); err != nil {
		return fmt.Errorf("copying to a replica: %w", err)
	}
	return nil
}
