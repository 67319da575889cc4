package rotation

import (
	"context"
	"errors"
	"fmt"
)

// settle is set when the pending password already works: an earlier attempt
// got this far. What it did shows in whether the current one works as well.
func (f *Function) settle(ctx context.Context, session Session, p pair) (Result, error) {
	kept, err := f.keptBoth(ctx, session, p.current, p.pending)
	if err != nil {
		return Result{}, explain("logging in with the current password", err)
	}
	if kept {
		return Result{Strategy: StrategyDualPassword}, nil
	}
	c := Change{Session: session, Engine: f.Engine, Current: p.current.login, Pending: p.pending.login}
	if err := (SingleUser{}).Settle(ctx, c); err != nil {
		return Result{}, explain("ending an older password", err)
	}
	return Result{Strategy: StrategySingleUser}, nil
}

// keptBoth tells whether an older login works beside a newer one, whose
// session is given.
func (f *Function) keptBoth(ctx context.Context, newer Session, older, now document) (bool, error) {
	if _, can := newer.(DualPassword); !can || now.strategy == StrategySingleUser {
		return false, nil
	}
	if older.login.Password == "" || !older.login.sameAccount(now.login) || older.login.Password == now.login.Password {
		return false, nil
	}
	return works(ctx, f.Engine, now.login.withPassword(older.login.Password))
}

// refused tells whether an account can do without DualPassword: nothing has
// happened, and nothing but the account or the server stands in its way.
func refused(err error) bool {
	return errors.Is(err, ErrNoDualPassword) || ClassOf(err) == ClassPrivilege
}

// previousLogin returns AWSPREVIOUS's login, or none if there is no such
// version or it belongs to another account or server.
func (f *Function) previousLogin(ctx context.Context, e Event, cur document) (Login, error) {
	prev, err := f.read(ctx, e.SecretID, "", previous)
	if isNotFound(err) || ClassOf(err) == ClassSecret {
		return Login{}, nil
	}
	if err != nil {
		return Login{}, err
	}
	if !prev.login.sameAccount(cur.login) || prev.login.Password == cur.login.Password {
		return Login{}, nil
	}
	return cur.login.withPassword(prev.login.Password), nil
}

func (f *Function) connect(ctx context.Context, l Login) (Session, error) {
	return f.Engine.Connect(ctx, l)
}

// works tells whether the server lets a login in, or would if the account had a
// connection left: its limit counts the session that this one looks beside.
func works(ctx context.Context, e Engine, l Login) (bool, error) {
	session, err := e.Connect(ctx, l)
	switch {
	case ClassOf(err) == ClassAuth:
		return false, nil
	case errors.Is(err, ErrConnectionLimit):
		return true, nil
	case err != nil:
		return false, err
	}
	_ = session.Close()
	return true, nil
}

// explain says what was being done, and keeps the class.
func explain(doing string, err error) error {
	class := ClassOf(err)
	if class == "" {
		class = ClassDatabase
	}
	return &Error{Class: class, Err: fmt.Errorf("%s: %w", doing, err)}
}
