package mysql

import (
	"context"
	"crypto/sha1" //nolint:gosec // mysql_native_password is defined by it
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"filippo.io/edwards25519"

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
	hostsOfMaria = "SELECT RTRIM(host), " + readsOnly + " FROM mysql.user WHERE user = ? AND is_role <> 'Y'"
)

// SetPassword implements rotation.Session.
func (m *mariadb) SetPassword(ctx context.Context, user, password string) error {
	rows, err := m.accounts(ctx, user, hostsOfMaria)
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

// setRows changes all rows by one statement, so that a crash of this process cannot
// stop in between. It replaces whole lists: SET PASSWORD changes the first alternative
// alone.
func (m *mariadb) setRows(ctx context.Context, rows []account, password string) error {
	var all []identity
	for _, a := range rows {
		list, err := m.alternatives(ctx, a)
		if err != nil {
			return err
		}
		if a == m.self && len(list) < 2 {
			return m.setOwn(ctx, pluginsOf(list)[0], password)
		}
		all = append(all, identity{a, by(pluginsOf(list), password)})
	}
	return m.identify(ctx, all...)
}

// setOwn needs no privilege.
func (m *mariadb) setOwn(ctx context.Context, plugin, password string) error {
	return inAForm(func(f form) error {
		return m.exec(ctx, "SET PASSWORD = "+f.text, f.of(way{plugin, password}))
	})
}

// AddPassword implements rotation.DualPassword.
func (m *mariadb) AddPassword(ctx context.Context, user, password, keep string) error {
	rows, err := m.accounts(ctx, user, hostsOfMaria)
	if err != nil {
		return err
	}
	if err := m.writable(); err != nil {
		return err
	}
	for _, a := range rows {
		if err := m.mayHaveTwo(ctx, a); err != nil {
			return err
		}
	}
	return m.addTo(ctx, rows, password, keep)
}

// DropOldPassword implements rotation.DualPassword.
func (m *mariadb) DropOldPassword(ctx context.Context, user, keep string) error {
	rows, err := m.accounts(ctx, user, hostsOfMaria)
	if err != nil {
		return err
	}
	if err := m.admits(ctx, user); err != nil {
		return err
	}
	var all []identity
	for _, a := range rows {
		list, err := m.alternatives(ctx, a)
		if err != nil {
			return err
		}
		if olderThan(list, keep) {
			all = append(all, identity{a, by(pluginsOf(list), keep)})
		}
	}
	if all == nil {
		return nil
	}
	if err := m.writable(); err != nil {
		return err
	}
	return m.identify(ctx, all...)
}

// olderThan tells whether an account has an older password than keep. If keep is
// not in front, the others are newer.
func olderThan(list []alternative, keep string) bool {
	other := func(a alternative) bool { return !a.takes(keep) }
	return len(list) > 1 && list[0].takes(keep) && slices.ContainsFunc(list, other)
}

// alternatives returns the ways to log in to an account, the newest password
// first. It refuses an account with another plugin than those of hashOf.
func (m *mariadb) alternatives(ctx context.Context, a account) ([]alternative, error) {
	statement, args := "SHOW CREATE USER CURRENT_USER()", []any(nil)
	if a != m.self {
		statement, args = "SHOW CREATE USER ?@?", []any{a.user, a.host}
	}
	var created string
	if err := m.QueryRowContext(ctx, statement, args...).Scan(&created); err != nil {
		return nil, m.needs(m.statementError(ctx, err, nil), "reading the account "+a.String(), "SELECT ON mysql.*")
	}
	list := parseAlternatives(created)
	for _, each := range list {
		if hashOf[each.plugin] == nil {
			return nil, m.otherPlugin(a, each.plugin)
		}
	}
	return list, nil
}

func (m *mariadb) otherPlugin(a account, plugin string) error {
	return rotation.Errorf(rotation.ClassPolicy,
		"the account %s logs in by the plugin %s; its password can be rotated after ALTER USER %s IDENTIFIED VIA %s USING PASSWORD('…'): %w",
		a, plugin, a, native, rotation.ErrNoDualPassword)
}

// mayHaveTwo refuses accounts with another plugin than mysql_native_password: one
// such as ed25519 in the first place hides the second password from clients that
// switch the plugin only once, go-sql-driver among them.
func (m *mariadb) mayHaveTwo(ctx context.Context, a account) error {
	list, err := m.alternatives(ctx, a)
	for _, each := range list {
		if each.plugin != native {
			return rotation.Errorf(rotation.ClassPolicy, "the account %s logs in by the plugin %s, two passwords need %s: %w",
				a, each.plugin, native, rotation.ErrNoDualPassword)
		}
	}
	return err
}

// alternative is one way to log in to an account.
type alternative struct{ plugin, hash string }

func (a alternative) takes(password string) bool { return a.hash == hashOf[a.plugin](password) }

// pluginsOf returns the plugins of a list, each once; of an account without a
// password the one that it will get.
func pluginsOf(list []alternative) (plugins []string) {
	for _, a := range list {
		if !slices.Contains(plugins, a.plugin) {
			plugins = append(plugins, a.plugin)
		}
	}
	if plugins == nil {
		return []string{native}
	}
	return plugins
}

var (
	// A server that is set to sql_quote_show_create = OFF quotes odd names alone.
	named      = "(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"|[^`\"@ ]+)"
	identified = regexp.MustCompile("^CREATE USER " + named + "@" + named + " IDENTIFIED (.*)$")
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

// hashOf is what the plugins store for a password.
var hashOf = map[string]func(password string) string{native: hash, "ed25519": publicKey}

// hash is what mysql_native_password stores: SHA-1 of SHA-1, in capitals.
func hash(password string) string {
	once := sha1.Sum([]byte(password)) //nolint:gosec // as above
	twice := sha1.Sum(once[:])         //nolint:gosec // as above
	return "*" + strings.ToUpper(hex.EncodeToString(twice[:]))
}

// publicKey is what the plugin ed25519 stores: the public key whose secret scalar
// is made of the password, which takes the place of Ed25519's seed of 32 bytes.
func publicKey(password string) string {
	digest := sha512.Sum512([]byte(password))
	secret, err := edwards25519.NewScalar().SetBytesWithClamping(digest[:32])
	if err != nil {
		panic(err) // for another length than 32 alone
	}
	return base64.RawStdEncoding.EncodeToString(new(edwards25519.Point).ScalarBaseMult(secret).Bytes())
}
