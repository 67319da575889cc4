package mysql

import (
	"context"
	"os"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/rotation"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }

// A session outlives the step that took a lock, and may be another step's next:
// the lock ends also where the step's time has run out just then.
func TestLockEndsWithItsStep(t *testing.T) {
	admin := dbtest.Server(t, dbserver.MariaDB)
	session, err := Engine{}.Connect(t.Context(), rotation.Login{Engine: "mariadb", Host: admin.Host, Port: admin.Port,
		Username: admin.User, Password: admin.Password, TLS: rotation.TLSOff})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	c := session.(*mariadb).conn
	ctx, cancel := context.WithCancel(t.Context())
	unlock, err := c.lock(ctx, "someone")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	unlock()
	if err := c.Probe(t.Context()); err != nil {
		return // the connection has ended, and the lock with it
	}
	var free bool
	if err := c.QueryRowContext(t.Context(), "SELECT IS_FREE_LOCK(?)", lockOf("someone")).Scan(&free); err != nil || !free {
		t.Errorf("the lock is free: %v, %v", free, err)
	}
}
