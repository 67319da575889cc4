package rotationtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestPlanOfAlternatingUsers: what setSecret would refuse stands in the way, and finding
// that out leaves nothing behind.
func TestPlanOfAlternatingUsers(t *testing.T) {
	w := newTurns(t, dbserver.Postgres)
	if x := w.plan(rotation.StepPlan); len(x.Obstacles) > 0 {
		t.Errorf("in the way stands %v", x.Obstacles)
	}
	w.oldWay("postgres")
	before := w.rights(w.clone())
	if x := w.plan(rotation.StepPlan); !strings.Contains(fmt.Sprint(x.Obstacles), "--fix-ownership") {
		t.Errorf("of the old way: in the way stands %v", x.Obstacles)
	}
	w.can(w.first, "postgres", w.named("SELECT * FROM S.of_app"))
	if r := w.rights(w.first.Username + "_owner"); len(r) > 0 || len(before) == 0 {
		t.Errorf("something was made: %v", r)
	}
	w.check(w.mend())
	if x := w.plan(rotation.StepPlan); len(x.Obstacles) > 0 {
		t.Errorf("after the mending: in the way stands %v", x.Obstacles)
	}
}

// TestPlanOfAlternatingUsersWithoutAdmin holds on every product.
func TestPlanOfAlternatingUsersWithoutAdmin(t *testing.T) {
	w := newWorld(t, dbserver.MariaDB, plain, `"rotationStrategy":"AlternatingUsers"`)
	if x := w.plan(rotation.StepPlan); !strings.Contains(fmt.Sprint(x.Obstacles), "masterarn") {
		t.Errorf("in the way stands %v", x.Obstacles)
	}
}

// TestPlanOfTurnsNamesStatements: PostgreSQL does all that it tells of, and then undoes it.
func TestPlanOfTurnsNamesStatements(t *testing.T) {
	w := newTurns(t, dbserver.Postgres)
	w.sql("ALTER ROLE %s CONNECTION LIMIT 20", w.first.Username)
	p := w.plan(rotation.StepPlan)
	all := fmt.Sprint(p.Statements)
	for _, text := range []string{`ALTER ROLE "APP" RENAME TO "APP_owner"`, `CREATE ROLE "APP_clone" LOGIN`, `ALTER ROLE "APP_clone" PASSWORD [redacted]`} {
		if text = strings.ReplaceAll(text, "APP", w.first.Username); !strings.Contains(all, text) {
			t.Errorf("the plan tells of no %s: %s", text, all)
		}
	}
	if back := fmt.Sprint(p.WayBack); strings.Contains(back, "retireSecret") {
		t.Errorf("no retireSecret is planned, but the way back is %s", back)
	}
	if strings.Contains(all, "SCRAM") {
		t.Error("the plan holds a verifier")
	}
	if r := w.rights(w.clone()); len(r) > 0 {
		t.Errorf("something was made: %v", r)
	}
}
