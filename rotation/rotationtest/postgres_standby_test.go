package rotationtest

import (
	"context"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestAtomicCommitWithoutItsStandby: a COMMIT waits for a synchronous standby as long as
// that is away, and AWSCURRENT has moved by then.
func TestAtomicCommitWithoutItsStandby(t *testing.T) {
	replicaToBe(t)
	w := newWorld(t, dbserver.Postgres, plain)
	w.store.begin(secretID, "version-1")
	w.must("version-1", rotation.StepCreate)
	w.standbyNames("away")
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	r, err := w.f.Handle(ctx, rotation.Event{Step: rotation.StepSet, SecretID: secretID, ClientRequestToken: "version-1"})
	if err != nil || r.ExposureMicros == nil || *r.ExposureMicros > 5e6 {
		t.Errorf("setSecret answered %+v, %v", r, err)
	}
	w.wantIn("without the standby", "AWSCURRENT")
	w.standbyNames("")
	w.must("version-1", rotation.StepTest)
}

// standbyNames sets which standbys a COMMIT waits for, and returns when sessions know.
func (w *world) standbyNames(names string) {
	w.t.Helper()
	w.sql("ALTER SYSTEM SET synchronous_standby_names = '%s'", names)
	w.sql("SELECT pg_reload_conf()")
	exec := w.admin.Open(w.t, w.admin.User, w.admin.Password)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		// The session takes it over between two statements.
		err := exec(w.t.Context(), "DO $$ BEGIN ASSERT current_setting('synchronous_standby_names') = '"+names+"'; END $$")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatal(err)
		}
	}
}
