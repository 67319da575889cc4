package rdsapi

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/sqldb"
)

func targetModifyInstance(ctx context.Context, in *rds.ModifyDBInstanceInput) (iam.Resource, error) {
	return instance.target(ctx, &in.DBInstanceIdentifier)
}

// modifyInstance changes everything at once, with or without ApplyImmediately.
func (s *Service) modifyInstance(ctx context.Context, in *rds.ModifyDBInstanceInput) (*rds.ModifyDBInstanceOutput, error) {
	var row *instanceRow
	err := s.config.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		row, err = findInstance(ctx, tx, *in.DBInstanceIdentifier)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := row.mayBecome(in); err != nil {
		return nil, err
	}
	do, after, err := s.changeMasterOf(ctx, row, in)
	if err != nil {
		return nil, err
	}
	err = s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		if row, err = findInstance(ctx, tx, *in.DBInstanceIdentifier); err != nil {
			return err
		}
		if err := row.mayBecome(in); err != nil { // deleted meanwhile
			return err
		}
		row.apply(in)
		if err := do(tx, &row.shown.MasterUserSecret); err != nil {
			return err
		}
		if err := updateInstance(ctx, tx, row); err != nil {
			return err
		}
		return s.showMaster(ctx, tx, &row.shown.MasterUserSecret, row.status)
	})
	if err == nil && after != nil {
		err = after()
	}
	if err != nil {
		return nil, err
	}
	return &rds.ModifyDBInstanceOutput{DBInstance: new(row.show())}, nil
}

// changeMasterOf prepares a change of the master user of an instance without a
// cluster; of any other, there is nothing to change.
func (s *Service) changeMasterOf(ctx context.Context, i *instanceRow, in *rds.ModifyDBInstanceInput) (effect, func() error, error) {
	if i.owner != i.arn {
		return func(*sqldb.Tx, **types.MasterUserSecret) error { return nil }, nil, nil
	}
	return s.changeMaster(ctx, mastered{
		arn: i.arn, engine: i.shown.Engine, secret: i.shown.MasterUserSecret, state: ErrInstanceState,
		up: i.status == available, begun: true,
		set: func(ctx context.Context, d *database, password string) error {
			return s.changeInstancePassword(ctx, i, d, password)
		},
	}, masterChange{
		management{in.ManageMasterUserPassword, in.MasterUserPassword, in.MasterUserSecretKmsKeyId}, in.RotateMasterUserPassword, in.ApplyImmediately,
	})
}

func (i *instanceRow) mayBecome(in *rds.ModifyDBInstanceInput) error {
	if i.status == deleting {
		return ErrInstanceState.Errorf("Instance %s is being deleted.", idOf(i.arn))
	}
	if i.owner != i.arn {
		if err := refuseOnMember(in); err != nil {
			return err
		}
	}
	switch {
	case in.NewDBInstanceIdentifier != nil:
		return notOffered("NewDBInstanceIdentifier")
	case in.DBPortNumber != nil:
		return notOffered("a new DBPortNumber")
	case in.EngineVersion != nil && value(in.EngineVersion) != value(i.shown.EngineVersion):
		return ErrParameterCombination.Errorf("This server does not upgrade database servers: EngineVersion stays %s.", value(i.shown.EngineVersion))
	}
	return nil
}

// refuseOnMember: what all instances of a cluster share is the cluster's to
// change. The words are those that RDS was seen to use.
func refuseOnMember(in *rds.ModifyDBInstanceInput) error {
	for _, shared := range []struct {
		what  string
		given bool
	}{
		{"master user password", in.MasterUserPassword != nil || in.ManageMasterUserPassword != nil || in.RotateMasterUserPassword != nil},
		{"backup retention", in.BackupRetentionPeriod != nil},
		{"backup window", in.PreferredBackupWindow != nil},
		{"deletion protection", in.DeletionProtection != nil},
		{"vpc security group", in.VpcSecurityGroupIds != nil},
		{"the DB engine version", in.EngineVersion != nil},
		{"database endpoint port number", in.DBPortNumber != nil},
	} {
		if shared.given {
			return ErrParameterCombination.Errorf("The specified DB Instance is a member of a cluster. Modify %s for the DB Cluster using the ModifyDbCluster API", shared.what)
		}
	}
	return nil
}

// apply takes over what a description shows.
func (i *instanceRow) apply(in *rds.ModifyDBInstanceInput) {
	to := &i.shown
	set(&to.DBInstanceClass, in.DBInstanceClass)
	set(&to.PromotionTier, in.PromotionTier)
	set(&to.PubliclyAccessible, in.PubliclyAccessible)
	set(&to.AutoMinorVersionUpgrade, in.AutoMinorVersionUpgrade)
	set(&to.CopyTagsToSnapshot, in.CopyTagsToSnapshot)
	set(&to.PreferredMaintenanceWindow, in.PreferredMaintenanceWindow)
	set(&to.PreferredBackupWindow, in.PreferredBackupWindow)
	set(&to.BackupRetentionPeriod, in.BackupRetentionPeriod)
	set(&to.DeletionProtection, in.DeletionProtection)
	set(&to.AllocatedStorage, in.AllocatedStorage)
	set(&to.StorageType, in.StorageType)
	set(&to.MultiAZ, in.MultiAZ)
	set(&to.LicenseModel, in.LicenseModel)
	if in.VpcSecurityGroupIds != nil {
		to.VpcSecurityGroups = securityGroups(in.VpcSecurityGroupIds)
	}
	changeKeptOfInstance(to, in)
}

// changeInstancePassword sets the master user's password in the server of an
// instance without a cluster.
func (s *Service) changeInstancePassword(ctx context.Context, i *instanceRow, d *database, password string) error {
	if d.adopted() {
		return ErrParameterCombination.Errorf("The server of DB instance %s is adopted: change the password of %s there, or rotate its secret.", idOf(i.arn), d.masterUser)
	}
	server := s.serverOf(i.arn)
	if i.status != available || server == nil {
		return ErrInstanceState.Errorf("DB instance %s is %s: the password can be changed when it is available.", idOf(i.arn), i.status)
	}
	return server.SetMasterPassword(ctx, d.masterUser, dbserver.Password(password))
}
