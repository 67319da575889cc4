package rotationtest

import (
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestRedisUserThatIsOff: the server refuses all its passwords, and takes them again
// when it is on; an administrator leaves them alone until then.
func TestRedisUserThatIsOff(t *testing.T) {
	for _, extra := range [][]string{nil, {`"rotationStrategy":"SingleUser"`}} {
		w := newWorld(t, dbserver.Redis, plain, extra...)
		w.addAdmin(w.admin.User, w.admin.Password)
		w.sql("ACL SETUSER %s off", w.first.Username)
		w.store.begin(secretID, "version-1")
		w.must("version-1", rotation.StepCreate)
		w.refused("version-1", rotation.StepSet, rotation.ClassPolicy, "is off")
		w.sql("ACL SETUSER %s on", w.first.Username)
		w.want("AWSCURRENT", true, w.first.Password)
		w.must("version-1", rotation.StepSet)
	}
}
