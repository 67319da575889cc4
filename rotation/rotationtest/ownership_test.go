package rotationtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// as runs statements in a database as a login, past the proxy.
func (w *world) as(l rotation.Login, database string, statements ...string) error {
	w.t.Helper()
	cfg, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		w.t.Fatal(err)
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = w.admin.Host, uint16(w.admin.Port), l.Username, l.Password, database
	ctx := context.Background() // also while the test cleans up
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("logging in as %s: %w", l.Username, err)
	}
	defer c.Close(ctx)
	for _, statement := range statements {
		if _, err := c.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s as %s: %w", statement, l.Username, err)
		}
	}
	return nil
}

func (w *world) can(l rotation.Login, database string, statements ...string) {
	w.t.Helper()
	w.check(w.as(l, database, statements...))
}

func (w *world) cannot(l rotation.Login, database, statement string) {
	w.t.Helper()
	if err := w.as(l, database, statement); err == nil || !strings.Contains(err.Error(), "42501") {
		w.t.Errorf("%s as %s: %v, want it to be denied", statement, l.Username, err)
	}
}

// database makes one that is gone after the test.
func (w *world) database(name string) string {
	w.t.Helper()
	w.sql("CREATE DATABASE %s", name)
	w.t.Cleanup(func() { w.sql("DROP DATABASE %s WITH (FORCE)", name) })
	return name
}

func (w *world) administrator() rotation.Login {
	l := w.first
	l.Username, l.Password = w.admin.User, w.admin.Password
	return l
}

// TestTablesBelongToNeither: what either login makes, the other reads, alters
// and drops, whatever has been rotated in between. That holds for what the
// first login had before, in a database that no rotation has entered.
func TestTablesBelongToNeither(t *testing.T) {
	w := newTurns(t, dbserver.Postgres)
	shop := w.database(w.first.Username + "_shop")
	admin := w.administrator()
	w.can(admin, shop, "CREATE SCHEMA s AUTHORIZATION "+w.first.Username, "CREATE TABLE public.theirs (n int)", "GRANT SELECT ON public.theirs TO "+w.first.Username)
	w.can(w.first, shop, "CREATE TABLE s.t0 (n int)")
	for i := range 4 {
		w.rotate(fmt.Sprint("version-", i+1))
		now, before := w.login("AWSCURRENT"), w.login("AWSPREVIOUS")
		for _, l := range []rotation.Login{now, before} {
			w.can(l, shop, fmt.Sprintf("INSERT INTO s.t%d VALUES (1)", i), fmt.Sprintf("ALTER TABLE s.t%d ADD c%s int", i, l.Username), "SELECT * FROM public.theirs")
			w.cannot(l, shop, "DELETE FROM public.theirs")
		}
		w.can(now, shop, fmt.Sprintf("CREATE TABLE s.t%d (n int)", i+1), fmt.Sprintf("DROP TABLE s.t%d", i))
		w.equal("after the rotation")
	}
}

// TestNeitherChangesTheOther: nor the owner, nor what the owner is to them.
func TestNeitherChangesTheOther(t *testing.T) {
	w := newTurns(t, dbserver.Postgres)
	w.rotate("version-1")
	now, before := w.login("AWSCURRENT"), w.login("AWSPREVIOUS")
	for _, pair := range [][2]rotation.Login{{now, before}, {before, now}} {
		for _, role := range []string{"", "SET ROLE NONE; "} {
			w.cannot(pair[0], "postgres", role+"ALTER ROLE "+pair[1].Username+" PASSWORD 'Stolen_1aA'")
			w.cannot(pair[0], "postgres", role+"ALTER ROLE "+w.owner()+" LOGIN")
			w.cannot(pair[0], "postgres", role+"GRANT "+w.owner()+" TO "+pair[1].Username+" WITH ADMIN OPTION")
			w.cannot(pair[0], "postgres", role+"SET ROLE "+pair[1].Username)
		}
	}
	w.wantIn("at the end", "AWSCURRENT", "AWSPREVIOUS")
}

// TestOpenSessionsGoOn: a session from before the first rotation keeps its
// rights, and what it makes belongs to the owner.
func TestOpenSessionsGoOn(t *testing.T) {
	w := newTurns(t, dbserver.Postgres)
	shop := w.database(w.first.Username + "_open")
	w.can(w.administrator(), shop, "CREATE SCHEMA s AUTHORIZATION "+w.first.Username)
	cfg, err := pgx.ParseConfig(fmt.Sprintf("sslmode=disable host=%s port=%d user=%s dbname=%s", w.admin.Host, w.admin.Port, w.first.Username, shop))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Password = w.first.Password
	old, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close(t.Context())
	w.rotate("version-1")
	if _, err := old.Exec(t.Context(), "CREATE TABLE s.late (n int)"); err != nil {
		t.Error(err)
	}
	w.can(w.login("AWSCURRENT"), shop, "DROP TABLE s.late")
}

// TestMightyRolesAreRefused: they could change the other's password. From
// PostgreSQL 16 on CREATEROLE alone is not enough for that.
func TestMightyRolesAreRefused(t *testing.T) {
	w := newTurns(t, dbserver.Postgres)
	might := "CREATEROLE"
	if w.as(w.administrator(), "postgres", "DO $$ BEGIN IF current_setting('server_version_num')::int < 160000 THEN RAISE 'older'; END IF; END $$") == nil {
		might = "SUPERUSER"
	}
	w.sql("ALTER ROLE %s %s", w.first.Username, might)
	w.store.begin(secretID, "version-1")
	w.must("version-1", rotation.StepCreate)
	w.refused("version-1", rotation.StepSet, rotation.ClassPolicy, "superuser or has CREATEROLE")
	w.wantIn("still", "AWSCURRENT")
	w.sql("ALTER ROLE %s NO%s", w.first.Username, might)
	w.until("version-1", rotation.StepFinish)

	w.sql("ALTER ROLE %s %s", w.owner(), might)
	w.store.begin(secretID, "version-2")
	w.must("version-2", rotation.StepCreate)
	w.refused("version-2", rotation.StepSet, rotation.ClassPolicy, "superuser or has CREATEROLE")
}

// TestRoleThatMayNotLogIn: a lock-out is not undone by a copy.
func TestRoleThatMayNotLogIn(t *testing.T) {
	w := newTurns(t, dbserver.Postgres)
	w.rotate("version-1")
	w.sql("ALTER ROLE %s NOLOGIN", w.clone())
	w.store.begin(secretID, "version-2")
	w.must("version-2", rotation.StepCreate)
	w.refused("version-2", rotation.StepSet, rotation.ClassPolicy, "LOGIN")
}

// mayAlter gives a role what altering others takes: CREATEROLE, and from PostgreSQL
// 16 on ADMIN OPTION on them.
func (w *world) mayAlter(admin string, roles ...string) {
	w.t.Helper()
	w.sql("ALTER ROLE %s CREATEROLE", admin)
	w.sql("DO $$ BEGIN IF current_setting('server_version_num')::int >= 160000 THEN GRANT %s TO %s WITH ADMIN OPTION; END IF; END $$",
		strings.Join(roles, ", "), admin)
}

// TestPlainAdministrator: no superuser, as on RDS.
func TestPlainAdministrator(t *testing.T) {
	plainAdmin := newWorld(t, dbserver.Postgres, plain)
	w := newTurns(t, dbserver.Postgres)
	w.mayAlter(plainAdmin.first.Username, w.first.Username)
	w.store.create(adminID, fmt.Sprintf(`{"username":%q,"password":%q}`, plainAdmin.first.Username, plainAdmin.first.Password))
	w.grant()
	for _, token := range []string{"version-1", "version-2"} {
		w.rotate(token)
		w.wantIn("after the rotation", "AWSCURRENT", "AWSPREVIOUS")
		w.equal("after the rotation")
	}
}

// oldWay makes two logins as AWS's rotation templates do, with objects of both.
func (w *world) oldWay(databases ...string) {
	w.t.Helper()
	app, clone := w.first.Username, w.clone()
	w.sql("CREATE ROLE %s LOGIN PASSWORD 'Second_1aA'", clone)
	w.sql("GRANT %s TO %s", app, clone)
	second := w.first
	second.Username, second.Password = clone, "Second_1aA"
	for _, name := range databases {
		w.t.Cleanup(func() {
			w.can(w.administrator(), name, w.named("DROP SCHEMA IF EXISTS S CASCADE"), w.named("DROP SCHEMA THEIRS CASCADE"))
		})
		w.can(w.administrator(), name, w.named("CREATE SCHEMA S AUTHORIZATION "+app), w.named("GRANT ALL ON SCHEMA S TO "+clone),
			w.named("CREATE SCHEMA THEIRS"), w.named("GRANT USAGE ON SCHEMA THEIRS TO "+clone),
			w.named("CREATE TABLE THEIRS.t (n int, m int)"), w.named("GRANT SELECT (n) ON THEIRS.t TO "+clone),
			w.named("CREATE FUNCTION THEIRS.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'"),
			w.named("REVOKE ALL ON FUNCTION THEIRS.f FROM PUBLIC"), w.named("GRANT EXECUTE ON FUNCTION THEIRS.f TO "+clone+" WITH GRANT OPTION"))
		w.can(w.first, name, w.named("CREATE TABLE S.of_app (n int)"))
		w.can(second, name, w.named("CREATE TABLE S.of_clone (n int)"), w.named(`CREATE TABLE S."odd'""name" (n serial)`))
		w.cannot(w.first, name, w.named("SELECT * FROM S.of_clone"))
	}
}

// named puts the names of schemas into a statement.
func (w *world) named(statement string) string {
	return strings.NewReplacer("THEIRS", w.first.Username+"_theirs", " S.", " "+w.first.Username+"_s.", " S ", " "+w.first.Username+"_s ").Replace(statement)
}

// turns are what doctor gives to the database.
func (w *world) turns() rotation.Turns {
	w.t.Helper()
	turns, err := w.f.Turns(w.t.Context(), secretID)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = turns.Session.Close() })
	return turns
}

func (w *world) planned() []rotation.Action {
	w.t.Helper()
	turns := w.turns()
	defer turns.Session.Close()
	plan, err := turns.Session.(rotation.OwnershipMender).PlanOwnership(w.t.Context(), turns)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range plan {
		w.noPasswords(a.Statement)
	}
	return plan
}

func (w *world) mend() error {
	turns, err := w.f.Turns(w.t.Context(), secretID)
	if err != nil {
		return err
	}
	defer turns.Session.Close()
	_, err = turns.Session.(rotation.OwnershipMender).MendOwnership(w.t.Context(), turns)
	return err
}

// mended checks what shall hold after --fix-ownership, and rotates on.
func (w *world) mended(databases ...string) {
	w.t.Helper()
	if plan := w.planned(); len(plan) > 0 {
		w.t.Errorf("there is something left to do: %v", plan)
	}
	now := w.login("AWSCURRENT")
	for _, name := range databases {
		w.can(now, name, w.named("SELECT * FROM S.of_clone"), w.named("ALTER TABLE S.of_clone ADD a int"), w.named("SELECT n FROM THEIRS.t"), w.named("SELECT THEIRS.f(1)"))
	}
	w.rotate("version-after")
	now = w.login("AWSCURRENT")
	for _, name := range databases {
		w.can(now, name, w.named("ALTER TABLE S.of_app ADD a int"), w.named("DROP TABLE S.of_clone"), w.named(`INSERT INTO S."odd'""name" DEFAULT VALUES`))
	}
	w.wantIn("after a rotation", "AWSCURRENT", "AWSPREVIOUS")
}

func TestMendOwnership(t *testing.T) {
	w := newTurns(t, dbserver.Postgres)
	databases := []string{"postgres", w.database(w.first.Username + "_old")}
	w.oldWay(databases...)
	w.store.begin(secretID, "version-1")
	w.must("version-1", rotation.StepCreate)
	w.refused("version-1", rotation.StepSet, rotation.ClassPolicy, "--fix-ownership")
	before := w.rights(w.clone())
	if len(w.planned()) == 0 || !slices.Equal(before, w.rights(w.clone())) {
		t.Error("the plan is empty or has changed something")
	}
	w.check(w.mend())
	w.wantIn("after the mending", "AWSCURRENT")
	w.equal("after the mending")
	w.mended(databases...)
}

// oldWayOfAnAdmin is a database that was rotated the old way, by an administrator that
// is no superuser, but may alter both users.
func oldWayOfAnAdmin(t *testing.T) (w *world, admin string) {
	t.Helper()
	a := newWorld(t, dbserver.Postgres, plain)
	w, admin = newTurns(t, dbserver.Postgres), a.first.Username
	w.oldWay("postgres")
	w.mayAlter(admin, w.first.Username, w.clone())
	w.store.create(adminID, fmt.Sprintf(`{"username":%q,"password":%q}`, admin, a.first.Password))
	return w, admin
}

// TestMendOwnershipByAnOrdinaryAdmin: no superuser, whom the owners let pass on
// what the logins were granted. It may not take back what they gave.
func TestMendOwnershipByAnOrdinaryAdmin(t *testing.T) {
	w, name := oldWayOfAnAdmin(t)
	w.can(w.administrator(), "postgres", w.named("GRANT USAGE ON SCHEMA THEIRS TO "+name+" WITH GRANT OPTION"),
		w.named("GRANT ALL ON THEIRS.t TO "+name+" WITH GRANT OPTION"), w.named("GRANT ALL ON FUNCTION THEIRS.f TO "+name+" WITH GRANT OPTION"))
	w.check(w.mend())
	w.mended("postgres")
}

// TestMendOwnershipCrash ends the process after each outside effect of it.
func TestMendOwnershipCrash(t *testing.T) {
	for n := 1; ; n++ {
		died := false
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newTurns(t, dbserver.Postgres)
			w.oldWay("postgres")
			w.outage.seen, w.outage.after = 0, n
			_ = w.mend()
			died = w.outage.isDead()
			w.wantIn("after the crash", "AWSCURRENT")
			w.outage.revive()
			w.can(w.login("AWSCURRENT"), "postgres", w.named("SELECT * FROM S.of_app"))
			w.check(w.mend())
			w.mended("postgres")
		})
		if t.Failed() || !died {
			return
		}
	}
}
