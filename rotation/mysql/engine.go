// Package mysql is the rotation engine for MySQL, Aurora MySQL and MariaDB.
//
// The products differ in how an account can have two passwords. MySQL from
// 8.0.14 keeps a primary and a secondary one (RETAIN CURRENT PASSWORD, DISCARD
// OLD PASSWORD; see "Dual Password Support" in its manual). MariaDB from 10.4
// takes a list of authentication alternatives (IDENTIFIED VIA … OR …), which
// serves as well. Which product it is, the server's version tells.
package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keyturn/keyturn/rotation"
)

// Engine logs in to MySQL, Aurora MySQL and MariaDB. Its zero value works.
type Engine struct {
	// ConnectTimeout bounds name look-up, connection, TLS and login together;
	// 0 is 5 seconds.
	ConnectTimeout time.Duration
}

const (
	defaultTimeout = 5 * time.Second
	defaultPort    = 3306
)

// names are the engines that a secret may name, as RDS calls them.
var names = []string{"mysql", "mariadb", "aurora-mysql", "aurora"}

// Connect implements rotation.Engine. The connection does not choose a
// database: changing passwords needs none.
//
// A cancelled context ends the wait for a statement, but the server may still
// complete it, since the driver only closes the connection. Every statement of
// this package may be repeated.
func (e Engine) Connect(ctx context.Context, l rotation.Login) (rotation.Session, error) {
	if !slices.Contains(names, l.Engine) {
		return nil, rotation.Errorf(rotation.ClassSecret, "the engine %q of the secret is none of %s", l.Engine, strings.Join(names, ", "))
	}
	timeout := e.ConnectTimeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cfg, err := config(l, timeout)
	if err != nil {
		return nil, err
	}
	var line *rotation.Goodbye
	cfg.DialFunc = dialTo(&line)
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		return nil, rotation.Errorf(rotation.ClassSecret, "the login of the secret cannot be used: host, port or username is malformed")
	}
	return open(ctx, sql.OpenDB(connector), l, &line)
}

// dialTo makes connections whose Close may wait for the server, and shows the last one.
func dialTo(line **rotation.Goodbye) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		*line = &rotation.Goodbye{Conn: raw}
		return *line, nil
	}
}

func config(l rotation.Login, timeout time.Duration) (*driver.Config, error) {
	cfg := driver.NewConfig()
	cfg.Net, cfg.Addr = "tcp", l.Address(defaultPort)
	if l.UnixSocket() {
		cfg.Net = "unix"
	}
	cfg.User, cfg.Passwd = l.Username, l.Password
	cfg.Timeout = timeout
	cfg.Logger = &driver.NopLogger{}
	// ALTER USER takes no parameters in a prepared statement (error 1064). The
	// driver's quoting obeys the session's NO_BACKSLASH_ESCAPES.
	cfg.InterpolateParams = true
	var err error
	cfg.TLS, err = l.TLSConfig()
	return cfg, err
}

// open logs in and finds out who and where it is. line is set by then.
func open(ctx context.Context, db *sql.DB, l rotation.Login, line **rotation.Goodbye) (rotation.Session, error) {
	c, err := identify(ctx, db, l)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	c.line = *line
	if c.isMariaDB() {
		return &mariadb{c}, nil
	}
	return &mysql{c}, nil
}

func identify(ctx context.Context, db *sql.DB, l rotation.Login) (*conn, error) {
	one, err := db.Conn(ctx)
	if errors.Is(err, driver.ErrMalformPkt) {
		// The driver cuts off the last byte of a challenge that ends in zero, which
		// the plugin ed25519 sends once in 256 times.
		one, err = db.Conn(ctx)
	}
	if err != nil {
		return nil, loginError(ctx, err, l)
	}
	c := &conn{Conn: one, db: db, login: l}
	var who string
	if err := c.QueryRowContext(ctx, "SELECT VERSION(), CURRENT_USER(), "+readsOnly).Scan(&c.version, &who, &c.readOnly); err != nil {
		return nil, loginError(ctx, err, l)
	}
	c.self = parseAccount(who)
	if c.self.user != l.Username && mangled(l.Username) {
		return nil, rotation.Errorf(rotation.ClassSecret, "the server does not show the user %s whole, but as the account %s: its names have characters of three bytes at most, so no emoji, and very long ones are cut; use a shorter username, of plain letters", l.Username, c.self)
	}
	if c.self.user != l.Username {
		// An anonymous or proxied account, or a server that runs with
		// skip-grant-tables: a change would hit somebody else.
		return nil, rotation.Errorf(rotation.ClassSecret, "the server took user %s for the account %s; drop anonymous accounts, and name the account itself in the secret", l.Username, c.self)
	}
	return c, nil
}

// mangled tells whether a server may show a name otherwise than it is written: its
// system tables have utf8mb3, which has no characters beyond U+FFFF, and MySQL cuts
// what is longer than a name's 96 bytes together with its host.
func mangled(name string) bool {
	const whole = 90
	return len(name) > whole || strings.ContainsFunc(name, func(r rune) bool { return r > 0xFFFF })
}

// account is a row of mysql.user.
type account struct{ user, host string }

// parseAccount splits at the last @: a user's name may hold one.
func parseAccount(s string) account {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return account{user: s}
	}
	return account{s[:at], s[at+1:]}
}

// String quotes the account as SQL and people write it.
func (a account) String() string { return fmt.Sprintf("'%s'@'%s'", a.user, a.host) }

// conn is the one connection of a session.
type conn struct {
	*sql.Conn
	db      *sql.DB
	line    *rotation.Goodbye
	login   rotation.Login
	self    account
	version string

	readOnly bool // the server, at the login or the last look at another's accounts
	bounded  bool // see bound

	noted *[]string // where statements of exec go in place of the server; nil: they are sent
}

func (c *conn) isMariaDB() bool { return strings.Contains(strings.ToLower(c.version), "mariadb") }

// Close ends the connection, and returns when the server counts it no longer.
func (c *conn) Close() error {
	c.line.Wait()
	_ = c.Conn.Close()
	return c.db.Close()
}

// exec runs a statement. Its arguments are names and passwords: they are taken
// out of the server's error text.
func (c *conn) exec(ctx context.Context, statement string, args ...any) error {
	if c.noted != nil {
		*c.noted = append(*c.noted, told(statement, args))
		return nil
	}
	if err := c.bound(ctx); err != nil {
		return err
	}
	err := c.execOnce(ctx, statement, args)
	if isServer(err, errReadOnlyTransaction) && c.execOnce(ctx, "SET SESSION TRANSACTION READ WRITE", nil) == nil {
		err = c.execOnce(ctx, statement, args) // the server is set to transaction_read_only
	}
	return err
}

// alter is exec for a change of an account, on a server that is not read-only.
func (c *conn) alter(ctx context.Context, statement string, args ...any) error {
	if err := c.writable(); err != nil {
		return err
	}
	return c.exec(ctx, statement, args...)
}

// bound has the server itself give up statements that wait for a lock over all of it,
// such as a backup's. Those that wait when the step has ended would else be carried out
// at the end of the lock, and AWSCURRENT be refused until the next attempt. MariaDB's
// statements for accounts do not obey lock_wait_timeout. Both are in seconds.
func (c *conn) bound(ctx context.Context) error {
	if c.bounded {
		return nil
	}
	statement := "SET SESSION lock_wait_timeout = 5"
	if c.isMariaDB() {
		statement = "SET SESSION max_statement_time = 5"
	}
	err := c.execOnce(ctx, statement, nil)
	c.bounded = err == nil
	return err
}

func (c *conn) execOnce(ctx context.Context, statement string, args []any) error {
	_, err := c.ExecContext(ctx, statement, args...)
	return c.statementError(ctx, err, args)
}

// accounts returns the rows that a change for user concerns: the session's own
// row, or, for another user, all rows of that name.
func (c *conn) accounts(ctx context.Context, user, query string) ([]account, error) {
	if user == c.self.user {
		return []account{c.self}, nil
	}
	rows, err := c.QueryContext(ctx, query, user)
	if err != nil {
		return nil, c.needs(c.statementError(ctx, err, nil), "finding the accounts of "+user, "SELECT ON mysql.user")
	}
	defer rows.Close()
	var found []account
	for rows.Next() {
		a := account{user: user}
		if err := rows.Scan(&a.host, &c.readOnly); err != nil {
			return nil, c.statementError(ctx, err, nil)
		}
		found = append(found, a)
	}
	if err := rows.Err(); err != nil {
		return nil, c.statementError(ctx, err, nil)
	}
	if len(found) == 0 {
		return nil, rotation.NoUser(user)
	}
	return found, nil
}

// readsOnly tells replicas and readers, as they are usually set up.
const readsOnly = "@@GLOBAL.read_only OR @@GLOBAL.innodb_read_only"

// writable refuses a server that is read-only. It lets those who have SUPER, or
// CONNECTION_ADMIN or READ ONLY ADMIN, change what its source then does not know.
func (c *conn) writable() error {
	if !c.readOnly {
		return nil
	}
	return rotation.Errorf(rotation.ClassDatabase, "the server is read-only: %s", readOnlyHint)
}

// needs names the missing GRANT in a privilege error. An account that has
// SYSTEM_USER can be changed only by one that has it too; see "Account Categories" in
// MySQL's manual.
func (c *conn) needs(err error, doing, grant string) error {
	if rotation.ClassOf(err) != rotation.ClassPrivilege {
		return err
	}
	if strings.Contains(err.Error(), "SYSTEM_USER") {
		grant = "SYSTEM_USER"
	}
	on := ""
	if !strings.Contains(grant, " ON ") {
		on = " ON *.*"
	}
	return rotation.Errorf(rotation.ClassPrivilege, "%s needs a privilege: GRANT %s%s TO %s", doing, grant, on, c.self)
}

// Probe implements rotation.Prober.
func (c *conn) Probe(ctx context.Context) error { return c.PingContext(ctx) }
