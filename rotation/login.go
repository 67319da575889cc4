package rotation

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// TLS says how a connection to the database is protected. It is the key "ssl"
// of a secret's value.
type TLS int

// The three settings of TLS. None of them ever falls back to another.
const (
	// TLSAuto is an absent "ssl": none on loopback addresses and Unix sockets,
	// verified TLS everywhere else.
	TLSAuto TLS = iota
	// TLSVerify is "ssl": true. Certificate chain and host name are verified.
	TLSVerify
	// TLSOff is "ssl": false.
	TLSOff
)

// Login is where and as whom to log in to a database: the keys of a secret's
// value that Secrets Manager's rotation templates define.
type Login struct {
	Engine   string // mysql, mariadb, aurora-mysql, postgres, aurora-postgresql, redis, …
	Host     string // a name, an address, or the path of a Unix socket
	Port     int    // 0: the engine's usual port
	Username string
	Password string
	Database string // "dbname"; may be empty
	TLS      TLS

	// TLSServerName is the name to verify instead of Host ("tlsServerName"),
	// for a host that is another name of the server, such as a CNAME.
	TLSServerName string
	// TLSCA is the PEM text of the only authorities to trust ("tlsCA"); empty
	// are those of the system, and of RDS for its names.
	TLSCA string
}

// String describes the login without its password.
func (l Login) String() string {
	return fmt.Sprintf("%s as %s at %s, password [redacted]", l.Engine, l.Username, l.Address(0))
}

// GoString keeps %#v from printing the password.
func (l Login) GoString() string { return "rotation.Login{" + l.String() + "}" }

// Format keeps every other verb from printing the password.
func (l Login) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, l.String()) }

// Address returns host:port, or the path of a Unix socket. A port that is not given
// is usual; where that is 0 too, it is left out.
func (l Login) Address(usual int) string {
	port := cmp.Or(l.Port, usual)
	if l.UnixSocket() || port == 0 {
		return l.Host
	}
	return net.JoinHostPort(strings.Trim(l.Host, "[]"), strconv.Itoa(port))
}

// UnixSocket tells whether the host is the path of a Unix socket.
func (l Login) UnixSocket() bool { return strings.HasPrefix(l.Host, "/") }

// Encrypted tells whether the connection must use verified TLS.
func (l Login) Encrypted() bool {
	switch l.TLS {
	case TLSVerify:
		return true
	case TLSOff:
		return false
	}
	return !l.Local()
}

// Local tells whether the connection stays on this machine: a Unix socket, a
// loopback address, or the name localhost.
func (l Login) Local() bool {
	if l.UnixSocket() || strings.EqualFold(l.Host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(l.Host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}

// sameAccount tells whether two logins mean the same account of the same
// server.
func (l Login) sameAccount(o Login) bool {
	return l.Engine == o.Engine && l.Host == o.Host && l.Port == o.Port && l.Username == o.Username
}

// withPassword returns the login with another password.
func (l Login) withPassword(password string) Login {
	l.Password = password
	return l
}

// samePlace tells whether two logins differ in nothing but the password.
func (l Login) samePlace(o Login) bool {
	return l.withPassword("") == o.withPassword("")
}
