package rotationtest

import (
	"fmt"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// limit gives an account no more than n connections at a time.
func (w *world) limit(n int) {
	w.t.Helper()
	if w.product == dbserver.Postgres {
		w.sql("ALTER ROLE %s CONNECTION LIMIT %d", w.first.Username, n)
		return
	}
	w.sql("ALTER USER '%s'@'%%' WITH MAX_USER_CONNECTIONS %d", w.first.Username, n)
}

// TestOneConnection: an account that may have one connection rotates as any other,
// with and without an administrator, and may be rehearsed.
func TestOneConnection(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		for _, kind := range []accountKind{plain, privileged} {
			for _, admin := range []bool{false, true} {
				w := newWorld(t, p, kind)
				w.limit(1)
				if admin {
					w.addAdmin(w.admin.User, w.admin.Password)
					w.must("", rotation.StepRehearse)
				}
				for i := range 3 {
					token := fmt.Sprint("version-", i+1)
					w.store.begin(secretID, token)
					for _, step := range rotationSteps {
						w.must(token, step)
						w.must(token, step)
					}
					w.must(token, rotation.StepRetire)
				}
				w.must("", rotation.StepProve)
				w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
				w.want("the first one", false, w.first.Password)
			}
		}
	})
}

// TestOneConnectionUnderRules is where MySQL does not end the older password surely.
func TestOneConnectionUnderRules(t *testing.T) {
	w := newWorld(t, dbserver.MySQL, privileged)
	w.sql("ALTER USER '%s'@'%%' WITH MAX_USER_CONNECTIONS 1 PASSWORD HISTORY 5", w.first.Username)
	for i := range 2 {
		w.rotate(fmt.Sprint("version-", i+1))
	}
	w.must("version-2", rotation.StepRetire)
	w.want("AWSPREVIOUS", false, w.login("AWSPREVIOUS").Password)
}

// TestAllConnectionsInUse by the application: nothing has happened where the account
// has to log in, and the error says what to do.
func TestAllConnectionsInUse(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.limit(1)
		application := w.session(w.first.Password)
		w.store.begin(secretID, "version-1")
		w.must("version-1", rotation.StepCreate)
		w.refused("version-1", rotation.StepSet, rotation.ClassDatabase, rotation.ErrConnectionLimit.Error(), "CONNECTION")
		w.check(application.Close())
		w.must("version-1", rotation.StepSet)
	})
}

// TestAllConnectionsInUseAfterTheChange, which an administrator makes: the promotion
// does not wait for an application to go.
func TestAllConnectionsInUseAfterTheChange(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain, `"rotationStrategy":"SingleUser"`)
		w.addAdmin(w.admin.User, w.admin.Password)
		w.limit(1)
		w.session(w.first.Password)
		w.store.begin(secretID, "version-1")
		told := w.teller("version-1")
		for _, step := range rotationSteps {
			if _, err := told.step(step); err != nil {
				t.Fatalf("%s: %v", step, err)
			}
		}
		logins := w.must("", rotation.StepProve).Logins
		if logins[0].Outcome != rotation.LoginLive {
			t.Errorf("proveSecret says %+v", logins)
		}
	})
}

// TestUpdatesOfAnHour are used up: the error names the limit.
func TestUpdatesOfAnHour(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.sql("ALTER USER '%s'@'%%' WITH MAX_UPDATES_PER_HOUR 1", w.first.Username)
		w.rotate("version-1")
		w.store.begin(secretID, "version-2")
		w.must("version-2", rotation.StepCreate)
		w.refused("version-2", rotation.StepSet, rotation.ClassDatabase, "1226", "MAX_UPDATES_PER_HOUR")
		w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
	})
}

// TestRehearsalWithOneConnection of the account that makes the throw-away user.
func TestRehearsalWithOneConnection(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		switch p {
		case dbserver.Postgres:
			w.sql("ALTER ROLE %s CREATEROLE", w.first.Username)
		case dbserver.MySQL:
			w.sql("GRANT CREATE USER, APPLICATION_PASSWORD_ADMIN ON *.* TO '%s'@'%%' WITH GRANT OPTION", w.first.Username)
		default:
			w.sql("GRANT CREATE USER ON *.* TO '%s'@'%%' WITH GRANT OPTION", w.first.Username)
		}
		w.limit(1)
		for range 5 {
			w.plan(rotation.StepRehearse)
		}
		w.wantNoThrowAways()
	})
}
