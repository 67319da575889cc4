package rotationtest

import (
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestOtherUserIsBlocked: refused logins with a password that has ended block the user
// whose turn comes next. It gets a new password, and starts anew.
func TestOtherUserIsBlocked(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := newTurns(t, p)
		w.lockAfter(3)
		w.rotate("version-1")
		w.must("version-1", rotation.StepRetire)
		for range 4 { // as canary logins do
			w.must("", rotation.StepProve)
		}
		if l := w.must("", rotation.StepProve).Logins[1]; l.Username != w.first.Username || l.Class != rotation.ClassPolicy {
			t.Fatalf("the other user is not blocked: %+v", l)
		}
		w.rotate("version-2")
		w.wantIn("after its turn", "AWSCURRENT", "AWSPREVIOUS")

		wrong := w.login("AWSPREVIOUS")
		wrong.Password, wrong.Host, wrong.Port = "Wrong_1aA", w.admin.Host, w.admin.Port
		for range 4 {
			_, _ = w.direct.Connect(t.Context(), wrong)
		}
		w.must("version-2", rotation.StepRetire)
		w.unblock(wrong.Username)
		if w.in(w.login("AWSPREVIOUS")) {
			t.Error("the password of a blocked user has not ended")
		}
	})
}

func (w *world) unblock(user string) {
	w.t.Helper()
	if w.product == dbserver.MySQL {
		w.sql("ALTER USER '%s'@'%%' ACCOUNT UNLOCK", user)
		return
	}
	w.sql("FLUSH PRIVILEGES")
}
