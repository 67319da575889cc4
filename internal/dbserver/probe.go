package dbserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrLoginRefused says that a server answers and does not take a login.
var ErrLoginRefused = errors.New("the database server refused the login")

// Login is an account of a server that somebody else runs.
type Login struct {
	Product  Product // MySQL stands for MariaDB too
	Host     string
	Port     int
	User     string
	Password Password
}

// Probe tries to log in. It returns ErrLoginRefused when the server answers and
// says no, and another error when it cannot be reached.
func Probe(ctx context.Context, l Login) error {
	probe := probeMySQL
	if l.Product == Postgres {
		probe = probePostgres
	}
	err := probe(ctx, l)
	if err == nil {
		return nil
	}
	return fmt.Errorf("logging in to %s as %s: %w", net.JoinHostPort(l.Host, strconv.Itoa(l.Port)), l.User, err)
}

// Access denied, by password (1045) or by the account's plugin (1698).
const mysqlDenied, mysqlDeniedNoPassword = 1045, 1698

func probeMySQL(ctx context.Context, l Login) error {
	db, err := open(login{net: "tcp", addr: net.JoinHostPort(l.Host, strconv.Itoa(l.Port)), user: l.User, password: l.Password})
	if err != nil {
		return err
	}
	defer db.Close()
	err = db.PingContext(ctx)
	if known, ok := errors.AsType[*mysql.MySQLError](err); ok && (known.Number == mysqlDenied || known.Number == mysqlDeniedNoPassword) {
		return ErrLoginRefused
	}
	return err
}

// postgresDenied is the class of SQLSTATE 28000 and 28P01: invalid authorization.
const postgresDenied = "28"

func probePostgres(ctx context.Context, l Login) error {
	address := url.URL{Scheme: "postgres", Host: net.JoinHostPort(l.Host, strconv.Itoa(l.Port)), Path: "/postgres",
		RawQuery: "sslmode=prefer&connect_timeout=5&passfile=&servicefile=&target_session_attrs=any"}
	config, err := pgx.ParseConfig(address.String())
	if err != nil {
		return err
	}
	config.User, config.Password = l.User, string(l.Password)
	conn, err := pgx.ConnectConfig(ctx, config)
	if known, ok := errors.AsType[*pgconn.PgError](err); ok && len(known.Code) == 5 && known.Code[:2] == postgresDenied {
		return ErrLoginRefused
	}
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}
