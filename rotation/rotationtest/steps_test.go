package rotationtest

import (
	"reflect"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

func TestEveryStepTwice(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		for _, kind := range []accountKind{plain, privileged} {
			t.Run(expected(p, kind), func(t *testing.T) { everyStepTwice(t, p, kind) })
		}
	})
}

func everyStepTwice(t *testing.T, p dbserver.Product, kind accountKind) {
	w := newWorld(t, p, kind)
	w.store.begin(secretID, "version-1")
	for _, step := range rotationSteps {
		first, second := w.must("version-1", step), w.must("version-1", step)
		if !reflect.DeepEqual(untimed(first), untimed(second)) {
			t.Errorf("%s answered %+v, then %+v", step, first, second)
		}
		if step == rotation.StepSet && first.Strategy != expected(p, kind) {
			t.Errorf("setSecret used %s, want %s", first.Strategy, expected(p, kind))
		}
	}
	dual := expected(p, kind) == rotation.StrategyDualPassword
	w.want("new", true, w.login("AWSCURRENT").Password)
	w.want("old before retireSecret", dual, w.first.Password)
	w.must("version-1", rotation.StepRetire)
	w.must("version-1", rotation.StepRetire)
	w.want("new", true, w.login("AWSCURRENT").Password)
	w.want("old after retireSecret", false, w.first.Password)
}

// untimed is a result without what a clock has measured, and what only the first
// of two equal steps can say.
func untimed(r rotation.Result) rotation.Result {
	r.Created = false
	r.ChangedAtMicros, r.PromotedAtMicros, r.ExposureMicros = 0, 0, nil
	return r
}

func TestOnlyThePasswordChanges(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain, `"zeta": 1.50, "note":"été \u00e9", "nested": { "a" : [1e3] }`)
		w.rotate("version-1")
		want := strings.Replace(w.value(`"zeta": 1.50, "note":"été \u00e9", "nested": { "a" : [1e3] }`),
			w.first.Password, w.login("AWSCURRENT").Password, 1)
		if w.store.value(secretID, "AWSCURRENT") != want {
			t.Error("more than the password has changed in the value")
		}
	})
}

func TestResultOfFinish(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		for _, kind := range []accountKind{plain, privileged} {
			w := newWorld(t, p, kind)
			_, finish := w.rotate("version-1")
			want := rotation.Result{Strategy: rotation.StrategySingleUser}
			if expected(p, kind) == rotation.StrategyDualPassword {
				want = rotation.Result{Strategy: rotation.StrategyDualPassword, RetireAfterSeconds: 24 * 60 * 60}
			}
			if !reflect.DeepEqual(untimed(finish), want) {
				t.Errorf("finishSecret answered %+v, want %+v", finish, want)
			}
		}
	})
}

// TestNeverThreePasswords rotates again before the old password is retired.
func TestNeverThreePasswords(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.rotate("version-1")
		second := w.login("AWSCURRENT").Password
		w.rotate("version-2")
		w.want("the two", true, second, w.login("AWSCURRENT").Password)
		w.want("the third", false, w.first.Password)
	})
}

// TestForgottenPasswordEnds rotates by SingleUser what DualPassword left.
func TestForgottenPasswordEnds(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.rotate("version-1")
		second := w.login("AWSCURRENT").Password
		w.setStrategy(rotation.StrategySingleUser)
		set, _ := w.rotate("version-2")
		if set.Strategy != rotation.StrategySingleUser {
			t.Errorf("setSecret used %s", set.Strategy)
		}
		w.want("older ones", false, w.first.Password, second)
		w.want("new", true, w.login("AWSCURRENT").Password)
	})
}

// TestForgottenPasswordCannotEnd takes the privilege away while two passwords
// are valid: changing one would leave the other valid for ever.
func TestForgottenPasswordCannotEnd(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.rotate("version-1")
		second := w.login("AWSCURRENT").Password
		w.revoke()
		w.store.begin(secretID, "version-2")
		w.must("version-2", rotation.StepCreate)
		w.refused("version-2", rotation.StepSet, rotation.ClassPrivilege, missing(p))
		w.want("AWSCURRENT", true, second)
	})
}

func TestExplicitDualPasswordNamesTheGrant(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain, `"rotationStrategy":"DualPassword"`)
		w.store.begin(secretID, "version-1")
		w.must("version-1", rotation.StepCreate)
		w.refused("version-1", rotation.StepSet, rotation.ClassPrivilege,
			"GRANT "+dualPrivilege(p)+" ON *.* TO '"+w.first.Username+"'@'%'")
		w.want("AWSCURRENT", true, w.first.Password)
	})
}

func TestExplicitDualPasswordOnPostgres(t *testing.T) {
	w := newWorld(t, dbserver.Postgres, plain, `"rotationStrategy":"DualPassword"`)
	w.store.begin(secretID, "version-1")
	w.must("version-1", rotation.StepCreate)
	w.refused("version-1", rotation.StepSet, rotation.ClassPolicy)
	w.want("AWSCURRENT", true, w.first.Password)
}
