package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn/rotation"
)

// Explain implements rotation.Explainer.
func (s *session) Explain(ctx context.Context, user, strategy string) (rotation.Explanation, error) {
	x := rotation.Explanation{Statements: []rotation.Statement{{Step: rotation.StepSet, Text: settingPassword(user)}}}
	if strategy == rotation.StrategyDualPassword {
		x.Impossible = "a role of PostgreSQL has one password"
	}
	if err := s.survey(ctx, &x); err != nil {
		return x, err
	}
	if err := s.guarded(ctx, &x, user); err != nil {
		return x, err
	}
	if user != s.login.Username {
		if err := s.mayChange(ctx, &x, user); err != nil {
			return x, err
		}
		if err := s.admitted(ctx, &x, user); err != nil {
			return x, err
		}
	}
	var err error
	x.Sessions, err = s.sessions(ctx, user)
	return x, err
}

// settingPassword is SetPassword's statement, as a plan shows it.
func settingPassword(user string) string {
	return begin + "ALTER ROLE " + quoted(user) + " PASSWORD " + rotation.Redacted + "; COMMIT"
}

func (s *session) survey(ctx context.Context, x *rotation.Explanation) error {
	var version string
	var replica bool
	var pid uint32
	err := s.conn.QueryRow(ctx, "SELECT current_setting('server_version'), pg_is_in_recovery(), pg_backend_pid()").Scan(&version, &replica, &pid)
	if err != nil {
		return statementError(ctx, err)
	}
	x.Server = "PostgreSQL " + version
	if pid != s.conn.PgConn().PID() {
		x.Server += " behind a pooler"
		x.Untouched = "the pooler refuses the new password unless it asks the server for passwords (PgBouncer: auth_query, and no line for the user in auth_file)"
	}
	if replica {
		x.Obstacles = append(x.Obstacles, "the server is a replica, which cannot change passwords: name the writer's endpoint as host")
	}
	return nil
}

// adminOption is the version from which on CREATEROLE alone does not reach
// every role ("Release Notes" of PostgreSQL 16).
const adminOption = 160000

// mayChange tells what an administrator lacks to change another role.
func (s *session) mayChange(ctx context.Context, x *rotation.Explanation, user string) error {
	var super, createRole, admin, known bool
	var version int
	err := s.conn.QueryRow(ctx, `SELECT rolsuper, rolcreaterole, current_setting('server_version_num')::int,
			EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1),
			EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1 AND pg_has_role(session_user, oid, 'MEMBER WITH ADMIN OPTION'))
		FROM pg_roles WHERE rolname = session_user`, user).Scan(&super, &createRole, &version, &known, &admin)
	if err != nil {
		return statementError(ctx, err)
	}
	me := pgx.Identifier{s.login.Username}.Sanitize()
	switch {
	case !known:
		x.Obstacles = append(x.Obstacles, fmt.Sprintf("the server has no role %s: create it, or correct the key username of the secret", user))
	case super:
	case !createRole:
		x.Lacks = append(x.Lacks, "ALTER ROLE "+me+" CREATEROLE")
	case version >= adminOption && !admin:
		x.Lacks = append(x.Lacks, fmt.Sprintf("GRANT %s TO %s WITH ADMIN OPTION", pgx.Identifier{user}.Sanitize(), me))
	}
	return nil
}

// sessions lists the connections of a role besides this one. Whose they are and
// since when everybody may see, the rest is NULL for others' (pg_stat_activity).
func (s *session) sessions(ctx context.Context, user string) ([]rotation.OpenSession, error) {
	rows, err := s.conn.Query(ctx, `SELECT pid, COALESCE(host(client_addr), ''), COALESCE(state, ''),
			COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - backend_start)::bigint, 0)
		FROM pg_stat_activity WHERE usename = $1 AND pid <> pg_backend_pid() ORDER BY pid`, user)
	if err != nil {
		return nil, statementError(ctx, err)
	}
	defer rows.Close()
	var all []rotation.OpenSession
	for rows.Next() {
		var pid int64
		var o rotation.OpenSession
		if err := rows.Scan(&pid, &o.From, &o.State, &o.Seconds); err != nil {
			return nil, statementError(ctx, err)
		}
		o.ID = strconv.FormatInt(pid, 10)
		all = append(all, o)
	}
	return all, statementError(ctx, rows.Err())
}

// MakeUser implements rotation.Rehearser. Nothing more is needed to change
// one's own password; alone does not matter, for a role has one only.
func (s *session) MakeUser(ctx context.Context, name, password, _ string, _ bool) error {
	verifier, err := newVerifier(password, s.iterations)
	if err != nil {
		return err
	}
	known, err := s.UsersLike(ctx, name)
	if err != nil || len(known) > 0 {
		return err
	}
	err = s.exec(ctx, readWrite+"SET ROLE NONE; CREATE ROLE "+pgx.Identifier{name}.Sanitize()+" LOGIN PASSWORD '"+verifier+"'")
	if rotation.ClassOf(err) == rotation.ClassPrivilege {
		return rotation.Errorf(rotation.ClassPrivilege, "making a throw-away user needs CREATEROLE: ALTER ROLE %s CREATEROLE; or name an administrator by masterarn: %w",
			pgx.Identifier{s.login.Username}.Sanitize(), err)
	}
	return err
}

// DropUsers implements rotation.Rehearser.
func (s *session) DropUsers(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := s.exec(ctx, readWrite+"SET ROLE NONE; DROP ROLE IF EXISTS "+pgx.Identifier{name}.Sanitize()); err != nil {
			return err
		}
	}
	return nil
}

// UsersLike implements rotation.Rehearser.
func (s *session) UsersLike(ctx context.Context, prefix string) ([]string, error) {
	rows, err := s.conn.Query(ctx, "SELECT rolname FROM pg_roles WHERE pg_catalog.starts_with(rolname, $1)", prefix)
	if err != nil {
		return nil, statementError(ctx, err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, statementError(ctx, err)
		}
		names = append(names, name)
	}
	return names, statementError(ctx, rows.Err())
}
