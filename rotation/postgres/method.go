package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keyturn/keyturn/rotation"
)

// How a server asks for the password, as the setting require_auth of libpq names it.
// It is the method of the line in pg_hba.conf that fits role, database and machine
// ("Authentication Methods" in the manual), and only some methods look at the password
// that ALTER ROLE sets:
//
//	scram-sha-256, md5         asked for by a challenge
//	password                   asked for in clear text
//	ldap, pam, radius, bsd     asked for in clear text, checked elsewhere
//	trust, peer, ident, cert   not asked for
const (
	hashed   = "scram-sha-256,md5"
	inClear  = "password"
	anything = "none" // to be told what the server asks for, before it gets an answer
)

var (
	errElsewhere = errors.New("the server has the password of this role checked elsewhere (ldap, pam, radius or bsd in pg_hba.conf, or the role rds_iam on RDS), " +
		"so ALTER ROLE would change one that no login uses: let pg_hba.conf ask for scram-sha-256 from this machine, or change the password where it is checked")
	errUnchecked = errors.New("the server did not ask for the password as a safe server does; a login that does not check it (trust, peer, cert) proves nothing: " +
		"let pg_hba.conf ask for scram-sha-256")
	errUnprotected = errors.New("the server asks for the password in clear text, which it gets over TLS only; let pg_hba.conf ask for scram-sha-256 " +
		`(ldap, pam and radius there check another password than the one that a rotation sets), or give "ssl": true in the secret`)
)

// logIn connects. A password in clear text is sent over TLS only, and counts where the
// server itself checks it.
func logIn(ctx context.Context, cfg *pgx.ConnConfig) (*pgx.Conn, error) {
	c, err := pgx.ConnectConfig(ctx, cfg)
	if other := normalized(cfg.Password); other != cfg.Password && isRefused(err) {
		cfg = cfg.Copy()
		cfg.Password = other
		return pgx.ConnectConfig(ctx, cfg)
	}
	if cfg.TLSConfig == nil || !asked(err, inClear) {
		return c, err
	}
	cfg = cfg.Copy()
	cfg.RequireAuth = inClear
	c, err = pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, elsewhere(err)
	}
	if err := checksItself(ctx, cfg); err != nil {
		_ = c.Close(ctx)
		return nil, err
	}
	return c, nil
}

// asked tells whether a login ended because require_auth does not allow what the
// server asked for, which is one of methods.
func asked(err error, methods string) bool {
	if err == nil {
		return false
	}
	_, method, _ := strings.Cut(err.Error(), "failed: server requested ")
	method, _, _ = strings.Cut(method, " ")
	return slices.Contains(strings.Split(methods, ","), method)
}

// checksItself tells a server that compares a password in clear text with its own from
// one that asks somebody else, by a password that nobody has.
func checksItself(ctx context.Context, cfg *pgx.ConnConfig) error {
	cfg = cfg.Copy()
	cfg.RequireAuth, cfg.Password = inClear, rand.Text()
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err == nil {
		_ = c.Close(ctx)
		return errElsewhere
	}
	if isRefused(err) {
		return nil
	}
	return elsewhere(err)
}

// isRefused tells whether the server has looked at its own password, and it is another.
func isRefused(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && server.Code == "28P01"
}

// elsewhere is errElsewhere for a password in clear text that somebody else has
// refused: of its own the server says 28P01 (auth_failed in its source).
func elsewhere(err error) error {
	var server *pgconn.PgError
	if errors.As(err, &server) && server.Code == "28000" && server.Routine == "auth_failed" {
		return errElsewhere
	}
	return err
}

// admits refuses another role whose password, seen from this machine, is not the one
// that ALTER ROLE sets: what applications use would stay, and AWSCURRENT would not be
// it any more. The server says what it asks for before anything is sent to it.
func (s *session) admits(ctx context.Context, user string) error {
	if user == s.login.Username {
		return nil
	}
	if err := s.lasting(ctx, user); err != nil {
		return err
	}
	rules, err := s.rules(ctx, user)
	if err != nil {
		return err
	}
	l := s.login
	l.Username, l.Password = user, ""
	if s.admissions.holds(l, rules) {
		return nil
	}
	if err := s.asks(ctx, l); err != nil {
		return err
	}
	s.admissions.note(l, rules)
	return nil
}

// asks refuses a login that the server would not check by the password that ALTER
// ROLE sets.
func (s *session) asks(ctx context.Context, l rotation.Login) error {
	cfg, err := config(l)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := keeps(ctx, cfg); err != nil {
		return loginError(ctx, err, l)
	}
	return nil
}

func keeps(ctx context.Context, cfg *pgx.ConnConfig) error {
	cfg.RequireAuth = anything
	c, err := pgx.ConnectConfig(ctx, cfg)
	switch {
	case err == nil:
		_ = c.Close(ctx)
		return errUnchecked
	case asked(err, hashed):
		return nil
	case asked(err, inClear) && cfg.TLSConfig != nil:
		return checksItself(ctx, cfg)
	}
	return err
}

// admitted takes what admits says into the explanation of a plan.
func (s *session) admitted(ctx context.Context, x *rotation.Explanation, user string) error {
	err := s.admits(ctx, user)
	switch rotation.ClassOf(err) {
	case rotation.ClassPrivilege, rotation.ClassPolicy:
		x.Obstacles = append(x.Obstacles, err.Error())
		return nil
	}
	return err
}
