package rotationtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

const alternatingKey = `"rotationStrategy":"AlternatingUsers"`

// newTurns is a world whose secret rotates by AlternatingUsers.
func newTurns(t *testing.T, p dbserver.Product) *world {
	t.Helper()
	w := newWorld(t, p, plain, alternatingKey)
	w.addAdmin(w.admin.User, w.admin.Password)
	w.t.Cleanup(w.dropOthers)
	return w
}

// dropOthers drops what a rotation has made beside the first user.
func (w *world) dropOthers() {
	other, owner := w.clone(), w.owner()
	if w.product != dbserver.Postgres {
		for _, host := range w.column("SELECT host FROM mysql.user WHERE user = '" + other + "'") {
			w.sql("DROP USER '%s'@'%s'", other, host)
		}
		return
	}
	for _, role := range []string{other, owner} {
		w.sql("DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '%[1]s') THEN DROP OWNED BY %[1]s; DROP ROLE %[1]s; END IF; END $$", role)
	}
}

func (w *world) clone() string { return w.first.Username + "_clone" }
func (w *world) owner() string { return w.first.Username + "_owner" }

// in tells whether a login is let in, past the proxy.
func (w *world) in(l rotation.Login) bool {
	w.t.Helper()
	l.Host, l.Port = w.admin.Host, w.admin.Port
	session, err := w.direct.Connect(w.t.Context(), l)
	if rotation.ClassOf(err) == rotation.ClassAuth {
		return false
	}
	if err != nil {
		w.t.Fatalf("logging in: %v", err)
	}
	_ = session.Close()
	return true
}

func (w *world) wantIn(when string, labels ...string) {
	w.t.Helper()
	for _, label := range labels {
		if !w.in(w.login(label)) {
			w.t.Errorf("%s: %s does not log in", when, label)
		}
	}
}

// rights reads what the server holds about a user.
func (w *world) rights(user string) []string {
	w.t.Helper()
	l := w.first
	l.Host, l.Port, l.Username, l.Password = w.admin.Host, w.admin.Port, w.admin.User, w.admin.Password
	session, err := w.direct.Connect(w.t.Context(), l)
	if err != nil {
		w.t.Fatal(err)
	}
	defer session.Close()
	lines, err := session.(rotation.RightsReader).Rights(w.t.Context(), user)
	if err != nil {
		w.t.Fatal(err)
	}
	return lines
}

// equal compares the rights of both users, in ours and, where there is one, in
// the server's own words.
func (w *world) equal(when string) {
	w.t.Helper()
	if diff := cmp.Diff(w.rights(w.first.Username), w.rights(w.clone())); diff != "" {
		w.t.Errorf("%s: the users differ (-%s +%s):\n%s", when, w.first.Username, w.clone(), diff)
	}
	if w.product == dbserver.Postgres {
		return
	}
	for _, host := range w.column("SELECT host FROM mysql.user WHERE user = '" + w.first.Username + "'") {
		one, two := w.shown(w.first.Username, host), w.shown(w.clone(), host)
		if diff := cmp.Diff(one, two); diff != "" {
			w.t.Errorf("%s: SHOW GRANTS differ at %s:\n%s", when, host, diff)
		}
	}
}

// shown is SHOW GRANTS without the name and the password.
func (w *world) shown(user, host string) []string {
	w.t.Helper()
	var lines []string
	for _, line := range w.column(fmt.Sprintf("SHOW GRANTS FOR '%s'@'%s'", user, host)) {
		if strings.HasPrefix(line, "SET DEFAULT ROLE") {
			continue // also told of a role that has been revoked
		}
		line = strings.ReplaceAll(line, "`"+user+"`", "`user`")
		if before, after, found := strings.Cut(line, " IDENTIFIED BY PASSWORD '"); found {
			_, after, _ = strings.Cut(after, "'")
			line = before + after
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// column asks MySQL or MariaDB for one column.
func (w *world) column(query string) (all []string) {
	w.t.Helper()
	db := w.adminDB()
	defer db.Close()
	rows, err := db.QueryContext(context.Background(), query)
	if err != nil {
		w.t.Fatalf("asking as the administrator: %v", err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			w.t.Fatal(err)
		}
		all = append(all, text)
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return all
}

func TestAlternatingUsersTakeTurns(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newTurns(t, p)
		for i, want := range []string{w.clone(), w.first.Username, w.clone()} {
			before := w.login("AWSCURRENT")
			set, finish := w.rotate(fmt.Sprint("version-", i+1))
			if set.Strategy != rotation.StrategyAlternatingUsers || finish.Strategy != rotation.StrategyAlternatingUsers || finish.RetireAfterSeconds != 0 {
				t.Errorf("setSecret answered %+v, finishSecret %+v", set, finish)
			}
			if got := w.login("AWSCURRENT").Username; got != want {
				t.Errorf("AWSCURRENT is of %s, want %s", got, want)
			}
			w.wantIn("after the rotation", "AWSCURRENT", "AWSPREVIOUS")
			if r := w.must(fmt.Sprint("version-", i+1), rotation.StepRetire); r.Strategy != rotation.StrategyAlternatingUsers || r.RetireAfterSeconds != 0 || w.in(before) {
				t.Errorf("retireSecret answered %+v; the password of AWSPREVIOUS must end", r)
			}
			w.must(fmt.Sprint("version-", i+1), rotation.StepRetire) // once more
			w.wantIn("after the retirement", "AWSCURRENT")
			w.equal("after the rotation")
		}
		w.wantNot("the first one", w.first)
	})
}

// TestRetireOtherThatAWSPREVIOUSDoesNotKnow: somebody has stored a wrong password, so that
// the one that is to end stands in no label; and then somebody has dropped that user.
func TestRetireOtherThatAWSPREVIOUSDoesNotKnow(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newTurns(t, p)
		w.rotate("version-1")
		before := w.login("AWSCURRENT")
		sec := w.store.secrets[secretID]
		sec.values["wrong"] = strings.Replace(w.store.value(secretID, "AWSCURRENT"), before.Password, "wrong", 1)
		sec.move("AWSCURRENT", "wrong")
		w.rotate("version-2")
		if r := w.must("version-2", rotation.StepRetire); r.Strategy != rotation.StrategyAlternatingUsers {
			t.Errorf("retireSecret answered %+v", r)
		}
		w.wantNot("the password that stands in no label", before)
		w.wantIn("after the retirement", "AWSCURRENT")
		w.dropOthers()
		if r := w.must("version-2", rotation.StepRetire); r.Strategy != rotation.StrategyAlternatingUsers {
			t.Errorf("without that user retireSecret answered %+v", r)
		}
	})
}

func (w *world) wantNot(what string, l rotation.Login) {
	w.t.Helper()
	if w.in(l) {
		w.t.Errorf("%s logs in", what)
	}
}

func TestAlternatingStepsTwice(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newTurns(t, p)
		for _, token := range []string{"version-1", "version-2"} {
			w.store.begin(secretID, token)
			for _, step := range rotationSteps {
				if first, second := w.must(token, step), w.must(token, step); first.Strategy != second.Strategy || first.RetireAfterSeconds != second.RetireAfterSeconds {
					t.Errorf("%s answered %+v, then %+v", step, first, second)
				}
				w.wantIn("after "+step, "AWSCURRENT")
			}
		}
		w.equal("at the end")
	})
}

// TestAlternatingCrash ends the process after each outside effect of a first
// rotation, which makes the other user, and of a second one, before which the
// rights have changed.
func TestAlternatingCrash(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		t.Run("first", func(t *testing.T) {
			alternatingCrash(t, func(t *testing.T) *world { return w0(newTurns(t, p)) })
		})
		t.Run("second", func(t *testing.T) {
			alternatingCrash(t, func(t *testing.T) *world {
				w := w0(newTurns(t, p))
				w.rotate("version-before")
				w.regrant()
				return w
			})
		})
	})
}

func w0(w *world) *world { w.grant(); return w }

func alternatingCrash(t *testing.T, begin func(t *testing.T) *world) {
	for n := 1; ; n++ {
		died := false
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := begin(t)
			w.outage.seen, w.outage.after = 0, n
			w.store.begin(secretID, "version-1")
			w.attempt()
			died = w.outage.isDead()
			w.wantIn("after the crash", "AWSCURRENT")
			w.outage.revive()
			for _, step := range rotationSteps {
				w.must("version-1", step)
				w.wantIn("after "+step, "AWSCURRENT")
			}
			w.wantIn("at the end", "AWSPREVIOUS")
			w.equal("at the end")
		})
		if t.Failed() || !died {
			return
		}
	}
}

// grant gives the first user some rights.
func (w *world) grant() {
	if w.product == dbserver.Postgres {
		w.sql("ALTER ROLE %s SET search_path = '$user', public", w.first.Username)
		w.sql("ALTER ROLE %s CONNECTION LIMIT 50", w.first.Username)
		return
	}
	w.sql("CREATE DATABASE IF NOT EXISTS shop")
	w.sql("GRANT SELECT, INSERT ON shop.* TO '%s'@'%%'", w.first.Username)
	w.sql("ALTER USER '%s'@'%%' WITH MAX_USER_CONNECTIONS 50", w.first.Username)
}

// regrant changes the rights of the other user, who is current.
func (w *world) regrant() {
	if w.product == dbserver.Postgres {
		w.sql("ALTER ROLE %s RESET search_path", w.clone())
		w.sql("ALTER ROLE %s CONNECTION LIMIT 60", w.clone())
		return
	}
	w.sql("REVOKE INSERT ON shop.* FROM '%s'@'%%'", w.clone())
	w.sql("GRANT UPDATE ON shop.* TO '%s'@'%%'", w.clone())
	w.sql("ALTER USER '%s'@'%%' WITH MAX_USER_CONNECTIONS 60", w.clone())
}

func TestAlternatingWorkersAtOnce(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		for range 3 {
			w := w0(newTurns(t, p))
			w.store.begin(secretID, "version-1")
			w.must("version-1", rotation.StepCreate)
			var workers sync.WaitGroup
			for range 4 {
				workers.Go(func() { _, _ = w.step("version-1", rotation.StepSet) })
			}
			workers.Wait()
			w.must("version-1", rotation.StepSet)
			w.wantIn("both", "AWSCURRENT", "AWSPENDING")
			w.equal("at the end")
		}
	})
}

func TestAlternatingNeedsAnAdministrator(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain, alternatingKey)
		w.store.begin(secretID, "version-1")
		w.must("version-1", rotation.StepCreate)
		w.refused("version-1", rotation.StepSet, rotation.ClassSecret, "masterarn")
	})
}

func TestAlternatingNamesTheGrant(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newTurns(t, p)
		weak := newWorld(t, p, plain)
		w.store.create(adminID, fmt.Sprintf(`{"username":%q,"password":%q}`, weak.first.Username, weak.first.Password))
		w.store.begin(secretID, "version-1")
		w.must("version-1", rotation.StepCreate)
		want := map[dbserver.Product]string{dbserver.Postgres: "CREATEROLE"}[p]
		if want == "" {
			want = "GRANT SELECT ON mysql"
		}
		w.refused("version-1", rotation.StepSet, rotation.ClassPrivilege, want, weak.first.Username)
		w.wantIn("still", "AWSCURRENT")
	})
}

// TestAlternatingByTag: the tag chooses, and the key of the value goes before.
func TestAlternatingByTag(t *testing.T) {
	w := newWorld(t, dbserver.Postgres, plain)
	w.t.Cleanup(w.dropOthers)
	w.addAdmin(w.admin.User, w.admin.Password)
	w.store.secrets[secretID].tag(rotation.TagStrategy, rotation.StrategyAlternatingUsers)
	w.rotate("version-1")
	if got := w.login("AWSCURRENT").Username; got != w.clone() {
		t.Errorf("AWSCURRENT is of %s", got)
	}
	w.setStrategy(rotation.StrategySingleUser)
	w.rotate("version-2")
	if got := w.login("AWSCURRENT").Username; got != w.clone() {
		t.Errorf("AWSCURRENT is of %s after SingleUser", got)
	}
}

func TestTagsThatMakeNoSense(t *testing.T) {
	for key, value := range map[string]string{rotation.TagStrategy: "Sometimes", rotation.TagGrace: "soon",
		rotation.TagPasswordLength: "7", rotation.TagPasswordExclude: "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM"} {
		w := newWorld(t, dbserver.Postgres, plain)
		w.store.secrets[secretID].tag(key, value)
		w.store.begin(secretID, "version-1")
		w.refused("version-1", rotation.StepCreate, rotation.ClassSecret, key)
	}
}

func TestGraceByTag(t *testing.T) {
	w := newWorld(t, dbserver.MariaDB, privileged)
	w.store.secrets[secretID].tag(rotation.TagGrace, "2d")
	if _, finish := w.rotate("version-1"); finish.RetireAfterSeconds != 2*24*60*60 {
		t.Errorf("finishSecret answered %+v", finish)
	}
}

// TestDualThenAlternating: a second password from before ends.
func TestDualThenAlternating(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.t.Cleanup(w.dropOthers)
		w.addAdmin(w.admin.User, w.admin.Password)
		w.rotate("version-1")
		second := w.login("AWSCURRENT")
		w.setStrategy(rotation.StrategyAlternatingUsers)
		w.rotate("version-2")
		w.wantIn("both users", "AWSCURRENT", "AWSPREVIOUS")
		w.wantNot("the password before", w.first)
		w.rotate("version-3")
		w.wantNot("the second one", second)
		w.wantIn("both users", "AWSCURRENT", "AWSPREVIOUS")
	})
}

// A rehearsal goes through the whole strategy: the other user and the owner role
// are made beside the throw-away user, and dropped with it.
func TestRehearsalOfAlternatingUsers(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newTurns(t, p)
		plan := w.plan(rotation.StepRehearse)
		r := plan.Rehearsal
		if plan.Strategy != rotation.StrategyAlternatingUsers || len(plan.Statements) == 0 || len(plan.Obstacles) > 0 {
			t.Errorf("the plan is %+v", plan)
		}
		if r.Strategy != rotation.StrategyAlternatingUsers || len(r.Steps) != 4 || r.ExposureMicros != 0 {
			t.Errorf("the rehearsal is %+v", r)
		}
		w.wantNoThrowAways()
	})
}
