package rotation

import (
	"context"
	"errors"
)

// StepHeal is keyturn's own: it sets the database's password to the value of
// AWSCURRENT, after somebody has changed it behind the secret's back. It needs
// no token, and does nothing if AWSCURRENT logs in already.
const StepHeal = "healSecret"

// heal acts as the administrator of masterarn; a secret without one can be
// healed while AWSPREVIOUS or AWSPENDING is live. Whatever else was valid for
// the account is not any more.
func (f *Function) heal(ctx context.Context, e Event, s staging) (Result, error) {
	if other := s.holder(pending); other != "" && !s.has(other, current) && !s.disabled {
		return Result{}, Errorf(ClassSecret, "a rotation to version %s is not complete; repair or cancel it first", other)
	}
	cur, err := f.readCurrent(ctx, e.SecretID)
	if err != nil {
		return Result{}, err
	}
	valid, err := works(ctx, f.Engine, cur.login)
	if err != nil {
		return Result{}, explain("logging in with the current password", err)
	}
	if valid {
		return Result{Strategy: StrategySingleUser}, nil
	}
	return f.healBy(ctx, e, s, cur)
}

func (f *Function) healBy(ctx context.Context, e Event, s staging, cur document) (Result, error) {
	session, as, err := f.healer(ctx, e, s, cur)
	if err != nil {
		return Result{}, err
	}
	defer session.Close()
	c := Change{Session: session, Engine: f.Engine, Current: as, Pending: cur.login}
	err = SingleUser{}.Apply(ctx, c)
	if errors.Is(err, ErrNoUser) && cur.strategy == StrategyAlternatingUsers {
		return Result{}, Errorf(ClassSecret, "%w %s; rotate instead: the other user takes its turn, and the next rotation makes this one anew", ErrNoUser, cur.login.Username)
	}
	if err != nil {
		return Result{}, explain("setting the password to the value of AWSCURRENT", err)
	}
	return Result{Strategy: StrategySingleUser}, nil
}

// healer logs in as whoever may set the password, and says by which login of
// the account.
func (f *Function) healer(ctx context.Context, e Event, s staging, cur document) (Session, Login, error) {
	if cur.masterARN != "" {
		session, err := f.connectAdmin(ctx, cur)
		return session, cur.login, err
	}
	for _, label := range []string{previous, pending} {
		as, err := f.staged(ctx, e, s, cur, label)
		if err != nil {
			return nil, Login{}, err
		}
		if as.Password == "" {
			continue
		}
		session, err := f.connect(ctx, as)
		if ClassOf(err) != ClassAuth {
			return session, as, err
		}
	}
	return nil, Login{}, Errorf(ClassSecret, "neither AWSPREVIOUS nor AWSPENDING logs in, so it takes an administrator: "+
		"name its secret in the key masterarn of the secret, or set the password in the database by hand; "+
		"if the database was restored, keyturn rotation repair names older versions to try")
}

// staged returns a label's login, or none if it belongs to another account or
// has AWSCURRENT's password.
func (f *Function) staged(ctx context.Context, e Event, s staging, cur document, label string) (Login, error) {
	version := s.holder(label)
	if version == "" || s.has(version, current) {
		return Login{}, nil
	}
	d, err := f.read(ctx, e.SecretID, version, label)
	if isNotFound(err) || ClassOf(err) == ClassSecret {
		return Login{}, nil
	}
	if err != nil || !d.login.sameAccount(cur.login) || d.login.Password == cur.login.Password {
		return Login{}, err
	}
	return cur.login.withPassword(d.login.Password), nil
}
