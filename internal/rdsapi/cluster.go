package rdsapi

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/sqldb"
)

func (s *Service) createCluster(ctx context.Context, in *rds.CreateDBClusterInput) (*rds.CreateDBClusterOutput, error) {
	e, err := engineOf(*in.Engine)
	if err != nil {
		return nil, err
	}
	if err := refuseOnCluster(in); err != nil {
		return nil, err
	}
	managed := management{in.ManageMasterUserPassword, in.MasterUserPassword, in.MasterUserSecretKmsKeyId}
	password, err := managed.firstPassword(in.Tags)
	if err != nil {
		return nil, err
	}
	plan, err := planOf(*in.DBClusterIdentifier, e, in, password)
	if err != nil {
		return nil, err
	}
	s.choosing.Lock()
	defer s.choosing.Unlock()
	made, err := s.plan(ctx, plan)
	if err != nil {
		return nil, err
	}
	row := &clusterRow{arn: plan.owner, status: creating, shown: s.newCluster(in, made)}
	var store func(*sqldb.Tx) error
	if row.shown.MasterUserSecret, store, err = s.firstMaster(ctx, managed, made); err != nil {
		return nil, err
	}
	err = s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		if err := insertCluster(ctx, tx, row); err != nil {
			return err
		}
		return errors.Join(insertDatabase(ctx, tx, made.database), store(tx))
	})
	if err != nil {
		return nil, err
	}
	s.wake(row.arn)
	return &rds.CreateDBClusterOutput{DBCluster: new(row.show(nil))}, nil
}

// refuseOnCluster refuses what would look as if it worked.
func refuseOnCluster(in *rds.CreateDBClusterInput) error {
	switch {
	case in.ReplicationSourceIdentifier != nil:
		return notOffered("ReplicationSourceIdentifier")
	case in.GlobalClusterIdentifier != nil:
		return notOffered("GlobalClusterIdentifier")
	}
	return checkTags(in.Tags)
}

func notOffered(parameter string) error {
	return ErrParameterCombination.Errorf("This server does not offer %s.", parameter)
}

// plan is a database that somebody asks for.
type plan struct {
	owner          string
	engine         engine
	user           string
	password       dbserver.Password
	initial        string
	port           int    // 0: any
	adoptedHost    string // empty: run a server here
	adoptedPort    int
	runningVersion string // filled in
	database       *database
}

func planOf(arn string, e engine, in *rds.CreateDBClusterInput, password *string) (*plan, error) {
	if err := e.credentials(in.MasterUsername, password); err != nil {
		return nil, err
	}
	initial, err := databaseName("DatabaseName", in.DatabaseName)
	if err != nil {
		return nil, err
	}
	port, err := portNumber(in.Port)
	if err != nil {
		return nil, err
	}
	host, adoptedPort, err := adoptedEndpoint(in.Tags)
	if err != nil {
		return nil, err
	}
	if host != "" && port != 0 && port != adoptedPort {
		return nil, ErrParameterCombination.Errorf("Port and the port in the tag %s differ.", endpointTag)
	}
	return &plan{owner: arn, engine: e, user: *in.MasterUsername, password: dbserver.Password(*password),
		initial: initial, port: port, adoptedHost: host, adoptedPort: adoptedPort}, nil
}

// plan finds the program, a port and a folder. Call it with s.choosing held
// until the row is written.
func (s *Service) plan(ctx context.Context, p *plan) (*plan, error) {
	d := &database{owner: p.owner, product: p.engine.family(), host: p.adoptedHost, port: p.adoptedPort, masterUser: p.user, initial: p.initial}
	p.database = d
	if p.adoptedHost == "" {
		if err := s.place(ctx, p); err != nil {
			return nil, err
		}
	}
	var err error
	d.sealedMaster, err = s.seal(ctx, p.password, d.owner, d.masterUser)
	return p, err
}

// place chooses where a server of our own will live. A port that nobody asked
// for is any free one, not the engine's usual one: many databases live side by
// side on one machine. Once a server was available there it is kept.
func (s *Service) place(ctx context.Context, p *plan) error {
	binary, err := p.engine.find()
	if err != nil {
		return err
	}
	ports, folders, err := s.taken(ctx)
	if err != nil {
		return err
	}
	d := p.database
	d.product, d.host, p.runningVersion = binary.Product, dbserver.Host, binary.Version
	if d.port, err = choosePort(p.port, ports); err != nil {
		return err
	}
	d.anyPort = p.port == 0
	d.folder = s.chooseFolder(idOf(p.owner), folders)
	d.sealedAdmin, err = s.seal(ctx, dbserver.Password(rand.Text()), d.owner, dbserver.Admin)
	return err
}

func choosePort(wanted int, taken map[int]bool) (int, error) {
	if wanted == 0 {
		return dbserver.FreePort(func(port int) bool { return taken[port] })
	}
	if taken[wanted] {
		return 0, ErrParameterValue.Errorf("Port %d is taken by another DB cluster or DB instance of this server. Leave Port out to have a free one chosen.", wanted)
	}
	if err := dbserver.PortFree(wanted); errors.Is(err, dbserver.ErrPortTaken) {
		return 0, ErrParameterValue.Errorf("Port %d is taken by another process on this machine. Leave Port out to have a free one chosen.", wanted)
	}
	return wanted, nil
}

// chooseFolder returns the identifier, or, where another region's cluster or a
// folder of unknown origin has that name, one that no identifier can be.
func (s *Service) chooseFolder(id string, taken map[string]bool) string {
	if _, err := os.Lstat(filepath.Join(s.config.Dir, id)); !taken[id] && os.IsNotExist(err) {
		return id
	}
	return id + "--" + strings.ToLower(rand.Text()[:8])
}

// newCluster is the part of a description that stays. What was asked for is
// shown exactly so: Terraform takes any difference for drift.
func (s *Service) newCluster(in *rds.CreateDBClusterInput, p *plan) types.DBCluster {
	c := types.DBCluster{
		DBClusterArn: &p.owner, DBClusterIdentifier: new(idOf(p.owner)), DbClusterResourceId: new("cluster-" + rand.Text()),
		Engine: in.Engine, EngineVersion: in.EngineVersion, EngineMode: in.EngineMode,
		MasterUsername: in.MasterUsername, DatabaseName: in.DatabaseName,
		Endpoint: new(p.database.host), ReaderEndpoint: new(p.database.host), Port: new(int32(p.database.port)), //nolint:gosec // at most 65535
		DBSubnetGroup: in.DBSubnetGroupName, DBClusterParameterGroup: in.DBClusterParameterGroupName,
		VpcSecurityGroups:     securityGroups(in.VpcSecurityGroupIds),
		BackupRetentionPeriod: orElse(in.BackupRetentionPeriod, 1),
		PreferredBackupWindow: in.PreferredBackupWindow, PreferredMaintenanceWindow: in.PreferredMaintenanceWindow,
		AvailabilityZones: in.AvailabilityZones, StorageType: in.StorageType, KmsKeyId: in.KmsKeyId,
		StorageEncrypted: orElse(in.StorageEncrypted, false), DeletionProtection: orElse(in.DeletionProtection, false),
		CopyTagsToSnapshot: orElse(in.CopyTagsToSnapshot, false), MultiAZ: new(false), CrossAccountClone: new(false),
		AutoMinorVersionUpgrade: orElse(in.AutoMinorVersionUpgrade, true),
		ClusterCreateTime:       new(s.config.Now().UTC()), HostedZoneId: new("KEYTURN"), TagList: in.Tags,
	}
	keepOfCluster(&c, in)
	c.EngineMode = orElse(c.EngineMode, "provisioned")
	if c.EngineVersion == nil && p.runningVersion != "" {
		c.EngineVersion = &p.runningVersion
	}
	return c
}

func orElse[T any](given *T, otherwise T) *T {
	if given != nil {
		return given
	}
	return &otherwise
}

func securityGroups(ids []string) []types.VpcSecurityGroupMembership {
	var list []types.VpcSecurityGroupMembership
	for _, id := range ids {
		list = append(list, types.VpcSecurityGroupMembership{VpcSecurityGroupId: &id, Status: new("active")})
	}
	return list
}

func (s *Service) deleteCluster(ctx context.Context, in *rds.DeleteDBClusterInput) (*rds.DeleteDBClusterOutput, error) {
	if err := checkSnapshot(in.SkipFinalSnapshot, in.FinalDBSnapshotIdentifier); err != nil {
		return nil, err
	}
	var shown types.DBCluster
	err := s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		c, err := findCluster(ctx, tx, *in.DBClusterIdentifier)
		if err != nil {
			return err
		}
		members, err := instances(ctx, tx, c.arn, "")
		if err != nil {
			return err
		}
		if err := c.mayBeDeleted(members); err != nil {
			return err
		}
		if err := s.removeMaster(ctx, tx, &c.shown.MasterUserSecret); err != nil {
			return err
		}
		c.status = deleting
		shown = c.show(members)
		return updateCluster(ctx, tx, c)
	})
	if err != nil {
		return nil, err
	}
	s.wake(*in.DBClusterIdentifier)
	return &rds.DeleteDBClusterOutput{DBCluster: &shown}, nil
}

// checkSnapshot: a snapshot that is not taken must not be promised.
func checkSnapshot(skip *bool, snapshot *string) error {
	if snapshot != nil && *snapshot != "" {
		if value(skip) {
			return ErrParameterCombination.Errorf("FinalDBSnapshotIdentifier can not be specified when deleting a cluster or instance with SkipFinalSnapshot.")
		}
		return ErrParameterCombination.Errorf("This server takes no snapshots: dump the data yourself if you need it, and set SkipFinalSnapshot.")
	}
	if !value(skip) {
		return ErrParameterCombination.Errorf("FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.")
	}
	return nil
}

func (c *clusterRow) mayBeDeleted(members []*instanceRow) error {
	if c.status == deleting {
		return ErrClusterState.Errorf("Cluster %s is already being deleted.", idOf(c.arn))
	}
	if value(c.shown.DeletionProtection) {
		return ErrParameterCombination.Errorf("Cannot delete protected Cluster, please disable deletion protection and try again.")
	}
	for _, m := range members {
		if m.status != deleting {
			return ErrClusterState.Errorf("Cluster cannot be deleted, it still contains DB instances in non-deleting state.")
		}
	}
	return nil
}
