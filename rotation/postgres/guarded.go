package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn/rotation"
)

// lasting refuses another role that no password lets in any more: ALTER ROLE … PASSWORD
// leaves VALID UNTIL as it is, so a new password could not be tried.
func (s *session) lasting(ctx context.Context, user string) error {
	var over bool
	err := s.conn.QueryRow(ctx, "SELECT COALESCE(rolvaliduntil <= now(), false) FROM pg_roles WHERE rolname = $1", user).Scan(&over)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return statementError(ctx, err)
	}
	if over {
		return rotation.Errorf(rotation.ClassPolicy, "the time of the role %s is over, so no password lets it in: ALTER ROLE %s VALID UNTIL 'infinity'", user, quoted(user))
	}
	return nil
}

// Whose password a superuser alone may change: a superuser's and, before PostgreSQL 16,
// that of a role with REPLICATION, also the role itself (ALTER ROLE in its manual).
const guardedHint = "a superuser alone may change the password of the role %s, for it is one, or has REPLICATION and the server is older than 16: name a superuser by masterarn"

// isGuarded tells what ALTER ROLE answers for such a role.
func isGuarded(err error) bool { return strings.Contains(err.Error(), "must be superuser to alter") }

// guarded notes that a session may not change the password of such a role.
func (s *session) guarded(ctx context.Context, x *rotation.Explanation, user string) error {
	var guarded bool
	err := s.conn.QueryRow(ctx, `SELECT NOT own.rolsuper AND (its.rolsuper OR its.rolreplication AND current_setting('server_version_num')::int < $1)
		FROM pg_roles own, pg_roles its WHERE own.rolname = session_user AND its.rolname = $2`, adminOption, user).Scan(&guarded)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return statementError(ctx, err)
	}
	if guarded {
		x.Obstacles = append(x.Obstacles, fmt.Sprintf(guardedHint, user))
	}
	return nil
}
