package rotationtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestPostgresRoleSettings: what ALTER ROLE … SET has set for the account and its
// administrator does not stand in the way.
func TestPostgresRoleSettings(t *testing.T) {
	for _, setting := range []string{"default_transaction_read_only = on", "client_encoding = 'LATIN1'", "standard_conforming_strings = off"} {
		t.Run(setting, func(t *testing.T) {
			w := newWorld(t, dbserver.Postgres, plain)
			w.sql("ALTER ROLE %s SET %s", w.first.Username, setting)
			w.plan(rotation.StepPlan)
			w.rotate("version-1")
			w.wantIn("by itself", "AWSCURRENT")

			turns := newTurns(t, dbserver.Postgres)
			admin := turns.first.Username + "_admin"
			turns.sql("CREATE ROLE %s LOGIN SUPERUSER PASSWORD 'Admin_1aA'", admin)
			t.Cleanup(func() { turns.sql("DROP ROLE %s", admin) })
			turns.sql("ALTER ROLE %s SET %s", admin, setting)
			turns.store.secrets[adminID].values["version-0"] = fmt.Sprintf(`{"username":%q,"password":"Admin_1aA"}`, admin)
			turns.plan(rotation.StepRehearse)
			turns.rotate("version-1")
			turns.wantIn("by turns", "AWSCURRENT", "AWSPREVIOUS")
		})
	}
}

// TestPostgresValidUntil: the server refuses a right password as it does a wrong one.
func TestPostgresValidUntil(t *testing.T) {
	w := newWorld(t, dbserver.Postgres, plain)
	w.sql("ALTER ROLE %s VALID UNTIL '2020-01-01'", w.first.Username)
	w.store.begin(secretID, "version-1")
	w.must("version-1", rotation.StepCreate)
	w.refused("version-1", rotation.StepSet, rotation.ClassAuth, "VALID UNTIL")
}

// TestPostgresReplica: the error and the plan say that the server is one.
func TestPostgresReplica(t *testing.T) {
	server := replicaToBe(t)
	w := newWorld(t, dbserver.Postgres, plain)
	must(t, server.standBy(t.Context()))
	t.Cleanup(func() { must(t, server.lead(context.Background())) })
	w.obstacle("replica")
	w.store.begin(secretID, "version-1")
	w.must("version-1", rotation.StepCreate)
	w.refused("version-1", rotation.StepSet, rotation.ClassDatabase, "replica", "writer's endpoint")
	w.addAdmin(w.admin.User, w.admin.Password)
	w.setStrategy(rotation.StrategyAlternatingUsers)
	w.obstacle("replica")
}

// replica is a server of its own that can be turned into a hot standby and back.
type replica struct {
	*dbserver.Server
	signal string // the file whose presence makes it one
}

// replicaToBe makes the test's PostgreSQL one.
func replicaToBe(t *testing.T) replica {
	t.Helper()
	server, dir := ownServer(t, dbserver.Postgres)
	return replica{server, filepath.Join(dir, "data", "standby.signal")}
}

func (r replica) standBy(ctx context.Context) error {
	if err := r.Stop(ctx); err != nil {
		return err
	}
	if err := os.WriteFile(r.signal, nil, 0o644); err != nil {
		return err
	}
	return r.Start(ctx)
}

func (r replica) lead(ctx context.Context) error {
	if err := r.Stop(ctx); err != nil {
		return err
	}
	if err := os.Remove(r.signal); err != nil {
		return err
	}
	return r.Start(ctx)
}
