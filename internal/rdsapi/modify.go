package rdsapi

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// modifyCluster changes everything at once, with or without ApplyImmediately.
func (s *Service) modifyCluster(ctx context.Context, in *rds.ModifyDBClusterInput) (*rds.ModifyDBClusterOutput, error) {
	if err := refuseOnModify(in); err != nil {
		return nil, err
	}
	c, members, err := s.clusterWithMembers(ctx, *in.DBClusterIdentifier)
	if err != nil {
		return nil, err
	}
	if err := c.mayChange(); err != nil {
		return nil, err
	}
	if in.EngineVersion != nil && value(in.EngineVersion) != value(c.shown.EngineVersion) {
		return nil, ErrParameterCombination.Errorf("This server does not upgrade database servers: EngineVersion stays %s.", value(c.shown.EngineVersion))
	}
	do, after, err := s.changeMaster(ctx, s.masteredCluster(c, members), masterChange{
		management{in.ManageMasterUserPassword, in.MasterUserPassword, in.MasterUserSecretKmsKeyId}, in.RotateMasterUserPassword, in.ApplyImmediately})
	if err != nil {
		return nil, err
	}
	var shown types.DBCluster
	err = s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		c, err := findCluster(ctx, tx, *in.DBClusterIdentifier)
		if err != nil {
			return err
		}
		if err := c.mayChange(); err != nil { // deleted meanwhile
			return err
		}
		c.apply(in)
		if err := do(tx, &c.shown.MasterUserSecret); err != nil {
			return err
		}
		shown = c.show(members)
		return errors.Join(updateCluster(ctx, tx, c), s.showMaster(ctx, tx, &shown.MasterUserSecret, c.status))
	})
	if err == nil && after != nil {
		err = after()
	}
	if err != nil {
		return nil, err
	}
	return &rds.ModifyDBClusterOutput{DBCluster: &shown}, nil
}

func (c *clusterRow) mayChange() error {
	if c.status == deleting {
		return ErrClusterState.Errorf("DB cluster %s is being deleted.", idOf(c.arn))
	}
	return nil
}

func (s *Service) masteredCluster(c *clusterRow, members []*instanceRow) mastered {
	return mastered{
		arn: c.arn, engine: c.shown.Engine, secret: c.shown.MasterUserSecret, state: ErrClusterState,
		up: isUp(members), begun: len(members) > 0,
		set: func(ctx context.Context, d *database, password string) error {
			return s.changeMasterPassword(ctx, d, members, password)
		},
	}
}

func refuseOnModify(in *rds.ModifyDBClusterInput) error {
	switch {
	case in.NewDBClusterIdentifier != nil:
		return notOffered("NewDBClusterIdentifier")
	case in.Port != nil:
		return notOffered("a new Port")
	}
	return nil
}

func (s *Service) clusterWithMembers(ctx context.Context, arn string) (c *clusterRow, members []*instanceRow, err error) {
	err = s.config.DB.Read(ctx, func(tx *sqldb.Tx) error {
		if c, err = findCluster(ctx, tx, arn); err != nil {
			return err
		}
		members, err = instances(ctx, tx, arn, "")
		return err
	})
	return c, members, err
}

// apply takes over what a description shows.
func (c *clusterRow) apply(in *rds.ModifyDBClusterInput) {
	to := &c.shown
	set(&to.BackupRetentionPeriod, in.BackupRetentionPeriod)
	set(&to.DeletionProtection, in.DeletionProtection)
	set(&to.PreferredBackupWindow, in.PreferredBackupWindow)
	set(&to.PreferredMaintenanceWindow, in.PreferredMaintenanceWindow)
	set(&to.CopyTagsToSnapshot, in.CopyTagsToSnapshot)
	set(&to.DBClusterParameterGroup, in.DBClusterParameterGroupName)
	set(&to.AutoMinorVersionUpgrade, in.AutoMinorVersionUpgrade)
	set(&to.StorageType, in.StorageType)
	if in.VpcSecurityGroupIds != nil {
		to.VpcSecurityGroups = securityGroups(in.VpcSecurityGroupIds)
	}
	changeKeptOfCluster(to, in)
}

func set[T any](field **T, given *T) {
	if given != nil {
		*field = given
	}
}

// changeMasterPassword sets the password in a database that runs. Where there
// is none yet, it is the one that the database will be made with; where an
// adopted server has not answered yet, the one to try next. The password of an
// adopted server in use is not ours to change: keyturn has no account there.
func (s *Service) changeMasterPassword(ctx context.Context, d *database, members []*instanceRow, password string) error {
	switch up := isUp(members); {
	case up && d.adopted():
		return ErrParameterCombination.Errorf("The server of DB cluster %s is adopted: change the password of %s there, or rotate its secret.", idOf(d.owner), d.masterUser)
	case up:
		return s.setLivePassword(ctx, d, dbserver.Password(password))
	case len(members) > 0 && !d.adopted():
		return ErrClusterState.Errorf("DB instance %s is %s: the password can be changed when it is available.", idOf(members[0].arn), members[0].status)
	}
	return s.keepForLater(ctx, d, dbserver.Password(password))
}

// isUp tells whether the server of a cluster takes logins.
func isUp(members []*instanceRow) bool { return len(members) > 0 && members[0].status == available }

func (s *Service) setLivePassword(ctx context.Context, d *database, password dbserver.Password) error {
	server := s.serverOf(d.owner)
	if server == nil {
		return ErrClusterState.Errorf("DB cluster %s has no running server at the moment.", idOf(d.owner))
	}
	return server.SetMasterPassword(ctx, d.masterUser, password)
}

func (s *Service) keepForLater(ctx context.Context, d *database, password dbserver.Password) error {
	sealed, err := s.seal(ctx, password, d.owner, d.masterUser)
	if err != nil {
		return err
	}
	err = s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		if err := setMaster(ctx, tx, d.owner, sealed); err != nil {
			return err
		}
		return setStatus(ctx, tx, d.owner, creating, "") // it is tried at once
	})
	s.wake(d.owner)
	return err
}
