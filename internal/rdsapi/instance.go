package rdsapi

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// createInstance registers an instance; Run starts its server. The first
// instance of a cluster starts the cluster's server. Further ones are readers
// in name: they share that server and its endpoint.
func (s *Service) createInstance(ctx context.Context, in *rds.CreateDBInstanceInput) (*rds.CreateDBInstanceOutput, error) {
	e, err := engineOf(*in.Engine)
	if err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	var row *instanceRow
	if in.DBClusterIdentifier != nil {
		row, err = s.createMember(ctx, in)
	} else {
		row, err = s.createAlone(ctx, e, in)
	}
	if err != nil {
		return nil, err
	}
	s.wake(row.owner)
	return &rds.CreateDBInstanceOutput{DBInstance: new(row.show())}, nil
}

func (s *Service) createMember(ctx context.Context, in *rds.CreateDBInstanceInput) (*instanceRow, error) {
	if in.MasterUsername != nil || in.MasterUserPassword != nil || in.ManageMasterUserPassword != nil || in.DBName != nil || in.Port != nil {
		return nil, ErrParameterCombination.Errorf("The requested DB Instance will be a member of a DB Cluster. Set the master user, the password, the database name and the port for the DB Cluster.")
	}
	again, err := s.passwordAgain(ctx, *in.DBClusterIdentifier)
	if err != nil {
		return nil, err
	}
	var row *instanceRow
	err = s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		c, err := findCluster(ctx, tx, *in.DBClusterIdentifier)
		if err != nil {
			return err
		}
		if err := c.mayHave(in); err != nil {
			return err
		}
		d, err := findDatabase(ctx, tx, c.arn)
		if err != nil {
			return err
		}
		if err := s.hasData(ctx, tx, d); err != nil {
			if err = s.makeAgain(ctx, tx, c, again, err); err != nil {
				return err
			}
		}
		row = s.newInstance(in, d, value(c.shown.EngineVersion))
		row.shown.DBClusterIdentifier = c.shown.DBClusterIdentifier
		row.shown.DBName, row.shown.MasterUsername = c.shown.DatabaseName, c.shown.MasterUsername
		row.shown.StorageEncrypted = c.shown.StorageEncrypted
		return insertInstance(ctx, tx, row)
	})
	return row, err
}

func (c *clusterRow) mayHave(in *rds.CreateDBInstanceInput) error {
	if c.status == deleting {
		return ErrClusterState.Errorf("DB cluster %s is being deleted.", idOf(c.arn))
	}
	if *in.Engine != value(c.shown.Engine) {
		return ErrParameterCombination.Errorf("The engine name requested for your DB instance (%s) doesn't match the engine name of your DB cluster (%s).",
			*in.Engine, value(c.shown.Engine))
	}
	return nil
}

// hasData refuses a new first instance after the last one took the data with
// it: the master password was not kept.
func (s *Service) hasData(ctx context.Context, tx *sqldb.Tx, d *database) error {
	members, err := instances(ctx, tx, d.owner, "")
	if err != nil || d.sealedMaster != "" {
		return err
	}
	for _, m := range members {
		if m.status != deleting {
			return nil
		}
	}
	if d.adopted() {
		return nil
	}
	return ErrClusterState.Errorf("The data of DB cluster %s was deleted with its last DB instance. Set MasterUserPassword with ModifyDBCluster first; a new database is made with it.", idOf(d.owner))
}

// createAlone makes an instance that is its own database.
func (s *Service) createAlone(ctx context.Context, e engine, in *rds.CreateDBInstanceInput) (*instanceRow, error) {
	if e.clusterOnly {
		return nil, ErrParameterCombination.Errorf("A DB instance of engine %s needs a DB cluster: create one and give its DBClusterIdentifier.", *in.Engine)
	}
	managed := management{in.ManageMasterUserPassword, in.MasterUserPassword, in.MasterUserSecretKmsKeyId}
	password, err := managed.firstPassword(in.Tags)
	if err != nil {
		return nil, err
	}
	wanted, err := planOf(*in.DBInstanceIdentifier, e, &rds.CreateDBClusterInput{
		MasterUsername: in.MasterUsername, Port: in.Port, Tags: in.Tags, DatabaseName: in.DBName,
	}, password)
	if err != nil {
		return nil, err
	}
	s.choosing.Lock()
	defer s.choosing.Unlock()
	made, err := s.plan(ctx, wanted)
	if err != nil {
		return nil, err
	}
	row := s.newInstance(in, made.database, made.runningVersion)
	row.shown.DBName, row.shown.MasterUsername = in.DBName, in.MasterUsername
	var store func(*sqldb.Tx) error
	if row.shown.MasterUserSecret, store, err = s.firstMaster(ctx, managed, made); err != nil {
		return nil, err
	}
	return row, s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		if err := insertInstance(ctx, tx, row); err != nil {
			return err
		}
		return errors.Join(insertDatabase(ctx, tx, made.database), store(tx))
	})
}

func (s *Service) newInstance(in *rds.CreateDBInstanceInput, d *database, version string) *instanceRow {
	now := s.config.Now().UTC()
	port := int32(d.port) //nolint:gosec // at most 65535
	shown := types.DBInstance{
		DBInstanceArn: in.DBInstanceIdentifier, DBInstanceIdentifier: new(idOf(*in.DBInstanceIdentifier)),
		DbiResourceId: new("db-" + rand.Text()), DBInstanceClass: in.DBInstanceClass,
		Engine: in.Engine, EngineVersion: in.EngineVersion,
		Endpoint: &types.Endpoint{Address: new(d.host), Port: &port, HostedZoneId: new("KEYTURN")}, DbInstancePort: new(int32(0)),
		AllocatedStorage: orElse(in.AllocatedStorage, 1), StorageType: in.StorageType, KmsKeyId: in.KmsKeyId,
		AvailabilityZone: in.AvailabilityZone, VpcSecurityGroups: securityGroups(in.VpcSecurityGroupIds),
		BackupRetentionPeriod: orElse(in.BackupRetentionPeriod, 1), PreferredBackupWindow: in.PreferredBackupWindow,
		PreferredMaintenanceWindow: in.PreferredMaintenanceWindow, PromotionTier: orElse(in.PromotionTier, 1),
		AutoMinorVersionUpgrade: orElse(in.AutoMinorVersionUpgrade, true), CopyTagsToSnapshot: orElse(in.CopyTagsToSnapshot, false),
		DeletionProtection: orElse(in.DeletionProtection, false), StorageEncrypted: orElse(in.StorageEncrypted, false),
		PubliclyAccessible: orElse(in.PubliclyAccessible, false), MultiAZ: orElse(in.MultiAZ, false),
		LicenseModel: in.LicenseModel, InstanceCreateTime: &now, TagList: in.Tags,
	}
	keepOfInstance(&shown, in)
	if shown.EngineVersion == nil && version != "" {
		shown.EngineVersion = &version
	}
	return &instanceRow{arn: *in.DBInstanceIdentifier, owner: d.owner, created: sqldb.Millis(now), status: creating, shown: shown}
}

// deleteInstance ends an instance. The last one of a cluster takes the server's
// process and the data with it. On AWS the data belong to the cluster's volume
// and stay until DeleteDBCluster; here they are a server's folder, which nobody
// could look after without an instance. A protected cluster therefore keeps
// its last instance.
func (s *Service) deleteInstance(ctx context.Context, in *rds.DeleteDBInstanceInput) (*rds.DeleteDBInstanceOutput, error) {
	var row *instanceRow
	err := s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		var err error
		if row, err = findInstance(ctx, tx, *in.DBInstanceIdentifier); err != nil {
			return err
		}
		if err := row.mayBeDeleted(ctx, tx, in); err != nil {
			return err
		}
		if err := s.removeMaster(ctx, tx, &row.shown.MasterUserSecret); err != nil {
			return err
		}
		if err := updateInstance(ctx, tx, row); err != nil {
			return err
		}
		row.status = deleting
		_, err = tx.Exec(ctx, `UPDATE db_instances SET status = $1, reason = '' WHERE arn = $2`, deleting, row.arn)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.wake(row.owner)
	return &rds.DeleteDBInstanceOutput{DBInstance: new(row.show())}, nil
}

func (i *instanceRow) mayBeDeleted(ctx context.Context, tx *sqldb.Tx, in *rds.DeleteDBInstanceInput) error {
	if i.status == deleting {
		return ErrInstanceState.Errorf("Instance %s is already being deleted.", idOf(i.arn))
	}
	if value(i.shown.DeletionProtection) {
		return ErrParameterCombination.Errorf("Cannot delete protected DB Instance, please disable deletion protection and try again.")
	}
	if i.owner == i.arn {
		return checkSnapshot(in.SkipFinalSnapshot, in.FinalDBSnapshotIdentifier)
	}
	if in.FinalDBSnapshotIdentifier != nil {
		return checkSnapshot(in.SkipFinalSnapshot, in.FinalDBSnapshotIdentifier)
	}
	return i.keptByCluster(ctx, tx)
}

func (i *instanceRow) keptByCluster(ctx context.Context, tx *sqldb.Tx) error {
	c, err := findCluster(ctx, tx, i.owner)
	if err != nil || !value(c.shown.DeletionProtection) {
		return err
	}
	members, err := instances(ctx, tx, i.owner, "")
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.arn != i.arn && m.status != deleting {
			return nil
		}
	}
	return ErrParameterCombination.Errorf("Cannot delete the last DB instance of a protected Cluster, because the data would go with it. Please disable deletion protection and try again.")
}
