package rotation

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"time"
)

// StepRehearse is keyturn's own: StepPlan, and all steps of a rotation with a
// throw-away user on the real server, which is dropped again. The secret's own
// versions are not touched.
const StepRehearse = "rehearseSecret"

// RehearsalPrefix begins the names of throw-away users. The moment at which a
// user was made follows, in seconds and base 36, so that a later rehearsal can
// drop what a crash has left. A name has 25 characters: a strategy that makes a
// second user of it, by a suffix, stays below the 32 that MySQL takes.
const RehearsalPrefix = "keyturn_try_"

// leftOver is how old a throw-away user must be to belong to nobody.
const leftOver = time.Hour

// dropTime bounds the end of a rehearsal, which must come also when the
// caller's time is over.
const dropTime = 15 * time.Second

// Rehearsal is how a rehearsal went.
type Rehearsal struct {
	Username string `json:"username"` // of the throw-away user
	Strategy string `json:"strategy"` // that was used
	// Steps are those that succeeded, with the time that each one took.
	Steps []RehearsedStep `json:"steps"`
	// ExposureMicros is how long AWSCURRENT would not have logged in, at most:
	// all of the steps from setSecret to finishSecret, or 0 for DualPassword.
	ExposureMicros int64 `json:"exposureMicros"`
	// LeftOvers are the users of rehearsals that a crash had cut short.
	LeftOvers []string `json:"leftOvers,omitempty"`
}

// RehearsedStep is one step of a rehearsal.
type RehearsedStep struct {
	Step   string `json:"step"`
	Micros int64  `json:"micros"`
}

// Rehearser is the ability of some sessions to make and drop throw-away users.
// All methods may be repeated; their failures are *Errors, of ClassPrivilege
// with the GRANT where the session may not do it.
type Rehearser interface {
	// MakeUser makes a user that logs in as like does: from the same hosts, by
	// the same plugin. alone tells that it must be able to keep two passwords
	// by itself, where the product asks for a privilege for that.
	MakeUser(ctx context.Context, name, password, like string, alone bool) error
	// DropUsers drops the users of these names, if there are any.
	DropUsers(ctx context.Context, names ...string) error
	// UsersLike lists the users whose names begin with a prefix.
	UsersLike(ctx context.Context, prefix string) ([]string, error)
}

// rehearse answers StepRehearse.
func (f *Function) rehearse(ctx context.Context, e Event, _ staging) (Result, error) {
	cur, err := f.readCurrent(ctx, e.SecretID)
	if err != nil {
		return Result{}, err
	}
	p, err := f.planOf(ctx, cur)
	if err != nil {
		return Result{}, err
	}
	session, err := f.changer(ctx, cur)
	if err != nil {
		return Result{}, err
	}
	defer session.Close()
	maker, ok := session.(Rehearser)
	if !ok {
		return Result{}, Errorf(ClassSecret, "a rehearsal is not possible with the engine %s", cur.login.Engine)
	}
	p.Rehearsal, err = f.rehearseWith(ctx, e, cur, maker, p.Strategy)
	return Result{Strategy: p.Strategy, Plan: p}, err
}

func (f *Function) rehearseWith(ctx context.Context, e Event, cur document, maker Rehearser, strategy string) (r *Rehearsal, err error) {
	r = &Rehearsal{}
	if r.LeftOvers, err = f.dropLeftOvers(ctx, maker); err != nil {
		return r, explain("dropping what earlier rehearsals left", err)
	}
	stand, err := f.standIn(ctx, cur)
	if err != nil {
		return r, err
	}
	r.Username = stand.login.Username
	defer func() {
		// A step may have made users beside this one, by its name.
		if dropped := f.dropAll(ctx, maker, r.Username); err == nil && dropped != nil {
			err = explain("dropping the throw-away user "+r.Username, dropped)
		}
	}()
	alone := strategy == StrategyDualPassword && cur.masterARN == ""
	if err := maker.MakeUser(ctx, r.Username, stand.login.Password, cur.login.Username, alone); err != nil {
		return r, explain("making a throw-away user", err)
	}
	return r, f.perform(ctx, e, stand, r)
}

// dropLeftOvers drops the users of rehearsals that a crash has cut short.
func (f *Function) dropLeftOvers(ctx context.Context, maker Rehearser) (dropped []string, err error) {
	all, err := maker.UsersLike(ctx, RehearsalPrefix)
	if err != nil {
		return nil, err
	}
	for _, name := range all {
		if made, ok := madeAt(name); ok && f.now().Sub(made) > leftOver {
			dropped = append(dropped, name)
		}
	}
	if len(dropped) == 0 {
		return nil, nil
	}
	return dropped, maker.DropUsers(ctx, dropped...)
}

// madeAt reads the moment in a throw-away user's name.
func madeAt(name string) (time.Time, bool) {
	text, _, ok := strings.Cut(strings.TrimPrefix(name, RehearsalPrefix), "_")
	seconds, err := strconv.ParseInt(text, 36, 64)
	return time.Unix(seconds, 0), ok && err == nil
}

// dropAll drops the users whose names begin so, also when the caller's time is
// over.
func (*Function) dropAll(ctx context.Context, maker Rehearser, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTime)
	defer cancel()
	all, err := maker.UsersLike(ctx, name)
	if err != nil {
		return err
	}
	return maker.DropUsers(ctx, all...)
}

// standIn is the value of AWSCURRENT with a throw-away user in it.
func (f *Function) standIn(ctx context.Context, cur document) (document, error) {
	password, err := f.randomPassword(ctx, 0)
	if err != nil {
		return document{}, err
	}
	name := RehearsalPrefix + strconv.FormatInt(f.now().Unix(), 36) + "_" + strings.ToLower(rand.Text()[:6])
	text, err := cur.with("username", name)
	if err != nil {
		return document{}, err
	}
	renamed, err := parseDocument(text)
	if err != nil {
		return document{}, err
	}
	if text, err = renamed.with("password", password); err != nil {
		return document{}, err
	}
	return parseDocument(text)
}

// rehearsalToken is the version that a rehearsal brings to AWSCURRENT.
const rehearsalToken = "00000000-0000-0000-0000-000000000002"

// exposed is what a step adds to the exposure, in microseconds: what it has
// measured, or else its time from the change of the password to the promotion.
func exposed(step string, took int64, r Result) int64 {
	switch {
	case r.ExposureMicros != nil:
		return *r.ExposureMicros
	case step == StepSet && r.PromotedAtMicros == 0, step == StepTest, step == StepFinish && r.PromotedAtMicros != 0:
		return took
	}
	return 0
}

// perform runs the steps on a stage of its own, and looks whether the right
// passwords are valid after them.
func (f *Function) perform(ctx context.Context, e Event, stand document, r *Rehearsal) error {
	actor := *f
	actor.Secrets = newStage(f.Secrets, e.SecretID, string(stand.text), rehearsalToken)
	act := Event{SecretID: e.SecretID, ClientRequestToken: rehearsalToken}
	retire := false
	for _, act.Step = range []string{StepCreate, StepSet, StepTest, StepFinish, StepRetire} {
		if act.Step == StepRetire && !retire {
			continue
		}
		begun := f.now()
		result, err := actor.Handle(ctx, act)
		if err != nil {
			return explain("rehearsing "+act.Step+" with the throw-away user "+r.Username, err)
		}
		took := f.now().Sub(begun).Microseconds()
		r.Steps = append(r.Steps, RehearsedStep{act.Step, took})
		if result.Strategy != "" && act.Step != StepRetire {
			r.Strategy = result.Strategy
		}
		r.ExposureMicros += exposed(act.Step, took, result)
		retire = retire || result.RetireAfterSeconds > 0
	}
	if r.Strategy != StrategySingleUser {
		r.ExposureMicros = 0
	}
	return f.verify(ctx, actor, act.SecretID, stand)
}

// verify makes sure that after a rehearsal the new login works.
func (f *Function) verify(ctx context.Context, actor Function, secretID string, stand document) error {
	now, err := actor.read(ctx, secretID, "", current)
	if err != nil {
		return err
	}
	valid, err := works(ctx, f.Engine, now.login)
	if err != nil {
		return explain("logging in after the rehearsal", err)
	}
	if !valid {
		return Errorf(ClassAuth, "after the rehearsal the server refuses the new password of the throw-away user")
	}
	if !now.login.sameAccount(stand.login) {
		return nil // two users: each keeps its own password
	}
	old, err := works(ctx, f.Engine, stand.login)
	if err != nil {
		return explain("logging in after the rehearsal", err)
	}
	if old {
		return Errorf(ClassDatabase, "after the rehearsal the server still takes the old password of the throw-away user")
	}
	return nil
}
