// Package dbserver finds and runs real database servers: mysqld, mariadbd,
// postgres and redis-server. It keeps three things true: at most one server
// process ever uses a data folder, a data folder is either absent or completely
// initialised, and no clear-text password reaches an argument list, a log or a
// file.
//
// The folder of a server holds
//
//	data/      the server's own data folder; made in new/ and then renamed
//	log        what the server printed since its last start (log.old: before)
//	pid        the process id of the server
//	lock       locked by the server process itself as long as it lives
package dbserver

import "fmt"

// Product is a database server software.
type Product string

// The products that keyturn can run.
const (
	MySQL    Product = "mysql"
	MariaDB  Product = "mariadb"
	Postgres Product = "postgres"
	Redis    Product = "redis" // Valkey too; not one of RDS's
)

// Admin is the internal administrator that every server gets, as on RDS. It
// can log in from this machine only.
const Admin = "rdsadmin"

// Password is a clear-text password. It prints as [redacted].
type Password string

const redacted = "[redacted]"

// String hides the password.
func (Password) String() string { return redacted }

// GoString hides the password.
func (Password) GoString() string { return redacted }

// MarshalText hides the password from encoders, log handlers among them.
func (Password) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Binary is an installed server software.
type Binary struct {
	Product Product
	Path    string // the server program
	Version string // 10.11.19
	// Installer is the program that makes a data folder: initdb,
	// mariadb-install-db. MySQL has none, its server does it.
	Installer string
}

// String names product, version and path.
func (b Binary) String() string {
	return fmt.Sprintf("%s %s (%s)", b.Product, b.Version, b.Path)
}
