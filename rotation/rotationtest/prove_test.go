package rotationtest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// counted is an engine that counts the logins that the server refused.
type counted struct {
	rotation.Engine
	refused map[string]int // :: password → how often
}

func (c counted) Connect(ctx context.Context, l rotation.Login) (rotation.Session, error) {
	session, err := c.Engine.Connect(ctx, l)
	if rotation.ClassOf(err) == rotation.ClassAuth {
		c.refused[l.Password]++
	}
	return session, err
}

// prove runs proveSecret, and returns "labels outcome" for each try.
func (w *world) prove() (said []string) {
	w.t.Helper()
	c := counted{w.direct, map[string]int{}}
	w.f.Engine = c
	defer func() { w.f.Engine = w.direct }()
	for _, l := range w.must("", rotation.StepProve).Logins {
		w.noPasswords(fmt.Sprint(l))
		if l.At.IsZero() || (l.Outcome == rotation.LoginLive) != (l.Error == "" && l.Class == "") {
			w.t.Errorf("the proof is %+v", l)
		}
		said = append(said, strings.Join(l.Stages, "+")+" "+l.Outcome)
	}
	for _, n := range c.refused {
		if n > 1 {
			w.t.Errorf("the same wrong password was tried %d times", n)
		}
	}
	return said
}

func (w *world) proves(when string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.prove()); diff != "" {
		w.t.Errorf("%s: %s", when, diff)
	}
}

// TestProveFollowsARotation looks after every step which passwords are live.
func TestProveFollowsARotation(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		for _, kind := range []accountKind{plain, privileged} {
			w := newWorld(t, p, kind)
			old := "refused"
			if expected(p, kind) == rotation.StrategyDualPassword {
				old = "live"
			}
			w.proves("before", "AWSCURRENT live")
			w.store.begin(secretID, "version-1")
			w.proves("reserved", "AWSCURRENT live")
			w.until("version-1", rotation.StepCreate)
			w.proves("created", "AWSCURRENT live", "AWSPENDING refused")
			w.until("version-1", rotation.StepTest)
			if p == dbserver.Postgres { // near-atomic: AWSCURRENT has moved
				w.proves("set", "AWSCURRENT+AWSPENDING live", "AWSPREVIOUS refused")
			} else {
				w.proves("set", "AWSCURRENT "+old, "AWSPENDING live")
			}
			w.must("version-1", rotation.StepFinish)
			w.proves("finished", "AWSCURRENT+AWSPENDING live", "AWSPREVIOUS "+old)
			w.must("version-1", rotation.StepRetire)
			w.proves("retired", "AWSCURRENT+AWSPENDING live", "AWSPREVIOUS refused")
		}
	})
}

// TestProveWhileDisabled: a cancelled rotation is when one wants to know.
func TestProveWhileDisabled(t *testing.T) {
	w := newWorld(t, dbserver.MariaDB, plain)
	w.store.begin(secretID, "version-1")
	w.until("version-1", rotation.StepSet)
	w.store.secrets[secretID].disabled = true
	w.proves("disabled", "AWSCURRENT refused", "AWSPENDING live")
}

// TestProveLocksNobodyOut: the account is locked by the second wrong login in
// a row.
func TestProveLocksNobodyOut(t *testing.T) {
	w := newWorld(t, dbserver.MySQL, plain)
	w.rotate("version-1")
	w.store.begin(secretID, "version-2")
	w.must("version-2", rotation.StepCreate)
	w.sql("ALTER USER '%s'@'%%' FAILED_LOGIN_ATTEMPTS 2 PASSWORD_LOCK_TIME UNBOUNDED", w.first.Username)
	for range 3 {
		w.proves("again", "AWSCURRENT live", "AWSPENDING refused", "AWSPREVIOUS refused")
	}
}

// TestProveTriesAPasswordOnce: another version with the same password.
func TestProveTriesAPasswordOnce(t *testing.T) {
	w := newWorld(t, dbserver.Postgres, plain)
	w.changeBehind("Other_1aA")
	w.store.begin(secretID, "version-1")
	w.store.secrets[secretID].values["version-1"] = w.value(`"note":"the same login"`)
	w.proves("both", "AWSCURRENT refused", "AWSPENDING refused")
}

// TestProveSendsNothingElsewhere: a staged value names another server.
func TestProveSendsNothingElsewhere(t *testing.T) {
	w := newWorld(t, dbserver.MariaDB, plain)
	w.store.begin(secretID, "version-1")
	w.store.secrets[secretID].values["version-1"] = strings.Replace(w.value(), w.first.Host, "db.example.com", 1)
	w.proves("elsewhere", "AWSCURRENT live", "AWSPENDING unknown")
	if l := w.must("", rotation.StepProve).Logins[1]; l.Class != rotation.ClassSecret {
		t.Errorf("the class is %q", l.Class)
	}
}

// end ends the process, so that nothing goes out any more.
func (o *outage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dead = true
}

// TestProveOfAServerThatIsDown tries one login, not three.
func TestProveOfAServerThatIsDown(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.rotate("version-1")
		w.f.Secrets = w.store // only the database is gone
		w.outage.end()
		w.proves("down", "AWSCURRENT+AWSPENDING unknown", "AWSPREVIOUS unknown")
		logins := w.must("", rotation.StepProve).Logins
		if logins[0].Class != rotation.ClassTCP || !strings.HasPrefix(logins[1].Error, "not tried") {
			t.Errorf("the proofs are %+v", logins)
		}
		w.outage.revive()
	})
}

func TestProveNeedsALogin(t *testing.T) {
	w := newWorld(t, dbserver.MariaDB, plain)
	w.store.secrets[secretID].values["version-0"] = `{"password":"First_1aA"}`
	w.refused("", rotation.StepProve, rotation.ClassSecret)
}
