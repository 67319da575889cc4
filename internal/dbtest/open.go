package dbtest

import (
	"context"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
)

// Open logs in as an account of the same server, and returns what runs a
// statement on that one connection. It is closed at the end of the test.
func (a Admin) Open(t testing.TB, user, password string) (exec func(ctx context.Context, statement string) error) {
	t.Helper()
	a.User, a.Password = user, password
	if a.Product == dbserver.Postgres {
		conn, err := a.connectPostgres(t.Context())
		must(t, err)
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return func(ctx context.Context, statement string) error {
			_, err := conn.Exec(ctx, statement)
			return err
		}
	}
	db := a.openMySQL(t, "")
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	must(t, db.PingContext(t.Context()))
	return func(ctx context.Context, statement string) error {
		_, err := db.ExecContext(ctx, statement)
		return err
	}
}
