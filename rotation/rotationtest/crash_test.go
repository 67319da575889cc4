package rotationtest

import (
	"fmt"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestCrashAfterEveryEffect ends the process after each outside effect of a
// rotation in turn, runs all steps again, and looks which passwords log in.
func TestCrashAfterEveryEffect(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		for _, kind := range []accountKind{plain, privileged} {
			strategy := expected(p, kind)
			if (p == dbserver.Postgres || p == dbserver.Redis) && kind == privileged {
				continue // no such privilege
			}
			for name, told := range map[string]bool{strategy: false, strategy + "/told": true} {
				t.Run(name, func(t *testing.T) {
					crashEverywhere(t, strategy, func(t *testing.T) *world {
						w := newWorld(t, p, kind)
						w.told = told
						return w
					})
				})
			}
		}
	})
}

// TestCrashOfAnAdmin does the same while an administrator makes the change.
func TestCrashOfAnAdmin(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		crashEverywhere(t, expected(p, privileged), func(t *testing.T) *world {
			w := newWorld(t, p, plain)
			w.addAdmin(w.admin.User, w.admin.Password)
			w.f.Admins = &rotation.Admins{}
			return w
		})
	})
}

// TestCrashWithForgottenPassword does the same while the account has a
// password left over from a rotation by the strategy DualPassword.
func TestCrashWithForgottenPassword(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		crashEverywhere(t, rotation.StrategySingleUser, func(t *testing.T) *world {
			w := newWorld(t, p, privileged)
			w.rotate("version-before")
			w.setStrategy(rotation.StrategySingleUser)
			return w
		})
	})
}

// TestCrashAfterAbandonedRotation does the same while AWSCURRENT is the older
// one of two passwords and the strategy SingleUser takes over.
func TestCrashAfterAbandonedRotation(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		crashEverywhere(t, rotation.StrategySingleUser, func(t *testing.T) *world {
			w := newWorld(t, p, privileged)
			w.store.begin(secretID, "version-abandoned")
			w.until("version-abandoned", rotation.StepSet)
			w.store.abandon(secretID)
			w.setStrategy(rotation.StrategySingleUser)
			return w
		})
	})
}

// crashEverywhere goes on until no effect is left to crash after.
func crashEverywhere(t *testing.T, strategy string, begin func(t *testing.T) *world) {
	for n := 1; ; n++ {
		died := false
		t.Run(fmt.Sprint(n), func(t *testing.T) { died = crashOnce(begin(t), strategy, n) })
		if t.Failed() || !died {
			return
		}
	}
}

// crashOnce tells whether there was an n-th effect.
func crashOnce(w *world, strategy string, n int) (died bool) {
	old := w.login("AWSCURRENT").Password
	w.outage.seen, w.outage.after = 0, n
	w.store.begin(secretID, "version-1")
	last := w.attempt()
	died = w.outage.isDead()
	if strategy == rotation.StrategyDualPassword {
		w.want("after the crash", true, w.login("AWSCURRENT").Password)
	}
	w.outage.revive()
	if w.product == dbserver.Postgres {
		w.exposed = w.wantPair("after the crash")
	}
	w.replay(strategy, old, last == rotation.StepRetire)
	return died
}

// wantPair checks what a near-atomic rotation keeps true at every moment: the
// password of AWSCURRENT or that of AWSPREVIOUS is the one that logs in. It tells
// whether AWSCURRENT is refused.
func (w *world) wantPair(when string) (exposed bool) {
	w.t.Helper()
	if w.valid(w.login("AWSCURRENT").Password) {
		return false
	}
	if w.store.value(secretID, "AWSPREVIOUS") == "" || !w.valid(w.login("AWSPREVIOUS").Password) {
		w.t.Errorf("%s: neither AWSCURRENT nor AWSPREVIOUS logs in", when)
	}
	return true
}

// attempt runs the steps as a scheduler does until one fails, and returns the
// last one that it ran.
func (w *world) attempt() (last string) {
	var r rotation.Result
	var err error
	told := w.teller("version-1")
	for _, step := range rotationSteps {
		if w.told {
			r, err = told.step(step)
		} else {
			r, err = w.step("version-1", step)
		}
		if err != nil {
			w.noPasswords(err.Error())
			return step
		}
	}
	if r.RetireAfterSeconds == 0 {
		return rotation.StepFinish
	}
	_, _ = w.step("version-1", rotation.StepRetire)
	return rotation.StepRetire
}

// replay runs all steps from the first one and checks every stage.
func (w *world) replay(strategy, old string, retire bool) {
	w.t.Helper()
	dual := strategy == rotation.StrategyDualPassword
	for _, step := range rotationSteps {
		r := w.must("version-1", step)
		if dual {
			w.want("after "+step, true, w.login("AWSCURRENT").Password)
		}
		w.checkResult(step, strategy, r)
		if step == rotation.StepSet && w.exposed && r.ExposureMicros == nil {
			w.t.Error("AWSCURRENT was refused after the crash, and setSecret does not say how long")
		}
		retire = retire || r.RetireAfterSeconds > 0
	}
	if retire {
		w.must("version-1", rotation.StepRetire)
	}
	now := w.login("AWSCURRENT").Password
	if now == old || w.store.secrets[secretID].holder("AWSCURRENT") != "version-1" {
		w.t.Error("AWSCURRENT is not the new version")
	}
	w.want("at the end, new", true, now)
	for _, value := range w.store.secrets[secretID].values {
		if l, err := rotation.ParseLogin(value); err == nil && l.Password != now {
			w.want("at the end, older", false, l.Password)
		}
	}
}

// checkResult allows an empty strategy where nothing was left to do.
func (w *world) checkResult(step, strategy string, r rotation.Result) {
	w.t.Helper()
	if r.Strategy != "" && r.Strategy != strategy && !w.retired() {
		w.t.Errorf("%s: strategy %s, want %s", step, r.Strategy, strategy)
	}
	if step == rotation.StepFinish && r.RetireAfterSeconds != 0 && strategy == rotation.StrategySingleUser {
		w.t.Errorf("finishSecret asks to retire after %d s for %s", r.RetireAfterSeconds, strategy)
	}
}

// retired tells whether the crash came so late that only one password is left.
func (w *world) retired() bool {
	prev := w.store.value(secretID, "AWSPREVIOUS")
	return prev != "" && !w.valid(w.login("AWSPREVIOUS").Password)
}

// setStrategy edits the current value in place.
func (w *world) setStrategy(strategy string) {
	sec := w.store.secrets[secretID]
	version := sec.holder("AWSCURRENT")
	value := sec.values[version]
	sec.values[version] = fmt.Sprintf(`%s,"rotationStrategy":%q}`, value[:len(value)-1], strategy)
}
