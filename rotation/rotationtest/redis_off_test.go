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
