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
		w.leftAlone("ACL SETUSER %s off", "ACL SETUSER %s on", rotation.ClassPolicy, "is off")
		w.must("version-1", rotation.StepSet)
	}
}

// TestRedisLoginIsTriedBeforeAdoption: there is no plan, but where an administrator makes the
// change the value of AWSCURRENT is tried all the same.
func TestRedisLoginIsTriedBeforeAdoption(t *testing.T) {
	w := newWorld(t, dbserver.Redis, plain)
	w.addAdmin(w.admin.User, w.admin.Password)
	w.refused("", rotation.StepPlan, rotation.ClassSecret, rotation.ErrNoPlan.Error())
	w.sql("ACL SETUSER %s off", w.first.Username)
	w.refused("", rotation.StepPlan, rotation.ClassAuth, "refuses the value of AWSCURRENT")
}
