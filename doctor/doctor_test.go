package doctor_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/doctor"
	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
	"github.com/keyturn/keyturn/rotation/mysql"
	"github.com/keyturn/keyturn/rotation/postgres"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }

// patient makes a secret for the user app of a real server, and its doctor.
func patient(t *testing.T, p dbserver.Product, engine rotation.Engine) (doctor.Doctor, dbtest.Admin) {
	t.Helper()
	admin, client := dbtest.Server(t, p), keyturntest.NewServer(t).SecretsManager
	master, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("master"),
		SecretString: aws.String(fmt.Sprintf(`{"username":%q,"password":%q}`, admin.User, admin.Password))})
	if err != nil {
		t.Fatal(err)
	}
	value := fmt.Sprintf(`{"engine":%q,"host":%q,"port":%d,"username":"app","password":"First_1aA","ssl":false,"masterarn":%q}`,
		p, admin.Host, admin.Port, *master.ARN)
	if _, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("app"), SecretString: &value}); err != nil {
		t.Fatal(err)
	}
	return doctor.Doctor{Secrets: client, Engine: engine}, admin
}

func examine(t *testing.T, d doctor.Doctor) doctor.Report {
	t.Helper()
	r, err := d.Examine(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%+v", r); strings.Contains(text, "_1aA") || strings.Contains(text, "SCRAM") {
		t.Error("the report shows a password")
	}
	return r
}

func TestExamine(t *testing.T) {
	d, admin := patient(t, dbserver.MariaDB, mysql.Engine{})
	run := func(statement string) { admin.Exec(t, statement) }
	if _, err := d.Examine(t.Context(), "app"); rotation.ClassOf(err) != rotation.ClassSecret {
		t.Errorf("without any user: %v", err)
	}
	run("CREATE USER app@'%' IDENTIFIED BY 'First_1aA'")
	t.Cleanup(func() { admin.Exec(t, "DROP USER app@'%', app_clone@'%'") })
	if r := examine(t, d); !r.Missing || !r.Healthy() {
		t.Errorf("without the other user: %+v", r)
	}
	run("CREATE USER app_clone@'%' IDENTIFIED BY 'Second_1aA'")
	if r := examine(t, d); r.Missing || !r.Healthy() {
		t.Errorf("with equal users: %+v", r)
	}
	run("GRANT PROCESS ON *.* TO app@'%'")
	run("ALTER USER app_clone@'%' WITH MAX_USER_CONNECTIONS 7")
	want := doctor.Report{CurrentUser: "app", OtherUser: "app_clone", Differences: []doctor.Difference{
		{User: "app", What: "at '%': GRANT PROCESS ON *.*"}, {User: "app_clone", What: "at '%': MAX_USER_CONNECTIONS 7"}}}
	if diff := cmp.Diff(want, examine(t, d)); diff != "" {
		t.Error(diff)
	}
	if _, err := d.FixOwnership(t.Context(), "app"); rotation.ClassOf(err) != rotation.ClassPolicy {
		t.Errorf("FixOwnership on MariaDB: %v", err)
	}
}

func TestFixOwnership(t *testing.T) {
	d, admin := patient(t, dbserver.Postgres, postgres.Engine{})
	run := func(statement string) { admin.Exec(t, statement) }
	run("CREATE ROLE app LOGIN PASSWORD 'First_1aA'")
	run("CREATE ROLE app_clone LOGIN PASSWORD 'Second_1aA'; GRANT app TO app_clone")
	run("CREATE TABLE of_clone (n int); ALTER TABLE of_clone OWNER TO app_clone")
	t.Cleanup(func() { admin.Exec(t, "DROP TABLE of_clone; DROP ROLE app, app_clone, app_owner") })
	if r := examine(t, d); len(r.Ownership) == 0 || !strings.Contains(fmt.Sprint(r.Differences), "owns table public.of_clone in database postgres") {
		t.Errorf("of the old way: %+v", r)
	}
	done, err := d.FixOwnership(context.WithoutCancel(t.Context()), "app")
	if err != nil || len(done.Ownership) == 0 || len(done.Differences) > 0 {
		t.Errorf("FixOwnership: %+v, %v", done, err)
	}
	if r := examine(t, d); !r.Healthy() {
		t.Errorf("after it: %+v", r)
	}
	if err := admin.Login(t.Context(), "app", "First_1aA"); err != nil {
		t.Error(err)
	}
}

func TestSecretWithoutAdministrator(t *testing.T) {
	client := keyturntest.NewServer(t).SecretsManager
	if _, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("app"),
		SecretString: aws.String(`{"engine":"mysql","host":"127.0.0.1","port":1,"username":"app","password":"First_1aA"}`)}); err != nil {
		t.Fatal(err)
	}
	_, err := doctor.Doctor{Secrets: client, Engine: mysql.Engine{}}.Examine(t.Context(), "app")
	if rotation.ClassOf(err) != rotation.ClassSecret || !strings.Contains(err.Error(), "masterarn") {
		t.Errorf("error %v", err)
	}
}
