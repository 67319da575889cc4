package rotationtest

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"strconv"
	"testing"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// elsewhere is an address of this machine for which the account has a second row.
const elsewhere = "127.0.0.2"

// addRow gives the account two rows, whose hosts are of logins from here and from
// elsewhere, and an administrator.
func (w *world) addRow(here, other string) {
	w.t.Helper()
	w.sql("RENAME USER '%[1]s'@'%%' TO '%[1]s'@'%[2]s'", w.first.Username, here)
	w.sql("CREATE USER '%s'@'%s' IDENTIFIED BY '%s'", w.first.Username, other, w.first.Password)
	w.t.Cleanup(func() {
		w.sql("DROP USER '%s'@'%s'", w.first.Username, other)
		w.sql("RENAME USER '%[1]s'@'%[2]s' TO '%[1]s'@'%%'", w.first.Username, here)
	})
	w.addAdmin(w.admin.User, w.admin.Password)
}

// validElsewhere tells whether a password logs in to the second row.
func (w *world) validElsewhere(password string) bool {
	w.t.Helper()
	cfg := driver.NewConfig()
	cfg.Net, cfg.Addr = "tcp", net.JoinHostPort(w.admin.Host, strconv.Itoa(w.admin.Port))
	cfg.User, cfg.Passwd, cfg.Logger = w.first.Username, password, &driver.NopLogger{}
	cfg.TLSConfig = "preferred"
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(elsewhere)}}
		return d.DialContext(ctx, network, address)
	}
	connector, err := driver.NewConnector(cfg)
	w.check(err)
	db := sql.OpenDB(connector)
	defer db.Close()
	return db.PingContext(w.t.Context()) == nil
}

// TestCrashBetweenRows: an administrator changes all rows of a user, and what a crash
// leaves of that is nothing or all: the next attempt looks from here alone.
func TestCrashBetweenRows(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		for _, hosts := range [][2]string{{"127.0.0.1", elsewhere}, {"127.0.0.1", "%"}} {
			for died, n := true, 1; died && !t.Failed(); n++ {
				t.Run(fmt.Sprint(hosts[1], " ", n), func(t *testing.T) { died = crashBetweenRows(t, p, hosts, n) })
			}
		}
	})
}

func crashBetweenRows(t *testing.T, p dbserver.Product, hosts [2]string, n int) (died bool) {
	w := newWorld(t, p, plain)
	w.addRow(hosts[0], hosts[1])
	w.rotate("version-before") // leaves a second password
	w.outage.seen, w.outage.after = 0, n
	w.store.begin(secretID, "version-1")
	w.attempt()
	died = w.outage.isDead()
	w.elsewhere("after the crash", true, "AWSCURRENT")
	w.outage.revive()
	for _, step := range rotationSteps {
		w.must("version-1", step)
		w.elsewhere("after "+step, true, "AWSCURRENT")
	}
	w.must("version-1", rotation.StepRetire)
	w.elsewhere("at the end", true, "AWSCURRENT")
	w.elsewhere("at the end", false, "AWSPREVIOUS")
	return died
}

func (w *world) elsewhere(when string, valid bool, label string) {
	w.t.Helper()
	if w.validElsewhere(w.login(label).Password) != valid {
		w.t.Errorf("%s: %s logs in from elsewhere: %v", when, label, !valid)
	}
}
