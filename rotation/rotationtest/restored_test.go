package rotationtest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestAlternatingRestoredWithoutTheClone: a backup from before the first rotation has
// no second user. The first one takes its turn with the rights that it has, and the
// rotation after that makes the second one anew.
func TestAlternatingRestoredWithoutTheClone(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newTurns(t, p)
		w.rotate("version-1")
		before := w.rights(w.first.Username)
		w.dropClone()
		w.refused("", rotation.StepHeal, rotation.ClassSecret, "rotate")
		w.rotate("version-2")
		w.wantIn("after the first rotation", "AWSCURRENT")
		if diff := cmp.Diff(before, w.rights(w.first.Username)); diff != "" {
			t.Errorf("rights of the first user (-before +after):\n%s", diff)
		}
		w.rotate("version-3")
		w.wantIn("after the second rotation", "AWSCURRENT", "AWSPREVIOUS")
		w.equal("after the second rotation")
	})
}

func (w *world) dropClone() {
	w.t.Helper()
	if w.product == dbserver.Postgres {
		w.sql("DROP ROLE %s", w.clone())
		return
	}
	for _, host := range w.column("SELECT host FROM mysql.user WHERE user = '" + w.clone() + "'") {
		w.sql("DROP USER '%s'@'%s'", w.clone(), host)
	}
}
