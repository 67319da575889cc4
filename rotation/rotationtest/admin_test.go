package rotationtest

import (
	"fmt"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

const adminID = "arn:aws:secretsmanager:us-east-1:000000000000:secret:admin-AbCdEf"

// addAdmin names an administrator in the current value. Its secret has the
// form that RDS gives to the secrets that it manages.
func (w *world) addAdmin(user, password string) {
	w.store.create(adminID, fmt.Sprintf(`{"username":%q,"password":%q}`, user, password))
	sec := w.store.secrets[secretID]
	version := sec.holder("AWSCURRENT")
	value := sec.values[version]
	sec.values[version] = fmt.Sprintf(`%s,"masterarn":%q}`, value[:len(value)-1], adminID)
}

func TestAdminChangesThePassword(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.addAdmin(w.admin.User, w.admin.Password)
		for i := range 3 {
			set, _ := w.rotate(fmt.Sprint("version-", i+1))
			if want := expected(p, privileged); set.Strategy != want {
				t.Errorf("setSecret used %s, want %s", set.Strategy, want)
			}
			w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
			w.want("AWSPREVIOUS", p != dbserver.Postgres, w.login("AWSPREVIOUS").Password)
		}
		w.must("version-3", rotation.StepRetire)
		w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
		w.want("AWSPREVIOUS", false, w.login("AWSPREVIOUS").Password)
	})
}

// TestAdminAfterAbandonedRotation: the administrator, too, must keep the
// password of AWSCURRENT while it is the older one.
func TestAdminAfterAbandonedRotation(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.addAdmin(w.admin.User, w.admin.Password)
		w.store.begin(secretID, "version-1")
		w.until("version-1", rotation.StepSet)
		abandoned := w.login("AWSPENDING").Password
		w.store.abandon(secretID)
		w.store.begin(secretID, "version-2")
		w.until("version-2", rotation.StepTest)
		w.want("AWSCURRENT and AWSPENDING", true, w.first.Password, w.login("AWSPENDING").Password)
		w.want("the abandoned one", false, abandoned)
	})
}

// TestAdminHeals: somebody has changed the password behind the secret's back.
func TestAdminHeals(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.addAdmin(w.admin.User, w.admin.Password)
		w.changeBehind("Other_1aA")
		if set, _ := w.rotate("version-1"); set.Strategy != rotation.StrategySingleUser {
			t.Errorf("setSecret used %s, but AWSCURRENT could not be kept", set.Strategy)
		}
		w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
		w.want("older ones", false, "Other_1aA", w.first.Password)
	})
}

func (w *world) changeBehind(password string) {
	w.t.Helper()
	if w.product == dbserver.Postgres {
		w.sql("ALTER ROLE %s PASSWORD '%s'", w.first.Username, password)
		return
	}
	if w.product == dbserver.Redis {
		w.sql("ACL SETUSER %s resetpass >%s", w.first.Username, password)
		return
	}
	w.sql("ALTER USER '%s'@'%%' IDENTIFIED BY '%s'", w.first.Username, password)
}

// TestAdminChangesEveryHostRow: a user may have several rows, none of them %.
func TestAdminChangesEveryHostRow(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.sql("RENAME USER '%s'@'%%' TO '%s'@'127.%%'", w.first.Username, w.first.Username)
		w.t.Cleanup(func() { w.sql("RENAME USER '%s'@'127.%%' TO '%s'@'%%'", w.first.Username, w.first.Username) })
		w.sql("CREATE USER '%s'@'10.0.0.0/255.0.0.0' IDENTIFIED BY 'First_1aA'", w.first.Username)
		w.t.Cleanup(func() { w.sql("DROP USER '%s'@'10.0.0.0/255.0.0.0'", w.first.Username) })
		w.addAdmin(w.admin.User, w.admin.Password)
		w.rotate("version-1")
		w.want("AWSCURRENT and AWSPREVIOUS", true, w.login("AWSCURRENT").Password, w.first.Password)

		w.sql("DROP USER '%s'@'127.%%'", w.first.Username)
		w.sql("RENAME USER '%s'@'10.0.0.0/255.0.0.0' TO '%s'@'127.%%'", w.first.Username, w.first.Username)
		w.want("AWSCURRENT in the other row", true, w.login("AWSCURRENT").Password)
		w.sql("CREATE USER '%s'@'10.0.0.0/255.0.0.0'", w.first.Username)
	})
}

func TestAdminWithWrongPassword(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.addAdmin(w.admin.User, "Wrong_1aA")
		w.store.begin(secretID, "version-1")
		w.must("version-1", rotation.StepCreate)
		w.refused("version-1", rotation.StepSet, rotation.ClassAuth, "masterarn")
		w.want("AWSCURRENT", true, w.first.Password)
	})
}

func TestAdminOfAnotherServer(t *testing.T) {
	w := newWorld(t, dbserver.MariaDB, plain)
	w.addAdmin(w.admin.User, w.admin.Password)
	w.store.create(adminID, fmt.Sprintf(`{"username":%q,"password":%q,"host":"db.example.com"}`, w.admin.User, w.admin.Password))
	w.store.begin(secretID, "version-1")
	w.must("version-1", rotation.StepCreate)
	w.refused("version-1", rotation.StepSet, rotation.ClassSecret)
	w.want("AWSCURRENT", true, w.first.Password)
}

func TestAdminWithoutPrivilege(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		weak := newWorld(t, p, plain)
		if p == dbserver.Redis {
			weak.revoke()
		}
		w.addAdmin(weak.first.Username, weak.first.Password)
		w.store.begin(secretID, "version-1")
		w.must("version-1", rotation.StepCreate)
		w.refused("version-1", rotation.StepSet, rotation.ClassPrivilege)
		w.want("AWSCURRENT", true, w.first.Password)
	})
}
