package dbserver_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
)

const (
	adminPassword  = dbserver.Password(`adm'in\pass"word`)
	masterPassword = dbserver.Password("Master-Password-1'")
)

// helperFolder makes the test binary a keyturn that is about to be killed: it
// starts the server in that folder and waits.
const helperFolder = "KEYTURN_TEST_HELPER_FOLDER"

func TestMain(m *testing.M) {
	if os.Getenv(helperFolder) != "" {
		holdServer()
		return
	}
	os.Exit(dbtest.Main(m))
}

func eachProduct(t *testing.T, test func(t *testing.T, config dbserver.Config)) {
	for _, product := range append(dbtest.Products(), dbserver.Redis) {
		t.Run(string(product), func(t *testing.T) {
			t.Parallel() // they wait for the disk most of the time
			binary, err := dbserver.Find(product)
			check(t, err)
			test(t, dbserver.Config{
				Binary: binary, Dir: filepath.Join(dbtest.Dir(t), "rds", "db"), Port: freePort(t), AdminPassword: adminPassword,
			})
		})
	}
}

func freePort(t *testing.T) int {
	port, err := dbserver.FreePort(func(int) bool { return false })
	check(t, err)
	return port
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func newServer(t *testing.T, c dbserver.Config) *dbserver.Server {
	s, err := dbserver.New(c)
	check(t, err)
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	return s
}

var setup = dbserver.Setup{MasterUser: "admin", MasterPassword: masterPassword, Database: "shop"}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func login(t *testing.T, c dbserver.Config, user string, password dbserver.Password) error {
	a := dbtest.Admin{Product: c.Binary.Product, Host: dbserver.Host, Port: c.Port}
	return a.Login(within(t), user, string(password))
}

func TestLife(t *testing.T) {
	eachProduct(t, func(t *testing.T, c dbserver.Config) {
		s := newServer(t, c)
		if err := s.Start(within(t)); !errors.Is(err, dbserver.ErrNotInitialised) {
			t.Fatalf("Start before Init: %v", err)
		}
		check(t, s.Init(within(t), setup))
		check(t, s.Start(within(t)))
		check(t, login(t, c, "admin", masterPassword))
		for user, password := range map[string]dbserver.Password{"admin": "wrong", "root": "", "": "", "postgres": "", dbserver.Admin: ""} {
			if login(t, c, user, password) == nil {
				t.Errorf("%q logged in with a wrong password", user)
			}
		}
		checkMayDo(t, c)
		check(t, s.SetMasterPassword(within(t), "admin", `New"Pass\word'2`))
		check(t, login(t, c, "admin", `New"Pass\word'2`))
		if login(t, c, "admin", masterPassword) == nil {
			t.Error("the old password still logs in")
		}
		check(t, s.Stop(within(t)))
		<-s.Done()
		check(t, s.Start(within(t))) // the same port, the same data
		check(t, login(t, c, "admin", `New"Pass\word'2`))
		checkNoPasswordOnDisk(t, c.Dir)
		if s.Remove() == nil {
			t.Error("Remove took the folder of a running server away")
		}
		check(t, s.Stop(within(t)))
		check(t, s.Remove())
	})
}

// A server that starts with much data takes commands once Start returns.
func TestStartAwaitsRedisData(t *testing.T) {
	binary, err := dbserver.Find(dbserver.Redis)
	check(t, err)
	c := dbserver.Config{Binary: binary, Dir: filepath.Join(dbtest.Dir(t), "rds", "db"), Port: freePort(t), AdminPassword: adminPassword}
	s := newServer(t, c)
	check(t, s.Init(within(t), setup))
	check(t, s.Start(within(t)))
	master := dbtest.Admin{Product: dbserver.Redis, Host: dbserver.Host, Port: c.Port, User: "admin", Password: string(masterPassword)}
	master.Exec(t, "EVAL for--[[]]i=1,300000--[[]]do--[[]]redis.call('SET',i,i)end 0") // a text without spaces
	check(t, s.Stop(within(t)))
	<-s.Done()
	check(t, s.Start(within(t)))
	check(t, master.Login(within(t), "admin", string(masterPassword)))
}

// checkMayDo has the master make an account and use the first database.
func checkMayDo(t *testing.T, c dbserver.Config) {
	master := dbtest.Admin{Product: c.Binary.Product, Host: dbserver.Host, Port: c.Port, User: "admin", Password: string(masterPassword)}
	if c.Binary.Product == dbserver.Redis {
		master.Exec(t, "ACL SETUSER app on >App-Password-1")
		master.Exec(t, "SET t 1")
		return
	}
	if c.Binary.Product == dbserver.Postgres {
		master.Exec(t, "CREATE ROLE app LOGIN PASSWORD 'App-Password-1'")
		master.Exec(t, "CREATE TABLE t (n int)") // in the database postgres
		master.Exec(t, "CREATE DATABASE other")
		return
	}
	master.Exec(t, "CREATE USER app@'%' IDENTIFIED BY 'App-Password-1'")
	master.Exec(t, "CREATE TABLE shop.t (n int primary key)")
	master.Exec(t, "GRANT SELECT ON shop.* TO app@'%'")
}

func checkNoPasswordOnDisk(t *testing.T, dir string) {
	check(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		for _, secret := range []dbserver.Password{adminPassword, masterPassword, `New"Pass\word'2`} {
			if strings.Contains(string(text), string(secret)) {
				t.Errorf("%s holds a clear-text password", path)
			}
		}
		return err
	}))
}

func TestServerKilled(t *testing.T) {
	eachProduct(t, func(t *testing.T, c dbserver.Config) {
		s := newServer(t, c)
		check(t, s.Init(within(t), setup))
		check(t, s.Start(within(t)))
		check(t, syscall.Kill(notedPID(t, c), syscall.SIGKILL))
		<-s.Done()
		check(t, s.Start(within(t)))
		check(t, login(t, c, "admin", masterPassword))
	})
}

func notedPID(t *testing.T, c dbserver.Config) int {
	text, err := os.ReadFile(filepath.Join(c.Dir, "pid"))
	check(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	check(t, err)
	return pid
}

// TestInitInterrupted ends an initialisation at many moments; the next one
// must succeed whatever was left.
func TestInitInterrupted(t *testing.T) {
	eachProduct(t, func(t *testing.T, c dbserver.Config) {
		s := newServer(t, c)
		for _, after := range []time.Duration{20 * time.Millisecond, 150 * time.Millisecond, 400 * time.Millisecond, time.Second, 2 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			if err := s.Init(ctx, setup); err == nil != s.Initialised() {
				t.Fatalf("after %s: error %v, initialised %v", after, err, s.Initialised())
			}
			cancel()
		}
		check(t, s.Init(within(t), setup))
		check(t, s.Start(within(t)))
		check(t, login(t, c, "admin", masterPassword))
	})
}

// TestLongPath has a folder whose sockets no system would accept.
func TestLongPath(t *testing.T) {
	eachProduct(t, func(t *testing.T, c dbserver.Config) {
		c.Dir = filepath.Join(filepath.Dir(filepath.Dir(c.Dir)), strings.Repeat("long", 30), "db")
		s := newServer(t, c)
		check(t, s.Init(within(t), setup))
		check(t, s.Start(within(t)))
		check(t, login(t, c, "admin", masterPassword))
	})
}

// TestStartRefused has a port that is taken and an administrator's password
// that is wrong; neither leaves a server running.
func TestStartRefused(t *testing.T) {
	eachProduct(t, func(t *testing.T, c dbserver.Config) {
		s := newServer(t, c)
		check(t, s.Init(within(t), setup))
		listener, err := net.Listen("tcp", net.JoinHostPort(dbserver.Host, strconv.Itoa(c.Port)))
		check(t, err)
		if err := s.Start(within(t)); !errors.Is(err, dbserver.ErrPortTaken) {
			t.Errorf("on a port in use: %v", err)
		}
		check(t, listener.Close())

		c.AdminPassword = "not-the-password"
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		err = newServer(t, c).Start(ctx)
		if err == nil || strings.Contains(err.Error(), "not-the-password") {
			t.Errorf("with a wrong password: %v", err)
		}
		check(t, dbserver.PortFree(c.Port))
	})
}
