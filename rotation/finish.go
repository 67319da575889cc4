package rotation

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// finish moves AWSCURRENT to the token's version. AWSPENDING stays beside it,
// as AWS's templates leave it. It does not ask the database before: testSecret
// just did, and until AWSCURRENT moves, applications of a SingleUser rotation
// are locked out. Where the event tells what setSecret did, it need not be asked
// afterwards either.
func (f *Function) finish(ctx context.Context, e Event, s staging) (Result, error) {
	if r, ok := f.told(e.Strategy); ok {
		return f.promote(ctx, e, s, func() Result { return r })
	}
	p, err := f.readPair(ctx, e)
	if err != nil {
		return Result{}, err
	}
	return f.promote(ctx, e, s, func() Result { return f.outcome(ctx, p.current, p.pending) })
}

// promote moves AWSCURRENT, and then asks what became of the old password.
func (f *Function) promote(ctx context.Context, e Event, s staging, outcome func() Result) (Result, error) {
	in := &secretsmanager.UpdateSecretVersionStageInput{
		SecretId:            aws.String(e.SecretID),
		VersionStage:        aws.String(current),
		MoveToVersionId:     aws.String(e.ClientRequestToken),
		RemoveFromVersionId: aws.String(s.holder(current)),
	}
	if _, err := f.Secrets.UpdateSecretVersionStage(ctx, in); err != nil {
		return Result{}, Errorf(ClassAPI, "moving AWSCURRENT to version %s: %w", e.ClientRequestToken, err)
	}
	promoted := f.now()
	r := outcome()
	r.PromotedAtMicros = promoted.UnixMicro()
	return r, nil
}

// done answers a step whose token is AWSCURRENT already. While AWSPENDING is
// beside it, setSecret and testSecret look all the same: a near-atomic change
// moves AWSCURRENT before its COMMIT, which may have failed.
func (f *Function) done(ctx context.Context, e Event, s staging) (Result, error) {
	rotates := s.has(e.ClientRequestToken, pending)
	switch {
	case e.Step == StepSet && rotates:
		return f.set(ctx, e, s)
	case e.Step == StepTest && rotates:
		return Result{}, f.test(ctx, e)
	case e.Step != StepFinish:
		return Result{}, nil
	}
	if r, ok := f.told(e.Strategy); ok {
		return r, nil
	}
	cur, err := f.read(ctx, e.SecretID, "", current)
	if err != nil {
		return Result{}, err
	}
	prev, err := f.read(ctx, e.SecretID, "", previous)
	if isNotFound(err) {
		return Result{}, nil
	}
	if err != nil {
		return Result{}, err
	}
	return f.outcome(ctx, prev, cur), nil
}

// outcome finds out whether the old password still works beside the new one,
// and so must be retired. AWSCURRENT has moved: no failure may undo that, so
// on doubt it asks for a retireSecret, which does no harm.
func (f *Function) outcome(ctx context.Context, old, now document) Result {
	strategy := StrategyAlternatingUsers // each has its own password
	if old.login.Username == now.login.Username {
		kept, err := f.oldWorks(ctx, old, now)
		switch {
		case err != nil:
			return Result{RetireAfterSeconds: seconds(f.grace())}
		case kept:
			strategy = StrategyDualPassword
		default:
			strategy = StrategySingleUser
		}
	}
	r, _ := f.told(strategy)
	return r
}

// told is the outcome of a rotation by a strategy.
func (f *Function) told(strategy string) (r Result, known bool) {
	r.Strategy = strategy
	switch strategy {
	case StrategySingleUser, StrategyAlternatingUsers:
		return r, true
	case StrategyDualPassword:
		r.RetireAfterSeconds = seconds(f.grace())
		return r, true
	}
	return Result{}, false
}

func (f *Function) oldWorks(ctx context.Context, old, now document) (bool, error) {
	if f.keepsOne(now) {
		return false, nil
	}
	session, err := f.connect(ctx, now.login)
	if err != nil {
		return false, err
	}
	defer session.Close()
	kept, err := f.keptBoth(ctx, session, old, now)
	if _, can := session.(DualPassword); can && !kept && err == nil {
		// Servers that lock accounts count refused logins in a row: end the row.
		_, _ = works(ctx, f.Engine, now.login)
	}
	return kept, err
}

// retire ends the password that a DualPassword rotation kept. It is keyturn's
// own step, and takes the token of that rotation.
func (f *Function) retire(ctx context.Context, e Event, s staging) (Result, error) {
	edited := false
	if !s.has(e.ClientRequestToken, current) {
		var err error
		if edited, err = f.edited(ctx, e); err != nil {
			return Result{}, err
		}
		if !edited {
			return Result{}, f.endForgotten(ctx, e)
		}
	}
	if other := s.holder(pending); other != "" && other != e.ClientRequestToken && !s.disabled {
		// That rotation needs the password of AWSCURRENT, which may be the
		// older one of the two by now, and will itself end the other. One that was
		// cancelled may keep the label for good.
		return Result{RetireAfterSeconds: seconds(min(retireAgain, f.grace()))}, nil
	}
	cur, err := f.read(ctx, e.SecretID, "", current)
	if err != nil {
		return Result{}, err
	}
	if cur.strategy == StrategyAlternatingUsers {
		if r, err := f.retireOther(ctx, e, cur); err != nil || r.Strategy != "" {
			return r, err
		}
		// The older password is this user's own: DualPassword has left it, and the
		// strategy was changed since.
	}
	prev, err := f.previousLogin(ctx, e, cur)
	if err != nil || prev.Password == "" && !edited {
		return Result{}, err
	}
	return f.end(ctx, cur, prev)
}

// edited tells whether AWSCURRENT has the password of the token's version: somebody
// has changed another key of the value since. Then no label need be left on a version
// with the old password.
func (f *Function) edited(ctx context.Context, e Event) (bool, error) {
	if e.ClientRequestToken == "" {
		return false, nil // reading no version is reading AWSCURRENT
	}
	was, err := f.read(ctx, e.SecretID, e.ClientRequestToken, "")
	if isNotFound(err) || ClassOf(err) == ClassSecret {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	now, err := f.read(ctx, e.SecretID, "", current)
	return now.login.Username == was.login.Username && now.login.Password == was.login.Password, err
}

// endForgotten ends the password that the token's rotation has kept, where somebody has
// changed the token's own in the database since, and stored the new one: MySQL goes on
// with the older one of the two. Where the token's is live, a later rotation has kept it.
func (f *Function) endForgotten(ctx context.Context, e Event) error {
	was, err := f.read(ctx, e.SecretID, e.ClientRequestToken, "")
	if isNotFound(err) || ClassOf(err) == ClassSecret {
		return nil
	}
	if err != nil {
		return err
	}
	cur, err := f.read(ctx, e.SecretID, "", current)
	if err != nil || !was.login.sameAccount(cur.login) {
		return err
	}
	alive, err := works(ctx, f.Engine, cur.login.withPassword(was.login.Password))
	if err != nil || alive {
		return explainUnless(err, "log in with the password that was replaced")
	}
	session, err := f.connect(ctx, cur.login)
	if ClassOf(err) == ClassAuth {
		return nil // to refuse it again and again may lock the account
	}
	if err != nil {
		return explain("logging in with the current password", err)
	}
	defer session.Close()
	_, err = dropOlderSurely(ctx, session, cur.login)
	return explainUnless(err, "end the previous password")
}

// end drops the previous password if it works. If it does not, then a second
// password of the account, if there is one, is newer than AWSCURRENT: it is
// left from a rotation that somebody cancelled, and dropping "the old one"
// would hit AWSCURRENT. One that nobody knows any more, since the value was edited, is
// dropped where nothing but an older one can be hit.
func (f *Function) end(ctx context.Context, cur document, prev Login) (Result, error) {
	session, err := f.connect(ctx, cur.login)
	if err != nil {
		return Result{}, explain("logging in with the current password", err)
	}
	defer session.Close()
	if _, can := session.(DualPassword); !can {
		return Result{Strategy: StrategySingleUser}, nil
	}
	surely, err := dropOlderSurely(ctx, session, cur.login)
	if surely {
		return Result{Strategy: StrategyDualPassword}, explainUnless(err, "end the previous password")
	}
	if may, err := f.mayDrop(ctx, session, prev, err); err != nil || !may {
		return Result{}, err
	}
	c := Change{Session: session, Engine: f.Engine, Current: cur.login, Previous: prev}
	err = Dual{}.Finish(ctx, c)
	if ClassOf(err) == ClassPrivilege && cur.masterARN != "" {
		err = f.endAsAdmin(ctx, cur, c)
	}
	if err != nil {
		return Result{}, explain("ending the previous password", err)
	}
	return Result{Strategy: StrategyDualPassword}, nil
}

// mayDrop tells whether the older password of an account may be dropped by what is
// known of it. unsure is why the session could not do so surely.
func (f *Function) mayDrop(ctx context.Context, s Session, prev Login, unsure error) (bool, error) {
	if prev.Password == "" {
		_, ok := s.(SureDropper)
		return !ok || unsure != nil, nil // for want of a privilege: an administrator knows which one is older
	}
	alive, err := works(ctx, f.Engine, prev)
	return alive, explainUnless(err, "log in with the previous password")
}

// dropOlderSurely tells whether nothing needs to be known of the older password:
// it has ended, or the attempt has failed so that no other would do better.
func dropOlderSurely(ctx context.Context, s Session, keep Login) (surely bool, err error) {
	d, ok := s.(SureDropper)
	if !ok {
		return false, nil
	}
	surely, err = d.DropOlder(ctx, keep.Username, keep.Password)
	if err != nil {
		surely = ClassOf(err) != ClassPrivilege && !errors.Is(err, ErrNoDualPassword)
	}
	return surely, err
}

func (f *Function) endAsAdmin(ctx context.Context, cur document, c Change) error {
	admin, err := f.asAdmin(ctx, cur)
	if err != nil {
		return err
	}
	c.Session = admin.Session
	return admin.lend(func() error { return Dual{}.Finish(ctx, c) })
}

func (f *Function) grace() time.Duration {
	if f.Grace == 0 {
		return defaultGrace
	}
	return f.Grace
}

// seconds rounds up: a grace below a second is still one.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
