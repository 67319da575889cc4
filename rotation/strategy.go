package rotation

import (
	"context"
	"errors"
)

// The values of the key rotationStrategy in a secret's value, and of
// Result.Strategy.
const (
	StrategyAuto             = "auto" // the default: DualPassword where possible, else SingleUser
	StrategySingleUser       = "SingleUser"
	StrategyDualPassword     = "DualPassword"
	StrategyAlternatingUsers = "AlternatingUsers"
)

// Change is one change of a password, as a strategy gets it.
type Change struct {
	Session  Session // who makes the change: the account itself or an administrator
	Engine   Engine  // for logins that show what is valid
	Current  Login   // the account's login that works, or AWSCURRENT's if an administrator acts
	Pending  Login   // the login that shall work
	Previous Login   // AWSPREVIOUS's login of the same account; zero if there is none
}

// next returns the login that follows the one of d, without a password. All
// strategies but AlternatingUsers keep the account.
func (d document) next() (Login, error) {
	login := d.login.withPassword("")
	if d.strategy != StrategyAlternatingUsers {
		return login, nil
	}
	var err error
	login.Username, err = OtherUser(login)
	return login, err
}

// SingleUser changes the password of the one account. From Apply until
// finishSecret the value of AWSCURRENT is refused by the database.
type SingleUser struct{}

// Apply makes the pending login valid: it sets the password. It is called while that
// is refused, and again if a crash interrupted it. A second password that is left from an earlier
// DualPassword rotation would outlive that, so it is dropped before and after.
func (s SingleUser) Apply(ctx context.Context, c Change) error {
	err := dropOlder(ctx, c.Session, c.Current)
	if ClassOf(err) == ClassPrivilege {
		err = refuseForgotten(ctx, c, err)
	}
	if err != nil {
		return err
	}
	if err := c.Session.SetPassword(ctx, c.Pending.Username, c.Pending.Password); err != nil {
		return err
	}
	return s.Settle(ctx, c)
}

// Settle completes an Apply that a crash has cut short after the password was
// set. An account that may not drop a second password had none: Apply looked.
func (SingleUser) Settle(ctx context.Context, c Change) error {
	err := dropOlder(ctx, c.Session, c.Pending)
	if ClassOf(err) == ClassPrivilege {
		return nil
	}
	return err
}

// Dual is the strategy DualPassword: the account keeps the password of
// AWSCURRENT beside the pending one, until Finish. At no moment is the value
// of AWSCURRENT refused.
type Dual struct{}

// Apply adds the pending password. It may be repeated.
func (Dual) Apply(ctx context.Context, c Change) error {
	d, ok := c.Session.(DualPassword)
	if !ok {
		return Errorf(ClassPolicy, "rotationStrategy %s, engine %s: %w", StrategyDualPassword, c.Pending.Engine, ErrNoDualPassword)
	}
	return d.AddPassword(ctx, c.Pending.Username, c.Pending.Password, c.Current.Password)
}

// Finish drops the password that is older than that of Current, if there is one.
func (Dual) Finish(ctx context.Context, c Change) error {
	return dropOlder(ctx, c.Session, c.Current)
}

// dropOlder leaves alone what cannot have two passwords.
func dropOlder(ctx context.Context, s Session, keep Login) error {
	d, ok := s.(DualPassword)
	if !ok {
		return nil
	}
	err := d.DropOldPassword(ctx, keep.Username, keep.Password)
	if errors.Is(err, ErrNoDualPassword) {
		return nil
	}
	return err
}

// refuseForgotten returns the privilege error if the account has a second
// password that it may not drop: changing the first would leave it valid.
func refuseForgotten(ctx context.Context, c Change, privilege error) error {
	if c.Previous.Password == "" {
		return nil
	}
	alive, err := works(ctx, c.Engine, c.Previous)
	if err != nil {
		return err
	}
	if alive {
		return explain("the account still accepts its previous password, which must end first", privilege)
	}
	return nil
}
