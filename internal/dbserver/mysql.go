package dbserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
)

// mysqlEngine runs mysqld and mariadbd.
type mysqlEngine struct{ mariadb bool }

// SIGTERM lets mysqld close its connections and flush.
func (mysqlEngine) stopSignal() syscall.Signal { return syscall.SIGTERM }

// clear has nothing to do: mysqld relies on file locks, as keyturn does.
func (mysqlEngine) clear(Config, int) error { return nil }

// temporaryFolder holds a server's temporary tables. It is its own: a server
// that starts removes from its folder whatever looks like a left-over table,
// also those of another server.
func temporaryFolder(dir string) string { return filepath.Join(dir, "tmp") }

// storage are the arguments that a data folder needs from its first moment.
// The memory sizes suit a developer's machine; durability stays as it is.
func (e mysqlEngine) storage(dir, data string) []string {
	args := []string{
		"--no-defaults", "--datadir=" + data, "--tmpdir=" + temporaryFolder(dir),
		"--performance-schema=OFF", "--innodb-buffer-pool-size=32M", "--key-buffer-size=1M",
		"--character-set-server=utf8mb4", "--skip-name-resolve",
	}
	if e.mariadb {
		return append(args, "--innodb-log-file-size=16M", "--aria-pagecache-buffer-size=8M")
	}
	return args
}

// limits are the arguments that close what a password could be stolen through.
func (e mysqlEngine) limits(dir string) []string {
	if e.mariadb {
		// MariaDB does not know NULL here: an empty folder of its own does the same.
		return []string{"--local-infile=0", "--skip-log-bin", "--secure-file-priv=" + filepath.Join(dir, "files")}
	}
	return []string{"--local-infile=0", "--disable-log-bin", "--secure-file-priv=NULL", "--mysqlx=OFF"}
}

func (e mysqlEngine) arguments(c Config, data string) []string {
	args := append(e.storage(c.Dir, data), e.limits(c.Dir)...)
	return append(args,
		"--bind-address="+Host, fmt.Sprintf("--port=%d", c.Port),
		"--socket=", // clients come by TCP; a socket's path may have 107 bytes only
		"--pid-file="+filepath.Join(c.Dir, pidFile))
}

// initialise makes the data folder, whose root account has no password, and
// gives it its accounts through a server that listens on nothing but a socket
// in a closed folder. The root account is gone before a port is opened.
func (e mysqlEngine) initialise(ctx context.Context, in *installation, setup Setup) error {
	if err := e.makeFolder(ctx, in); err != nil {
		return err
	}
	socket, remove, err := in.socket()
	if err != nil {
		return err
	}
	defer remove()
	args := append(e.storage(in.config.Dir, in.folder), e.limits(in.config.Dir)...)
	args = append(args, "--skip-networking", "--socket="+socket, "--pid-file="+in.server.path(pidFile))
	p, err := in.start("", in.config.Binary.Path, args...)
	if err != nil {
		return err
	}
	err = e.makeAccounts(ctx, p, socket, in.config.AdminPassword, setup)
	signalGroup(p.pid, syscall.SIGTERM)
	return errors.Join(err, p.wait(ctx))
}

func (e mysqlEngine) makeFolder(ctx context.Context, in *installation) error {
	if err := ownFolder(temporaryFolder(in.config.Dir), in.user); err != nil {
		return err
	}
	if !e.mariadb {
		_, err := in.run(ctx, "", in.config.Binary.Path, append(e.storage(in.config.Dir, in.folder), "--initialize-insecure")...)
		return err
	}
	if err := ownFolder(filepath.Join(in.config.Dir, "files"), in.user); err != nil {
		return err
	}
	args := append(e.storage(in.config.Dir, in.folder), "--auth-root-authentication-method=normal", "--skip-test-db")
	_, err := in.run(ctx, "", in.config.Binary.Installer, args...)
	return err
}

// maxSocketPath is what the strictest system, macOS, allows.
const maxSocketPath = 103

// socket returns the path of a socket in a folder that is closed to others: the
// server's own, or one made for it where that has too long a path.
func (in *installation) socket() (path string, remove func(), err error) {
	path = filepath.Join(in.config.Dir, "socket")
	if len(path) <= maxSocketPath {
		return path, func() { _ = os.Remove(path) }, nil // the server has done it, unless it was killed
	}
	dir, err := os.MkdirTemp("/tmp", "keyturn-")
	if err != nil {
		return "", nil, fmt.Errorf("making a folder for a socket: %w", err)
	}
	return filepath.Join(dir, "socket"), func() { _ = os.RemoveAll(dir) }, ownFolder(dir, in.user)
}

func (e mysqlEngine) makeAccounts(ctx context.Context, p *process, socket string, admin Password, setup Setup) error {
	db, err := open(login{net: "unix", addr: socket, user: "root"})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := untilAnswers(ctx, p, db); err != nil {
		return err
	}
	if err := e.addAccount(ctx, db, Admin, Host, admin); err != nil {
		return err
	}
	if err := e.addAccount(ctx, db, setup.MasterUser, "%", setup.MasterPassword); err != nil {
		return err
	}
	if setup.Database != "" {
		if _, err := db.ExecContext(ctx, "CREATE DATABASE `"+setup.Database+"`"); err != nil {
			return fmt.Errorf("creating the database: %w", err)
		}
	}
	return dropInitialAccounts(ctx, db)
}

func untilAnswers(ctx context.Context, p *process, db *sql.DB) error {
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("it ended at once: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

func (e mysqlEngine) addAccount(ctx context.Context, db *sql.DB, user, host string, password Password) error {
	if _, err := db.ExecContext(ctx, "CREATE USER ?@? "+e.identified(), user, host, e.proof(password)); err != nil {
		return fmt.Errorf("creating the account %s: %w", user, quiet(err))
	}
	if _, err := db.ExecContext(ctx, "GRANT ALL PRIVILEGES ON *.* TO ?@? WITH GRANT OPTION", user, host); err != nil {
		return fmt.Errorf("granting privileges to %s: %w", user, err)
	}
	return nil
}

// identified and proof: MariaDB takes a hash that we make, so the password
// does not even reach the server. MySQL gets the password over the closed
// socket or over TLS, and never writes it anywhere.
func (e mysqlEngine) identified() string {
	if e.mariadb {
		return "IDENTIFIED BY PASSWORD ?"
	}
	return "IDENTIFIED BY ?"
}

func (e mysqlEngine) proof(password Password) string {
	if e.mariadb {
		return nativeHash(password)
	}
	return string(password)
}

// quiet keeps the number of a server's error and drops its text, which may
// quote the statement and with it the password.
func quiet(err error) error {
	if known, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return fmt.Errorf("error %d of the database server", known.Number)
	}
	return err
}

// dropInitialAccounts removes root, and the anonymous account with which some
// versions of MariaDB begin and which would mask user@'%'.
func dropInitialAccounts(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, "SELECT User, Host FROM mysql.user WHERE User IN ('', 'root')")
	if err != nil {
		return fmt.Errorf("listing the initial accounts: %w", err)
	}
	defer rows.Close()
	var accounts [][2]string
	for rows.Next() {
		var a [2]string
		if err := rows.Scan(&a[0], &a[1]); err != nil {
			return fmt.Errorf("listing the initial accounts: %w", err)
		}
		accounts = append(accounts, a)
	}
	if err := rows.Close(); err != nil {
		return fmt.Errorf("listing the initial accounts: %w", err)
	}
	for _, a := range accounts {
		if _, err := db.ExecContext(ctx, "DROP USER ?@?", a[0], a[1]); err != nil {
			return fmt.Errorf("dropping the initial account %s@%s: %w", a[0], a[1], err)
		}
	}
	return rows.Err()
}

func (mysqlEngine) login(ctx context.Context, c Config) error {
	db, err := open(login{net: "tcp", addr: address(c.Port), user: Admin, password: c.AdminPassword})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.PingContext(ctx)
}

func (e mysqlEngine) setPassword(ctx context.Context, c Config, user string, next Password) error {
	db, err := open(login{net: "tcp", addr: address(c.Port), user: Admin, password: c.AdminPassword})
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "ALTER USER ?@'%' "+e.identified(), user, e.proof(next)); err != nil {
		return quiet(err)
	}
	if e.mariadb {
		return nil // the statement replaced every way to log in
	}
	// A retained second password would outlive the change.
	if _, err := db.ExecContext(ctx, "ALTER USER ?@'%' DISCARD OLD PASSWORD", user); err != nil {
		return fmt.Errorf("discarding the old password: %w", err)
	}
	return nil
}

type login struct {
	net, addr, user string
	password        Password
}

func open(l login) (*sql.DB, error) {
	config := mysql.NewConfig()
	config.Net, config.Addr, config.User, config.Passwd = l.net, l.addr, l.user, string(l.password)
	config.InterpolateParams = true // account statements take no parameters
	config.Timeout = 5 * time.Second
	config.Logger = &mysql.NopLogger{} // a server that is not up yet is no news
	if l.net == "tcp" {
		config.TLSConfig = "preferred" // MySQL makes itself a certificate; it is this machine
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, fmt.Errorf("preparing a login: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}
