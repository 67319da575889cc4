package rotation

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"
)

// UserCopier is the ability of some sessions to make one user the equal of
// another. AlternatingUsers needs it of the administrator's session.
type UserCopier interface {
	// CopyUser gives the user to what the user of from has: the same rights,
	// limits and settings, and no more. It makes the user if there is none,
	// with a password that nobody knows. It never takes a right from the user
	// of from, whose login stays valid at every moment of it.
	CopyUser(ctx context.Context, from Login, to string) error
}

// CopyExplainer is the ability of some sessions to tell what CopyUser would do.
type CopyExplainer interface {
	// ExplainCopy returns the statements by which the user to would get what the user
	// of from has, and a new password; Redacted stands for passwords. It changes
	// nothing. Its error is what CopyUser would answer, as far as that can be known.
	ExplainCopy(ctx context.Context, from Login, to string) ([]string, error)
}

// RightsReader is the ability of some sessions to tell what a user may do.
type RightsReader interface {
	// Rights returns what the server holds about a user, apart from its
	// password: rights, roles, limits, settings. Each line is one fact, in the
	// server's words and without the user's name, so the lines of two users
	// can be compared. They are sorted.
	Rights(ctx context.Context, user string) ([]string, error)
}

// Alternating is the strategy AlternatingUsers: the pending login is that of a
// second user with equal rights, so AWSCURRENT stays valid through the whole
// rotation, and AWSPREVIOUS until the next one. An administrator (masterarn)
// makes the changes.
type Alternating struct{}

// CloneSuffix makes the second user's name of the first one's, as AWS's
// rotation templates for alternating users do.
const CloneSuffix = "_clone"

// OtherUser returns the name of the user that takes turns with the user of l.
func OtherUser(l Login) (string, error) {
	if original, ok := strings.CutSuffix(l.Username, CloneSuffix); ok && original != "" {
		return original, nil
	}
	name := l.Username + CloneSuffix
	limit, length := 32, utf8.RuneCountInString(name)
	switch l.Engine {
	case "mariadb":
		limit = 128
	case "postgres", "postgresql", "aurora-postgresql":
		limit, length = 63, len(name)
	}
	if length > limit {
		return "", Errorf(ClassSecret, "strategy %s: the name %s has %d characters, and the database takes %d: use a shorter username",
			StrategyAlternatingUsers, name, length, limit)
	}
	return name, nil
}

// Apply makes the other user the equal of the current one, then sets its
// password. That comes last: who can log in has all rights.
func (a Alternating) Apply(ctx context.Context, c Change) error {
	copier, ok := c.Session.(UserCopier)
	if !ok {
		return Errorf(ClassPolicy, "strategy %s is not possible with the engine %s", StrategyAlternatingUsers, c.Pending.Engine)
	}
	if err := level(ctx, copier, c); err != nil {
		return err
	}
	if err := c.Session.SetPassword(ctx, c.Pending.Username, c.Pending.Password); err != nil {
		return err
	}
	return a.Finish(ctx, c)
}

// Settle completes an Apply that a crash has cut short after the pending
// password was valid, and brings the rights level with what they are now.
func (a Alternating) Settle(ctx context.Context, c Change) error {
	if copier, ok := c.Session.(UserCopier); ok {
		if err := level(ctx, copier, c); err != nil {
			return err
		}
	}
	return a.Finish(ctx, c)
}

// level brings the pending user level with the current one. If that is not there, since
// the database was restored to a time before it was made, the pending one keeps what it
// has, and the next rotation makes the other.
func level(ctx context.Context, copier UserCopier, c Change) error {
	err := copier.CopyUser(ctx, c.Current, c.Pending.Username)
	if errors.Is(err, ErrNoUser) {
		return nil
	}
	return err
}

// Finish ends second passwords that the strategy DualPassword has left: that of
// the other user, whose password is new, and that of the current user. The
// latter only if AWSPREVIOUS works, for only then it is the older one.
func (Alternating) Finish(ctx context.Context, c Change) error {
	if err := dropOlder(ctx, c.Session, c.Pending); err != nil {
		return err
	}
	if c.Previous.Password == "" {
		return nil
	}
	alive, err := works(ctx, c.Engine, c.Previous)
	if err != nil || !alive {
		return err
	}
	return dropOlder(ctx, c.Session, c.Current)
}

// alternate is setSecret of the strategy AlternatingUsers.
func (f *Function) alternate(ctx context.Context, e Event, p pair) (Result, error) {
	valid, err := f.pendingWorks(ctx, e, p)
	if err != nil {
		return Result{}, explain("logging in with the pending password", err)
	}
	c, admin, err := f.turn(ctx, e, p)
	if err != nil {
		return Result{}, err
	}
	act := Alternating{}.Apply
	if valid {
		act = Alternating{}.Settle
	}
	if err := admin.lend(func() error { return act(ctx, c) }); err != nil {
		return Result{}, explain("making the user "+p.pending.login.Username, err)
	}
	return Result{Strategy: StrategyAlternatingUsers}, nil
}

// pendingWorks tells whether an earlier attempt has set the pending password. Of a user
// that is blocked nobody knows; to set it once more does no harm, for it is not in use.
func (f *Function) pendingWorks(ctx context.Context, e Event, p pair) (bool, error) {
	if e.Created {
		return false, nil
	}
	valid, err := works(ctx, f.Engine, p.pending.login)
	if errors.Is(err, ErrBlocked) {
		return false, nil
	}
	return valid, err
}

// retireOther ends the password of the user whose turn is over, by giving it one
// that nobody knows. No rotation plans that: somebody has asked for it. The answer has
// no strategy if AWSPREVIOUS is not that user's.
func (f *Function) retireOther(ctx context.Context, e Event, cur document) (Result, error) {
	prev, err := f.read(ctx, e.SecretID, "", previous)
	if isNotFound(err) || ClassOf(err) == ClassSecret {
		return Result{}, nil
	}
	if err != nil {
		return Result{}, err
	}
	ended := Result{Strategy: StrategyAlternatingUsers}
	other, err := cur.next()
	if err != nil || !other.sameAccount(prev.login) {
		return Result{}, err
	}
	if cur.masterARN != "" { // that AWSPREVIOUS is refused need not mean that no password is left
		return ended, explainUnless(f.lockOut(ctx, cur, other), "end the previous password")
	}
	alive, err := works(ctx, f.Engine, other.withPassword(prev.login.Password))
	if err == nil && alive {
		err = &Error{Class: ClassSecret, Err: errNoAdmin}
	}
	return ended, explainUnless(err, "end the previous password")
}

// lockOut sets a password that nobody knows, as the administrator. A user that is not
// there is locked out.
func (f *Function) lockOut(ctx context.Context, cur document, l Login) error {
	admin, err := f.connectAdmin(ctx, cur)
	if err != nil {
		return err
	}
	defer admin.Close()
	password, err := f.randomPassword(ctx, 0)
	if err != nil {
		return err
	}
	err = admin.SetPassword(ctx, l.Username, password)
	if errors.Is(err, ErrNoUser) {
		return nil
	}
	if err != nil {
		return err
	}
	return dropOlder(ctx, admin, l.withPassword(password))
}

// turn returns the change, in the administrator's session.
func (f *Function) turn(ctx context.Context, e Event, p pair) (Change, administrator, error) {
	if p.current.masterARN == "" {
		return Change{}, administrator{}, &Error{Class: ClassSecret, Err: errNoAdmin}
	}
	prev, err := f.previousLogin(ctx, e, p.current)
	if err != nil {
		return Change{}, administrator{}, err
	}
	admin, err := f.asAdmin(ctx, p.current)
	c := Change{Session: admin.Session, Engine: f.Engine, Current: p.current.login, Pending: p.pending.login, Previous: prev}
	return c, admin, err
}

var errNoAdmin = errors.New("the secret names no administrator: give it the key masterarn, the ARN of the administrator's secret")

// Turns are the two users of a secret that rotates by AlternatingUsers, and a
// session of the administrator who keeps them equal.
type Turns struct {
	Session  Session // close it
	Current  Login   // of AWSCURRENT; without its password if that is refused
	Previous Login   // of AWSPREVIOUS, if it is the other user's and logs in; else zero
	Other    string  // the name of the user that is not current
}

// Turns reads a secret and logs in as its administrator. Whether the secret
// rotates by AlternatingUsers already does not matter.
func (f *Function) Turns(ctx context.Context, secretID string) (Turns, error) {
	cur, err := f.readCurrent(ctx, secretID)
	if err != nil {
		return Turns{}, err
	}
	other, err := OtherUser(cur.login)
	if err != nil {
		return Turns{}, err
	}
	if cur.masterARN == "" {
		return Turns{}, &Error{Class: ClassSecret, Err: errNoAdmin}
	}
	t := Turns{Current: cur.login, Other: other}
	prev, err := f.read(ctx, secretID, "", previous)
	if err == nil && prev.login.Username == other {
		t.Previous = cur.login.withPassword(prev.login.Password)
		t.Previous.Username = other
	}
	if err != nil && !isNotFound(err) && ClassOf(err) != ClassSecret {
		return Turns{}, err
	}
	if err := f.proveTurns(ctx, &t); err != nil {
		return Turns{}, err
	}
	t.Session, err = f.connectAdmin(ctx, cur)
	return t, err
}

// proveTurns takes out the passwords that the database refuses.
func (f *Function) proveTurns(ctx context.Context, t *Turns) error {
	valid, err := works(ctx, f.Engine, t.Current)
	if err != nil {
		return explain("logging in with the current password", err)
	}
	if !valid {
		t.Current.Password = ""
	}
	if t.Previous.Username == "" {
		return nil
	}
	valid, err = works(ctx, f.Engine, t.Previous)
	if err != nil {
		return explain("logging in with the previous password", err)
	}
	if !valid {
		t.Previous = Login{}
	}
	return nil
}
