package rotation

import (
	"context"
	"errors"
)

// Engine logs in to one kind of database server. It is safe for concurrent
// use.
type Engine interface {
	// Connect opens one new connection, logs in with the password of l, and
	// returns after the server has answered a trivial query. It refuses a
	// server that lets people in without looking at the password, because
	// then a login proves nothing. A failure is an *Error; its class is
	// ClassAuth only if the server itself refused user and password.
	Connect(ctx context.Context, l Login) (Session, error)
}

// Session is one connection of one account. It is not safe for concurrent
// use. All its methods may be repeated, and their failures are *Errors.
type Session interface {
	// SetPassword gives user a new password: the account's own, or another's
	// if its privileges allow. The newest password before is valid until this
	// succeeds and not after it; an older one may stay (see DualPassword). The failure
	// matches ErrNoUser if there is no such user.
	SetPassword(ctx context.Context, user, password string) error
	// Close ends the connection.
	Close() error
}

// DualPassword is the ability of some sessions to let an account have two
// valid passwords: a new one and the one before.
type DualPassword interface {
	// AddPassword makes password the new one and lets keep stay valid beside
	// it; any third one ends. keep is valid at every moment of it, whichever
	// of the account's passwords it was. The failure matches
	// ErrNoDualPassword if server or account cannot have two, and is of
	// ClassPrivilege if the session may not do it.
	AddPassword(ctx context.Context, user, password, keep string) error
	// DropOldPassword ends what is older than keep. If keep is itself the
	// older of two, a change is under way and nothing is done. The failures
	// are those of AddPassword.
	DropOldPassword(ctx context.Context, user, keep string) error
}

// SureDropper is the ability of some sessions with two passwords to end the old
// one without a look at it before.
type SureDropper interface {
	// DropOlder is DropOldPassword, but does nothing unless the server itself
	// makes sure that keep is the newer one: sure tells whether it could.
	DropOlder(ctx context.Context, user, keep string) (sure bool, err error)
}

// ErrNoUser is the reason why the password of a user cannot be set that is not there.
var ErrNoUser = errors.New("the server has no user")

// NoUser is ErrNoUser with its name, and what to do.
func NoUser(name string) error {
	return Errorf(ClassSecret, "%w %s: create it, or correct the key username of the secret", ErrNoUser, name)
}

// ErrNoDualPassword is the reason why a server or an account cannot have two
// passwords, such as its version or its authentication plugin.
var ErrNoDualPassword = errors.New("two passwords are not possible here")
