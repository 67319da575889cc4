package rotation

import (
	"context"
	"errors"
)

// attempt is one run of setSecret.
type attempt struct {
	facts
	f        *Function
	e        Event
	s        staging
	p        pair
	promoted bool           // the token is AWSCURRENT already
	session  Session        // of the last login that was let in
	lent     *administrator // whose session it is; nil: the account's own
	by       Login          // its login
	why      error          // why the last login was refused
}

// set makes the pending password valid in the database: look, then act. Only a
// login that the server refused means "not yet": on any other failure nobody
// knows what the database holds, and acting on doubt can end the password that
// AWSCURRENT needs.
func (f *Function) set(ctx context.Context, e Event, s staging) (r Result, err error) {
	a, err := f.newAttempt(ctx, e, s)
	if err != nil {
		return Result{}, err
	}
	if !a.promoted && a.p.current.strategy == StrategyAlternatingUsers {
		return f.alternate(ctx, e, a.p)
	}
	err = errUnfinished // until it returns: after a panic the session is not kept
	defer func() { a.end(err) }()
	for {
		switch do := decide(a.facts); do {
		case tryPending, tryCurrent, tryPrevious:
			if err := a.try(ctx, do); err != nil {
				return Result{}, err
			}
		case settle:
			return a.settle(ctx)
		case change, overwrite:
			return a.change(ctx, do)
		default:
			return Result{}, a.refusal()
		}
	}
}

// newAttempt reads what setSecret works on.
func (f *Function) newAttempt(ctx context.Context, e Event, s staging) (*attempt, error) {
	a := &attempt{f: f, e: e, s: s, promoted: s.has(e.ClientRequestToken, current)}
	a.created = e.Created && !a.promoted
	var err error
	if a.promoted {
		a.p, err = f.promotedPair(ctx, e)
		a.previous = absent
	} else {
		a.p, err = f.readPair(ctx, e)
	}
	if a.p.current.login.Password == "" {
		a.current = absent
	}
	a.admin = a.p.current.masterARN != ""
	a.keepsOne = f.keepsOne(a.p.current)
	return a, err
}

// promotedPair is readPair for a token that is AWSCURRENT: the password of
// AWSPREVIOUS takes the place of the current one. It is empty if there is none.
func (f *Function) promotedPair(ctx context.Context, e Event) (pair, error) {
	now, err := f.read(ctx, e.SecretID, e.ClientRequestToken, current)
	if err != nil {
		return pair{}, err
	}
	if err := now.usable(); err != nil {
		return pair{}, err
	}
	prev, err := f.previousLogin(ctx, e, now)
	old := now
	old.login = now.login.withPassword(prev.Password)
	return pair{old, now}, err
}

// try makes the login that an action names, and notes what it has shown.
func (a *attempt) try(ctx context.Context, do action) error {
	var (
		login Login
		shown *proof
		err   error
	)
	switch do {
	case tryPending:
		login, shown = a.p.pending.login, &a.pending
	case tryCurrent:
		login, shown = a.p.current.login, &a.current
	default:
		shown = &a.previous
		login, err = a.f.previousLogin(ctx, a.e, a.p.current)
	}
	if err != nil {
		return err
	}
	if login.Password == "" {
		*shown = absent
		return nil
	}
	*shown, err = a.login(ctx, login)
	if do == tryCurrent && a.admin && errors.Is(err, ErrExpired) {
		*shown, err = live, nil // in its proof, and the administrator makes the change
	}
	return explainUnless(err, string(do))
}

// login keeps the session of a login that was let in.
func (a *attempt) login(ctx context.Context, l Login) (proof, error) {
	session, err := a.f.connect(ctx, l)
	if ClassOf(err) == ClassAuth {
		a.why = err
		return denied, nil
	}
	if err != nil {
		return untried, err
	}
	a.close()
	a.session, a.by = session, l
	return live, nil
}

// end gives back an administrator's session.
func (a *attempt) end(err error) {
	if a.lent == nil {
		a.close()
		return
	}
	a.lent.done(err)
}

func (a *attempt) close() {
	if a.session != nil {
		_ = a.session.Close()
		a.session = nil
	}
}

// refusal is the error when no password is let in and nobody else may help.
func (a *attempt) refusal() error {
	return Errorf(ClassAuth, "the database accepts no password of this secret, neither that of AWSCURRENT nor the pending one nor that of AWSPREVIOUS; "+
		"name an administrator by masterarn, or store the password that works as AWSCURRENT: %w", a.why)
}

// settle is called when the pending password already works: an earlier attempt
// got this far.
func (a *attempt) settle(ctx context.Context) (Result, error) {
	r, err := a.f.settle(ctx, a.session, a.p)
	if err != nil || a.promoted || !a.nearAtomic(a.session, a.p.current.strategy) {
		return r, err
	}
	// Every moment until AWSCURRENT moves is exposure, and the login that
	// testSecret would make has just been made.
	if err := a.promote(ctx); err != nil {
		return Result{}, err
	}
	r.PromotedAtMicros = a.f.now().UnixMicro()
	return r, nil
}

// change logs in as whoever may change the password, an administrator before
// the account itself, and changes it.
func (a *attempt) change(ctx context.Context, do action) (Result, error) {
	c, err := a.prepare(ctx)
	if err != nil {
		return Result{}, err
	}
	strategy := a.p.current.strategy
	if do == overwrite {
		// There is nothing worth keeping, and a password that somebody has set
		// behind the secret's back must not stay.
		strategy = StrategySingleUser
	}
	if !a.promoted && a.nearAtomic(c.Session, strategy) {
		return a.atomically(ctx, c)
	}
	begin := a.f.now()
	strategy, err = a.apply(ctx, strategy, c)
	if err != nil {
		return Result{}, explain("changing the password", err)
	}
	r := Result{Strategy: strategy}
	if strategy == StrategySingleUser {
		r.ChangedAtMicros = begin.UnixMicro()
	}
	if a.promoted {
		a.healed(&r)
	}
	return r, nil
}

// prepare returns the change, in the session of whoever may make it. The login
// of AWSPREVIOUS is not read, for few changes need it.
func (a *attempt) prepare(ctx context.Context) (Change, error) {
	if a.admin {
		admin, err := a.f.asAdmin(ctx, a.p.current)
		if err != nil {
			return Change{}, err
		}
		a.close()
		a.session, a.lent = admin.Session, &admin
		return Change{Session: admin.Session, Engine: a.f.Engine, Current: a.p.current.login, Pending: a.p.pending.login}, nil
	}
	return Change{Session: a.session, Engine: a.f.Engine, Current: a.by, Pending: a.p.pending.login}, nil
}

// apply tries the strategies that the secret allows, the best one first.
func (a *attempt) apply(ctx context.Context, strategy string, c Change) (string, error) {
	if strategy != StrategySingleUser {
		err := Dual{}.Apply(ctx, c)
		if err == nil || strategy == StrategyDualPassword || !refused(err) {
			return StrategyDualPassword, err
		}
	}
	prev, err := a.f.previousLogin(ctx, a.e, a.p.current)
	if err != nil {
		return StrategySingleUser, err
	}
	if a.admin || prev.Password != a.by.Password {
		c.Previous = prev
	}
	return StrategySingleUser, SingleUser{}.Apply(ctx, c)
}

// healed measures what ended with a change for a token that is AWSCURRENT: a
// near-atomic change was cut short between the promotion and COMMIT, or somebody
// has set another password since. LastChangedDate tells the promotion, which was
// the last thing that happened to the secret.
func (a *attempt) healed(r *Result) {
	now := a.f.now()
	r.ChangedAtMicros = now.UnixMicro()
	if !a.s.changed.IsZero() {
		r.PromotedAtMicros = a.s.changed.UnixMicro()
		r.ExposureMicros = micros(r.ChangedAtMicros - r.PromotedAtMicros)
	}
}

// explainUnless is explain for an error that may be nil.
func explainUnless(err error, doing string) error {
	if err == nil {
		return nil
	}
	return explain("trying to "+doing, err)
}

// micros is a measured time; a clock that was set back measured none.
func micros(n int64) *int64 {
	n = max(0, n)
	return &n
}
