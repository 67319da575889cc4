package mysql

import (
	"context"
	stddriver "database/sql/driver"
	"errors"
	"fmt"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keyturn/keyturn/rotation"
)

// Error numbers that this package looks for, by their names in the manuals.
const (
	errSyntax         = 1064 // ER_PARSE_ERROR
	errUnknownColumn  = 1054 // ER_BAD_FIELD_ERROR
	errNoDatabase     = 1049 // ER_BAD_DB_ERROR
	errNoTable        = 1146 // ER_NO_SUCH_TABLE
	errNoRoutine      = 1305 // ER_SP_DOES_NOT_EXIST
	errNoRoutineGrant = 1403 // ER_NONEXISTING_PROC_GRANT
	errMandatoryRole  = 3628 // ER_MANDATORY_ROLE
	errOptionPrevents = 1290 // ER_OPTION_PREVENTS_STATEMENT
	errCannotUser     = 1396 // ER_CANNOT_USER
	errBlocked        = 3955 // ER_USER_ACCESS_DENIED_FOR_USER_ACCOUNT_BLOCKED_BY_PASSWORD_LOCK
	errBlockedMaria   = 4150 // ER_USER_IS_BLOCKED
	errMustChange     = 1820 // ER_MUST_CHANGE_PASSWORD
	errMustChangeThen = 1862 // ER_MUST_CHANGE_PASSWORD_LOGIN
	errNotValid       = 1819 // ER_NOT_VALID_PASSWORD
	errHistory        = 3638 // ER_CREDENTIALS_CONTRADICT_TO_HISTORY
	errWrongCurrent   = 3891 // ER_INCORRECT_CURRENT_PASSWORD
	errMissingCurrent = 3892 // ER_MISSING_CURRENT_PASSWORD

	errSecureTransport = 3159 // ER_SECURE_TRANSPORT_REQUIRED
	errReadOnlyMode    = 1836 // ER_READ_ONLY_MODE
	errReplicationHook = 3100 // ER_RUN_HOOK_ERROR
	errUserLimit       = 1226 // ER_USER_LIMIT_REACHED
	errUserConnections = 1203 // ER_TOO_MANY_USER_CONNECTIONS

	errLockWait            = 1205 // ER_LOCK_WAIT_TIMEOUT
	errStatementTime       = 1969 // ER_STATEMENT_TIMEOUT of MariaDB
	errReadOnlyTransaction = 1792 // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
)

// classes gives the servers' error numbers a class; others are ClassDatabase.
var classes = map[uint16]rotation.Class{
	1045: rotation.ClassAuth,      // ER_ACCESS_DENIED_ERROR
	1698: rotation.ClassAuth,      // ER_ACCESS_DENIED_NO_PASSWORD_ERROR
	1044: rotation.ClassPrivilege, // ER_DBACCESS_DENIED_ERROR
	1130: rotation.ClassPrivilege, // ER_HOST_NOT_PRIVILEGED
	1142: rotation.ClassPrivilege, // ER_TABLEACCESS_DENIED_ERROR
	1143: rotation.ClassPrivilege, // ER_COLUMNACCESS_DENIED_ERROR
	1227: rotation.ClassPrivilege, // ER_SPECIFIC_ACCESS_DENIED_ERROR
	1410: rotation.ClassPrivilege, // ER_CANT_CREATE_USER_WITH_GRANT
	3879: rotation.ClassPrivilege, // ER_DB_ACCESS_DENIED
	3118: rotation.ClassPolicy,    // ER_ACCOUNT_HAS_BEEN_LOCKED
	4151: rotation.ClassPolicy,    // ER_ACCOUNT_HAS_BEEN_LOCKED of MariaDB
	1699: rotation.ClassPolicy,    // ER_SET_PASSWORD_AUTH_PLUGIN
	3024: rotation.ClassTimeout,   // ER_QUERY_TIMEOUT
	1053: rotation.ClassTCP,       // ER_SERVER_SHUTDOWN
	1927: rotation.ClassTCP,       // ER_CONNECTION_KILLED of MariaDB

	errBlocked:        rotation.ClassPolicy,
	errBlockedMaria:   rotation.ClassPolicy,
	errMustChange:     rotation.ClassPolicy,
	errMustChangeThen: rotation.ClassPolicy,
	errNotValid:       rotation.ClassPolicy,
	errHistory:        rotation.ClassPolicy,
	errWrongCurrent:   rotation.ClassPolicy,
	errMissingCurrent: rotation.ClassPolicy,

	errSecureTransport: rotation.ClassTLS,
	errLockWait:        rotation.ClassTimeout,
	errStatementTime:   rotation.ClassTimeout,
}

// serverError is the server's answer to a statement, without the driver's
// error in its chain: that one may quote the statement.
type serverError struct {
	number uint16
	text   string
}

// Error returns the server's number and text.
func (e *serverError) Error() string { return fmt.Sprintf("error %d: %s", e.number, e.text) }

// classify finds the class of a failure, and what may be shown of it.
func classify(ctx context.Context, err error, secrets ...string) (rotation.Class, error) {
	var server *driver.MySQLError
	if errors.As(err, &server) {
		answer := &serverError{server.Number, shown(server, secrets)}
		return classOf(answer), answer
	}
	switch {
	case ctx.Err() != nil:
		return rotation.ClassTimeout, ctx.Err()
	case errors.Is(err, driver.ErrNoTLS):
		return rotation.ClassTLS, rotation.ErrNoTLS
	case errors.Is(err, driver.ErrInvalidConn), errors.Is(err, stddriver.ErrBadConn):
		return rotation.ClassTCP, errors.New("the server closed the connection")
	}
	if class := rotation.NetworkClass(err); class != "" {
		return class, err
	}
	return rotation.ClassDatabase, err
}

func classOf(e *serverError) rotation.Class {
	if e.number == errOptionPrevents && strings.Contains(e.text, "strict-password-validation") {
		return rotation.ClassPolicy
	}
	if class, ok := classes[e.number]; ok {
		return class
	}
	return rotation.ClassDatabase
}

// shown is the server's text without passwords. A parse error quotes the
// statement from the unknown word on, so nothing of it is shown.
func shown(e *driver.MySQLError, secrets []string) string {
	if e.Number == errSyntax {
		return "the server does not know this form of the statement"
	}
	text := e.Message
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "[redacted]")
		}
	}
	return text
}

// reasons are what rotation functions look for in a login that was refused. Both
// products look at the limits after the password.
var reasons = map[uint16]error{
	errUserLimit:       rotation.ErrConnectionLimit,
	errUserConnections: rotation.ErrConnectionLimit,
	errMustChange:      rotation.ErrExpired,
	errMustChangeThen:  rotation.ErrExpired,
	errBlocked:         rotation.ErrBlocked,
	errBlockedMaria:    rotation.ErrBlocked,
}

// loginError says why nobody was let in, and what to do.
func loginError(ctx context.Context, err error, l rotation.Login) error {
	class, cause := classify(ctx, err, l.Password)
	if e, ok := errors.AsType[*serverError](cause); ok && reasons[e.number] != nil {
		cause = fmt.Errorf("%w: %w", reasons[e.number], cause)
	}
	hint := loginHint(class, cause, l)
	if errors.Is(err, driver.ErrMalformPkt) { // MariaDB asks a second time
		hint = "if the account has several plugins, mysql_native_password must be the first: ALTER USER … IDENTIFIED VIA"
	}
	if hint != "" {
		hint = "; " + hint
	}
	return rotation.Errorf(class, "logging in to %s as %s: %w%s", l.Address(defaultPort), l.Username, cause, hint)
}

func loginHint(class rotation.Class, cause error, l rotation.Login) string {
	switch {
	case errors.Is(cause, rotation.ErrConnectionLimit):
		return "give it one more than its applications use: ALTER USER … WITH MAX_USER_CONNECTIONS, MAX_CONNECTIONS_PER_HOUR, MAX_QUERIES_PER_HOUR, or the variable max_user_connections"
	case errors.Is(cause, rotation.ErrExpired):
		return "an administrator (masterarn) can rotate it, or sets a password by hand"
	case class == rotation.ClassTLS:
		return tlsHint(cause, l)
	case class == rotation.ClassAuth && l.Encrypted():
		return authHint
	case class == rotation.ClassAuth: // MariaDB refuses in the same words
		return authHint + `, and a server with require_secure_transport or an account with REQUIRE SSL lets nobody in without TLS ("ssl": true in the secret)`
	}
	return class.Hint(l)
}

const authHint = "check the password; also, an anonymous account ''@'localhost' hides 'user'@'%' from logins of that host"

// tlsHint also knows the server's own answer, that it takes nothing but TLS.
func tlsHint(cause error, l rotation.Login) string {
	if isServer(cause, errSecureTransport) {
		return `take "ssl": false out of the secret, or give "ssl": true on a host of this machine`
	}
	return rotation.TLSHint(cause, l)
}

// statementError classifies a failed statement. nil stays nil.
func (c *conn) statementError(ctx context.Context, err error, args []any) error {
	if err == nil {
		return nil
	}
	secrets := []string{c.login.Password}
	for _, a := range args {
		if s, ok := a.(string); ok && s != c.self.user && s != c.self.host {
			secrets = append(secrets, s)
		}
	}
	class, cause := classify(ctx, err, secrets...)
	if isServer(cause, errNotValid) || isServer(cause, errHistory) {
		cause = fmt.Errorf("%w: %w", rotation.ErrRejected, cause)
	}
	if hint := statementHint(cause); hint != "" {
		return rotation.Errorf(class, "%w; %s", cause, hint)
	}
	return &rotation.Error{Class: class, Err: cause}
}

// readOnly tells whether the server takes no changes. Error 1290 names the option that
// prevents the statement, which may be another, such as --skip-grant-tables.
func readOnly(cause error) bool {
	named := isServer(cause, errOptionPrevents) && (strings.Contains(cause.Error(), "read-only") || strings.Contains(cause.Error(), "read_only"))
	return named || isServer(cause, errReadOnlyMode) || isServer(cause, errReplicationHook)
}

func statementHint(cause error) string {
	switch {
	case readOnly(cause):
		return readOnlyHint
	case isServer(cause, errReadOnlyTransaction):
		return "the server is set to transaction_read_only, and the session could not end that: SET GLOBAL transaction_read_only = OFF"
	case isServer(cause, errLockWait), isServer(cause, errStatementTime):
		return "it may be that something holds a lock over the whole server, such as a backup (FLUSH TABLES WITH READ LOCK, LOCK INSTANCE FOR BACKUP), or that the server waits for room on a full disk, which its error log tells"
	case isServer(cause, errUserLimit):
		return "ALTER USER … WITH MAX_QUERIES_PER_HOUR or MAX_UPDATES_PER_HOUR raises it"
	case isServer(cause, errNotValid), isServer(cause, errHistory):
		return "see the account's password history, and what keyturn rotation configure --password-length and --password-exclude say of the secret"
	}
	return ""
}

const readOnlyHint = "a reader or replica cannot change passwords (name the writer's endpoint as host); if it is the writer, end its read_only and super_read_only"
