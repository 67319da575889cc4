package rotationtest

import (
	"fmt"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// onePassword is what PostgreSQL's engine says of itself.
type onePassword struct{ *listening }

func (onePassword) OnePassword() {}

// toldRotation runs the steps as the scheduler does, and returns how many logins
// there were by the administrator and by the account.
func (w *world) toldRotation(token string) (admin, own int) {
	w.t.Helper()
	l := &listening{Engine: w.direct}
	w.f.Engine = l
	if w.product == dbserver.Postgres {
		w.f.Engine = onePassword{l}
	}
	w.store.begin(secretID, token)
	told := w.teller(token)
	for _, step := range rotationSteps {
		if _, err := told.step(step); err != nil {
			w.t.Fatalf("%s of %s: %v", step, token, err)
		}
	}
	w.f.Engine = w.direct
	for _, password := range l.tried {
		if password == w.admin.Password {
			admin++
		}
	}
	return admin, len(l.tried) - admin
}

// TestAdminsShareASession of the administrator, one rotation after another. On
// PostgreSQL, where no password stays beside the new one, nobody logs in by that of
// AWSCURRENT.
func TestAdminsShareASession(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.addAdmin(w.admin.User, w.admin.Password)
		w.f.Admins = &rotation.Admins{}
		own := 2
		if p == dbserver.Postgres {
			own = 1
		}
		for i, admin := range []int{1, 0, 0} {
			a, o := w.toldRotation(fmt.Sprint("version-", i+1))
			if a != admin || o != own {
				t.Errorf("rotation %d: %d logins by the administrator and %d by the account, want %d and %d", i+1, a, o, admin, own)
			}
		}
		w.outage.revive() // cuts all connections
		if a, _ := w.toldRotation("version-4"); a != 1 {
			t.Errorf("%d logins by the administrator after its session was cut, want 1", a)
		}
		w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
		w.want("the first one", false, w.first.Password)
	})
}
