package mysql

import (
	"context"
	"errors"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keyturn/keyturn/rotation"
)

// form is how a statement gives a password to MariaDB.
type form struct {
	text string // of the parameter
	of   func(password string) string
}

// Plugins that validate passwords look at clear text. Under
// strict_password_validation, which is the default, a server that has such a
// plugin takes no hashes; see "Password Validation Plugins" in MariaDB's manual.
var (
	hashed  = form{"?", hash}
	inClear = form{"PASSWORD(?)", func(password string) string { return password }}
)

// identify replaces the whole list of each row by one or two passwords, the newest
// first. The server gets hashes, unless it validates passwords.
func (m *mariadb) identify(ctx context.Context, rows []account, passwords ...string) error {
	return m.inAForm(func(f form) error { return m.give(ctx, "ALTER USER", rows, f, passwords...) })
}

// create makes a user, unless there is one.
func (m *mariadb) create(ctx context.Context, a account, password string) error {
	return m.inAForm(func(f form) error { return m.give(ctx, "CREATE USER IF NOT EXISTS", []account{a}, f, password) })
}

// inAForm gives clear text to a server that insists on it.
func (m *mariadb) inAForm(give func(form) error) error {
	err := give(hashed)
	if isStrict(err) {
		err = give(inClear)
	}
	return err
}

// addTo sets a new password beside another. What validates passwords may refuse
// the one that stays: rules may have changed since it was made, and a history knows
// it. That is found out first, by setting it alone, which changes nothing and
// leaves the new one out of the history.
func (m *mariadb) addTo(ctx context.Context, a account, password, keep string) error {
	rows := []account{a}
	err := m.give(ctx, "ALTER USER", rows, hashed, password, keep)
	if !isStrict(err) {
		return err
	}
	err = m.give(ctx, "ALTER USER", rows, inClear, keep)
	if errors.Is(err, rotation.ErrRejected) {
		return rotation.Errorf(rotation.ClassPolicy, "the server's password validation refuses the password of AWSCURRENT beside a new one (%v): %w", err, rotation.ErrNoDualPassword)
	}
	if err != nil {
		return err
	}
	return m.give(ctx, "ALTER USER", rows, inClear, password, keep)
}

// give is one statement that gives all rows the same list of passwords.
func (m *mariadb) give(ctx context.Context, verb string, rows []account, f form, passwords ...string) error {
	via := native + " USING " + f.text
	each := "?@? IDENTIFIED VIA " + via + strings.Repeat(" OR "+via, len(passwords)-1)
	var args []any
	for _, a := range rows {
		args = append(args, a.user, a.host)
		for _, p := range passwords {
			args = append(args, f.of(p))
		}
	}
	err := m.execUser(ctx, verb+" "+each+strings.Repeat(", "+each, len(rows)-1), args)
	if isServer(err, errSyntax) {
		return rotation.Errorf(rotation.ClassPolicy, "MariaDB %s, needed is 10.4: %w", m.version, rotation.ErrNoDualPassword)
	}
	return m.needs(err, "changing the passwords of "+rows[0].user, "CREATE USER")
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
