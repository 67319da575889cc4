package postgres

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keyturn/keyturn/rotation"
)

// dial makes connections whose Close may wait for the server.
func dial(usual pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := usual(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &rotation.Goodbye{Conn: raw}, nil
	}
}

// wait has the Close of a session's connection do so.
func wait(c net.Conn) {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	if line, ok := c.(*rotation.Goodbye); ok {
		line.Wait()
	}
}
