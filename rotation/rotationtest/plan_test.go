package rotationtest

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// plan runs a step that answers with a plan and changes nothing of the secret.
func (w *world) plan(step string) *rotation.Plan {
	w.t.Helper()
	before := w.store.value(secretID, "AWSCURRENT")
	r := w.must("", step)
	text, err := json.Marshal(r)
	if err != nil || r.Plan == nil {
		w.t.Fatalf("%s answered %v, %v", step, r, err)
	}
	w.noPasswords(string(text))
	if w.store.value(secretID, "AWSCURRENT") != before || w.store.value(secretID, "AWSPENDING") != "" || len(w.store.secrets[secretID].values) != 1 {
		w.t.Errorf("%s touched the versions of the secret", step)
	}
	w.want("AWSCURRENT", true, w.first.Password)
	return r.Plan
}

func TestPlan(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		for _, kind := range []accountKind{plain, privileged} {
			w := newWorld(t, p, kind)
			open, err := w.direct.Connect(t.Context(), w.first)
			if err != nil {
				t.Fatal(err)
			}
			plan := w.plan(rotation.StepPlan)
			if plan.Strategy != expected(p, kind) || plan.Username != w.first.Username || len(plan.Sessions) != 1 || len(plan.Obstacles) > 0 {
				t.Errorf("the plan is %+v", plan)
			}
			if dual := plan.Strategy == rotation.StrategyDualPassword; dual != strings.HasPrefix(plan.Exposure, "none") || len(plan.Statements) == 0 || len(plan.WayBack) == 0 {
				t.Errorf("the plan is %+v", plan)
			}
			if p != dbserver.Postgres && kind == plain && !strings.Contains(plan.Because, "GRANT "+dualPrivilege(p)+" ON *.* TO '"+w.first.Username+"'@'%'") {
				t.Errorf("because %q", plan.Because)
			}
			_ = open.Close()
		}
	})
}

// The plan of a strategy that the secret asks for says what stands in its way.
func TestPlanSaysWhatIsMissing(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain, `"rotationStrategy":"DualPassword"`)
		plan := w.plan(rotation.StepPlan)
		want := "one password"
		if p != dbserver.Postgres {
			want = "GRANT " + dualPrivilege(p)
		}
		if len(plan.Obstacles) != 1 || !strings.Contains(plan.Obstacles[0], want) {
			t.Errorf("in the way stand %q, want %q", plan.Obstacles, want)
		}
	})
}

func TestPlanOfAnAdministrator(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.addAdmin(w.admin.User, w.admin.Password)
		if plan := w.plan(rotation.StepPlan); plan.Strategy != expected(p, privileged) || len(plan.Obstacles) > 0 || !strings.Contains(plan.Statements[0].Text, w.first.Username) {
			t.Errorf("the plan is %+v", plan)
		}
		weak := newWorld(t, p, plain) // an account that may change its own password only
		w.store.secrets[adminID].values["version-0"] = `{"username":"` + weak.first.Username + `","password":"` + weak.first.Password + `"}`
		r, err := w.step("", rotation.StepPlan)
		if err != nil || len(r.Plan.Obstacles) == 0 {
			t.Errorf("an administrator without privileges: %v, %+v", err, r.Plan)
		}
	})
}

// throwAways lists the users that rehearsals have made.
func (w *world) throwAways() []string {
	w.t.Helper()
	session, err := w.direct.Connect(w.t.Context(), rotation.Login{Engine: string(w.product), Host: w.admin.Host, Port: w.admin.Port,
		Username: w.admin.User, Password: w.admin.Password, TLS: rotation.TLSOff})
	if err != nil {
		w.t.Fatal(err)
	}
	defer session.Close()
	names, err := session.(rotation.Rehearser).UsersLike(w.t.Context(), rotation.RehearsalPrefix)
	if err != nil {
		w.t.Fatal(err)
	}
	return names
}

func (w *world) wantNoThrowAways() {
	w.t.Helper()
	if names := w.throwAways(); len(names) > 0 {
		w.t.Errorf("throw-away users are left: %v", names)
	}
}

func TestRehearsal(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.addAdmin(w.admin.User, w.admin.Password)
		r := w.plan(rotation.StepRehearse).Rehearsal
		want := 5
		if p == dbserver.Postgres {
			want = 4 // nothing to retire
		}
		if len(r.Steps) != want || r.Strategy != expected(p, privileged) || (r.ExposureMicros == 0) != (p != dbserver.Postgres) {
			t.Errorf("the rehearsal is %+v", r)
		}
		if len(r.Username) != 25 || !strings.HasPrefix(r.Username, rotation.RehearsalPrefix) {
			t.Errorf("the throw-away user is %q", r.Username)
		}
		w.wantNoThrowAways()
	})
}

// An account that may create users rehearses by itself.
func TestRehearsalByTheAccountItself(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		if p == dbserver.Postgres {
			w.sql("ALTER ROLE %s CREATEROLE", w.first.Username)
		} else {
			w.sql("GRANT CREATE USER ON *.* TO '%s'@'%%' WITH GRANT OPTION", w.first.Username)
			if p == dbserver.MySQL {
				w.sql("GRANT APPLICATION_PASSWORD_ADMIN ON *.* TO '%s'@'%%' WITH GRANT OPTION", w.first.Username)
			}
		}
		if r := w.plan(rotation.StepRehearse).Rehearsal; r.Strategy != expected(p, privileged) {
			t.Errorf("the rehearsal is %+v", r)
		}
		w.wantNoThrowAways()
	})
}

func TestRehearsalNeedsAPrivilege(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		grant := "GRANT CREATE USER ON *.* TO"
		if p == dbserver.Postgres {
			grant = "CREATEROLE"
		}
		w.refused("", rotation.StepRehearse, rotation.ClassPrivilege, grant)
		w.wantNoThrowAways()
	})
}

// A rehearsal that ends at any of its seams leaves the secret and its account
// alone, and a later one drops the user that is left.
func TestRehearsalCrashes(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		for after := 1; ; after++ {
			w := newWorld(t, p, plain)
			w.addAdmin(w.admin.User, w.admin.Password)
			w.outage.after = after
			_, err := w.step("", rotation.StepRehearse)
			w.outage.revive()
			if err == nil {
				break
			}
			w.noPasswords(err.Error())
			w.leaveUser()
			w.f.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
			if r := w.plan(rotation.StepRehearse).Rehearsal; len(r.LeftOvers) == 0 {
				t.Errorf("after effect %d nothing was left to drop", after)
			}
			w.wantNoThrowAways()
		}
	})
}

// leaveUser makes a user as a rehearsal does that is killed at once.
func (w *world) leaveUser() {
	w.t.Helper()
	name := rotation.RehearsalPrefix + strconv.FormatInt(time.Now().Unix(), 36) + "_abcdef"
	if w.product == dbserver.Postgres {
		w.sql("CREATE ROLE %s", name)
		return
	}
	w.sql("CREATE USER %s@'%%'", name)
}

// A young throw-away user belongs to a rehearsal that goes on.
func TestRehearsalLeavesOthersAlone(t *testing.T) {
	w := newWorld(t, dbserver.MariaDB, plain)
	w.addAdmin(w.admin.User, w.admin.Password)
	w.leaveUser()
	if r := w.plan(rotation.StepRehearse).Rehearsal; len(r.LeftOvers) > 0 || len(w.throwAways()) != 1 {
		t.Errorf("dropped %v", r.LeftOvers)
	}
	for _, name := range w.throwAways() {
		w.sql("DROP USER %s@'%%'", name)
	}
}
