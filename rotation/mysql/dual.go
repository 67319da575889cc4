package mysql

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotation"
)

// mysql is a session of MySQL or Aurora MySQL.
//
// An account has a primary and maybe a secondary password. A change with
// RETAIN makes the primary one secondary; a change without RETAIN leaves the
// secondary one as it is. Run twice, RETAIN would thus lose the old password.
// REPLACE is the guard: the server compares it with the primary password alone
// and refuses the whole statement (3891) if that is another.
//
// The server itself writes <secret> for the passwords into its general log,
// and hashes into its binary log.
type mysql struct{ *conn }

const (
	hostsOf    = "SELECT RTRIM(host), " + readsOnly + " FROM mysql.user WHERE user = ?" // the mode PAD_CHAR_TO_FULL_LENGTH fills it up
	lockSecond = 10
)

// SetPassword implements rotation.Session.
func (m *mysql) SetPassword(ctx context.Context, user, password string) error {
	if user == m.self.user {
		return m.setOwn(ctx, password)
	}
	rows, err := m.accounts(ctx, user, hostsOf)
	if err != nil {
		return err
	}
	if err := m.writable(); err != nil {
		return err
	}
	if err := m.admits(ctx, user); err != nil {
		return err
	}
	return m.setRows(ctx, rows, password)
}

// setRows changes all rows by one statement, or none.
func (m *mysql) setRows(ctx context.Context, rows []account, password string) error {
	var args []any
	for _, a := range rows {
		args = append(args, a.user, a.host, password)
	}
	err := m.exec(ctx, "ALTER USER ?@? IDENTIFIED BY ?"+strings.Repeat(", ?@? IDENTIFIED BY ?", len(rows)-1), args...)
	return m.needs(err, "changing the password of "+rows[0].user, "CREATE USER")
}

// setOwn needs no privilege. It gives the current password only to accounts
// that must (PASSWORD REQUIRE CURRENT), because MySQL 5.7 does not know REPLACE.
func (m *mysql) setOwn(ctx context.Context, password string) error {
	err := m.alter(ctx, "ALTER USER USER() IDENTIFIED BY ?", password)
	if isServer(err, errMissingCurrent) {
		err = m.exec(ctx, "ALTER USER USER() IDENTIFIED BY ? REPLACE ?", password, m.login.Password)
	}
	return err
}

// AddPassword implements rotation.DualPassword.
func (m *mysql) AddPassword(ctx context.Context, user, password, keep string) error {
	unlock, err := m.lock(ctx, user)
	if err != nil {
		return err
	}
	defer unlock()
	if user == m.self.user {
		return m.addOwn(ctx, password, keep)
	}
	rows, err := m.accounts(ctx, user, hostsOf)
	if err != nil {
		return err
	}
	if err := m.writable(); err != nil {
		return err
	}
	return m.noDual(m.addTo(ctx, rows, password, keep), "keeping two passwords of "+user, "CREATE USER")
}

// addOwn relies on REPLACE. If keep is not the primary password, it is the
// secondary one, for it logs in: an abandoned rotation or another worker has
// set a newer one. Replacing that without RETAIN leaves keep where it is.
func (m *mysql) addOwn(ctx context.Context, password, keep string) error {
	err := m.alter(ctx, "ALTER USER USER() IDENTIFIED BY ? REPLACE ? RETAIN CURRENT PASSWORD", password, keep)
	if isServer(err, errWrongCurrent) {
		err = m.exec(ctx, "ALTER USER USER() IDENTIFIED BY ?", password)
	}
	return m.noDual(err, "keeping two passwords", "APPLICATION_PASSWORD_ADMIN")
}

// addTo works on the rows of another user, where REPLACE is not allowed: what keep is
// to each is read. If nobody can tell, making it the primary one first ends the doubt,
// and it is valid all the time. One statement changes all rows or none: the next attempt
// would look at one row alone, that of logins from here.
func (m *mysql) addTo(ctx context.Context, rows []account, password, keep string) error {
	return m.alterAll(ctx, rows, keep, func(a account, stands standing) (string, []any, error) {
		args := []any{a.user, a.host, password}
		switch stands {
		case secondary:
			return "?@? IDENTIFIED BY ?", args, nil
		case uncertain:
			if err := m.exec(ctx, "ALTER USER ?@? IDENTIFIED BY ?", a.user, a.host, keep); err != nil {
				return "", nil, again(err)
			}
		}
		return "?@? IDENTIFIED BY ? RETAIN CURRENT PASSWORD", args, nil
	})
}

// alterAll is one ALTER USER with a clause for each row of a user, by what keep is to
// it. A row whose clause is empty stays as it is.
func (m *mysql) alterAll(ctx context.Context, rows []account, keep string, clauseFor func(account, standing) (string, []any, error)) error {
	var clauses []string
	var args []any
	for _, a := range rows {
		stands, err := m.standing(ctx, a, keep)
		if err != nil {
			return err
		}
		clause, values, err := clauseFor(a, stands)
		if err != nil {
			return err
		}
		if clause != "" {
			clauses, args = append(clauses, clause), append(args, values...)
		}
	}
	if clauses == nil {
		return nil
	}
	return m.alter(ctx, "ALTER USER "+strings.Join(clauses, ", "), args...)
}

// again is the error of setting a password that the account has already: no new
// one satisfies a rule that forbids that, so it does not match ErrRejected.
func again(err error) error {
	if !errors.Is(err, rotation.ErrRejected) {
		return err
	}
	return rotation.Errorf(rotation.ClassPolicy, "keeping the current password: %s", err.Error())
}

// DropOldPassword implements rotation.DualPassword.
func (m *mysql) DropOldPassword(ctx context.Context, user, keep string) error {
	unlock, err := m.lock(ctx, user)
	if err != nil {
		return err
	}
	defer unlock()
	if user == m.self.user {
		return m.dropOwn(ctx, keep)
	}
	rows, err := m.accounts(ctx, user, hostsOf)
	if err != nil {
		return err
	}
	if err := m.admits(ctx, user); err != nil {
		return err
	}
	return m.noDual(m.discard(ctx, rows, keep), "ending the old password of "+user, "CREATE USER")
}

// discard ends the secondary passwords of all rows but those where keep is it. One
// statement does, for the next attempt would look at one row alone.
func (m *mysql) discard(ctx context.Context, rows []account, keep string) error {
	return m.alterAll(ctx, rows, keep, func(a account, stands standing) (string, []any, error) {
		if stands == primary || stands == uncertain {
			return "?@? DISCARD OLD PASSWORD", []any{a.user, a.host}, nil
		}
		return "", nil, nil
	})
}

// DropOlder implements rotation.SureDropper. Only the session's own account can be
// sure.
func (m *mysql) DropOlder(ctx context.Context, user, keep string) (sure bool, err error) {
	if user != m.self.user {
		return false, nil
	}
	unlock, err := m.lock(ctx, user)
	if err != nil {
		return false, err
	}
	defer unlock()
	return m.dropSurely(ctx, keep)
}

// dropOwn does what dropSurely does. Where password rules forbid to set keep
// again, the caller's look at the account must do.
func (m *mysql) dropOwn(ctx context.Context, keep string) error {
	sure, err := m.dropSurely(ctx, keep)
	if sure || err != nil {
		return err
	}
	return m.discardOwn(ctx)
}

// dropSurely first puts keep in the place of both passwords, which the server
// refuses unless keep is the primary one. DISCARD alone would end keep if a
// newer password has just been set.
func (m *mysql) dropSurely(ctx context.Context, keep string) (sure bool, err error) {
	err = m.alter(ctx, "ALTER USER USER() IDENTIFIED BY ? REPLACE ? RETAIN CURRENT PASSWORD", keep, keep)
	switch {
	case err == nil:
		return true, m.discardOwn(ctx)
	case isServer(err, errWrongCurrent):
		return true, nil
	case rotation.ClassOf(err) == rotation.ClassPolicy:
		return false, nil
	}
	return false, m.noDual(err, "ending the old password", "APPLICATION_PASSWORD_ADMIN")
}

func (m *mysql) discardOwn(ctx context.Context) error {
	err := m.exec(ctx, "ALTER USER USER() DISCARD OLD PASSWORD")
	return m.noDual(err, "ending the old password", "APPLICATION_PASSWORD_ADMIN")
}

// noDual translates the answer of a server that is too old, and names what a
// session must be granted.
func (m *mysql) noDual(err error, doing, grant string) error {
	if isServer(err, errSyntax) || isServer(err, errUnknownColumn) {
		return rotation.Errorf(rotation.ClassPolicy, "MySQL %s, needed is 8.0.14: %w", m.version, rotation.ErrNoDualPassword)
	}
	return m.needs(err, doing, grant)
}

// lock keeps other sessions of this package from changing the same user
// between two statements. It ends with the connection at the latest, which may
// outlive the step of ctx.
func (c *conn) lock(ctx context.Context, user string) (unlock func(), err error) {
	if c.noted != nil {
		return func() {}, nil
	}
	name := lockOf(user)
	var got *int
	err = c.QueryRowContext(ctx, "SELECT GET_LOCK(?, ?)", name, lockSecond).Scan(&got)
	err = c.statementError(ctx, err, nil)
	if err != nil && !isServer(err, errStatementTime) {
		return nil, err
	}
	if got == nil || *got != 1 {
		return nil, rotation.Errorf(rotation.ClassTimeout, "another session is changing the password of %s", user)
	}
	return func() { c.unlock(context.WithoutCancel(ctx), name) }, nil
}

// lockOf names the lock of a user, whose own name may be longer than a lock's, of which
// MySQL takes 64 bytes.
func lockOf(user string) string {
	sum := sha256.Sum256([]byte(user))
	return "keyturn:" + hex.EncodeToString(sum[:16])
}

// unlock ends a lock. Where that fails the driver has closed the connection.
func (c *conn) unlock(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, lockSecond*time.Second)
	defer cancel()
	_, _ = c.ExecContext(ctx, "DO RELEASE_LOCK(?)", name)
}

// isServer tells whether the server answered with this error number.
func isServer(err error, number uint16) bool {
	var e *serverError
	return errors.As(err, &e) && e.number == number
}
