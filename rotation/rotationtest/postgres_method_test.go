package rotationtest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestPostgresMethods: what pg_hba.conf says of the account from this machine decides
// whether its password is the one that ALTER ROLE sets.
func TestPostgresMethods(t *testing.T) {
	h := newHost(t, dbserver.Postgres)
	const elsewhere = "Radius_1aA"
	for _, tc := range []struct {
		name, method, password string
		tls, admin             bool
		class                  rotation.Class // none: it rotates
		text                   string
	}{
		{"radius", radius(t, elsewhere), elsewhere, true, false, rotation.ClassPolicy, "checked elsewhere"},
		{"radius, administrator", radius(t, elsewhere), elsewhere, true, true, rotation.ClassPolicy, "checked elsewhere"},
		{"radius without TLS", radius(t, elsewhere), elsewhere, false, false, rotation.ClassPolicy, "clear text"},
		{"radius without TLS, administrator", radius(t, elsewhere), elsewhere, false, true, rotation.ClassPolicy, "clear text"},
		{"trust, administrator", "trust", h.first.Password, true, true, rotation.ClassPolicy, "did not ask"},
		{"reject, administrator", "reject", h.first.Password, true, true, rotation.ClassPrivilege, "pg_hba.conf"},
		{"password", "password", h.first.Password, true, false, "", ""},
		{"password, administrator", "password", h.first.Password, true, true, "", ""},
		{"md5, administrator", "md5", h.first.Password, false, true, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h.setRule(tc.method)
			w := h.secretOf(t, tc.password, tc.tls, tc.admin)
			if tc.class == "" {
				w.rotate("version-1")
				w.sql("ALTER ROLE app PASSWORD '%s'", h.first.Password)
				return
			}
			w.keepsAway(tc.class, tc.text)
			h.setRule("scram-sha-256")
			w.want("the role's password", true, h.first.Password)
		})
	}
}

// TestPostgresAsksOnce: a server that has let a role in by its password is not asked
// before the next change.
func TestPostgresAsksOnce(t *testing.T) {
	w := newWorld(t, dbserver.Postgres, plain)
	w.addAdmin(w.admin.User, w.admin.Password)
	var connections []int
	for _, version := range []string{"version-1", "version-2", "version-3"} {
		w.outage.revive()
		w.rotate(version)
		connections = append(connections, w.outage.connections())
	}
	if first := connections[0]; connections[1] != first-1 || connections[2] != first-1 {
		t.Errorf("the rotations took %d connections, want one less after the first", connections)
	}
}

// TestPostgresAsksAgain: what may change the answer is noticed.
func TestPostgresAsksAgain(t *testing.T) {
	h := newHost(t, dbserver.Postgres)
	const elsewhere = "Radius_1aA"
	h.sql("CREATE ROLE outsiders; CREATE ROLE contractors; GRANT outsiders TO contractors")
	for _, tc := range []struct {
		name, line string
		change     func()
	}{
		{"pg_hba.conf", "host all all ::1/128 scram-sha-256", func() { h.setRule(radius(t, elsewhere)) }},
		{"a role of a role", "host all +outsiders 127.0.0.1/32 " + radius(t, elsewhere), func() { h.sql("GRANT contractors TO app") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h.setLine(tc.line)
			w := h.secretOf(t, h.first.Password, true, true)
			for _, version := range []string{"earlier-1", "earlier-2"} { // of which the latter need not ask
				w.rotate(version)
			}
			tc.change()
			w.keepsAway(rotation.ClassPolicy, "checked elsewhere")
		})
	}
}

// setRule puts a line for the account in front of the others of pg_hba.conf.
func (h *host) setRule(method string) {
	h.t.Helper()
	h.setLine("host all app 127.0.0.1/32 " + method)
}

func (h *host) setLine(line string) {
	h.t.Helper()
	path := h.path("server/data/pg_hba.conf")
	rules, err := os.ReadFile(path)
	h.check(err)
	const mark = "# the rest\n"
	if _, rest, found := strings.Cut(string(rules), mark); found {
		rules = []byte(rest)
	}
	h.check(os.WriteFile(path, []byte(line+"\n"+mark+string(rules)), 0o600))
	h.reload()
}

// reload returns when new sessions are judged by the file as it is: the server reads
// it after its other settings.
func (h *host) reload() {
	h.t.Helper()
	h.reloads++
	mark := fmt.Sprintf("%dms", 1000+h.reloads)
	h.sql("ALTER SYSTEM SET deadlock_timeout = '%s'", mark)
	h.sql("SELECT pg_reload_conf()")
	loaded := fmt.Sprintf("SELECT 1 / (current_setting('deadlock_timeout') = '%s')::int", mark)
	for end := time.Now().Add(time.Minute); h.as(h.administrator(), "postgres", loaded) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatal("the server does not read its settings")
		}
	}
}

// keepsAway plans and tries a rotation that must leave everything as it is.
func (w *world) keepsAway(class rotation.Class, text string) {
	w.t.Helper()
	r, err := w.step("", rotation.StepPlan)
	said := err != nil && rotation.ClassOf(err) == class && strings.Contains(err.Error(), text)
	if err == nil {
		said = slices.ContainsFunc(r.Plan.Obstacles, func(o string) bool { return strings.Contains(o, text) })
	}
	if !said {
		w.t.Errorf("the plan says nothing of it: %v, %+v", err, r.Plan)
	}
	w.store.begin(secretID, "version-1")
	created := w.must("version-1", rotation.StepCreate).Created
	for _, told := range []bool{created, false} {
		_, err := w.f.Handle(w.t.Context(), rotation.Event{Step: rotation.StepSet, SecretID: secretID, ClientRequestToken: "version-1", Created: told})
		if rotation.ClassOf(err) != class || !strings.Contains(err.Error(), text) {
			w.t.Errorf("setSecret: error %v of class %q, want %q", err, rotation.ClassOf(err), class)
		}
	}
	if w.store.secrets[secretID].holder("AWSCURRENT") == "version-1" {
		w.t.Error("AWSCURRENT has moved")
	}
}
