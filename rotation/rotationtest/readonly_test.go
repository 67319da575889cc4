package rotationtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestReadOnlyTransactions: a server whose sessions begin with transactions that only
// read lets a session ask for others.
func TestReadOnlyTransactions(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		variable := "transaction_read_only"
		if p == dbserver.MariaDB {
			variable = "tx_read_only"
		}
		db := newWorld(t, p, plain).adminDB()
		for _, strategy := range []string{"SingleUser", "DualPassword", "AlternatingUsers"} {
			for _, admin := range []bool{false, true} {
				if strategy == "AlternatingUsers" && !admin {
					continue
				}
				w := newWorld(t, p, privileged, `"rotationStrategy":"`+strategy+`"`)
				if admin {
					w.addAdmin(w.admin.User, w.admin.Password)
					t.Cleanup(w.dropOthers)
				}
				w.run(db, "SET GLOBAL "+variable+" = ON")
				for i := range 2 {
					w.rotate(fmt.Sprint("version-", i+1))
				}
				w.must("version-2", rotation.StepRetire)
				w.run(db, "SET GLOBAL "+variable+" = OFF")
				w.wantIn(strategy, "AWSCURRENT")
			}
		}
	})
}

// TestReadOnlyServerAndAMightyAdmin: who has SUPER may change a replica, and its source
// would not know.
func TestReadOnlyServerAndAMightyAdmin(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		db := newWorld(t, p, plain).adminDB()
		for _, strategy := range []string{"SingleUser", "DualPassword", "AlternatingUsers"} {
			w := newWorld(t, p, plain, `"rotationStrategy":"`+strategy+`"`)
			w.addAdmin(w.admin.User, w.admin.Password)
			t.Cleanup(w.dropOthers)
			w.store.begin(secretID, "version-1")
			w.must("version-1", rotation.StepCreate)
			w.run(db, "SET GLOBAL read_only = ON")
			w.refused("version-1", rotation.StepSet, rotation.ClassDatabase, "writer's endpoint")
			w.want("AWSCURRENT on a replica", true, w.first.Password)
			if n := len(w.column("SELECT user FROM mysql.user WHERE user = '" + w.clone() + "'")); n > 0 {
				t.Error("the other user was made on a replica")
			}
			w.run(db, "SET GLOBAL read_only = OFF")
			w.must("version-1", rotation.StepSet)
		}
	})
}

// TestReadOnlyServer: the error says what it may be, and the next attempt succeeds.
func TestReadOnlyServer(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		on, off := []string{"read_only"}, []string{"read_only"}
		if p == dbserver.MySQL {
			on, off = []string{"read_only", "super_read_only"}, []string{"super_read_only", "read_only"}
		}
		w := newWorld(t, p, privileged)
		db := w.adminDB()
		w.store.begin(secretID, "version-1")
		w.must("version-1", rotation.StepCreate)
		for _, variable := range on {
			w.run(db, "SET GLOBAL "+variable+" = ON")
			w.refused("version-1", rotation.StepSet, rotation.ClassDatabase, "writer's endpoint", "read_only")
			x := w.must("", rotation.StepPlan).Plan
			if !slices.ContainsFunc(x.Obstacles, func(o string) bool { return strings.Contains(o, "read-only") }) {
				t.Errorf("the plan says nothing of it: %+v", x)
			}
		}
		for _, variable := range off {
			w.run(db, "SET GLOBAL "+variable+" = OFF")
		}
		w.must("version-1", rotation.StepSet)
	})
}

// TestReadOnlyServerAndAMightyAccount: nor does the account itself change a replica, and
// nobody ends a password there.
func TestReadOnlyServerAndAMightyAccount(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		db := newWorld(t, p, plain).adminDB()
		for _, strategy := range []string{"SingleUser", "DualPassword"} {
			for _, admin := range []bool{false, true} {
				w := newWorld(t, p, privileged)
				w.sql("GRANT ALL ON *.* TO '%s'@'%%' WITH GRANT OPTION", w.first.Username)
				if admin {
					w.addAdmin(w.admin.User, w.admin.Password)
				}
				w.rotate("version-1")
				w.setStrategy(strategy)
				w.run(db, "SET GLOBAL read_only = ON")
				w.refused("version-1", rotation.StepRetire, rotation.ClassDatabase, "writer's endpoint")
				w.refused("", rotation.StepRehearse, rotation.ClassDatabase, "writer's endpoint")
				w.store.begin(secretID, "version-2")
				w.must("version-2", rotation.StepCreate)
				w.refused("version-2", rotation.StepSet, rotation.ClassDatabase, "writer's endpoint")
				w.want("what was valid, on a replica", true, w.first.Password, w.login("AWSCURRENT").Password)
				w.run(db, "SET GLOBAL read_only = OFF")
				w.must("version-2", rotation.StepSet)
				w.want("AWSPENDING", true, w.login("AWSPENDING").Password)
			}
		}
	})
}
