package keyturn_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	rdstypes "github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
	"github.com/keyturn/keyturn/rotation/mysql"
	"github.com/keyturn/keyturn/rotation/postgres"
)

// openManaged opens a server in a folder and runs it; stop ends it at once.
func openManaged(t *testing.T, dir string) (s *keyturn.Server, stop func()) {
	t.Helper()
	s, err := keyturn.Open(t.Context(), keyturn.Config{Data: dir, Dev: true}) // for the clock
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

// masterWorld is a server with a cluster whose master user is managed.
type masterWorld struct {
	t       *testing.T
	server  *keyturn.Server
	rds     *rds.Client
	secrets *secretsmanager.Client
	product dbserver.Product
	id      string
}

func newMasterWorld(t *testing.T, s *keyturn.Server, p dbserver.Product, change func(*rds.CreateDBClusterInput)) *masterWorld {
	t.Helper()
	cfg := s.AWSConfig()
	w := &masterWorld{t: t, server: s, rds: rds.NewFromConfig(cfg), secrets: secretsmanager.NewFromConfig(cfg), product: p, id: "c-" + string(p)}
	in := &rds.CreateDBClusterInput{DBClusterIdentifier: &w.id, Engine: aws.String(string(p)), MasterUsername: aws.String("boss"),
		ManageMasterUserPassword: aws.Bool(true)}
	change(in)
	_, err := w.rds.CreateDBCluster(t.Context(), in)
	w.must(err)
	return w
}

func (w *masterWorld) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// begin adds an instance and waits until its server takes logins.
func (w *masterWorld) begin() {
	w.t.Helper()
	w.createInstance()
	w.wantInstance("available")
}

func (w *masterWorld) createInstance() {
	w.t.Helper()
	_, err := w.rds.CreateDBInstance(w.t.Context(), &rds.CreateDBInstanceInput{DBInstanceIdentifier: aws.String(w.id + "-1"),
		DBClusterIdentifier: &w.id, Engine: aws.String(string(w.product)), DBInstanceClass: aws.String("db.t4g.medium")})
	w.must(err)
}

// wantInstance waits until the instance has a status.
func (w *masterWorld) wantInstance(status string) {
	w.t.Helper()
	w.until("an instance that is "+status, func() bool {
		out, err := w.rds.DescribeDBInstances(w.t.Context(), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: aws.String(w.id + "-1")})
		w.must(err)
		return *out.DBInstances[0].DBInstanceStatus == status
	})
}

func (w *masterWorld) until(what string, done func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute) // making a data folder of MySQL takes its time
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			w.t.Fatalf("waited in vain for %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (w *masterWorld) cluster() rdstypes.DBCluster {
	w.t.Helper()
	out, err := w.rds.DescribeDBClusters(w.t.Context(), &rds.DescribeDBClustersInput{DBClusterIdentifier: &w.id})
	w.must(err)
	return out.DBClusters[0]
}

func (w *masterWorld) describe() *secretsmanager.DescribeSecretOutput {
	w.t.Helper()
	out, err := w.secrets.DescribeSecret(w.t.Context(), &secretsmanager.DescribeSecretInput{SecretId: w.cluster().MasterUserSecret.SecretArn})
	w.must(err)
	return out
}

func (w *masterWorld) value() (text, user, password string) {
	w.t.Helper()
	out, err := w.secrets.GetSecretValue(w.t.Context(), &secretsmanager.GetSecretValueInput{SecretId: w.cluster().MasterUserSecret.SecretArn})
	w.must(err)
	var keys map[string]string
	w.must(json.Unmarshal([]byte(*out.SecretString), &keys))
	if len(keys) != 2 {
		w.t.Errorf("the value has %d keys", len(keys))
	}
	return *out.SecretString, keys["username"], keys["password"]
}

// logsIn tells whether the server takes a password of the master user.
func (w *masterWorld) logsIn(password string) bool {
	w.t.Helper()
	c := w.cluster()
	engine := map[bool]rotation.Engine{true: postgres.Engine{}, false: mysql.Engine{}}[w.product == dbserver.Postgres]
	session, err := engine.Connect(w.t.Context(), rotation.Login{Engine: *c.Engine, Host: *c.Endpoint, Port: int(*c.Port), Username: "boss", Password: password})
	if rotation.ClassOf(err) == rotation.ClassAuth {
		return false
	}
	w.must(err)
	_ = session.Close()
	return true
}

// wantLogin waits until no rotation is under way; then the secret must log in.
func (w *masterWorld) wantLogin() (password string) {
	w.t.Helper()
	w.until("the end of a rotation", func() bool { return *w.cluster().MasterUserSecret.SecretStatus == "active" })
	_, _, password = w.value()
	if !w.logsIn(password) {
		w.t.Errorf("%s: the password of the secret does not log in", w.product)
	}
	return password
}

func (w *masterWorld) modify(change func(*rds.ModifyDBClusterInput)) error {
	in := &rds.ModifyDBClusterInput{DBClusterIdentifier: &w.id, ApplyImmediately: aws.Bool(true)}
	change(in)
	_, err := w.rds.ModifyDBCluster(w.t.Context(), in)
	return err
}

func (w *masterWorld) wantRefused(code, part string, change func(*rds.ModifyDBClusterInput)) {
	w.t.Helper()
	wantRefusal(w.t, w.modify(change), code, part)
}

// Servers of our own, from the first password to the last.
func TestManagedMasterUser(t *testing.T) {
	s, _ := openManaged(t, dbtest.Dir(t))
	for _, p := range dbtest.Products() {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			w := newMasterWorld(t, s, p, func(*rds.CreateDBClusterInput) {})
			w.begin()
			w.wantShown()
			first := w.wantLogin()
			w.must(w.modify(func(in *rds.ModifyDBClusterInput) { in.RotateMasterUserPassword = aws.Bool(true) }))
			second := w.wantLogin()
			if first == second {
				t.Error("the password is the same after a rotation")
			}
			w.wantRotated()
			w.endOld(first)
			w.wantPlan()
			_, err := w.secrets.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: w.cluster().MasterUserSecret.SecretArn})
			w.must(err)
			if third := w.wantLogin(); third == second {
				t.Error("RotateSecret alone did not rotate")
			}
			w.turnOffAndOn()
			w.deleteCluster()
		})
	}
}

// wantShown compares what is shown with the examples in the RDS guide.
func (w *masterWorld) wantShown() {
	w.t.Helper()
	c, d := w.cluster(), w.describe()
	tags := map[string]string{}
	for _, tag := range d.Tags {
		tags[*tag.Key] = *tag.Value
	}
	switch {
	case (*d.Name)[:12] != "rds!cluster-" || len(*d.Name) != 12+36,
		*d.Description != "Secret associated with primary RDS DB cluster: "+*c.DBClusterArn,
		*d.OwningService != "rds", !*d.RotationEnabled, *d.RotationRules.AutomaticallyAfterDays != 7, d.RotationLambdaARN != nil,
		d.NextRotationDate == nil, tags["aws:rds:primaryDBClusterArn"] != *c.DBClusterArn, tags["aws:secretsmanager:owningService"] != "rds",
		*c.MasterUserSecret.KmsKeyId != "arn:aws:kms:us-east-1:000000000000:alias/aws/secretsmanager":
		w.t.Errorf("the secret is shown as %+v of %+v", d, c.MasterUserSecret)
	}
	text, user, password := w.value()
	if user != "boss" || text != `{"username":"boss","password":"`+password+`"}` {
		w.t.Error("the value is not user name and password alone")
	}
}

// wantRotated: the labels stand as RDS leaves them, and nobody sees by what
// function it was done.
func (w *masterWorld) wantRotated() {
	w.t.Helper()
	d := w.describe()
	for d.LastRotatedDate == nil && w.t.Context().Err() == nil { // the labels move before the last step is recorded
		d = w.describe()
	}
	for _, stages := range d.VersionIdsToStages {
		if slices.Contains(stages, "AWSCURRENT") != slices.Contains(stages, "AWSPENDING") {
			w.t.Errorf("the versions are %v", d.VersionIdsToStages)
		}
	}
	if d.RotationLambdaARN != nil {
		w.t.Errorf("after a rotation the secret is shown as %+v", d)
	}
}

// wantPlan: the function that nobody sees answers what every one does.
func (w *masterWorld) wantPlan() {
	w.t.Helper()
	event, err := json.Marshal(rotation.Event{Step: rotation.StepRehearse, SecretID: *w.cluster().MasterUserSecret.SecretArn})
	w.must(err)
	out, err := lambda.NewFromConfig(w.server.AWSConfig()).Invoke(w.t.Context(), &lambda.InvokeInput{FunctionName: aws.String("keyturn-rotate-managed"), Payload: event})
	w.must(err)
	var result rotation.Result
	w.must(json.Unmarshal(out.Payload, &result))
	if out.FunctionError != nil || result.Plan == nil || result.Plan.Username != "boss" || len(result.Plan.Obstacles) > 0 || len(result.Plan.Rehearsal.Steps) < 4 {
		w.t.Errorf("the plan is %s", out.Payload)
	}
	if want := "keyturn's own account there, rdsadmin"; result.Plan.By != want { // no secret's masterarn
		w.t.Errorf("the change is made by %q, not by %q", result.Plan.By, want)
	}
	if back := strings.Join(result.Plan.WayBack, " "); strings.Contains(back, "CancelRotateSecret") || !strings.Contains(back, "another rotation") {
		w.t.Errorf("the way back of a secret that RDS manages is %q", back)
	}
}

// endOld ends the password before at once, as after a leak, by the operation that
// needs no more than a secret's own.
func (w *masterWorld) endOld(password string) {
	w.t.Helper()
	_, err := keyturnapi.New(w.server.AWSConfig()).RetireOldPassword(w.t.Context(), &keyturnapi.RetireOldPasswordInput{SecretID: *w.cluster().MasterUserSecret.SecretArn})
	w.must(err)
	w.until("the old password has ended", func() bool { return !w.logsIn(password) })
}

func (w *masterWorld) turnOffAndOn() {
	w.t.Helper()
	const own = "Own.Password_2026"
	arn := w.cluster().MasterUserSecret.SecretArn
	w.wantRefused("InvalidParameterCombination", "must be specified", func(in *rds.ModifyDBClusterInput) { in.ManageMasterUserPassword = aws.Bool(false) })
	w.wantRefused("InvalidParameterCombination", "mutually exclusive", func(in *rds.ModifyDBClusterInput) { in.MasterUserPassword = aws.String(own) })
	w.wantRefused("InvalidParameterCombination", "immediately", func(in *rds.ModifyDBClusterInput) {
		in.RotateMasterUserPassword, in.ApplyImmediately = aws.Bool(true), nil
	})
	w.wantRefused("InvalidParameterCombination", "MasterUserSecretKmsKeyId", func(in *rds.ModifyDBClusterInput) { in.MasterUserSecretKmsKeyId = aws.String("k") })
	w.wantRefused("InvalidParameterValue", "shorter than 8", func(in *rds.ModifyDBClusterInput) {
		in.ManageMasterUserPassword, in.MasterUserPassword = aws.Bool(false), aws.String("short")
	})
	w.must(w.modify(func(in *rds.ModifyDBClusterInput) {
		in.ManageMasterUserPassword, in.MasterUserPassword = aws.Bool(false), aws.String(own)
	}))
	if c := w.cluster(); c.MasterUserSecret != nil || !w.logsIn(own) {
		w.t.Error("turned off, the cluster shows a secret or refuses the password that was given")
	}
	w.wantGone(arn)
	w.wantRefused("InvalidParameterCombination", "turned off", func(in *rds.ModifyDBClusterInput) { in.RotateMasterUserPassword = aws.Bool(true) })
	w.must(w.modify(func(in *rds.ModifyDBClusterInput) { in.ManageMasterUserPassword = aws.Bool(true) }))
	w.wantLogin()
	if w.logsIn(own) {
		w.t.Error("turned on again, the old password stays valid")
	}
}

func (w *masterWorld) wantGone(secret *string) {
	w.t.Helper()
	_, err := w.secrets.DescribeSecret(w.t.Context(), &secretsmanager.DescribeSecretInput{SecretId: secret})
	wantRefusal(w.t, err, "ResourceNotFoundException", "")
}

func (w *masterWorld) deleteCluster() {
	w.t.Helper()
	arn := w.cluster().MasterUserSecret.SecretArn
	_, err := w.rds.DeleteDBInstance(w.t.Context(), &rds.DeleteDBInstanceInput{DBInstanceIdentifier: aws.String(w.id + "-1")})
	w.must(err)
	_, err = w.rds.DeleteDBCluster(w.t.Context(), &rds.DeleteDBClusterInput{DBClusterIdentifier: &w.id, SkipFinalSnapshot: aws.Bool(true)})
	w.must(err)
	w.wantGone(arn)
}

// A password that somebody changed behind the secret's back is healed by our
// own account, and the schedule is RotateSecret's to change.
func TestManagedMasterUserIsHealed(t *testing.T) {
	s, _ := openManaged(t, dbtest.Dir(t))
	w := newMasterWorld(t, s, dbserver.MariaDB, func(*rds.CreateDBClusterInput) {})
	_, err := w.secrets.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: w.cluster().MasterUserSecret.SecretArn,
		RotateImmediately: aws.Bool(false), RotationRules: &smtypes.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}})
	w.must(err)
	w.until("the end of the test", func() bool { return *w.cluster().MasterUserSecret.SecretStatus == "active" })
	if d := w.describe(); *d.RotationRules.AutomaticallyAfterDays != 30 || d.RotationLambdaARN != nil {
		t.Errorf("got %+v", d.RotationRules)
	}
	w.begin()
	_, _, password := w.value()
	c := w.cluster()
	session, err := mysql.Engine{}.Connect(t.Context(), rotation.Login{Engine: *c.Engine, Host: *c.Endpoint, Port: int(*c.Port), Username: "boss", Password: password})
	w.must(err)
	w.must(session.SetPassword(t.Context(), "boss", "Behind.The-Back_1"))
	w.must(session.Close())
	w.must(w.modify(func(in *rds.ModifyDBClusterInput) { in.RotateMasterUserPassword = aws.Bool(true) }))
	before := w.wantLogin()
	if w.logsIn("Behind.The-Back_1") {
		t.Error("the password that was set behind the secret's back stays valid")
	}
	_, err = keyturnapi.New(s.AWSConfig()).AdvanceClock(t.Context(), &keyturnapi.AdvanceClockInput{Seconds: 31 * 24 * 60 * 60})
	w.must(err)
	w.until("the scheduled rotation", func() bool {
		_, _, password := w.value()
		return password != before
	})
	w.wantLogin()
	// The data go with the last instance, and come anew with the next one.
	_, err = w.rds.DeleteDBInstance(t.Context(), &rds.DeleteDBInstanceInput{DBInstanceIdentifier: aws.String(w.id + "-1")})
	w.must(err)
	w.until("the end of the instance", func() bool { return len(w.cluster().DBClusterMembers) == 0 })
	w.begin()
	w.wantLogin()
}

// The master user of a server that somebody else runs begins with its password
// of today, and rotates by itself. Stopped at any moment, the rotation goes on
// with the next start.
func TestManagedMasterUserOfAdoptedServer(t *testing.T) {
	for _, p := range dbtest.Products() {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			at, dir := dbtest.Server(t, p), dbtest.Dir(t)
			at.Exec(t, map[bool]string{true: "CREATE ROLE boss LOGIN PASSWORD 'Today.Password_1'", false: "CREATE USER boss@'%' IDENTIFIED BY 'Today.Password_1'"}[p == dbserver.Postgres])
			s, stop := openManaged(t, dir)
			w := newMasterWorld(t, s, p, func(in *rds.CreateDBClusterInput) {
				in.MasterUserPassword = aws.String("Today.Password_1")
				in.Tags = []rdstypes.Tag{{Key: aws.String("keyturn:endpoint"), Value: aws.String(fmt.Sprintf("%s:%d", at.Host, at.Port))}}
			})
			w.begin()
			if w.wantLogin() != "Today.Password_1" {
				t.Error("adopting changed the password")
			}
			for range 5 {
				w.must(w.modify(func(in *rds.ModifyDBClusterInput) { in.RotateMasterUserPassword = aws.Bool(true) }))
				time.Sleep(rand.N(15 * time.Millisecond))
				stop()
				s, stop = openManaged(t, dir)
				w.rds, w.secrets = rds.NewFromConfig(s.AWSConfig()), secretsmanager.NewFromConfig(s.AWSConfig())
				w.wantLogin()
			}
			w.wantRefused("InvalidParameterValue", "takes today", func(in *rds.ModifyDBClusterInput) {
				in.ManageMasterUserPassword, in.MasterUserPassword = aws.Bool(false), aws.String("Another.Password")
			})
			last := w.wantLogin()
			w.must(w.modify(func(in *rds.ModifyDBClusterInput) {
				in.ManageMasterUserPassword, in.MasterUserPassword = aws.Bool(false), &last
			}))
			if w.cluster().MasterUserSecret != nil || !w.logsIn(last) {
				t.Error("turned off, the cluster shows a secret, or its password is another one")
			}
		})
	}
}
