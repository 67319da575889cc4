package rotationtest

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestBackupHoldsTheServer: a change that waits for the lock of a backup is given up by
// the server, too. Else it would come when the backup ends, and AWSCURRENT be refused
// until the next attempt.
func TestBackupHoldsTheServer(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.store.begin(secretID, "version-1")
		w.must("version-1", rotation.StepCreate)
		db := w.adminDB()
		w.run(db, "FLUSH TABLES WITH READ LOCK")
		w.refused("version-1", rotation.StepSet, rotation.ClassTimeout, "backup")
		w.run(db, "UNLOCK TABLES")
		time.Sleep(100 * time.Millisecond) // in which it would come
		w.want("AWSCURRENT", true, w.first.Password)
		for _, step := range rotationSteps {
			w.must("version-1", step)
		}
		w.wantIn("after it", "AWSCURRENT")
	})
}
