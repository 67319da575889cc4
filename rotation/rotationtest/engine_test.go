package rotationtest

import (
	"context"
	"database/sql"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// session logs in past the proxy.
func (w *world) session(password string) rotation.Session {
	w.t.Helper()
	l := w.first
	l.Host, l.Port, l.Password = w.admin.Host, w.admin.Port, password
	s, err := w.direct.Connect(w.t.Context(), l)
	if err != nil {
		w.t.Fatalf("logging in: %v", err)
	}
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

func (w *world) dual(password string) rotation.DualPassword {
	w.t.Helper()
	d, ok := w.session(password).(rotation.DualPassword)
	if !ok {
		w.t.Fatal("the session cannot keep two passwords")
	}
	return d
}

// TestDropLeavesANewerPassword: a worker decides to drop, and before it does,
// another one sets a newer password.
func TestDropLeavesANewerPassword(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		late := w.dual(w.first.Password)
		w.check(w.dual(w.first.Password).AddPassword(t.Context(), w.first.Username, "Second_1aA", w.first.Password))
		w.check(late.DropOldPassword(t.Context(), w.first.Username, w.first.Password))
		w.want("both", true, w.first.Password, "Second_1aA")
	})
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Error(err)
	}
}

// TestAddTwice must not lose the password that was kept the first time.
func TestAddTwice(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		for range 3 {
			w.check(w.dual(w.first.Password).AddPassword(t.Context(), w.first.Username, "Second_1aA", w.first.Password))
			w.want("both", true, w.first.Password, "Second_1aA")
		}
	})
}

// TestTwoAdmins is TestTwoWorkers with administrators, whom the server does
// not ask for the password that they replace.
func TestTwoAdmins(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		for range 20 {
			w := newWorld(t, p, plain)
			w.addAdmin(w.admin.User, w.admin.Password)
			w.store.begin(secretID, "version-1")
			w.must("version-1", rotation.StepCreate)
			var workers sync.WaitGroup
			for range 4 {
				workers.Go(func() { _, _ = w.step("version-1", rotation.StepSet) })
			}
			workers.Wait()
			w.want("both", true, w.login("AWSPENDING").Password, w.first.Password)
		}
	})
}

// TestBothPasswordsAfterCacheFlush: caching_sha2_password remembers logins, so
// both passwords are tried from the cache and without it.
func TestBothPasswordsAfterCacheFlush(t *testing.T) {
	w := newWorld(t, dbserver.MySQL, privileged)
	w.want("before", true, w.first.Password)
	w.rotate("version-1")
	for range 3 {
		for range 3 {
			w.want("old, new", true, w.first.Password, w.login("AWSCURRENT").Password)
			w.want("wrong", false, "Wrong_1aA")
			w.want("new, old", true, w.login("AWSCURRENT").Password, w.first.Password)
		}
		w.sql("FLUSH PRIVILEGES")
	}
}

// TestAnonymousAccountIsExplained: it hides an account of every host.
func TestAnonymousAccountIsExplained(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		// It may hide the administrator as well: one connection makes and
		// drops it.
		db := w.adminDB()
		w.run(db, "CREATE USER ''@'localhost', ''@'127.0.0.1'")
		defer w.run(db, "DROP USER ''@'localhost', ''@'127.0.0.1'")
		_, err := w.direct.Connect(t.Context(), w.first)
		if rotation.ClassOf(err) != rotation.ClassAuth || !strings.Contains(err.Error(), "anonymous") {
			t.Errorf("error %v", err)
		}
		l := w.first
		l.Password = "" // lets everybody in as nobody
		if _, err = w.direct.Connect(t.Context(), l); rotation.ClassOf(err) != rotation.ClassSecret {
			t.Errorf("logging in as nobody: %v", err)
		}
	})
}

// TestForeignPlugin: MariaDB accounts may have other alternatives.
func TestForeignPlugin(t *testing.T) {
	w := newWorld(t, dbserver.MariaDB, privileged)
	w.sql("ALTER USER '%s'@'%%' IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD('%s')", w.first.Username, w.first.Password)
	w.store.begin(secretID, "version-1")
	w.must("version-1", rotation.StepCreate)
	w.refused("version-1", rotation.StepSet, rotation.ClassPolicy, "unix_socket", rotation.ErrNoDualPassword.Error())
	w.want("AWSCURRENT", true, w.first.Password)
}

// TestAccountKeepsItsLimits: the changed account is otherwise as it was.
func TestAccountKeepsItsLimits(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		for _, kind := range []accountKind{plain, privileged} {
			w := newWorld(t, p, kind)
			w.sql("ALTER USER '%s'@'%%' WITH MAX_USER_CONNECTIONS 7", w.first.Username)
			w.rotate("version-1")
			w.must("version-1", rotation.StepRetire)
			var limit int
			w.ask("SELECT max_user_connections FROM mysql.user WHERE user = '"+w.first.Username+"'", &limit)
			if limit != 7 {
				t.Errorf("MAX_USER_CONNECTIONS is %d, was 7", limit)
			}
		}
	})
}

// adminDB is one connection of the administrator to MySQL or MariaDB.
func (w *world) adminDB() *sql.DB {
	w.t.Helper()
	cfg := driver.NewConfig()
	cfg.Net, cfg.Addr = "tcp", net.JoinHostPort(w.admin.Host, strconv.Itoa(w.admin.Port))
	cfg.User, cfg.Passwd = w.admin.User, w.admin.Password
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	w.t.Cleanup(func() { _ = db.Close() })
	return db
}

func (w *world) run(db *sql.DB, statement string) {
	w.t.Helper()
	_, err := db.ExecContext(context.Background(), statement)
	w.check(err)
}

// ask queries MySQL or MariaDB as the administrator.
func (w *world) ask(query string, into any) {
	w.t.Helper()
	if err := w.adminDB().QueryRowContext(w.t.Context(), query).Scan(into); err != nil {
		w.t.Fatalf("asking as the administrator: %v", err)
	}
}

// TestNoClearTextInTheGeneralLog reads what the server has written down.
func TestNoClearTextInTheGeneralLog(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		for _, kind := range []accountKind{plain, privileged} {
			w := newWorld(t, p, kind)
			w.sql("SET GLOBAL log_output = 'TABLE'")
			w.sql("SET GLOBAL general_log = ON")
			t.Cleanup(func() { w.sql("SET GLOBAL general_log = OFF"); w.sql("TRUNCATE mysql.general_log") })
			w.rotate("version-1")
			w.must("version-1", rotation.StepRetire)
			w.rotate("version-2")
			for _, value := range w.store.secrets[secretID].values {
				l, _ := rotation.ParseLogin(value)
				if l.Password == w.first.Password {
					continue // the test's own CREATE USER
				}
				var lines int
				w.ask("SELECT COUNT(*) FROM mysql.general_log WHERE LOCATE('"+l.Password+"', argument) > 0", &lines)
				if lines != 1 { // this question itself
					t.Errorf("the log holds a password in %d statements", lines-1)
				}
			}
			var changes int
			w.ask("SELECT COUNT(*) FROM mysql.general_log WHERE argument LIKE '%ALTER USER%' OR argument LIKE '%SET PASSWORD%'", &changes)
			if changes < 2 {
				t.Errorf("the log holds %d changes; it was not on", changes)
			}
		}
	})
}

// TestPostgresRoleSet: a login role that acts as an owner role changes its own
// password all the same, and gets a SCRAM verifier.
func TestPostgresRoleSet(t *testing.T) {
	w := newWorld(t, dbserver.Postgres, plain)
	owner := w.first.Username + "_owner"
	w.sql("CREATE ROLE %s NOLOGIN", owner)
	t.Cleanup(func() { w.sql("DROP ROLE %s", owner) })
	w.sql("GRANT %s TO %s", owner, w.first.Username)
	w.sql("ALTER ROLE %s SET role = '%s'", w.first.Username, owner)
	w.rotate("version-1")
	w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
	w.want("AWSPREVIOUS", false, w.first.Password)
}

// TestPostgresRoleWithoutLogin: the server looks at LOGIN after the password,
// so such an error is neither "not yet set" nor a wrong password.
func TestPostgresRoleWithoutLogin(t *testing.T) {
	w := newWorld(t, dbserver.Postgres, plain)
	w.leftAlone("ALTER ROLE %s NOLOGIN", "ALTER ROLE %s LOGIN", rotation.ClassPrivilege, "LOGIN")
	w.want("AWSPENDING", false, w.login("AWSPENDING").Password)
}

// leftAlone makes sure that an administrator changes nothing of an account that a
// statement has switched off: AWSCURRENT logs in again once it is on.
func (w *world) leftAlone(off, on string, class rotation.Class, text string) {
	w.t.Helper()
	w.addAdmin(w.admin.User, w.admin.Password)
	w.sql(off, w.first.Username)
	w.store.begin(secretID, "version-1")
	w.must("version-1", rotation.StepCreate)
	w.refused("version-1", rotation.StepSet, class, text)
	w.sql(on, w.first.Username)
	w.want("AWSCURRENT", true, w.first.Password)
}

func TestUnsuitablePasswords(t *testing.T) {
	w := newWorld(t, dbserver.Postgres, plain)
	for _, password := range []string{"", "pässword", "tab\t"} {
		if err := w.session(w.first.Password).SetPassword(t.Context(), w.first.Username, password); rotation.ClassOf(err) != rotation.ClassPolicy {
			t.Errorf("SetPassword: %v", err)
		}
	}
}

// TestNastyPasswords arrive in the server as they are.
func TestNastyPasswords(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		now := w.first.Password
		for _, next := range []string{`a'b"c\d;--?$1%s`, "`${x}` \\' ''", `"); DROP`, `~!@#$%^&*()_+{}|:<>?`} {
			w.check(w.session(now).SetPassword(t.Context(), w.first.Username, next))
			w.want("new", true, next)
			if d, ok := w.session(next).(rotation.DualPassword); ok {
				w.check(d.AddPassword(t.Context(), w.first.Username, next+"2", next))
				w.want("both", true, next, next+"2")
				w.check(w.dual(next+"2").DropOldPassword(t.Context(), w.first.Username, next+"2"))
				next += "2"
			}
			now = next
		}
	})
}

func TestEngineNames(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		for _, name := range map[dbserver.Product][]string{
			dbserver.MySQL: {"mysql", "aurora-mysql", "aurora"}, dbserver.MariaDB: {"mariadb", "mysql"},
			dbserver.Postgres: {"postgres", "postgresql", "aurora-postgresql"}, dbserver.Redis: {"redis", "valkey"},
		}[p] {
			l := w.first
			l.Engine = name
			s, err := w.direct.Connect(t.Context(), l)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			w.check(s.Close())
		}
		for _, name := range []string{"oracle-ee", "sqlserver-ex", "db2-se", "docdb", "neptune", "MySQL", ""} {
			_, err := engineOf(p).Connect(t.Context(), rotation.Login{Engine: name, Host: "127.0.0.1", Port: 1, Username: "u", Password: "Secret_1"})
			checkClass(t, name, err, rotation.ClassSecret)
		}
	})
}
