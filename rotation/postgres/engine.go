// Package postgres is the rotation engine for PostgreSQL and Aurora
// PostgreSQL.
//
// A role has one password, so the strategy is SingleUser. ALTER ROLE is
// transactional: the old password is valid until COMMIT. The server writes
// statements as they are into its log, so it gets a SCRAM-SHA-256 verifier
// that is computed here, never clear text.
package postgres

import (
	"context"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn/rotation"
)

// Engine logs in to PostgreSQL and Aurora PostgreSQL. Its zero value works.
type Engine struct {
	// ConnectTimeout bounds name look-up, connection, TLS and login together;
	// 0 is 5 seconds.
	ConnectTimeout time.Duration
	// Admissions may be nil: then a server is asked before each change by an
	// administrator how it would let the role in.
	Admissions *Admissions
}

const (
	defaultTimeout  = 5 * time.Second
	defaultPort     = 5432
	defaultDatabase = "postgres"
)

// names are the engines that a secret may name, as RDS calls them.
var names = []string{"postgres", "postgresql", "aurora-postgresql"}

// Connect implements rotation.Engine. It connects to the secret's dbname, or to
// the database postgres.
func (e Engine) Connect(ctx context.Context, l rotation.Login) (rotation.Session, error) {
	if !slices.Contains(names, l.Engine) {
		return nil, rotation.Errorf(rotation.ClassSecret, "the engine %q of the secret is none of %s", l.Engine, strings.Join(names, ", "))
	}
	cfg, err := config(l)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout())
	defer cancel()
	c, err := logIn(ctx, cfg)
	if err != nil {
		return nil, loginError(ctx, err, l)
	}
	s := &session{conn: c, login: l, timeout: e.timeout(), admissions: e.Admissions, iterations: iterations(c)}
	if err := s.settle(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (e Engine) timeout() time.Duration {
	if e.ConnectTimeout == 0 {
		return defaultTimeout
	}
	return e.ConnectTimeout
}

// config starts from the driver's defaults, which read PG… variables, and sets
// all that matters: the secret alone says where and how to connect.
func config(l rotation.Login) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, rotation.Errorf(rotation.ClassSecret, "a PG… variable of the environment is not understood; unset it")
	}
	cfg.Host, cfg.Port = address(l)
	cfg.User, cfg.Password = l.Username, l.Password
	cfg.Database = l.Database
	if cfg.Database == "" {
		cfg.Database = defaultDatabase
	}
	cfg.Fallbacks = nil
	// A role may be set to other values of the next two, with which the driver sends no
	// parameters, and of the last, in which a time may be read as another than it was.
	cfg.RuntimeParams = map[string]string{"application_name": "keyturn", "client_encoding": "UTF8", "standard_conforming_strings": "on", "DateStyle": "ISO"}
	cfg.RequireAuth = hashed
	if cfg.TLSConfig, err = l.TLSConfig(); err != nil {
		return nil, err
	}
	// Poolers lend a server connection per transaction and lose prepared
	// statements between them.
	cfg.DialFunc = dial(cfg.DialFunc)
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	return cfg, nil
}

// address returns the host and port. A Unix socket is named as libpq does, by its
// folder, in which the socket is .s.PGSQL.PORT, or by its own path.
func address(l rotation.Login) (host string, port uint16) {
	host, port = strings.Trim(l.Host, "[]"), defaultPort
	if l.Port != 0 {
		port = uint16(l.Port) //nolint:gosec // a Login's port is at most 65535
	}
	folder, name := path.Split(host)
	number, isSocket := strings.CutPrefix(name, ".s.PGSQL.")
	if n, err := strconv.ParseUint(number, 10, 16); isSocket && l.UnixSocket() && err == nil {
		return path.Clean(folder), uint16(n)
	}
	return host, port
}

// session is one connection of one role.
type session struct {
	conn    *pgx.Conn
	login   rotation.Login
	timeout time.Duration // bounds another connection

	admissions *Admissions
	iterations int // of a verifier
	// withheld is the server's warning about a GRANT that had no effect.
	withheld string
	// ran are the statements of a copy, without passwords.
	ran []string
}

// SetPassword implements rotation.Session. One simple query holds the whole
// transaction.
func (s *session) SetPassword(ctx context.Context, user, password string) error {
	alter, err := s.alterRole(user, password)
	if err != nil {
		return err
	}
	return s.needs(s.exec(ctx, begin+bounded+alter+"; COMMIT"), user)
}

// Close ends the connection, and returns when the server counts it no longer.
func (s *session) Close() error {
	wait(s.conn.PgConn().Conn())
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.conn.Close(ctx)
}

func (s *session) exec(ctx context.Context, statement string) error {
	_, err := s.conn.PgConn().Exec(ctx, statement).ReadAll()
	return statementError(ctx, err)
}

// Probe implements rotation.Prober.
func (s *session) Probe(ctx context.Context) error { return s.conn.Ping(ctx) }
