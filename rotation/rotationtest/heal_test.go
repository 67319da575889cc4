package rotationtest

import (
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestHealByAdmin: somebody has changed the password; the administrator sets
// it back, also after a second password was left.
func TestHealByAdmin(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.addAdmin(w.admin.User, w.admin.Password)
		w.rotate("version-1")
		w.changeBehind("Other_1aA")
		for range 2 {
			w.must("", rotation.StepHeal)
			w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
			w.want("all others", false, "Other_1aA", w.first.Password)
		}
	})
}

// TestHealByPrevious: without an administrator, a version that is live may do.
func TestHealByPrevious(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.rotate("version-1")
		w.must("version-1", rotation.StepRetire)
		w.changeBehind(w.first.Password)
		w.must("", rotation.StepHeal)
		w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
		w.want("AWSPREVIOUS", false, w.first.Password)
	})
}

func TestHealWithoutAnyLogin(t *testing.T) {
	w := newWorld(t, dbserver.Postgres, plain)
	w.changeBehind("Other_1aA")
	w.refused("", rotation.StepHeal, rotation.ClassSecret, "masterarn")
	w.want("what somebody has set", true, "Other_1aA")
}

func TestHealDuringARotation(t *testing.T) {
	w := newWorld(t, dbserver.MariaDB, plain)
	w.addAdmin(w.admin.User, w.admin.Password)
	w.store.begin(secretID, "version-1")
	w.until("version-1", rotation.StepSet)
	w.refused("", rotation.StepHeal, rotation.ClassSecret, "not complete")
	w.store.secrets[secretID].disabled = true // it was cancelled
	w.must("", rotation.StepHeal)
	w.want("AWSCURRENT", true, w.first.Password)
}

// TestHealOfAServerThatIsDown changes nothing: only a refusal is one.
func TestHealOfAServerThatIsDown(t *testing.T) {
	w := newWorld(t, dbserver.MySQL, plain)
	w.addAdmin(w.admin.User, w.admin.Password)
	w.f.Secrets = w.store // only the database is gone
	w.outage.end()
	w.refused("", rotation.StepHeal, rotation.ClassTCP)
	w.outage.revive()
}
