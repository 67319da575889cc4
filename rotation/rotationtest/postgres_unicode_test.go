package rotationtest

import (
	"fmt"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestPostgresPasswordsThatAreNormalized: the server has made its verifier of another form
// of them than the driver does (SASLprep). One that logs in is not taken away.
func TestPostgresPasswordsThatAreNormalized(t *testing.T) {
	for _, password := range []string{"Grün_1", "½²ª_1aA", "\ufb01\uff21_1\u00a0a", "a\u00adb\u200bc_1A", "😀ſ_1aA"} {
		t.Run(fmt.Sprintf("%+q", password), func(t *testing.T) {
			w := newWorld(t, dbserver.Postgres, plain)
			w.t.Cleanup(w.dropOthers)
			w.sql("ALTER ROLE %s PASSWORD '%s'", w.first.Username, password)
			w.first.Password = password
			w.store.create(secretID, w.value(alternatingKey))
			w.addAdmin(w.admin.User, w.admin.Password)
			w.store.begin(secretID, "version-1")
			w.must("version-1", rotation.StepCreate)
			w.refused("version-1", rotation.StepSet, rotation.ClassPolicy, "printable ASCII")
			w.wantIn("after the refusal", "AWSCURRENT")
			w.store.create(secretID, w.value())
			w.rotate("version-2")
		})
	}
}
