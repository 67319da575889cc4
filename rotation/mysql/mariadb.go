package mysql

import (
	"context"
	"crypto/sha1" //nolint:gosec // mysql_native_password is defined by it
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/rotation"
)

// mariadb is a session of MariaDB.
//
// An account has a list of authentication alternatives; two times
// mysql_native_password makes two passwords. Every statement gives the whole
// list and so may be repeated. The server writes statements as they are into
// its general and binary log, so it gets hashes, never clear text.
type mariadb struct{ *conn }

const (
	native = "mysql_native_password"
	// A role has a row without a host.
	hostsOfMaria = "SELECT host FROM mysql.user WHERE user = ? AND is_role <> 'Y'"
)

// SetPassword implements rotation.Session.
func (m *mariadb) SetPassword(ctx context.Context, user, password string) error {
	rows, err := m.accounts(ctx, user, hostsOfMaria)
	if err != nil {
		return err
	}
	for _, a := range rows {
		hashes, err := m.hashes(ctx, a)
		if err != nil {
			return err
		}
		if a == m.self && len(hashes) < 2 {
			return m.setOwn(ctx, password)
		}
	}
	// One statement changes all rows, so a crash of this process cannot stop
	// in between. It replaces whole lists: SET PASSWORD changes the first
	// alternative alone.
	return m.identify(ctx, rows, password)
}

// setOwn needs no privilege.
func (m *mariadb) setOwn(ctx context.Context, password string) error {
	err := m.exec(ctx, "SET PASSWORD = ?", hash(password))
	if isStrict(err) {
		err = m.exec(ctx, "SET PASSWORD = PASSWORD(?)", password)
	}
	return err
}

// AddPassword implements rotation.DualPassword.
func (m *mariadb) AddPassword(ctx context.Context, user, password, keep string) error {
	rows, err := m.accounts(ctx, user, hostsOfMaria)
	if err != nil {
		return err
	}
	for _, a := range rows {
		if _, err := m.hashes(ctx, a); err != nil {
			return err
		}
		if err := m.addTo(ctx, a, password, keep); err != nil {
			return err
		}
	}
	return nil
}

// DropOldPassword implements rotation.DualPassword.
func (m *mariadb) DropOldPassword(ctx context.Context, user, keep string) error {
	rows, err := m.accounts(ctx, user, hostsOfMaria)
	if err != nil {
		return err
	}
	for _, a := range rows {
		hashes, err := m.hashes(ctx, a)
		if err != nil {
			return err
		}
		if len(hashes) < 2 || hashes[0] != hash(keep) {
			continue // nothing older, or a newer one in front
		}
		if err := m.identify(ctx, []account{a}, keep); err != nil {
			return err
		}
	}
	return nil
}

// hashes returns the account's password hashes, the newest first. It refuses
// an account with another plugin than mysql_native_password: one such as
// ed25519 in the first place hides the second password from clients that
// switch the plugin only once, go-sql-driver among them.
func (m *mariadb) hashes(ctx context.Context, a account) ([]string, error) {
	statement, args := "SHOW CREATE USER CURRENT_USER()", []any(nil)
	if a != m.self {
		statement, args = "SHOW CREATE USER ?@?", []any{a.user, a.host}
	}
	var created string
	if err := m.QueryRowContext(ctx, statement, args...).Scan(&created); err != nil {
		return nil, m.needs(m.statementError(ctx, err, nil), "reading the account "+a.String(), "SELECT ON mysql.*")
	}
	list := parseAlternatives(created)
	if i := slices.IndexFunc(list, alternative.foreign); i >= 0 {
		return nil, rotation.Errorf(rotation.ClassPolicy,
			"the account %s logs in by the plugin %s; its password can be rotated after ALTER USER %s IDENTIFIED VIA %s USING PASSWORD('…'): %w",
			a, list[i].plugin, a, native, rotation.ErrNoDualPassword)
	}
	var hashes []string
	for _, each := range list {
		hashes = append(hashes, each.hash)
	}
	return hashes, nil
}

// alternative is one way to log in to an account.
type alternative struct{ plugin, hash string }

func (a alternative) foreign() bool { return a.plugin != native }

var (
	identified = regexp.MustCompile("^CREATE USER (?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\")@(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\") IDENTIFIED (.*)$")
	byHash     = regexp.MustCompile(`^BY PASSWORD '([^']*)'`)
	viaPlugin  = regexp.MustCompile(`^(?:VIA|OR) ([0-9A-Za-z_]+)(?: USING '([^']*)')? ?`)
)

// parseAlternatives reads SHOW CREATE USER. An account without a password has
// none.
func parseAlternatives(created string) []alternative {
	m := identified.FindStringSubmatch(created)
	if m == nil {
		return nil
	}
	if by := byHash.FindStringSubmatch(m[1]); by != nil {
		return []alternative{{native, by[1]}}
	}
	var list []alternative
	for rest := m[1]; ; {
		via := viaPlugin.FindStringSubmatch(rest)
		if via == nil {
			return list
		}
		list = append(list, alternative{via[1], via[2]})
		rest = rest[len(via[0]):]
	}
}

// hash is what mysql_native_password stores: SHA-1 of SHA-1, in capitals.
func hash(password string) string {
	once := sha1.Sum([]byte(password)) //nolint:gosec // as above
	twice := sha1.Sum(once[:])         //nolint:gosec // as above
	return "*" + strings.ToUpper(hex.EncodeToString(twice[:]))
}
