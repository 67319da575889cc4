package rotationtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/rotation"
)

// roleAdmin is an administrator of its own, with what ALTER ROLE … SET sets.
func (w *world) roleAdmin(settings ...string) {
	w.t.Helper()
	admin := w.first.Username + "_admin"
	w.sql("CREATE ROLE %s LOGIN SUPERUSER PASSWORD 'Admin_1aA'", admin)
	w.t.Cleanup(func() { w.sql("DROP ROLE %s", admin) })
	for _, each := range settings {
		w.sql("ALTER ROLE %s SET %s", admin, each)
	}
	w.store.secrets[adminID].values["version-0"] = fmt.Sprintf(`{"username":%q,"password":"Admin_1aA"}`, admin)
}

// TestPostgresTimeouts of a role, as set for those that serve requests, do not end
// what an administrator does for a rotation.
func TestPostgresTimeouts(t *testing.T) {
	w := newTurns(t, dbserver.Postgres)
	w.roleAdmin("statement_timeout = '60ms'", "lock_timeout = '1ms'", "idle_in_transaction_session_timeout = '1ms'")
	w.plan(rotation.StepRehearse)
	w.store.begin(secretID, "version-1")
	w.must("version-1", rotation.StepCreate)
	w.busyCatalog(300 * time.Millisecond)
	w.must("version-1", rotation.StepSet)
	w.must("version-1", rotation.StepTest)
	w.must("version-1", rotation.StepFinish)
	w.wantIn("by turns", "AWSCURRENT", "AWSPREVIOUS")
}

// busyCatalog makes those wait who read what depends on a role; logins do not.
func (w *world) busyCatalog(d time.Duration) {
	w.t.Helper()
	admin := dbtest.Server(w.t, dbserver.Postgres)
	exec := admin.Open(w.t, admin.User, admin.Password)
	must(w.t, exec(w.t.Context(), "BEGIN"))
	must(w.t, exec(w.t.Context(), "LOCK TABLE pg_shdepend IN ACCESS EXCLUSIVE MODE"))
	done := make(chan error, 1)
	time.AfterFunc(d, func() { done <- exec(w.t.Context(), "ROLLBACK") })
	w.t.Cleanup(func() { must(w.t, <-done) })
}

// TestPostgresPlantedFunction: whoever may create in a schema of the administrator's
// search_path gets nothing of his run by it.
func TestPostgresPlantedFunction(t *testing.T) {
	w := newTurns(t, dbserver.Postgres)
	w.roleAdmin("search_path = public, pg_catalog")
	for _, function := range []string{"starts_with(name, text) RETURNS boolean", "pg_is_in_recovery() RETURNS boolean", "pg_backend_pid() RETURNS integer"} {
		w.sql("CREATE FUNCTION public.%s LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted'; END $$", function)
	}
	t.Cleanup(func() {
		w.sql("DROP FUNCTION public.starts_with(name, text), public.pg_is_in_recovery(), public.pg_backend_pid()")
	})
	w.plan(rotation.StepRehearse)
	w.rotate("version-1")
	w.wantIn("by turns", "AWSCURRENT", "AWSPREVIOUS")
}

// TestPostgresDateStyle: what the server writes by another one it may read otherwise:
// IST is the time of India, and of Israel.
func TestPostgresDateStyle(t *testing.T) {
	w := newTurns(t, dbserver.Postgres)
	w.roleAdmin("DateStyle = 'SQL, DMY'", "TimeZone = 'Asia/Kolkata'")
	w.sql("ALTER ROLE %s VALID UNTIL '2030-01-02 12:00+00'", w.first.Username)
	w.rotate("version-1")
	w.rotate("version-2")
	for _, role := range []string{w.first.Username, w.clone()} {
		w.sql("DO $$ BEGIN ASSERT (SELECT rolvaliduntil = '2030-01-02 12:00+00' FROM pg_roles WHERE rolname = '%s'); END $$", role)
	}
}

// TestPostgresIterations: a verifier has as many rounds as the server is set to, which
// versions before 16 cannot be.
func TestPostgresIterations(t *testing.T) {
	w := newWorld(t, dbserver.Postgres, plain)
	w.sql("DO $$ BEGIN ALTER ROLE %s SET scram_iterations = 5000; EXCEPTION WHEN insufficient_privilege OR undefined_object THEN NULL; END $$", w.first.Username)
	w.rotate("version-1")
	w.sql(`DO $$ BEGIN ASSERT (SELECT rolpassword LIKE 'SCRAM-SHA-256$' || CASE WHEN current_setting('server_version_num')::int < 160000 THEN 4096 ELSE 5000 END || ':%%'
		FROM pg_authid WHERE rolname = '%s'); END $$`, w.first.Username)
}
