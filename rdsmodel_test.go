package keyturn_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
)

// rdsModel is what RDS should have: clusters, and instances without one, of an adopted
// server, which costs no start. Each has a user of its own there.
type rdsModel struct {
	t    testing.TB
	at   dbtest.Admin
	dir  string
	stop func()

	rds     *rds.Client
	secrets *secretsmanager.Client

	owners map[string]*rdsOwner // :: identifier → cluster, or instance without one
}

type rdsOwner struct {
	alone     bool // an instance without a cluster
	managed   bool
	protected bool
	password  string          // of today, unless managed
	members   map[string]bool // instances of a cluster
}

// Clusters, instances and the secrets of their master users are what the model says
// after any sequence of calls, also over restarts; what a secret has logs in.
func TestAnyCallsOnRDS(t *testing.T) {
	m := &rdsModel{t: t, at: dbtest.Server(t, dbserver.MariaDB)}
	for range times(t, "KEYTURN_RDS_CALLS", 1) {
		draws := make([]byte, 64<<10)
		_, _ = rand.Read(draws) // never fails
		m.dir, m.owners = dbtest.Dir(t), map[string]*rdsOwner{}
		m.open()
		rapid.MakeFuzz(func(rt *rapid.T) {
			rt.Repeat(map[string]func(*rapid.T){"": m.check, "create": m.create, "createMember": m.createMember, "manage": m.manage, "unmanage": m.unmanage,
				"rotate": m.rotate, "rotateSecret": m.rotateSecret, "protect": m.protect, "delete": m.delete, "deleteMember": m.deleteMember, "restart": m.restart})
		})(t, draws)
		m.stop()
	}
}

func (m *rdsModel) open() {
	s, stop := openManaged(m.t.(*testing.T), m.dir)
	m.stop, m.rds, m.secrets = stop, rds.NewFromConfig(s.AWSConfig()), secretsmanager.NewFromConfig(s.AWSConfig())
}

func (m *rdsModel) restart(*rapid.T) {
	m.stop()
	m.open()
}

// owner draws an identifier, and what has it.
func (m *rdsModel) owner(t *rapid.T) (string, *rdsOwner) {
	id := rapid.SampledFrom([]string{"one", "two", "solo"}).Draw(t, "owner")
	return id, m.owners[id]
}

func (m *rdsModel) end(t *rapid.T, ok bool, err error) {
	if (err == nil) != ok {
		t.Fatalf("the model says %v, the server %v", ok, err)
	}
}

func (m *rdsModel) create(t *rapid.T) {
	id, there := m.owner(t)
	o := &rdsOwner{alone: id == "solo", managed: rapid.Bool().Draw(t, "managed"), password: "Today.Password_1", members: map[string]bool{}}
	if there == nil {
		m.at.Exec(m.t, "CREATE OR REPLACE USER "+id+"@'%' IDENTIFIED BY '"+o.password+"'")
	}
	endpoint := []types.Tag{{Key: aws.String("keyturn:endpoint"), Value: aws.String(fmt.Sprintf("%s:%d", m.at.Host, m.at.Port))}}
	var err error
	if o.alone {
		_, err = m.rds.CreateDBInstance(t.Context(), &rds.CreateDBInstanceInput{DBInstanceIdentifier: &id, Engine: aws.String("mariadb"), DBInstanceClass: aws.String("db.t4g.micro"),
			MasterUsername: &id, MasterUserPassword: &o.password, ManageMasterUserPassword: &o.managed, Tags: endpoint})
	} else {
		_, err = m.rds.CreateDBCluster(t.Context(), &rds.CreateDBClusterInput{DBClusterIdentifier: &id, Engine: aws.String("mariadb"),
			MasterUsername: &id, MasterUserPassword: &o.password, ManageMasterUserPassword: &o.managed, Tags: endpoint})
	}
	if m.end(t, there == nil, err); there == nil {
		m.owners[id] = o
	}
}

func (m *rdsModel) member(t *rapid.T, cluster string) string {
	return fmt.Sprintf("%s-%d", cluster, rapid.IntRange(1, 2).Draw(t, "member"))
}

func (m *rdsModel) createMember(t *rapid.T) {
	id, o := m.owner(t)
	member := m.member(t, id)
	_, err := m.rds.CreateDBInstance(t.Context(), &rds.CreateDBInstanceInput{DBInstanceIdentifier: &member, DBClusterIdentifier: &id, Engine: aws.String("mariadb"), DBInstanceClass: aws.String("db.t4g.micro")})
	ok := o != nil && !o.alone && !o.members[member]
	if m.end(t, ok, err); ok {
		o.members[member] = true
	}
}

// modify changes a cluster, or an instance without one.
func (m *rdsModel) modify(t *rapid.T, id string, in rds.ModifyDBClusterInput) error {
	if id == "solo" {
		_, err := m.rds.ModifyDBInstance(t.Context(), &rds.ModifyDBInstanceInput{DBInstanceIdentifier: &id, ManageMasterUserPassword: in.ManageMasterUserPassword,
			MasterUserPassword: in.MasterUserPassword, RotateMasterUserPassword: in.RotateMasterUserPassword, DeletionProtection: in.DeletionProtection, ApplyImmediately: aws.Bool(true)})
		return err
	}
	in.DBClusterIdentifier, in.ApplyImmediately = &id, aws.Bool(true)
	_, err := m.rds.ModifyDBCluster(t.Context(), &in)
	return err
}

// manage turns ManageMasterUserPassword on; where it is on, that changes nothing, unless
// a password comes with it.
func (m *rdsModel) manage(t *rapid.T) {
	id, o := m.owner(t)
	in := rds.ModifyDBClusterInput{ManageMasterUserPassword: aws.Bool(true)}
	right := rapid.IntRange(0, 3).Draw(t, "right") > 0
	if o != nil && !o.managed {
		in.MasterUserPassword = aws.String(map[bool]string{true: o.password, false: "Another.Password_1"}[right])
	}
	ok := o != nil && (o.managed || right)
	if m.end(t, ok, m.modify(t, id, in)); ok {
		o.managed = true
	}
}

func (m *rdsModel) unmanage(t *rapid.T) {
	id, o := m.owner(t)
	in := rds.ModifyDBClusterInput{ManageMasterUserPassword: aws.Bool(false)}
	right := rapid.IntRange(0, 3).Draw(t, "right") > 0
	if o == nil || !o.managed {
		m.end(t, o != nil, m.modify(t, id, in))
		return
	}
	_, password := m.value(t, id)
	in.MasterUserPassword = aws.String(map[bool]string{true: password, false: "Another.Password_1"}[right])
	if m.end(t, right, m.modify(t, id, in)); right {
		o.managed, o.password = false, password
	}
}

func (m *rdsModel) rotate(t *rapid.T) {
	id, o := m.owner(t)
	m.end(t, o != nil && o.managed, m.modify(t, id, rds.ModifyDBClusterInput{RotateMasterUserPassword: aws.Bool(true)}))
}

func (m *rdsModel) rotateSecret(t *rapid.T) {
	id, o := m.owner(t)
	if o == nil || !o.managed {
		return
	}
	_, err := m.secrets.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: m.shown(t, id).SecretArn})
	m.end(t, true, err)
}

func (m *rdsModel) protect(t *rapid.T) {
	id, o := m.owner(t)
	on := rapid.Bool().Draw(t, "on")
	if m.end(t, o != nil, m.modify(t, id, rds.ModifyDBClusterInput{DeletionProtection: &on})); o != nil {
		o.protected = on
	}
}

func (m *rdsModel) delete(t *rapid.T) {
	id, o := m.owner(t)
	var err error
	if id == "solo" {
		_, err = m.rds.DeleteDBInstance(t.Context(), &rds.DeleteDBInstanceInput{DBInstanceIdentifier: &id, SkipFinalSnapshot: aws.Bool(true)})
	} else {
		_, err = m.rds.DeleteDBCluster(t.Context(), &rds.DeleteDBClusterInput{DBClusterIdentifier: &id, SkipFinalSnapshot: aws.Bool(true)})
	}
	ok := o != nil && !o.protected && len(o.members) == 0
	if m.end(t, ok, err); ok {
		delete(m.owners, id)
	}
}

func (m *rdsModel) deleteMember(t *rapid.T) {
	id, o := m.owner(t)
	member := m.member(t, id)
	_, err := m.rds.DeleteDBInstance(t.Context(), &rds.DeleteDBInstanceInput{DBInstanceIdentifier: &member})
	ok := o != nil && o.members[member] && (!o.protected || len(o.members) > 1)
	if m.end(t, ok, err); ok {
		delete(o.members, member)
	}
}

// described is what the server shows: owners with their secrets, and all instances.
func (m *rdsModel) described(t *rapid.T) (shown map[string]*types.MasterUserSecret, instances []string, settled bool) {
	clusters, err := m.rds.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{})
	m.end(t, true, err)
	list, err := m.rds.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{})
	m.end(t, true, err)
	shown, settled = map[string]*types.MasterUserSecret{}, true
	for _, c := range clusters.DBClusters {
		shown[*c.DBClusterIdentifier] = c.MasterUserSecret
		settled = settled && *c.Status == "available" && (c.MasterUserSecret == nil || *c.MasterUserSecret.SecretStatus == "active")
	}
	for _, i := range list.DBInstances {
		settled = settled && *i.DBInstanceStatus == "available" && (i.MasterUserSecret == nil || *i.MasterUserSecret.SecretStatus == "active")
		if i.DBClusterIdentifier == nil {
			shown[*i.DBInstanceIdentifier] = i.MasterUserSecret
			continue
		}
		instances = append(instances, *i.DBInstanceIdentifier)
	}
	return shown, instances, settled
}

func (m *rdsModel) shown(t *rapid.T, id string) *types.MasterUserSecret {
	shown, _, _ := m.described(t)
	return shown[id]
}

func (m *rdsModel) value(t *rapid.T, id string) (user, password string) {
	out, err := m.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: m.shown(t, id).SecretArn})
	m.end(t, true, err)
	var login struct{ Username, Password string }
	m.end(t, true, json.Unmarshal([]byte(*out.SecretString), &login))
	return login.Username, login.Password
}

// check waits until nothing is under way, and compares.
func (m *rdsModel) check(t *rapid.T) {
	w := masterWorld{t: m.t.(*testing.T)}
	w.until("nothing is under way", func() bool {
		_, _, settled := m.described(t)
		return settled
	})
	shown, instances, _ := m.described(t)
	var members, managed []string
	for id, o := range m.owners {
		secret, there := shown[id]
		if !there || (secret != nil) != o.managed {
			t.Fatalf("%s: the model says %+v, the server %v, %v", id, *o, there, secret)
		}
		members = append(members, slices.Collect(maps.Keys(o.members))...)
		user, password := id, o.password
		if o.managed {
			managed = append(managed, *secret.SecretArn)
			user, password = m.value(t, id)
		}
		if err := m.at.Login(t.Context(), user, password); err != nil || user != id {
			t.Fatalf("%s: the password of %s does not log in: %v", id, user, err)
		}
	}
	if slices.Sort(members); len(shown) != len(m.owners) || !slices.Equal(members, instances) {
		t.Fatalf("the server has %v and %v, the model %v and %v", shown, instances, m.owners, members)
	}
	m.checkSecrets(t, managed)
}

func (m *rdsModel) checkSecrets(t *rapid.T, want []string) {
	list, err := m.secrets.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true),
		Filters: []smtypes.Filter{{Key: smtypes.FilterNameStringTypeOwningService, Values: []string{"rds"}}}})
	m.end(t, true, err)
	var arns []string
	for _, s := range list.SecretList {
		arns = append(arns, *s.ARN)
	}
	slices.Sort(want)
	if slices.Sort(arns); !slices.Equal(arns, want) {
		t.Fatalf("there are the secrets\n%s\nwant\n%s", strings.Join(arns, "\n"), strings.Join(want, "\n"))
	}
}
