package rdsapi_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/smithy-go"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/rdsapi"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }

const masterPassword = "Master-Password-1'"

// world is a Service behind the real front door, with real SDK clients, on a
// folder that outlives it.
type world struct {
	*rds.Client // of account 000000000000 in us-east-1

	t    *testing.T
	dir  string
	keys *envelope.Keyring

	db      *sqldb.DB
	handler wire.InProcess
	session *iam.Sessions
	stop    context.CancelFunc // of Run
	stopped chan struct{}
}

func newWorld(t *testing.T) *world {
	key, err := envelope.NewLocal()
	check(t, err)
	w := &world{t: t, dir: dbtest.Dir(t), keys: envelope.NewKeyring(key)}
	w.open()
	t.Cleanup(w.close)
	return w
}

func (w *world) open() {
	w.t.Helper()
	var err error
	w.db, err = sqldb.Open(w.t.Context(), filepath.Join(w.dir, "db"), time.Now, rdsapi.Schema)
	check(w.t, err)
	log := slog.New(slog.NewTextHandler(w.t.Output(), nil))
	s := rdsapi.New(rdsapi.Config{DB: w.db, Keys: w.keys, Dir: filepath.Join(w.dir, "rds"), Log: log, Now: time.Now})
	w.session = new(iam.Sessions)
	verifier := &iam.Verifier{Keys: w.session, Now: time.Now}
	handler, err := wire.NewHandler(wire.Config{
		Services: []wire.Service{{Name: "rds", Protocol: wire.Query, Ops: s.Ops()}}, Verify: verifier.Verify, Guard: new(iam.Guard), Log: log,
	})
	check(w.t, err)
	w.handler = wire.InProcess{Handler: handler}
	w.Client = w.client("us-east-1")
	w.run(s)
}

func (w *world) run(s *rdsapi.Service) {
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.stopped = cancel, make(chan struct{})
	go func() {
		defer close(w.stopped)
		if err := s.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
}

func (w *world) close() {
	w.stop()
	<-w.stopped
	check(w.t, w.db.Close())
}

func (w *world) restart() {
	w.close()
	w.open()
}

func (w *world) client(region string) *rds.Client {
	id, secret, token := w.session.Issue(iam.Administrator("000000000000"))
	return rds.NewFromConfig(aws.Config{
		Region: region, HTTPClient: w.handler, RetryMaxAttempts: 1, BaseEndpoint: aws.String("http://127.0.0.1:4566"),
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, token),
	})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError compares an error's wire code, and a part of its message.
func wantError(t *testing.T, err error, code, part string) {
	t.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), part) {
		t.Errorf("got %v, want %s: …%s…", err, code, part)
	}
}

func (w *world) createCluster(id, engine string, more ...func(*rds.CreateDBClusterInput)) *types.DBCluster {
	w.t.Helper()
	in := &rds.CreateDBClusterInput{DBClusterIdentifier: &id, Engine: &engine, MasterUsername: aws.String("boss"), MasterUserPassword: aws.String(masterPassword)}
	for _, change := range more {
		change(in)
	}
	out, err := w.CreateDBCluster(w.t.Context(), in)
	check(w.t, err)
	if *out.DBCluster.Status != "creating" {
		w.t.Errorf("a new cluster is %s", *out.DBCluster.Status)
	}
	return out.DBCluster
}

func (w *world) createInstance(id, clusterID, engine string) {
	w.t.Helper()
	out, err := w.CreateDBInstance(w.t.Context(), &rds.CreateDBInstanceInput{
		DBInstanceIdentifier: &id, DBClusterIdentifier: &clusterID, Engine: &engine, DBInstanceClass: aws.String("db.t4g.medium")})
	check(w.t, err)
	if i := out.DBInstance; *i.DBInstanceStatus != "creating" || i.Endpoint != nil {
		w.t.Errorf("a new instance is %s at %v", *i.DBInstanceStatus, i.Endpoint)
	}
}

func (w *world) instance(id string) *types.DBInstance {
	w.t.Helper()
	out, err := w.DescribeDBInstances(w.t.Context(), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &id})
	check(w.t, err)
	return &out.DBInstances[0]
}

func (w *world) cluster(id string) *types.DBCluster {
	w.t.Helper()
	out, err := w.DescribeDBClusters(w.t.Context(), &rds.DescribeDBClustersInput{DBClusterIdentifier: &id})
	check(w.t, err)
	return &out.DBClusters[0]
}

const patience = 5 * time.Minute

func (w *world) await(what string, done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if done() {
			return
		}
	}
	w.t.Fatalf("waited for %s in vain", what)
}

func (w *world) awaitStatus(id, status string) *types.DBInstance {
	w.t.Helper()
	w.await(id+" to be "+status, func() bool {
		is := *w.instance(id).DBInstanceStatus
		if is == "failed" && status != "failed" {
			w.t.Fatalf("%s: %s", id, aws.ToString(w.instance(id).StatusInfos[0].Message))
		}
		return is == status
	})
	return w.instance(id)
}

func (w *world) awaitGone(id string) {
	w.t.Helper()
	w.await(id+" to be gone", func() bool {
		_, err := w.DescribeDBInstances(w.t.Context(), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &id})
		if err != nil {
			wantError(w.t, err, "DBInstanceNotFound", "DBInstance "+id+" not found.")
		}
		return err != nil
	})
}

func login(t *testing.T, p dbserver.Product, port int32, password string) error {
	a := dbtest.Admin{Product: p, Host: dbserver.Host, Port: int(port)}
	return a.Login(t.Context(), "boss", password)
}

// engines pairs each product with an engine that it alone runs here.
var engines = map[string]dbserver.Product{"aurora-mysql": dbserver.MySQL, "mariadb": dbserver.MariaDB, "aurora-postgresql": dbserver.Postgres}

func TestLife(t *testing.T) {
	for engine, product := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel() // they wait for the disk most of the time
			w := newWorld(t)
			w.createCluster("Shop", engine, func(in *rds.CreateDBClusterInput) { in.DatabaseName = aws.String("shop") })
			w.await("the cluster", func() bool { return *w.cluster("shop").Status == "available" })
			if dbserver.PortFree(int(*w.cluster("shop").Port)) != nil {
				t.Error("a cluster without an instance has a server")
			}
			w.createInstance("shop-1", "shop", engine)
			port := *w.awaitStatus("shop-1", "available").Endpoint.Port
			check(t, login(t, product, port, masterPassword))
			checkMembers(t, w.cluster("shop"), "shop-1")

			const next = `Other'Pass\word-2`
			modify := func(password string) error {
				_, err := w.ModifyDBCluster(t.Context(), &rds.ModifyDBClusterInput{
					DBClusterIdentifier: aws.String("shop"), MasterUserPassword: &password, BackupRetentionPeriod: aws.Int32(7), ApplyImmediately: aws.Bool(true)})
				return err
			}
			wantError(t, modify("has a / in it"), "InvalidParameterValue", "Only printable ASCII")
			check(t, modify(next))
			check(t, login(t, product, port, next))
			if login(t, product, port, masterPassword) == nil {
				t.Error("the old password still logs in")
			}

			w.restart()
			w.await("the server to come back on its port", func() bool { return login(t, product, port, next) == nil })
			if got := *w.cluster("shop").BackupRetentionPeriod; got != 7 {
				t.Errorf("BackupRetentionPeriod is %d", got)
			}
			w.checkServerKilled(product, port, next)
			w.checkDeletion()
		})
	}
}

func checkMembers(t *testing.T, c *types.DBCluster, writer string) {
	t.Helper()
	if len(c.DBClusterMembers) == 0 || *c.DBClusterMembers[0].DBInstanceIdentifier != writer || !*c.DBClusterMembers[0].IsClusterWriter {
		t.Errorf("members: %v", c.DBClusterMembers)
	}
	if *c.Endpoint != dbserver.Host || c.EngineVersion == nil {
		t.Errorf("endpoint %s, version %v", *c.Endpoint, c.EngineVersion)
	}
}

func (w *world) checkServerKilled(p dbserver.Product, port int32, password string) {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "rds", "shop", "pid"))
	check(w.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	check(w.t, err)
	check(w.t, syscall.Kill(pid, syscall.SIGKILL))
	w.await("the killed server to come back", func() bool { return login(w.t, p, port, password) == nil })
}

func (w *world) checkDeletion() {
	w.t.Helper()
	ctx, id := w.t.Context(), aws.String("shop")
	deleteCluster := func() error {
		_, err := w.DeleteDBCluster(ctx, &rds.DeleteDBClusterInput{DBClusterIdentifier: id, SkipFinalSnapshot: aws.Bool(true)})
		return err
	}
	wantError(w.t, deleteCluster(), "InvalidDBClusterStateFault", "still contains DB instances in non-deleting state")
	_, err := w.DeleteDBInstance(ctx, &rds.DeleteDBInstanceInput{DBInstanceIdentifier: aws.String("shop-1")})
	check(w.t, err)
	check(w.t, deleteCluster())
	if deleteCluster() == nil {
		w.t.Error("a cluster that is being deleted, or gone, was deleted again")
	}
	w.awaitGone("shop-1")
	w.await("the cluster to be gone", func() bool {
		_, err := w.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{DBClusterIdentifier: id})
		return err != nil
	})
	if _, err := os.Stat(filepath.Join(w.dir, "rds", "shop")); !os.IsNotExist(err) {
		w.t.Errorf("the data are still there: %v", err)
	}
}

// TestCreationInterrupted stops the service while it initialises: the next one
// goes on.
func TestCreationInterrupted(t *testing.T) {
	w := newWorld(t)
	w.createCluster("shop", "mariadb")
	w.createInstance("shop-1", "shop", "mariadb")
	for range 3 {
		time.Sleep(150 * time.Millisecond)
		w.restart()
	}
	port := *w.awaitStatus("shop-1", "available").Endpoint.Port
	check(t, login(t, dbserver.MariaDB, port, masterPassword))
}

func TestTwoClustersAndReader(t *testing.T) {
	w := newWorld(t)
	w.createCluster("a", "mariadb")
	w.createCluster("b", "postgres")
	w.createInstance("a-1", "a", "mariadb")
	w.createInstance("b-1", "b", "postgres")
	a, b := w.awaitStatus("a-1", "available"), w.awaitStatus("b-1", "available")
	if *a.Endpoint.Port == *b.Endpoint.Port {
		t.Fatal("two clusters on one port")
	}
	w.createInstance("a-2", "a", "mariadb")
	reader := w.awaitStatus("a-2", "available")
	if *reader.Endpoint.Port != *a.Endpoint.Port {
		t.Error("a reader has an endpoint of its own")
	}
	checkMembers(t, w.cluster("a"), "a-1")
	_, err := w.DeleteDBInstance(t.Context(), &rds.DeleteDBInstanceInput{DBInstanceIdentifier: aws.String("a-1")})
	check(t, err)
	w.awaitGone("a-1")
	checkMembers(t, w.cluster("a"), "a-2")
	check(t, login(t, dbserver.MariaDB, *a.Endpoint.Port, masterPassword))

	list, err := w.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{
		Filters: []types.Filter{{Name: aws.String("db-cluster-id"), Values: []string{"b"}}}})
	check(t, err)
	if len(list.DBInstances) != 1 || *list.DBInstances[0].DBInstanceIdentifier != "b-1" {
		t.Errorf("filtered: %v", list.DBInstances)
	}
	w.checkDataGoesWithLastInstance()
}

func (w *world) checkDataGoesWithLastInstance() {
	w.t.Helper()
	ctx := w.t.Context()
	_, err := w.DeleteDBInstance(ctx, &rds.DeleteDBInstanceInput{DBInstanceIdentifier: aws.String("a-2")})
	check(w.t, err)
	w.awaitGone("a-2")
	again := &rds.CreateDBInstanceInput{DBInstanceIdentifier: aws.String("a-3"), DBClusterIdentifier: aws.String("a"), Engine: aws.String("mariadb"), DBInstanceClass: aws.String("db.t4g.medium")}
	_, err = w.CreateDBInstance(ctx, again)
	wantError(w.t, err, "InvalidDBClusterStateFault", "Set MasterUserPassword with ModifyDBCluster first")
	_, err = w.ModifyDBCluster(ctx, &rds.ModifyDBClusterInput{DBClusterIdentifier: aws.String("a"), MasterUserPassword: aws.String("Third-Password-3")})
	check(w.t, err)
	_, err = w.CreateDBInstance(ctx, again)
	check(w.t, err)
	check(w.t, login(w.t, dbserver.MariaDB, *w.awaitStatus("a-3", "available").Endpoint.Port, "Third-Password-3"))
}

func TestInstanceAlone(t *testing.T) {
	w := newWorld(t)
	create := func(engine string) error {
		_, err := w.CreateDBInstance(t.Context(), &rds.CreateDBInstanceInput{DBInstanceIdentifier: aws.String("solo"), Engine: &engine,
			DBInstanceClass: aws.String("db.t4g.micro"), MasterUsername: aws.String("boss"), MasterUserPassword: aws.String(masterPassword),
			DBName: aws.String("solo"), EngineVersion: aws.String("16.3")})
		return err
	}
	wantError(t, create("aurora-postgresql"), "InvalidParameterCombination", "needs a DB cluster")
	check(t, create("postgres"))
	wantError(t, create("postgres"), "DBInstanceAlreadyExists", "DB instance already exists")
	solo := w.awaitStatus("solo", "available")
	if *solo.EngineVersion != "16.3" {
		t.Errorf("EngineVersion is %s, not as asked for", *solo.EngineVersion)
	}
	check(t, login(t, dbserver.Postgres, *solo.Endpoint.Port, masterPassword))
	remove := func(skip bool) error {
		_, err := w.DeleteDBInstance(t.Context(), &rds.DeleteDBInstanceInput{DBInstanceIdentifier: aws.String("solo"), SkipFinalSnapshot: &skip})
		return err
	}
	wantError(t, remove(false), "InvalidParameterCombination", "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.")
	check(t, remove(true))
	w.awaitGone("solo")
}

func TestAdopted(t *testing.T) {
	for _, product := range dbtest.Products() {
		t.Run(string(product), func(t *testing.T) {
			w := newWorld(t)
			admin := dbtest.Server(t, product)
			engine := map[dbserver.Product]string{dbserver.MySQL: "mysql", dbserver.MariaDB: "mariadb", dbserver.Postgres: "postgres"}[product]
			if product == dbserver.Postgres {
				admin.Exec(t, "CREATE ROLE adopted LOGIN PASSWORD 'Adopted-Password-1'")
			} else {
				admin.Exec(t, "CREATE USER adopted@'%' IDENTIFIED BY 'Adopted-Password-1'")
			}
			adopt := func(id, password, endpoint string) {
				w.createCluster(id, engine, func(in *rds.CreateDBClusterInput) {
					in.MasterUsername, in.MasterUserPassword = aws.String("adopted"), &password
					in.Tags = []types.Tag{{Key: aws.String("keyturn:endpoint"), Value: &endpoint}}
				})
				w.createInstance(id+"-1", id, engine)
			}
			endpoint := "127.0.0.1:" + strconv.Itoa(admin.Port)
			adopt("good", "Adopted-Password-1", endpoint)
			if got := *w.awaitStatus("good-1", "available").Endpoint.Port; int(got) != admin.Port {
				t.Errorf("port %d", got)
			}
			adopt("mistyped", "Adopted-Password-2", endpoint)
			refused := w.awaitStatus("mistyped-1", "incompatible-credentials")
			if text := *refused.StatusInfos[0].Message; strings.Contains(text, "Adopted-Password") || !strings.Contains(text, "refused the login") {
				t.Errorf("reason: %s", text)
			}
			_, err := w.ModifyDBCluster(t.Context(), &rds.ModifyDBClusterInput{DBClusterIdentifier: aws.String("mistyped"), MasterUserPassword: aws.String("Adopted-Password-1")})
			check(t, err)
			w.awaitStatus("mistyped-1", "available")
			adopt("nobody", "Adopted-Password-1", "127.0.0.1:"+strconv.Itoa(freePort(t)))
			w.awaitStatus("nobody-1", "incompatible-network")
			_, err = w.DeleteDBInstance(t.Context(), &rds.DeleteDBInstanceInput{DBInstanceIdentifier: aws.String("nobody-1")})
			check(t, err)
			w.awaitGone("nobody-1")
		})
	}
}

func freePort(t *testing.T) int {
	port, err := dbserver.FreePort(func(int) bool { return false })
	check(t, err)
	return port
}
