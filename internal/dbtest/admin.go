package dbtest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"

	"database/sql"

	"github.com/keyturn/keyturn/internal/dbserver"
)

// Admin is an account that may do everything on a server. It prints without
// its password.
type Admin struct {
	Product        dbserver.Product
	Host           string
	Port           int
	User, Password string
}

// String leaves the password out.
func (a Admin) String() string {
	return fmt.Sprintf("%s@%s:%d (%s)", a.User, a.Host, a.Port, a.Product)
}

// GoString leaves the password out.
func (a Admin) GoString() string { return a.String() }

// Exec runs one statement as the administrator (parameters: ? on MySQL and
// MariaDB, $1 on PostgreSQL) and fails the test when it fails. On Redis it is a
// command whose words have no blanks.
func (a Admin) Exec(t testing.TB, statement string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if a.Product == dbserver.Postgres {
		a.execPostgres(ctx, t, statement, args)
		return
	}
	if a.Product == dbserver.Redis {
		must(t, a.redis(ctx, strings.Fields(statement)))
		return
	}
	db := a.openMySQL(t, "")
	defer db.Close()
	if _, err := db.ExecContext(ctx, statement, args...); err != nil {
		t.Fatalf("running a statement as the administrator: %v", err)
	}
}

func (a Admin) openMySQL(t testing.TB, database string) *sql.DB {
	t.Helper()
	connector, err := mysql.NewConnector(a.mysqlConfig(database))
	must(t, err)
	return sql.OpenDB(connector)
}

func (a Admin) mysqlConfig(database string) *mysql.Config {
	config := mysql.NewConfig()
	config.Net, config.Addr = "tcp", net.JoinHostPort(a.Host, strconv.Itoa(a.Port))
	config.User, config.Passwd, config.DBName = a.User, a.Password, database
	config.TLSConfig = "preferred"
	config.InterpolateParams = true
	config.Timeout = time.Minute
	config.Logger = &mysql.NopLogger{}
	return config
}

func (a Admin) execPostgres(ctx context.Context, t testing.TB, statement string, args []any) {
	t.Helper()
	conn, err := a.connectPostgres(ctx)
	if err != nil {
		t.Fatalf("logging in as the administrator: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement, args...); err != nil {
		t.Fatalf("running a statement as the administrator: %v", err)
	}
}

func (a Admin) connectPostgres(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d dbname=postgres sslmode=prefer connect_timeout=60", a.Host, a.Port))
	if err != nil {
		return nil, err
	}
	config.User, config.Password = a.User, a.Password
	return pgx.ConnectConfig(ctx, config)
}

// redis logs in and runs one command.
func (a Admin) redis(ctx context.Context, command []string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(a.Host, strconv.Itoa(a.Port)))
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	answers := bufio.NewReader(conn)
	for _, words := range [][]string{{"AUTH", a.User, a.Password}, command} {
		request := fmt.Appendf(nil, "*%d\r\n", len(words))
		for _, word := range words {
			request = fmt.Appendf(request, "$%d\r\n%s\r\n", len(word), word)
		}
		if _, err := conn.Write(request); err != nil {
			return err
		}
		line, err := answers.ReadString('\n')
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "-") {
			return fmt.Errorf("%s: %s", words[0], strings.TrimSpace(line))
		}
	}
	return nil
}

// Login tries whether an account of the same server can log in.
func (a Admin) Login(ctx context.Context, user, password string) error {
	a.User, a.Password = user, password
	if a.Product == dbserver.Postgres {
		conn, err := a.connectPostgres(ctx)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	}
	if a.Product == dbserver.Redis {
		return a.redis(ctx, []string{"PING"})
	}
	connector, err := mysql.NewConnector(a.mysqlConfig(""))
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	return db.PingContext(ctx)
}
