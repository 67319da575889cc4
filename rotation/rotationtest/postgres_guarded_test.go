package rotationtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// obstacle wants one of the plan's obstacles to have a text in it.
func (w *world) obstacle(text string) {
	w.t.Helper()
	x := w.must("", rotation.StepPlan).Plan
	if !slices.ContainsFunc(x.Obstacles, func(o string) bool { return strings.Contains(o, text) }) {
		w.t.Errorf("the plan's obstacles are %q, want %q in one", x.Obstacles, text)
	}
}

// TestPostgresRoleThatIsOver: an administrator leaves a role alone that no password lets
// in, and says why.
func TestPostgresRoleThatIsOver(t *testing.T) {
	for _, extra := range []string{`"rotationStrategy":"auto"`, alternatingKey} {
		w := newWorld(t, dbserver.Postgres, plain, extra)
		w.addAdmin(w.admin.User, w.admin.Password)
		t.Cleanup(w.dropOthers)
		w.sql("ALTER ROLE %s VALID UNTIL '2020-01-01'", w.first.Username)
		w.obstacle("VALID UNTIL 'infinity'")
		w.store.begin(secretID, "version-1")
		w.must("version-1", rotation.StepCreate)
		w.refused("version-1", rotation.StepSet, rotation.ClassPolicy, "VALID UNTIL 'infinity'")
		if w.store.secrets[secretID].holder("AWSCURRENT") != "version-0" {
			t.Error("AWSCURRENT has moved")
		}
		w.sql("ALTER ROLE %s VALID UNTIL 'infinity'", w.first.Username)
		for _, step := range rotationSteps {
			w.must("version-1", step)
		}
		w.wantIn("after it", "AWSCURRENT")
	}
}

// TestPostgresReplicationRole: before PostgreSQL 16 it may not change its own password,
// which is not what RDS restricts.
func TestPostgresReplicationRole(t *testing.T) {
	w := newWorld(t, dbserver.Postgres, plain)
	w.sql("ALTER ROLE %s REPLICATION", w.first.Username)
	if w.as(w.administrator(), "postgres", "DO $$ BEGIN IF current_setting('server_version_num')::int >= 160000 THEN RAISE 'newer'; END IF; END $$") != nil {
		w.rotate("version-1")
		return
	}
	w.obstacle("REPLICATION")
	w.store.begin(secretID, "version-1")
	w.must("version-1", rotation.StepCreate)
	w.refused("version-1", rotation.StepSet, rotation.ClassPrivilege, "REPLICATION", "superuser", "masterarn")
	w.addAdmin(w.admin.User, w.admin.Password)
	w.rotate("version-2")
	w.wantIn("by a superuser", "AWSCURRENT")
}

// TestPostgresDeferredTransactions: the database's transactions wait for those that
// change something, among them the one that makes the second user.
func TestPostgresDeferredTransactions(t *testing.T) {
	w := newTurns(t, dbserver.Postgres)
	for _, setting := range []string{"isolation = 'serializable'", "read_only = on", "deferrable = on"} {
		w.sql("ALTER ROLE %s SET default_transaction_%s", w.first.Username, setting)
	}
	settings := []string{"default_transaction_isolation = 'serializable'"}
	if w.as(w.administrator(), "postgres", "SHOW idle_session_timeout") == nil { // PostgreSQL 13 has none
		settings = append(settings, "idle_session_timeout = '30ms'")
	}
	w.roleAdmin(settings...)
	w.plan(rotation.StepRehearse)
	for _, token := range []string{"version-1", "version-2"} {
		w.rotate(token)
		w.wantIn("by turns", "AWSCURRENT", "AWSPREVIOUS")
	}
}
