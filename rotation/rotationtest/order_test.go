package rotationtest

import (
	"fmt"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestAdminUnderHistory: rules that forbid to set the password of AWSCURRENT once more
// do not end rotations that come before the old password has ended.
func TestAdminUnderHistory(t *testing.T) {
	for _, plugin := range []string{"caching_sha2_password", "sha256_password"} {
		w := newWorld(t, dbserver.MySQL, plain)
		w.sql("ALTER USER '%s'@'%%' IDENTIFIED WITH %s BY '%s' PASSWORD HISTORY 9", w.first.Username, plugin, w.first.Password)
		w.addAdmin(w.admin.User, w.admin.Password)
		for i := range 3 {
			w.rotate(fmt.Sprint("version-", i+1))
			w.wantIn("after a rotation", "AWSCURRENT", "AWSPREVIOUS")
		}
		w.want("the oldest", false, w.first.Password)

		w.store.begin(secretID, "version-abandoned")
		w.until("version-abandoned", rotation.StepSet)
		abandoned := w.login("AWSPENDING").Password
		w.store.abandon(secretID)
		w.store.begin(secretID, "version-5")
		w.until("version-5", rotation.StepTest)
		w.wantIn("while the older one is AWSCURRENT", "AWSCURRENT", "AWSPENDING")
		w.want("the abandoned one", false, abandoned)
		w.must("version-5", rotation.StepFinish)
		w.must("version-5", rotation.StepRetire)
		w.wantIn("at the end", "AWSCURRENT")
		w.want("AWSPREVIOUS", false, w.login("AWSPREVIOUS").Password)
	}
}

// TestAdminLeavesWhatWasTakenBack is TestRetireOfARotationThatWasTakenBack where the
// account may not end a password itself, so an administrator does.
func TestAdminLeavesWhatWasTakenBack(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.addAdmin(w.admin.User, w.admin.Password)
		w.rotate("version-1")
		if p == dbserver.Redis {
			w.revoke()
		}
		w.store.secrets[secretID].move("AWSCURRENT", "version-0")
		w.must("version-0", rotation.StepRetire)
		w.want("AWSCURRENT", true, w.first.Password)
	})
}
