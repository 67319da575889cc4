package rotationtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestMangledNames: the error speaks of the name where that is the reason, and of no
// anonymous account.
func TestMangledNames(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		long, tooLong := strings.Repeat("日", 31), strings.Repeat("日", 32)
		for _, name := range []string{long, tooLong, "app😀"} {
			w := newWorld(t, p, plain)
			w.sql("CREATE USER '%s'@'%%' IDENTIFIED BY 'First_1aA'", name)
			l := w.first
			l.Username = name
			session, err := w.direct.Connect(t.Context(), l)
			w.sql("DROP USER '%s'@'%%'", name)
			if name == long || name == tooLong && p == dbserver.MariaDB {
				w.check(err)
				w.check(session.Close())
				continue
			}
			if rotation.ClassOf(err) != rotation.ClassSecret || !strings.Contains(err.Error(), "shorter username") || strings.Contains(err.Error(), "anonymous") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestPlanOfOneRowOfTwo: an account changes the row that it logs in to, and the plan
// names the other, if it can be seen.
func TestPlanOfOneRowOfTwo(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		for _, kind := range []accountKind{plain, privileged} {
			w := newWorld(t, p, kind)
			w.sql("CREATE USER '%s'@'10.%%' IDENTIFIED BY 'First_1aA'", w.first.Username)
			t.Cleanup(func() { w.sql("DROP USER '%s'@'10.%%'", w.first.Username) })
			if x := w.plan(rotation.StepPlan); !strings.Contains(x.Exposure, "GRANT SELECT ON mysql.user") {
				t.Errorf("the exposure is %q", x.Exposure)
			}
			w.sql("GRANT SELECT ON mysql.user TO '%s'@'%%'", w.first.Username)
			if x := w.plan(rotation.StepPlan); !strings.Contains(x.Exposure, "'@'10.%' keeps the old password") {
				t.Errorf("the exposure is %q", x.Exposure)
			}
			w.addAdmin(w.admin.User, w.admin.Password)
			if x := w.plan(rotation.StepPlan); strings.Contains(x.Exposure, "old password") || !slices.ContainsFunc(x.Statements, func(s rotation.Statement) bool { return strings.Contains(s.Text, "10.%") }) {
				t.Errorf("the plan is %+v", x)
			}
		}
	})
}

// TestNamesOfManyBytes: the lock that keeps two workers apart has a name of 64 bytes at
// most.
func TestNamesOfManyBytes(t *testing.T) {
	w := newWorld(t, dbserver.MySQL, privileged)
	short, long := w.first.Username, "a"+strings.Repeat("é", 28)
	w.sql("RENAME USER '%s'@'%%' TO '%s'@'%%'", short, long)
	t.Cleanup(func() { w.sql("RENAME USER '%s'@'%%' TO '%s'@'%%'", long, short); w.first.Username = short })
	w.first.Username = long
	w.store.create(secretID, w.value())
	w.rotate("version-1")
	w.must("version-1", rotation.StepRetire)
	w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
	w.want("AWSPREVIOUS", false, w.first.Password)
}

// TestNamesWithoutQuotes: SHOW CREATE USER leaves them away under this setting, and the
// old password ends all the same.
func TestNamesWithoutQuotes(t *testing.T) {
	for _, kind := range []accountKind{plain, privileged} {
		w := newWorld(t, dbserver.MariaDB, kind)
		if kind == plain {
			w.addAdmin(w.admin.User, w.admin.Password)
		}
		w.sql("SET GLOBAL sql_quote_show_create = OFF")
		w.rotate("version-1")
		w.must("version-1", rotation.StepRetire)
		w.sql("SET GLOBAL sql_quote_show_create = ON")
		w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
		w.want("AWSPREVIOUS", false, w.first.Password)
	}
}
