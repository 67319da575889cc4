// Package dbtest gives tests real database servers. A test binary that uses it
// has
//
//	func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }
//
// and gets one server of a product, shared by its tests, at the first call of
// Server. The servers live in $KEYTURN_TEST_DIR, or in a temporary folder, and
// are stopped at the end, also on SIGINT and SIGTERM. What a killed test binary
// leaves behind can be ended by a script: each file named pid at any depth
// below $KEYTURN_TEST_DIR holds the process id of one server, which is the
// leader of its process group:
//
//	find "$KEYTURN_TEST_DIR" -name pid -exec cat {} + | while read -r p; do kill -KILL -- "-$p"; done
//
// KEYTURN_TEST_MYSQL, KEYTURN_TEST_MARIADB, KEYTURN_TEST_POSTGRES and
// KEYTURN_TEST_REDIS name a running server instead, as mysql://user:password@host:port (whatever the
// scheme), with an account that may do everything. A missing server fails the
// test; nothing is skipped.
package dbtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/dbserver"
)

// Products returns the products that RDS has, with which everything must work.
// Redis is for rotations besides.
func Products() []dbserver.Product {
	return []dbserver.Product{dbserver.MySQL, dbserver.MariaDB, dbserver.Postgres}
}

var shared struct {
	sync.Mutex
	root    string // where servers live; made at the first need
	made    bool   // root is ours and goes at the end
	servers map[dbserver.Product]*dbserver.Server
	admins  map[dbserver.Product]Admin
}

// Main runs the tests and stops the servers that they started. It returns the
// exit code.
func Main(m *testing.M) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		stopAll()
		os.Exit(130)
	}()
	code := m.Run()
	signal.Stop(signals)
	stopAll()
	return code
}

func stopAll() {
	shared.Lock()
	defer shared.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for product, server := range shared.servers {
		if err := server.Stop(ctx); err != nil {
			fmt.Fprintf(os.Stderr, "stopping the %s server of the tests: %v\n", product, err)
			continue
		}
		_ = server.Remove() // a leftover in a temporary folder harms nobody
	}
	shared.servers, shared.admins = nil, nil
	if shared.made {
		_ = os.RemoveAll(shared.root)
	}
}

// Server returns the administrator of the test binary's server of product p,
// and starts the server at the first call. It fails the test when there is
// none.
func Server(t testing.TB, p dbserver.Product) Admin {
	t.Helper()
	if named := os.Getenv("KEYTURN_TEST_" + strings.ToUpper(string(p))); named != "" {
		return parse(t, p, named)
	}
	shared.Lock()
	defer shared.Unlock()
	if admin, running := shared.admins[p]; running {
		return admin
	}
	server, admin := start(t, p)
	if shared.admins == nil {
		shared.servers = map[dbserver.Product]*dbserver.Server{}
		shared.admins = map[dbserver.Product]Admin{}
	}
	shared.servers[p], shared.admins[p] = server, admin
	return admin
}

func parse(t testing.TB, p dbserver.Product, named string) Admin {
	t.Helper()
	u, err := url.Parse(named)
	if err != nil || u.User == nil {
		t.Fatalf("KEYTURN_TEST_%s must look like %s://user:password@host:port", strings.ToUpper(string(p)), p)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatalf("KEYTURN_TEST_%s has no port", strings.ToUpper(string(p)))
	}
	password, _ := u.User.Password()
	return Admin{Product: p, Host: u.Hostname(), Port: port, User: u.User.Username(), Password: password}
}

// start is called with shared locked.
func start(t testing.TB, p dbserver.Product) (*dbserver.Server, Admin) {
	t.Helper()
	binary, err := dbserver.Find(p)
	must(t, err)
	dir, err := os.MkdirTemp(root(t), string(p)+"-")
	must(t, err)
	must(t, os.Chmod(dir, 0o711))
	password := rand.Text()
	c := dbserver.Config{Binary: binary, Dir: dir + "/server", AdminPassword: dbserver.Password(password)}
	server := atPort(t, &c)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	must(t, server.Init(ctx, dbserver.Setup{MasterUser: "master", MasterPassword: dbserver.Password(rand.Text())}))
	for err = server.Start(ctx); errors.Is(err, dbserver.ErrPortTaken); err = server.Start(ctx) {
		server = atPort(t, &c) // the tests of another package were faster
	}
	must(t, err)
	return server, Admin{Product: p, Host: dbserver.Host, Port: c.Port, User: dbserver.Admin, Password: password}
}

// atPort is the server of c at a port that is free now, which c gets.
func atPort(t testing.TB, c *dbserver.Config) *dbserver.Server {
	t.Helper()
	var err error
	c.Port, err = dbserver.FreePort(func(int) bool { return false })
	must(t, err)
	server, err := dbserver.New(*c)
	must(t, err)
	return server
}

// root is called with shared locked. Others may pass through it, since postgres
// runs as another user when the tests run as root.
func root(t testing.TB) string {
	t.Helper()
	if shared.root != "" {
		return shared.root
	}
	dir := os.Getenv("KEYTURN_TEST_DIR")
	if dir == "" {
		made, err := os.MkdirTemp("", "keyturn-test-")
		must(t, err)
		shared.made = true
		dir = made
	}
	must(t, os.MkdirAll(dir, 0o711))
	must(t, os.Chmod(dir, 0o711))
	shared.root = dir
	return dir
}

// Dir returns a temporary folder in which database servers can run, whatever
// user they run as (t.TempDir is closed to others), and removes it after the
// test.
func Dir(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	dir, err := os.MkdirTemp(root(t), "dir-")
	must(t, err)
	must(t, os.Chmod(dir, 0o711))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
