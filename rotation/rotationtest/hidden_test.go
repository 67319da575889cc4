package rotationtest

import (
	"fmt"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// addOwnAdmin names an administrator that an anonymous account does not hide: one of
// the very host.
func (w *world) addOwnAdmin() {
	w.t.Helper()
	name := w.first.Username + "_dba"
	for _, host := range []string{"127.0.0.1", "localhost"} {
		w.sql("CREATE USER '%s'@'%s' IDENTIFIED BY 'Admin_1aA'", name, host)
		w.sql("GRANT ALL ON *.* TO '%s'@'%s' WITH GRANT OPTION", name, host)
	}
	w.t.Cleanup(func() { w.sql("DROP USER '%[1]s'@'127.0.0.1', '%[1]s'@'localhost'", name) })
	w.addAdmin(name, "Admin_1aA")
}

// TestAdminLeavesAnAccountThatAnAnonymousOneHides: a login that the server takes for
// somebody else's proves nothing about AWSCURRENT, which works on other hosts.
func TestAdminLeavesAnAccountThatAnAnonymousOneHides(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		for _, hosts := range []string{"''@'127.0.0.1', ''@'localhost'", "''@'127.%', ''@'local%'"} {
			for _, extra := range [][]string{nil, {`"rotationStrategy":"SingleUser"`}} {
				w := newWorld(t, p, plain, extra...)
				w.addOwnAdmin()
				db := w.adminDB()
				w.run(db, "CREATE USER "+hosts)
				before := w.stored()
				w.unreachable(rotation.ClassPrivilege, "anonymous")
				if w.stored() != before {
					t.Error("the password has changed")
				}
				w.run(db, "DROP USER "+hosts)
			}
		}
	})
}

// TestAdminMindsNoOtherAnonymousAccount: one that stands behind the account's own, or
// that is for other hosts, hides nothing.
func TestAdminMindsNoOtherAnonymousAccount(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.addOwnAdmin()
		w.sql("CREATE USER ''@'%%', ''@'10.0.0.7', ''@'10.%%'")
		t.Cleanup(func() { w.sql("DROP USER ''@'%%', ''@'10.0.0.7', ''@'10.%%'") })
		for i := range 2 {
			w.rotate(fmt.Sprint("version-", i+1))
			w.wantIn("after it", "AWSCURRENT")
		}
	})
}

// TestAdminKeepsBothPasswordsOfAHiddenAccount: what looks like a second password to
// end may be the one of AWSCURRENT.
func TestAdminKeepsBothPasswordsOfAHiddenAccount(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.addOwnAdmin()
		w.store.begin(secretID, "version-1")
		w.until("version-1", rotation.StepSet)
		w.store.abandon(secretID)
		db := w.adminDB()
		w.run(db, "CREATE USER ''@'127.0.0.1', ''@'localhost'")
		w.store.begin(secretID, "version-2")
		w.must("version-2", rotation.StepCreate)
		w.refused("version-2", rotation.StepSet, rotation.ClassPrivilege, "anonymous")
		w.run(db, "DROP USER ''@'127.0.0.1', ''@'localhost'")
		w.want("AWSCURRENT", true, w.first.Password)
	})
}
