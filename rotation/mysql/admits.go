package mysql

import (
	"context"
	"net/netip"
	"strings"

	"github.com/keyturn/keyturn/rotation"
)

// admission lists the accounts of a user, and the anonymous ones, that the server may
// take a login from this machine for. USER() has the client as the server sees it. If
// that is a name, a host may match its address as well, which nobody is told but for
// localhost; nor are netmasks compared. See "Specifying Account Names" in both manuals.
// RTRIM and LENGTH: for the modes PAD_CHAR_TO_FULL_LENGTH and EMPTY_STRING_IS_NULL.
const admission = `SELECT LENGTH(RTRIM(user)) = 0, RTRIM(host),
		ssl_type = 'X509' OR LENGTH(x509_issuer) > 0 OR LENGTH(x509_subject) > 0, LENGTH(ssl_type) > 0,
		ssl_cipher, {factors}, {locked},
		LENGTH(RTRIM(host)) = 0 OR client LIKE RTRIM(host) OR client = 'localhost' AND ('127.0.0.1' LIKE RTRIM(host) OR '::1' LIKE RTRIM(host)),
		host LIKE '%/%' OR INET6_ATON(client) IS NULL
	FROM mysql.user, (SELECT SUBSTRING_INDEX(USER(), '@', -1) AS client) me WHERE user = ? OR LENGTH(RTRIM(user)) = 0`

// In {locked}: MariaDB has the column in the table behind its view, from 10.4 on.
const (
	locked        = "account_locked = 'Y'"
	lockedOfMaria = `COALESCE((SELECT JSON_VALUE(p.Priv, '$.account_locked') IN ('true', '1')
		FROM mysql.global_priv p WHERE p.user = mysql.user.user AND p.host = mysql.user.host), 0)`
)

// severalFactors tells accounts that need more than a password; see "Multifactor
// Authentication" in MySQL's manual.
const severalFactors = "COALESCE(JSON_CONTAINS_PATH(User_attributes, 'one', '$.multi_factor_authentication'), 0)"

// entry is a row of mysql.user as a login meets it.
type entry struct {
	anonymous bool
	host      string

	certificate bool   // needs a client's
	encrypted   bool   // needs TLS
	cipher      string // needs this one; empty: any
	factors     bool   // needs more than a password
	locked      bool   // ACCOUNT LOCK

	surely bool // lets this machine in
	maybe  bool // nobody knows
}

// rank orders hosts as the server does: it takes the first row that fits, one without
// wildcards before one with, and the later a wildcard stands the earlier. MySQL puts
// addresses before names (ACL_compare in its source).
func (e entry) rank(addressesFirst bool) int {
	const exact = 1000
	wild := strings.IndexAny(e.host, "%_")
	switch {
	case e.host == "":
		return 0
	case wild >= 0:
		return wild + 1
	case addressesFirst && isIPv4(e.host):
		return exact + 1
	}
	return exact
}

func isIPv4(host string) bool {
	address, _, _ := strings.Cut(host, "/")
	ip, err := netip.ParseAddr(address)
	return err == nil && ip.Is4()
}

// admits refuses another user to whom the server, whatever the password, would not
// let this machine in. Refused logins prove nothing about such a user's password,
// which applications elsewhere may use, and a new one could not be tried.
func (c *conn) admits(ctx context.Context, user string) error {
	if user == c.self.user {
		return nil
	}
	all, err := c.entries(ctx, user)
	if err != nil {
		return err
	}
	own, anonymous := fitting(all)
	if len(own) == 0 {
		return c.unknownHere(ctx, user)
	}
	if over := c.hiding(own, anonymous); over != nil {
		return rotation.Errorf(rotation.ClassPrivilege, "the anonymous account %s stands before those of %s at logins from this machine, so no password of it could be tried: DROP USER %s", over, user, over)
	}
	return c.protected(ctx, own, user)
}

func (c *conn) unknownHere(ctx context.Context, user string) error {
	var client string
	if err := c.QueryRowContext(ctx, "SELECT SUBSTRING_INDEX(USER(), '@', -1)").Scan(&client); err != nil {
		return c.statementError(ctx, err, nil)
	}
	return rotation.Errorf(rotation.ClassPrivilege, "no account of %s lets it in from %s, as which the server sees this machine, so a new password could not be tried: create one for that host", user, client)
}

// protected refuses a user all of whose accounts ask for more than a password.
func (c *conn) protected(ctx context.Context, own []entry, user string) error {
	var first error
	for _, e := range own {
		err := c.meets(ctx, e, user)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// meets tells what a login from here lacks for an account.
func (c *conn) meets(ctx context.Context, e entry, user string) error {
	switch {
	case e.locked:
		return rotation.Errorf(rotation.ClassPolicy, "the account of %s is locked, so a new password could not be tried: ALTER USER %s ACCOUNT UNLOCK", user, account{user, e.host})
	case e.certificate:
		return rotation.Errorf(rotation.ClassPolicy, "the account of %s requires a client certificate (REQUIRE X509, ISSUER or SUBJECT), which is not supported, so a new password could not be tried", user)
	case e.factors:
		return rotation.Errorf(rotation.ClassPolicy, "the account of %s requires more factors than a password, which is not supported, so a new password could not be tried", user)
	case e.encrypted && !c.login.Encrypted():
		return rotation.Errorf(rotation.ClassTLS, `the account of %s requires TLS (REQUIRE SSL): give "ssl": true in the secret`, user)
	case e.cipher != "":
		return c.ciphers(ctx, e.cipher, user)
	}
	return nil
}

// ciphers compares with the cipher of this session, since the server and this machine
// would agree on the same one for the account. MySQL 9.7 asks logins by the right one
// for a client certificate all the same.
func (c *conn) ciphers(ctx context.Context, want, user string) error {
	if !c.isMariaDB() {
		return rotation.Errorf(rotation.ClassPolicy, "the account of %s requires the cipher %s (REQUIRE CIPHER), for which MySQL asks for a client certificate too, which is not supported, so a new password could not be tried", user, want)
	}
	var name, cipher string
	if err := c.QueryRowContext(ctx, "SHOW SESSION STATUS LIKE 'Ssl_cipher'").Scan(&name, &cipher); err != nil {
		return c.statementError(ctx, err, nil)
	}
	if cipher == want {
		return nil
	}
	return rotation.Errorf(rotation.ClassPolicy, "the account of %s requires the cipher %s (REQUIRE CIPHER), and a login from here has %s, so a new password could not be tried", user, want, cipher)
}

// admission is the query in the words of this server.
func (c *conn) admission() string {
	hasFactors, isLocked := "0", locked
	switch {
	case c.isMariaDB() && atLeast(c.version, 10, 4, 0):
		isLocked = lockedOfMaria
	case c.isMariaDB():
		isLocked = "0"
	case atLeast(c.version, 8, 0, 27):
		hasFactors = severalFactors
	}
	return strings.NewReplacer("{factors}", hasFactors, "{locked}", isLocked).Replace(admission)
}

func (c *conn) entries(ctx context.Context, user string) ([]entry, error) {
	rows, err := c.QueryContext(ctx, c.admission(), user)
	if err != nil {
		return nil, c.needs(c.statementError(ctx, err, nil), "looking at the accounts of "+user, "SELECT ON mysql.user")
	}
	defer rows.Close()
	var all []entry
	for rows.Next() {
		var e entry
		if err := rows.Scan(&e.anonymous, &e.host, &e.certificate, &e.encrypted, &e.cipher, &e.factors, &e.locked, &e.surely, &e.maybe); err != nil {
			return nil, c.statementError(ctx, err, nil)
		}
		all = append(all, e)
	}
	return all, c.statementError(ctx, rows.Err(), nil)
}

// fitting keeps the user's rows that may fit, and the anonymous ones that do.
func fitting(all []entry) (own, anonymous []entry) {
	for _, e := range all {
		switch {
		case e.anonymous && e.surely:
			anonymous = append(anonymous, e)
		case !e.anonymous && (e.surely || e.maybe):
			own = append(own, e)
		}
	}
	return own, anonymous
}

// hiding returns the anonymous account that the server takes for a login before any of
// the user's own. Of rows with equal hosts, the one with a name goes first.
func (c *conn) hiding(own, anonymous []entry) *account {
	addressesFirst := !c.isMariaDB()
	best := 0
	for _, e := range own {
		best = max(best, e.rank(addressesFirst))
	}
	for _, e := range anonymous {
		if e.rank(addressesFirst) > best {
			return &account{host: e.host}
		}
	}
	return nil
}

// admitted takes what admits says into the explanation of a plan.
func (c *conn) admitted(ctx context.Context, x *rotation.Explanation, user string) error {
	err := c.admits(ctx, user)
	switch rotation.ClassOf(err) {
	case rotation.ClassPrivilege, rotation.ClassPolicy, rotation.ClassTLS:
		x.Obstacles = append(x.Obstacles, err.Error())
		return nil
	}
	return err
}
