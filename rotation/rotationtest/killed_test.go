package rotationtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/rotation"
)

// TestKilledDatabase kills the server after each change of a rotation, before its answer
// is heard. What it has answered lasts, and once it is back the rotation goes on. MySQL
// and MariaDB pass as well, but take a minute to start so often.
func TestKilledDatabase(t *testing.T) {
	for _, p := range []dbserver.Product{dbserver.Postgres, dbserver.Redis} {
		t.Run(string(p), func(t *testing.T) {
			v := newVictim(t, p)
			for n := 1; v.killedAt(t, p, n) && !t.Failed(); n++ {
				t.Logf("killed after change %d", n)
			}
		})
	}
}

// victim is a server of its own, to be killed.
type victim struct {
	*dbserver.Server
	pidFile string
}

// newVictim makes one that is the test's server of its product.
func newVictim(t *testing.T, p dbserver.Product) victim {
	t.Helper()
	server, dir := ownServer(t, p)
	return victim{server, filepath.Join(dir, "pid")}
}

// ownServer starts a server in a folder, which it returns, that is the test's one of its
// product.
func ownServer(t *testing.T, p dbserver.Product) (server *dbserver.Server, dir string) {
	t.Helper()
	binary, err := dbserver.Find(p)
	must(t, err)
	port, err := dbserver.FreePort(func(int) bool { return false })
	must(t, err)
	dir, password := filepath.Join(dbtest.Dir(t), "server"), rand.Text()
	server, err = dbserver.New(dbserver.Config{Binary: binary, Dir: dir, Port: port, AdminPassword: dbserver.Password(password)})
	must(t, err)
	must(t, server.Init(t.Context(), dbserver.Setup{MasterUser: "master", MasterPassword: dbserver.Password(rand.Text())}))
	must(t, server.Start(t.Context()))
	t.Cleanup(func() { must(t, server.Stop(context.Background())) })
	t.Setenv("KEYTURN_TEST_"+strings.ToUpper(string(p)), fmt.Sprintf("%s://%s:%s@%s", p, dbserver.Admin, password,
		net.JoinHostPort(dbserver.Host, strconv.Itoa(port))))
	return server, dir
}

// kill returns when nothing is left of the server.
func (v victim) kill(t *testing.T) {
	text, err := os.ReadFile(v.pidFile)
	if err != nil {
		t.Error(err)
		return
	}
	pid, err := strconv.Atoi(strings.Fields(string(text))[0])
	if err != nil {
		t.Error(err)
		return
	}
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
		t.Error(err)
		return
	}
	<-v.Done()
}

// killedAt rotates, kills the server after the n-th change, and rotates on. It tells
// whether there was an n-th change.
func (v victim) killedAt(t *testing.T, p dbserver.Product, n int) bool {
	w := newWorld(t, p, privileged)
	if p == dbserver.Redis {
		w.sql("ACL SAVE")
	}
	w.f.Secrets = w.store // only the changes in the database count
	w.outage.killAfter(n, func() { v.kill(t) })
	w.store.begin(secretID, "version-1")
	class := w.firstFailure("version-1")
	if class == "" {
		return false
	}
	w.outage.revive()
	_, err := w.step("version-1", rotation.StepSet)
	checkClass(t, "while it is away", err, rotation.ClassTCP)
	if class != rotation.ClassTCP {
		t.Errorf("the first error is of class %s", class)
	}
	must(t, v.Start(t.Context()))
	if p == dbserver.Postgres {
		w.exposed = w.wantPair("after the restart")
	} else {
		w.want("AWSCURRENT after the restart", true, w.login("AWSCURRENT").Password)
	}
	w.replay(expected(p, privileged), w.first.Password, true)
	return true
}

// firstFailure runs all steps until one fails, and returns its class.
func (w *world) firstFailure(token string) rotation.Class {
	w.t.Helper()
	for _, step := range append(slices.Clone(rotationSteps), rotation.StepRetire) {
		if _, err := w.step(token, step); err != nil {
			w.noPasswords(err.Error())
			return rotation.ClassOf(err)
		}
	}
	return ""
}
