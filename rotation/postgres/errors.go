package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keyturn/keyturn/rotation"
)

// classes gives SQLSTATE codes a class; others are ClassDatabase.
//
// 28000 is not ClassAuth: the server did not look at the password (no entry in
// pg_hba.conf) or found it right (no LOGIN), so it does not mean "not yet set".
var classes = map[string]rotation.Class{
	"28P01": rotation.ClassAuth,      // invalid_password
	"28000": rotation.ClassPrivilege, // invalid_authorization_specification
	"42501": rotation.ClassPrivilege, // insufficient_privilege
	"22023": rotation.ClassPolicy,    // invalid_parameter_value: the module passwordcheck
	"57P01": rotation.ClassTCP,       // admin_shutdown
	"57P02": rotation.ClassTCP,       // crash_shutdown
	"57P03": rotation.ClassTCP,       // cannot_connect_now
	"57014": rotation.ClassTimeout,   // query_canceled
	"55P03": rotation.ClassTimeout,   // lock_not_available
}

const stopping = "the server is starting or stopping; the step will be repeated"

// hints say what to do about a code.
var hints = map[string]string{
	"28P01": "the server says the same when the role's VALID UNTIL is over",
	"28000": "see pg_hba.conf, the role's LOGIN, and whether the server asks for TLS",
	"3D000": "correct the key dbname of the secret",
	"0A000": "if it is a replica, it cannot change passwords; name the writer's endpoint as host",
	"25006": "a replica cannot change passwords; name the writer's endpoint as host",
	"53300": "the server has no free connection; raise max_connections, or the CONNECTION LIMIT of the role or database",
	"57P01": stopping,
	"57P02": stopping,
	"57P03": stopping,
}

// serverError is the server's answer.
type serverError struct{ code, text, routine string }

// Error returns the server's text and code.
func (e *serverError) Error() string { return fmt.Sprintf("%s (SQLSTATE %s)", e.text, e.code) }

// classify finds the class of a failure and what may be shown of it. The
// driver's own text names the connection's settings, so of a server's answer
// only its message is kept.
func classify(ctx context.Context, err error) (rotation.Class, error) {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		answer := &serverError{server.Code, server.Message, server.Routine}
		return classOf(answer), withHint(answer)
	}
	if ctx.Err() != nil {
		return rotation.ClassTimeout, ctx.Err()
	}
	switch text := err.Error(); {
	case strings.Contains(text, "server refused TLS connection"):
		return rotation.ClassTLS, rotation.ErrNoTLS
	case errors.Is(err, pgconn.ErrConnClosed):
		return rotation.ClassTCP, errors.New("the server closed the connection")
	case errors.Is(err, errElsewhere), errors.Is(err, errUnchecked):
		return rotation.ClassPolicy, err
	case asked(err, inClear):
		return rotation.ClassPolicy, errUnprotected
	case strings.Contains(text, "require_auth check failed"):
		return rotation.ClassPolicy, errUnchecked
	}
	if class := rotation.NetworkClass(err); class != "" {
		return class, innermost(err)
	}
	return rotation.ClassDatabase, innermost(err)
}

func classOf(e *serverError) rotation.Class {
	// PgBouncer before 1.21 answers a wrong password in this way, and a role that is
	// not there yet.
	if e.code == "08P01" && (strings.Contains(e.text, "authentication failed") || e.text == "no such user") {
		return rotation.ClassAuth
	}
	// From PostgreSQL 16 on, of whoever has no ADMIN OPTION on a role.
	if e.code == "XX000" && e.text == "no possible grantors" {
		return rotation.ClassPrivilege
	}
	if class, ok := classes[e.code]; ok {
		return class
	}
	return rotation.ClassDatabase
}

func withHint(e *serverError) error {
	if hint := hints[e.code]; hint != "" {
		return fmt.Errorf("%w; %s", e, hint)
	}
	return e
}

// innermost takes off what the driver puts around a failure.
func innermost(err error) error {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) && connect.Unwrap() != nil {
		return connect.Unwrap()
	}
	return err
}

// loginError says why nobody was let in, and what to do.
func loginError(ctx context.Context, err error, l rotation.Login) error {
	class, cause := classify(ctx, err)
	if limited(cause) {
		cause = fmt.Errorf("%w: %w", rotation.ErrConnectionLimit, cause)
	}
	hint := ""
	switch class {
	case rotation.ClassTLS:
		hint = rotation.TLSHint(cause, l)
	case rotation.ClassAuth, rotation.ClassPrivilege:
	case rotation.ClassTCP:
		if !answered(cause) {
			hint = class.Hint(l)
		}
	default:
		hint = class.Hint(l)
	}
	if hint != "" {
		hint = "; " + hint
	}
	return rotation.Errorf(class, "logging in to %s as %s: %w%s", l.Address(defaultPort), l.Username, cause, hint)
}

// answered tells whether it is the server that said so.
func answered(cause error) bool {
	var e *serverError
	return errors.As(cause, &e)
}

// afterPassword are the functions of the server that count connections once the
// password was found right. Where it has no room for anybody it counts before.
var afterPassword = []string{"InitializeSessionUserId", "CheckMyDatabase", "InitPostgres"}

func limited(cause error) bool {
	var e *serverError
	return errors.As(cause, &e) && e.code == "53300" && slices.Contains(afterPassword, e.routine)
}

// statementError classifies a failed statement. nil stays nil.
func statementError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	class, cause := classify(ctx, err)
	return &rotation.Error{Class: class, Err: cause}
}
