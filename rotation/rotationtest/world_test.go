package rotationtest

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/rotation"
	"github.com/keyturn/keyturn/rotation/mysql"
	"github.com/keyturn/keyturn/rotation/postgres"
	"github.com/keyturn/keyturn/rotation/redis"
)

// accountKind is what the rotated account may do.
type accountKind int

const (
	plain      accountKind = iota // change its own password
	privileged                    // and keep two, where the product can
)

// world is one secret, its account on a real server, and a rotation function.
type world struct {
	t       *testing.T
	product dbserver.Product
	admin   dbtest.Admin
	store   *store
	outage  *outage
	f       *rotation.Function
	first   rotation.Login // the login at the beginning
	direct  rotation.Engine
	exposed bool // a crash left AWSCURRENT refused
	told    bool // each step before a crash is told what those before it answered
}

const secretID = "arn:aws:secretsmanager:us-east-1:000000000000:secret:app-AbCdEf"

var users atomic.Int64

// newWorld makes an account and its secret. extra are more members of the
// secret's JSON object.
func newWorld(t *testing.T, p dbserver.Product, kind accountKind, extra ...string) *world {
	t.Helper()
	w := &world{t: t, product: p, admin: dbtest.Server(t, p), store: newStore(), outage: &outage{}, direct: engineOf(p)}
	w.first = rotation.Login{
		Engine: string(p), Host: w.admin.Host, Port: w.admin.Port,
		Username: fmt.Sprintf("app_%d_%d", w.admin.Port, users.Add(1)), Password: "First_1aA", TLS: rotation.TLSOff,
	}
	w.createAccount(kind)
	w.throughProxy()
	w.store.create(secretID, w.value(extra...))
	w.f = &rotation.Function{Secrets: secrets{w.store, w.outage}, Engine: w.direct}
	return w
}

func engineOf(p dbserver.Product) rotation.Engine {
	switch p {
	case dbserver.Postgres:
		return postgres.Engine{Admissions: new(postgres.Admissions)}
	case dbserver.Redis:
		return redis.Engine{}
	}
	return mysql.Engine{}
}

func (w *world) createAccount(kind accountKind) {
	w.t.Helper()
	if w.product == dbserver.Postgres {
		w.sql("CREATE ROLE %s LOGIN PASSWORD '%s'", w.first.Username, w.first.Password)
		w.t.Cleanup(func() { w.sql("DROP ROLE %s", w.first.Username) })
		return
	}
	if w.product == dbserver.Redis { // who may change one password may keep two
		w.sql("ACL SETUSER %s on >%s -@all +multi +exec +acl|setuser +acl|getuser +acl|save", w.first.Username, w.first.Password)
		w.t.Cleanup(func() { w.sql("ACL DELUSER %s", w.first.Username) })
		return
	}
	w.sql("CREATE USER '%s'@'%%' IDENTIFIED BY '%s'", w.first.Username, w.first.Password)
	w.t.Cleanup(func() { w.sql("DROP USER '%s'@'%%'", w.first.Username) })
	if kind == privileged {
		w.sql("GRANT %s ON *.* TO '%s'@'%%'", dualPrivilege(w.product), w.first.Username)
	}
}

func dualPrivilege(p dbserver.Product) string {
	if p == dbserver.MySQL {
		return "APPLICATION_PASSWORD_ADMIN"
	}
	return "CREATE USER"
}

// revoke takes away what DualPassword needs.
func (w *world) revoke() {
	w.t.Helper()
	if w.product == dbserver.Redis {
		w.sql("ACL SETUSER %s -acl|setuser", w.first.Username)
		return
	}
	w.sql("REVOKE %s ON *.* FROM '%s'@'%%'", dualPrivilege(w.product), w.first.Username)
}

// missing is how an error names what revoke has taken away.
func missing(p dbserver.Product) string {
	if p == dbserver.Redis {
		return "+acl|setuser"
	}
	return "GRANT " + dualPrivilege(p)
}

func (w *world) sql(format string, args ...any) {
	w.t.Helper()
	w.admin.Exec(w.t, fmt.Sprintf(format, args...))
}

// throughProxy puts the outage between the secret's login and the server.
func (w *world) throughProxy() {
	host, port, err := net.SplitHostPort(w.outage.proxy(w.t, w.first.Address(0)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.first.Host = host
	w.first.Port, _ = strconv.Atoi(port)
}

// value is the secret's value at the beginning.
func (w *world) value(extra ...string) string {
	members := append([]string{fmt.Sprintf(`"engine":%q, "host":%q, "port":"%d","username":%q,"password":%q,"ssl":false`,
		w.first.Engine, w.first.Host, w.first.Port, w.first.Username, w.first.Password)}, extra...)
	return "{" + strings.Join(members, ",\n ") + "}"
}

// step runs one step.
func (w *world) step(token, step string) (rotation.Result, error) {
	return w.f.Handle(w.t.Context(), rotation.Event{Step: step, SecretID: secretID, ClientRequestToken: token})
}

// must runs one step that has to succeed.
func (w *world) must(token, step string) rotation.Result {
	w.t.Helper()
	r, err := w.step(token, step)
	if err != nil {
		w.t.Fatalf("%s: %v", step, err)
	}
	return r
}

// refused runs one step that has to fail with a class, and the texts in its
// error.
func (w *world) refused(token, step string, class rotation.Class, texts ...string) {
	w.t.Helper()
	_, err := w.step(token, step)
	if err == nil || rotation.ClassOf(err) != class {
		w.t.Fatalf("%s: error %v of class %q, want class %q", step, err, rotation.ClassOf(err), class)
	}
	w.noPasswords(err.Error())
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			w.t.Errorf("%s: error %v, want %q in it", step, err, text)
		}
	}
}

// noPasswords fails if a text holds any password of the store.
func (w *world) noPasswords(text string) {
	w.t.Helper()
	for _, sec := range w.store.secrets {
		for version, value := range sec.values {
			l, err := rotation.ParseLogin(value)
			if err == nil && strings.Contains(text, l.Password) {
				w.t.Errorf("an error shows the password of %s", version)
			}
		}
	}
}

var rotationSteps = []string{rotation.StepCreate, rotation.StepSet, rotation.StepTest, rotation.StepFinish}

// rotate runs a whole rotation and returns the results of set and finish.
func (w *world) rotate(token string) (set, finish rotation.Result) {
	w.t.Helper()
	w.store.begin(secretID, token)
	w.must(token, rotation.StepCreate)
	set = w.must(token, rotation.StepSet)
	w.must(token, rotation.StepTest)
	return set, w.must(token, rotation.StepFinish)
}

// login returns the login of a label.
func (w *world) login(label string) rotation.Login {
	w.t.Helper()
	l, err := rotation.ParseLogin(w.store.value(secretID, label))
	if err != nil {
		w.t.Fatalf("parsing %s: %v", label, err)
	}
	return l
}

// valid tells whether a password logs in, past the proxy and its outage.
func (w *world) valid(password string) bool {
	w.t.Helper()
	l := w.first
	l.Host, l.Port, l.Password = w.admin.Host, w.admin.Port, password
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

// want checks which passwords log in.
func (w *world) want(when string, valid bool, passwords ...string) {
	w.t.Helper()
	for i, p := range passwords {
		if w.valid(p) != valid {
			w.t.Errorf("%s: password %d logs in: %v, want %v", when, i, !valid, valid)
		}
	}
}

// each runs a test on all products.
func each(t *testing.T, test func(t *testing.T, p dbserver.Product)) {
	for _, p := range append(dbtest.Products(), dbserver.Redis) {
		t.Run(string(p), func(t *testing.T) { test(t, p) })
	}
}

// eachDual runs a test on the products that can keep two passwords.
func eachDual(t *testing.T, test func(t *testing.T, p dbserver.Product)) {
	for _, p := range []dbserver.Product{dbserver.MySQL, dbserver.MariaDB, dbserver.Redis} {
		t.Run(string(p), func(t *testing.T) { test(t, p) })
	}
}

// eachSQL runs a test on the products that speak SQL.
func eachSQL(t *testing.T, test func(t *testing.T, p dbserver.Product)) {
	for _, p := range dbtest.Products() {
		t.Run(string(p), func(t *testing.T) { test(t, p) })
	}
}

// eachMySQL runs a test that speaks MySQL's language.
func eachMySQL(t *testing.T, test func(t *testing.T, p dbserver.Product)) {
	for _, p := range []dbserver.Product{dbserver.MySQL, dbserver.MariaDB} {
		t.Run(string(p), func(t *testing.T) { test(t, p) })
	}
}

// expected is the strategy that auto chooses.
func expected(p dbserver.Product, kind accountKind) string {
	if p == dbserver.Postgres || kind == plain && p != dbserver.Redis {
		return rotation.StrategySingleUser
	}
	return rotation.StrategyDualPassword
}
