package mysql

import (
	"context"
	"errors"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keyturn/keyturn/rotation"
)

// way is one way to log in that an account gets.
type way struct{ plugin, password string }

// by makes one password valid by each of the plugins.
func by(plugins []string, password string) (ways []way) {
	for _, p := range plugins {
		ways = append(ways, way{p, password})
	}
	return ways
}

// identity is an account and the whole list of ways to log in to it, the newest
// password first.
type identity struct {
	account
	ways []way
}

// form is how a statement gives a password to MariaDB.
type form struct {
	text string // of the parameter
	of   func(way) string
}

// Plugins that validate passwords look at clear text. Under
// strict_password_validation, which is the default, a server that has such a
// plugin takes no hashes; see "Password Validation Plugins" in MariaDB's manual.
var (
	hashed  = form{"?", func(w way) string { return hashOf[w.plugin](w.password) }}
	inClear = form{"PASSWORD(?)", func(w way) string { return w.password }}
)

// inAForm gives hashes, and clear text to a server that insists on it.
func inAForm(give func(form) error) error {
	err := give(hashed)
	if isStrict(err) {
		err = give(inClear)
	}
	return err
}

// identify replaces the lists of some rows.
func (m *mariadb) identify(ctx context.Context, all ...identity) error {
	return inAForm(func(f form) error { return m.give(ctx, "ALTER USER", f, all...) })
}

// create makes a user, unless there is one.
func (m *mariadb) create(ctx context.Context, i identity) error {
	return inAForm(func(f form) error { return m.give(ctx, "CREATE USER IF NOT EXISTS", f, i) })
}

// addTo sets a new password beside another, in all rows or none. What validates
// passwords may refuse the one that stays: rules may have changed since it was made, and
// a history knows it. That is found out first, by setting it alone, which changes nothing
// and leaves the new one out of the history.
func (m *mariadb) addTo(ctx context.Context, rows []account, password, keep string) error {
	var both []identity
	for _, a := range rows {
		both = append(both, identity{a, []way{{native, password}, {native, keep}}})
	}
	err := m.give(ctx, "ALTER USER", hashed, both...)
	if !isStrict(err) {
		return err
	}
	err = m.give(ctx, "ALTER USER", inClear, alone(rows, keep)...)
	if errors.Is(err, rotation.ErrRejected) {
		return rotation.Errorf(rotation.ClassPolicy, "the server's password validation refuses the password of AWSCURRENT beside a new one (%v): %w", err, rotation.ErrNoDualPassword)
	}
	if err != nil {
		return err
	}
	return m.give(ctx, "ALTER USER", inClear, both...)
}

// alone is the rows with one password.
func alone(rows []account, password string) (all []identity) {
	for _, a := range rows {
		all = append(all, identity{a, []way{{native, password}}})
	}
	return all
}

// give is one statement for all rows.
func (m *mariadb) give(ctx context.Context, verb string, f form, all ...identity) error {
	var clauses []string
	var args []any
	for _, i := range all {
		args = append(args, i.user, i.host)
		var ways []string
		for _, w := range i.ways {
			ways, args = append(ways, w.plugin+" USING "+f.text), append(args, f.of(w))
		}
		clauses = append(clauses, "?@? IDENTIFIED VIA "+strings.Join(ways, " OR "))
	}
	err := m.execUser(ctx, verb+" "+strings.Join(clauses, ", "), args)
	if isServer(err, errSyntax) {
		return rotation.Errorf(rotation.ClassPolicy, "MariaDB %s, needed is 10.4: %w", m.version, rotation.ErrNoDualPassword)
	}
	return m.needs(err, "changing the passwords of "+all[0].user, "CREATE USER")
}

// execUser is exec that finds the reason behind "Operation ALTER USER failed".
func (m *mariadb) execUser(ctx context.Context, statement string, args []any) error {
	err := m.exec(ctx, statement, args...)
	if !isServer(err, errCannotUser) {
		return err
	}
	if reason := m.reason(ctx); reason != nil {
		return m.statementError(ctx, reason, args)
	}
	return err
}

// reason returns the first error of the statement before, nil if there is no other
// than errCannotUser.
func (m *mariadb) reason(ctx context.Context) error {
	rows, err := m.QueryContext(ctx, "SHOW ERRORS")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var level string
		reason := &driver.MySQLError{}
		if err := rows.Scan(&level, &reason.Number, &reason.Message); err != nil {
			return err
		}
		if reason.Number != errCannotUser {
			return reason
		}
	}
	return rows.Err()
}

// isStrict tells whether the server takes no hashes.
func isStrict(err error) bool {
	return isServer(err, errOptionPrevents) && rotation.ClassOf(err) == rotation.ClassPolicy
}

// keepsHistory tells whether the server refuses passwords that it knows.
func (m *mariadb) keepsHistory(ctx context.Context) bool {
	var n int
	err := m.QueryRowContext(ctx, `SELECT COUNT(*) FROM information_schema.plugins
		WHERE plugin_name = 'password_reuse_check' AND plugin_status = 'ACTIVE'`).Scan(&n)
	return err == nil && n > 0
}
