package rotationtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestAdminLeavesAccountsThatNeverLogIn: a login that is refused whatever its
// password proves nothing about AWSCURRENT, which works for the application.
func TestAdminLeavesAccountsThatNeverLogIn(t *testing.T) {
	for _, tc := range []struct {
		name, statement string
		class           rotation.Class
		text            string
	}{
		{"host", "RENAME USER {user}@'%' TO {user}@'10.%'", rotation.ClassPrivilege, "127.0.0.1"},
		{"X509", "ALTER USER {user}@'%' REQUIRE X509", rotation.ClassPolicy, "certificate"},
		{"SUBJECT", "ALTER USER {user}@'%' REQUIRE SUBJECT '/CN=app'", rotation.ClassPolicy, "certificate"},
		{"SSL", "ALTER USER {user}@'%' REQUIRE SSL", rotation.ClassTLS, `"ssl": true`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			eachMySQL(t, func(t *testing.T, p dbserver.Product) {
				for _, extra := range [][]string{nil, {`"rotationStrategy":"SingleUser"`}} {
					w := newWorld(t, p, plain, extra...)
					w.addAdmin(w.admin.User, w.admin.Password)
					w.sql("%s", strings.ReplaceAll(tc.statement, "{user}", "'"+w.first.Username+"'"))
					if tc.name == "host" {
						t.Cleanup(func() { w.sql("RENAME USER '%s'@'10.%%' TO '%s'@'%%'", w.first.Username, w.first.Username) })
					}
					w.unreachable(tc.class, tc.text)
				}
			})
		})
	}
}

// TestAdminLeavesALockedAccount, of which it is told that no database has the pending
// password: AWSCURRENT logs in once it is unlocked.
func TestAdminLeavesALockedAccount(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		for _, strategy := range []string{"SingleUser", "AlternatingUsers"} {
			w := newWorld(t, p, plain, `"rotationStrategy":"`+strategy+`"`)
			w.addAdmin(w.admin.User, w.admin.Password)
			t.Cleanup(w.dropOthers)
			w.sql("ALTER USER '%s'@'%%' ACCOUNT LOCK", w.first.Username)
			w.store.begin(secretID, "version-1")
			told := w.teller("version-1")
			_, err := told.step(rotation.StepCreate)
			w.check(err)
			_, err = told.step(rotation.StepSet)
			checkClass(t, strategy, err, rotation.ClassPolicy)
			if err != nil && !strings.Contains(err.Error(), "ACCOUNT UNLOCK") {
				t.Errorf("error %v", err)
			}
			w.sql("ALTER USER '%s'@'%%' ACCOUNT UNLOCK", w.first.Username)
			w.want("AWSCURRENT", true, w.first.Password)
			w.must("version-1", rotation.StepSet)
			w.must("version-1", rotation.StepTest)
		}
	})
}

// TestAdminLeavesAccountsOfSeveralFactors: their password alone lets nobody in.
func TestAdminLeavesAccountsOfSeveralFactors(t *testing.T) {
	for _, extra := range [][]string{nil, {`"rotationStrategy":"SingleUser"`}} {
		w := newWorld(t, dbserver.MySQL, plain, extra...)
		w.addAdmin(w.admin.User, w.admin.Password)
		w.sql("INSTALL PLUGIN auth_socket SONAME 'auth_socket.so'")
		w.sql("ALTER USER '%s'@'%%' ADD 2 FACTOR IDENTIFIED WITH auth_socket AS 'app'", w.first.Username)
		w.unreachable(rotation.ClassPolicy, "factors")
		w.sql("ALTER USER '%s'@'%%' DROP 2 FACTOR", w.first.Username)
		w.sql("UNINSTALL PLUGIN auth_socket")
	}
}

// unreachable rotates an account that nobody can log in to from here.
func (w *world) unreachable(class rotation.Class, text string) {
	w.t.Helper()
	before := w.stored()
	if x := w.must("", rotation.StepPlan).Plan; !slices.ContainsFunc(x.Obstacles, func(o string) bool { return strings.Contains(o, text) }) {
		w.t.Errorf("the plan says nothing of it: %+v", x)
	}
	w.store.begin(secretID, "version-1")
	created := w.must("version-1", rotation.StepCreate).Created
	for _, told := range []bool{created, false} {
		_, err := w.f.Handle(w.t.Context(), rotation.Event{Step: rotation.StepSet, SecretID: secretID, ClientRequestToken: "version-1", Created: told})
		if rotation.ClassOf(err) != class || !strings.Contains(err.Error(), text) {
			w.t.Errorf("setSecret: error %v of class %q, want %q", err, rotation.ClassOf(err), class)
		}
	}
	if w.stored() != before {
		w.t.Error("the password has changed, and AWSCURRENT with it")
	}
}

// stored is what the server keeps of the password.
func (w *world) stored() (hash string) {
	w.t.Helper()
	w.ask("SELECT authentication_string FROM mysql.user WHERE user = '"+w.first.Username+"'", &hash)
	return hash
}

// TestAdminChangesAnAccountOfOneHostOfTwo: one row that lets this machine in is
// enough.
func TestAdminChangesAnAccountOfOneHostOfTwo(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain, `"rotationStrategy":"SingleUser"`)
		w.addAdmin(w.admin.User, w.admin.Password)
		w.sql("CREATE USER '%s'@'10.%%' IDENTIFIED BY 'First_1aA' REQUIRE X509", w.first.Username)
		t.Cleanup(func() { w.sql("DROP USER '%s'@'10.%%'", w.first.Username) })
		w.rotate("version-1")
		w.wantIn("after it", "AWSCURRENT")
	})
}

// TestAdminUnderSQLModes: modes of the server that change what its own tables look
// like, or how texts are written.
func TestAdminUnderSQLModes(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		modes := []string{"PAD_CHAR_TO_FULL_LENGTH", "ANSI", "NO_BACKSLASH_ESCAPES"}
		if p == dbserver.MariaDB {
			modes = append(modes, "EMPTY_STRING_IS_NULL", "ORACLE")
		}
		w := newWorld(t, p, plain)
		var usual string
		w.ask("SELECT @@GLOBAL.sql_mode", &usual)
		t.Cleanup(func() { w.sql("SET GLOBAL sql_mode = '%s'", usual) })
		for _, mode := range modes {
			for _, strategy := range []string{"SingleUser", "DualPassword", "AlternatingUsers"} {
				w := newWorld(t, p, plain, `"rotationStrategy":"`+strategy+`"`)
				w.addAdmin(w.admin.User, w.admin.Password)
				t.Cleanup(w.dropOthers)
				w.sql("SET GLOBAL sql_mode = '%s'", mode)
				w.rotate("version-1")
				w.must("version-1", rotation.StepRetire)
				w.wantIn(mode, "AWSCURRENT")
				w.sql("SET GLOBAL sql_mode = '%s'", usual)
			}
		}
	})
}

// TestAdminNeedsSystemUser names the privilege that lacks, not one that is there.
func TestAdminNeedsSystemUser(t *testing.T) {
	for _, strategy := range []string{"SingleUser", "DualPassword"} {
		w, weak := newWorld(t, dbserver.MySQL, plain, `"rotationStrategy":"`+strategy+`"`), newWorld(t, dbserver.MySQL, plain)
		w.sql("GRANT CREATE USER ON *.* TO '%s'@'%%'", weak.first.Username)
		w.sql("GRANT SELECT ON mysql.user TO '%s'@'%%'", weak.first.Username)
		w.sql("GRANT SYSTEM_USER ON *.* TO '%s'@'%%'", w.first.Username)
		w.addAdmin(weak.first.Username, weak.first.Password)
		w.store.begin(secretID, "version-1")
		w.must("version-1", rotation.StepCreate)
		w.refused("version-1", rotation.StepSet, rotation.ClassPrivilege, "GRANT SYSTEM_USER ON *.* TO '"+weak.first.Username+"'@'%'")
	}
}
