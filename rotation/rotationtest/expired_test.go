package rotationtest

import (
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestExpiredPassword: the server lets nobody in by it, also not to change it. An
// administrator's change ends that, and keeps it beside the new one.
func TestExpiredPassword(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		for _, disconnects := range []string{"ON", "OFF"} {
			if p == dbserver.MariaDB {
				w := newWorld(t, p, plain)
				w.sql("SET GLOBAL disconnect_on_expired_password = %s", disconnects)
				t.Cleanup(func() { w.sql("SET GLOBAL disconnect_on_expired_password = OFF") })
			}
			w := newWorld(t, p, plain)
			w.sql("ALTER USER '%s'@'%%' PASSWORD EXPIRE", w.first.Username)
			w.store.begin(secretID, "version-1")
			w.must("version-1", rotation.StepCreate)
			w.refused("version-1", rotation.StepSet, rotation.ClassPolicy, "expired", "masterarn")

			w = newWorld(t, p, plain)
			w.addAdmin(w.admin.User, w.admin.Password)
			w.sql("ALTER USER '%s'@'%%' PASSWORD EXPIRE", w.first.Username)
			if x := w.must("", rotation.StepPlan).Plan; len(x.Obstacles) > 0 {
				t.Errorf("the plan is %+v", x)
			}
			set, _ := w.rotate("version-1")
			if set.Strategy != rotation.StrategyDualPassword {
				t.Errorf("setSecret used %s", set.Strategy)
			}
			w.wantIn("after it", "AWSCURRENT", "AWSPREVIOUS")
		}
	})
}
