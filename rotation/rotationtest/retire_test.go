package rotationtest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

func TestRetireWaitsForARunningRotation(t *testing.T) {
	amidTheNext(t, func(t *testing.T, w *world, last string) {
		if r := w.must("version-1", rotation.StepRetire); r.RetireAfterSeconds == 0 {
			t.Errorf("after %q: retireSecret does not ask to come again", last)
		}
		w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
	})
}

// amidTheNext tells a story at each point of the rotation that follows one with two
// passwords, and then lets it go on to its end.
func amidTheNext(t *testing.T, story func(t *testing.T, w *world, last string)) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		for _, last := range []string{"", rotation.StepCreate, rotation.StepSet, rotation.StepTest} {
			w := newWorld(t, p, privileged)
			w.rotate("version-1")
			w.store.begin(secretID, "version-2")
			w.until("version-2", last)
			story(t, w, last)
			w.until("version-2", rotation.StepFinish)
			w.want("AWSCURRENT and AWSPREVIOUS", true, w.login("AWSCURRENT").Password, w.login("AWSPREVIOUS").Password)
		}
	})
}

// until runs the steps up to one, "" runs none.
func (w *world) until(token, last string) {
	w.t.Helper()
	if last == "" {
		return
	}
	for _, step := range rotationSteps {
		w.must(token, step)
		if step == last {
			return
		}
	}
}

func TestRetireOfAnOlderRotationDoesNothing(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.rotate("version-1")
		w.rotate("version-2")
		if r := w.must("version-1", rotation.StepRetire); !reflect.DeepEqual(r, rotation.Result{}) {
			t.Errorf("retireSecret answered %+v", r)
		}
		w.want("the two", true, w.login("AWSCURRENT").Password, w.login("AWSPREVIOUS").Password)
	})
}

// TestAbandonedRotation sets a pending password and gives it up: the password
// of AWSCURRENT is the older one of the two from then on. Neither retireSecret
// nor the next rotation may end it.
func TestAbandonedRotation(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.rotate("version-1")
		w.store.begin(secretID, "version-2")
		w.until("version-2", rotation.StepSet)
		abandoned := w.login("AWSPENDING").Password
		w.store.abandon(secretID)

		w.must("version-1", rotation.StepRetire)
		w.want("AWSCURRENT after retireSecret", true, w.login("AWSCURRENT").Password)

		w.store.begin(secretID, "version-3")
		w.until("version-3", rotation.StepTest)
		w.want("AWSCURRENT before finishSecret", true, w.login("AWSCURRENT").Password)
		w.want("the abandoned one", false, abandoned)
		w.must("version-3", rotation.StepFinish)
		w.must("version-3", rotation.StepRetire)
		w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
		w.want("AWSPREVIOUS", false, w.login("AWSPREVIOUS").Password)
	})
}

// TestAbandonedSingleUser leaves the database with a password that no label
// names; a near-atomic change leaves none, so there somebody sets it. The account
// cannot help itself.
func TestAbandonedSingleUser(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain, `"rotationStrategy":"SingleUser"`)
		w.store.begin(secretID, "version-1")
		w.until("version-1", rotation.StepSet)
		w.store.abandon(secretID)
		if p == dbserver.Postgres {
			w.changeBehind("Other_1aA")
		}
		w.store.begin(secretID, "version-2")
		w.must("version-2", rotation.StepCreate)
		w.refused("version-2", rotation.StepSet, rotation.ClassAuth, "masterarn")
	})
}

// TestRetireNeedsThePrivilege takes it away in between.
func TestRetireNeedsThePrivilege(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.rotate("version-1")
		w.revoke()
		w.refused("version-1", rotation.StepRetire, rotation.ClassPrivilege)
		w.want("both", true, w.login("AWSCURRENT").Password, w.first.Password)

		w.addAdmin(w.admin.User, w.admin.Password)
		w.must("version-1", rotation.StepRetire)
		w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
		w.want("AWSPREVIOUS", false, w.first.Password)
	})
}

func TestRetireAfterRotationWasDisabled(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.rotate("version-1")
		w.store.secrets[secretID].disabled = true
		w.must("version-1", rotation.StepRetire)
		w.want("AWSPREVIOUS", false, w.first.Password)
	})
}

// TestPasswordHistory forbids to set a password again.
func TestPasswordHistory(t *testing.T) {
	w := newWorld(t, dbserver.MySQL, privileged)
	w.sql("ALTER USER '%s'@'%%' PASSWORD HISTORY 5", w.first.Username)
	for _, token := range []string{"version-1", "version-2"} {
		if set, _ := w.rotate(token); set.Strategy != rotation.StrategyDualPassword {
			t.Errorf("setSecret used %s", set.Strategy)
		}
	}
	w.must("version-2", rotation.StepRetire)
	w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
	w.want("AWSPREVIOUS", false, w.login("AWSPREVIOUS").Password)
}

// TestPasswordRequireCurrent asks for the old password in every change.
func TestPasswordRequireCurrent(t *testing.T) {
	for _, kind := range []accountKind{plain, privileged} {
		w := newWorld(t, dbserver.MySQL, kind)
		w.sql("ALTER USER '%s'@'%%' PASSWORD REQUIRE CURRENT", w.first.Username)
		w.rotate("version-1")
		w.must("version-1", rotation.StepRetire)
		w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
		w.want("AWSPREVIOUS", false, w.first.Password)
	}
}

// TestRetireLogsInOnce where the server itself makes sure that the older password
// ends.
func TestRetireLogsInOnce(t *testing.T) {
	w := newWorld(t, dbserver.MySQL, privileged)
	w.rotate("version-1")
	l := &listening{Engine: w.direct}
	w.f.Engine = l
	w.must("version-1", rotation.StepRetire)
	if len(l.tried) != 1 {
		t.Errorf("%d logins", len(l.tried))
	}
	w.want("old", false, w.first.Password)
	w.want("new", true, w.login("AWSCURRENT").Password)
}

// TestRetireOfARotationThatWasTakenBack: somebody has moved AWSCURRENT to the older
// one of two passwords, which must not end.
func TestRetireOfARotationThatWasTakenBack(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.rotate("version-1")
		w.store.secrets[secretID].move("AWSCURRENT", "version-0")
		w.must("version-0", rotation.StepRetire)
		w.want("AWSCURRENT", true, w.first.Password)
	})
}

// TestRetireWithoutAToken: what has no token is of no rotation.
func TestRetireWithoutAToken(t *testing.T) {
	w := newWorld(t, dbserver.MariaDB, privileged)
	w.rotate("version-1")
	w.store.secrets[secretID].unlabel("AWSPENDING")
	w.must("", rotation.StepRetire)
	w.want("AWSCURRENT and AWSPREVIOUS", true, w.login("AWSCURRENT").Password, w.first.Password)
}

// TestRetireAfterAnEdit: somebody has changed another key of the value within the grace
// period, once or more often. No label is left on the version with the old password.
func TestRetireAfterAnEdit(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		for edits := 1; edits <= 2; edits++ {
			for _, admin := range []bool{false, true} {
				w := newWorld(t, p, privileged)
				if admin {
					w.addAdmin(w.admin.User, w.admin.Password)
				}
				w.rotate("version-1")
				if admin {
					w.revoke()
				}
				for range edits {
					w.edit()
				}
				if r := w.must("version-1", rotation.StepRetire); r.Strategy != rotation.StrategyDualPassword {
					t.Errorf("retireSecret answered %+v", r)
				}
				w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
				w.want("the old password", false, w.first.Password)
			}
		}
	})
}

// TestRetireAfterAnEditAndAnAbandonedRotation: the rotation that was given up has left a
// newer password than that of AWSCURRENT, which must not end.
func TestRetireAfterAnEditAndAnAbandonedRotation(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		for _, history := range []string{"", "PASSWORD HISTORY 5"} {
			w := newWorld(t, p, privileged)
			if history != "" && p == dbserver.MySQL {
				w.sql("ALTER USER '%s'@'%%' %s", w.first.Username, history)
			}
			w.rotate("version-1")
			w.store.begin(secretID, "version-2")
			w.until("version-2", rotation.StepSet)
			w.edit()
			w.store.abandon(secretID)
			w.must("version-1", rotation.StepRetire)
			w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
		}
	})
}

// TestRetireAfterAChangeOfStrategy: within the grace period the secret was set to rotate
// by AlternatingUsers, and the next rotation may be far away.
func TestRetireAfterAChangeOfStrategy(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.rotate("version-1")
		w.put(`"rotationStrategy":"AlternatingUsers"`)
		if r := w.must("version-1", rotation.StepRetire); r.Strategy != rotation.StrategyDualPassword {
			t.Errorf("retireSecret answered %+v", r)
		}
		w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
		w.want("the old password", false, w.first.Password)
	})
}

// edit stores the value of AWSCURRENT with one more key.
func (w *world) edit() {
	w.t.Helper()
	w.put(fmt.Sprintf(`"note-%d":""`, len(w.store.secrets[secretID].values)))
}

// put stores the value of AWSCURRENT with one more member.
func (w *world) put(member string) {
	sec := w.store.secrets[secretID]
	value, version := w.store.value(secretID, "AWSCURRENT"), fmt.Sprint("edit-", len(sec.values))
	sec.values[version] = fmt.Sprintf("%s,%s}", value[:len(value)-1], member)
	sec.move("AWSCURRENT", version)
}

// TestRetireAfterACancelledRotation: CancelRotateSecret leaves AWSPENDING where it is, for
// good if nobody takes it away. The rotation may be taken up again all the same.
func TestRetireAfterACancelledRotation(t *testing.T) {
	amidTheNext(t, func(t *testing.T, w *world, last string) {
		w.store.secrets[secretID].disabled = true
		if r := w.must("version-1", rotation.StepRetire); r.RetireAfterSeconds != 0 {
			t.Errorf("after %q: retireSecret comes again after %d seconds", last, r.RetireAfterSeconds)
		}
		w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
		w.want("the old password", false, w.first.Password)
		w.store.secrets[secretID].disabled = false
	})
}

// TestRetireAfterAChangeByHand: within the grace period somebody has changed the password
// in the database and stored it. MySQL then keeps the one that the rotation has kept.
func TestRetireAfterAChangeByHand(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.rotate("version-1")
		w.sql("ALTER USER '%s'@'%%' IDENTIFIED BY 'By.Hand_1'", w.first.Username)
		w.replacePassword("By.Hand_1")
		w.must("version-1", rotation.StepRetire)
		w.want("AWSCURRENT", true, "By.Hand_1")
		w.want("the old password", false, w.first.Password)
	})
}

// replacePassword stores the value of AWSCURRENT with another password.
func (w *world) replacePassword(password string) {
	sec := w.store.secrets[secretID]
	sec.values["by-hand"] = strings.Replace(w.store.value(secretID, "AWSCURRENT"), w.login("AWSCURRENT").Password, password, 1)
	sec.move("AWSCURRENT", "by-hand")
}
