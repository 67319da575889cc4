package rotation

import (
	"context"
	"errors"
	"fmt"
)

// set makes the pending password valid in the database: look, then act. Only a
// login that the server refused means "not yet": on any other failure nobody
// knows what the database holds, and acting on doubt can end the password that
// AWSCURRENT needs.
func (f *Function) set(ctx context.Context, e Event) (Result, error) {
	p, err := f.readPair(ctx, e)
	if err != nil {
		return Result{}, err
	}
	if p.current.strategy == StrategyAlternatingUsers {
		return f.alternate(ctx, e, p)
	}
	session, err := f.connect(ctx, p.pending.login)
	if err == nil {
		defer session.Close()
		return f.settle(ctx, session, p)
	}
	if ClassOf(err) != ClassAuth {
		return Result{}, explain("logging in with the pending password", err)
	}
	c, err := f.change(ctx, e, p)
	if err != nil {
		return Result{}, err
	}
	defer c.Session.Close()
	strategy, err := f.allowed(ctx, p, c)
	if err != nil {
		return Result{}, explain("logging in with the current password", err)
	}
	strategy, err = apply(ctx, strategy, c)
	if err != nil {
		return Result{}, explain("changing the password", err)
	}
	return Result{Strategy: strategy}, nil
}

// allowed returns the secret's strategy, but SingleUser if AWSCURRENT is
// refused by the database: then there is nothing worth keeping, and a password
// that somebody has set behind the secret's back must not stay.
func (f *Function) allowed(ctx context.Context, p pair, c Change) (string, error) {
	valid := c.Current.Password == p.current.login.Password
	if p.current.masterARN != "" {
		var err error
		if valid, err = works(ctx, f.Engine, p.current.login); err != nil {
			return "", err
		}
	}
	if !valid {
		return StrategySingleUser, nil
	}
	return p.current.strategy, nil
}

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
	if !older.login.sameAccount(now.login) || older.login.Password == now.login.Password {
		return false, nil
	}
	return works(ctx, f.Engine, now.login.withPassword(older.login.Password))
}

// apply tries the strategies that the secret allows, the best one first.
func apply(ctx context.Context, strategy string, c Change) (string, error) {
	if strategy == StrategySingleUser {
		return strategy, SingleUser{}.Apply(ctx, c)
	}
	err := Dual{}.Apply(ctx, c)
	if err == nil || strategy == StrategyDualPassword || !refused(err) {
		return StrategyDualPassword, err
	}
	return StrategySingleUser, SingleUser{}.Apply(ctx, c)
}

// refused tells whether an account can do without DualPassword: nothing has
// happened, and nothing but the account or the server stands in its way.
func refused(err error) bool {
	return errors.Is(err, ErrNoDualPassword) || ClassOf(err) == ClassPrivilege
}

// change logs in as whoever may change the password: the administrator of
// masterarn if the secret names one, else the account itself by its current
// password, or by its previous one as AWS's templates do.
func (f *Function) change(ctx context.Context, e Event, p pair) (Change, error) {
	c := Change{Engine: f.Engine, Current: p.current.login, Pending: p.pending.login}
	prev, err := f.previousLogin(ctx, e, p.current)
	if err != nil {
		return Change{}, err
	}
	c.Previous = prev
	if p.current.masterARN != "" {
		c.Session, err = f.connectAdmin(ctx, p.current)
		return c, err
	}
	if p.current.strategy == StrategyAlternatingUsers {
		return Change{}, &Error{Class: ClassSecret, Err: errNoAdmin}
	}
	c.Session, err = f.connect(ctx, c.Current)
	if ClassOf(err) == ClassAuth && prev.Password != "" {
		c.Current, c.Previous = prev, Login{}
		c.Session, err = f.connect(ctx, prev)
	}
	if err != nil {
		return Change{}, explain("logging in with the current password", err)
	}
	return c, nil
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

// connectAdmin logs in by the secret masterarn. It must belong to the same
// server: a password set elsewhere would help nobody.
func (f *Function) connectAdmin(ctx context.Context, cur document) (Session, error) {
	d, err := f.read(ctx, cur.masterARN, "", current)
	if err != nil {
		return nil, explain("asking for the secret of masterarn", err)
	}
	// A secret that RDS manages holds username and password alone.
	admin := cur.login
	admin.Username, admin.Password = d.login.Username, d.login.Password
	if d.login.Database != "" {
		admin.Database = d.login.Database
	}
	if d.login.Host != "" && d.login.Host != admin.Host || d.login.Port != 0 && d.login.Port != admin.Port {
		return nil, Errorf(ClassSecret, "the secret of masterarn belongs to another server than this secret: host and port must be equal")
	}
	session, err := f.connect(ctx, admin)
	if err != nil {
		return nil, explain("logging in as the administrator of masterarn", err)
	}
	return session, nil
}

func (f *Function) connect(ctx context.Context, l Login) (Session, error) {
	return f.Engine.Connect(ctx, l)
}

// works tells whether the server lets a login in.
func works(ctx context.Context, e Engine, l Login) (bool, error) {
	session, err := e.Connect(ctx, l)
	if ClassOf(err) == ClassAuth {
		return false, nil
	}
	if err != nil {
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
