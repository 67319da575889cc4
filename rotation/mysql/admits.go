package mysql

import (
	"context"

	"github.com/keyturn/keyturn/rotation"
)

// admission counts the accounts of a user that the server may take a login from
// this machine for: all, those that ask for no client certificate, and those that
// ask for no TLS either. USER() has the client as the server sees it. If that is a
// name, a host may match its address as well, which nobody is told; nor are
// netmasks compared. See "Specifying Account Names" in both manuals. RTRIM and
// LENGTH: for the modes PAD_CHAR_TO_FULL_LENGTH and EMPTY_STRING_IS_NULL.
const admission = `SELECT COUNT(*),
		COALESCE(SUM(ssl_type <> 'X509' AND LENGTH(x509_issuer) = 0 AND LENGTH(x509_subject) = 0), 0),
		COALESCE(SUM(LENGTH(ssl_type) = 0), 0), SUBSTRING_INDEX(USER(), '@', -1)
	FROM mysql.user WHERE user = ? AND (LENGTH(RTRIM(host)) = 0 OR host LIKE '%/%'
		OR INET6_ATON(SUBSTRING_INDEX(USER(), '@', -1)) IS NULL OR SUBSTRING_INDEX(USER(), '@', -1) LIKE RTRIM(host))`

// admits refuses another user to whom the server, whatever the password, would not
// let this machine in. Refused logins prove nothing about such a user's password,
// which applications elsewhere may use, and a new one could not be tried.
func (c *conn) admits(ctx context.Context, user string) error {
	if user == c.self.user {
		return nil
	}
	var accounts, password, plain int
	var client string
	if err := c.QueryRowContext(ctx, admission, user).Scan(&accounts, &password, &plain, &client); err != nil {
		return c.needs(c.statementError(ctx, err, nil), "looking at the accounts of "+user, "SELECT ON mysql.user")
	}
	switch {
	case accounts == 0:
		return rotation.Errorf(rotation.ClassPrivilege, "no account of %s lets it in from %s, as which the server sees this machine, so a new password could not be tried: create one for that host", user, client)
	case password == 0:
		return rotation.Errorf(rotation.ClassPolicy, "the account of %s requires a client certificate (REQUIRE X509, ISSUER or SUBJECT), which is not supported, so a new password could not be tried", user)
	case plain == 0 && !c.login.Encrypted():
		return rotation.Errorf(rotation.ClassTLS, `the account of %s requires TLS (REQUIRE SSL): give "ssl": true in the secret`, user)
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
