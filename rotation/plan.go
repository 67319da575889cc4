package rotation

import (
	"context"
	"errors"
	"slices"
)

// StepPlan is keyturn's own: it tells in Result.Plan what a rotation would do.
// It changes nothing, needs no token, and may run at any time, also before
// rotation is configured.
const StepPlan = "planSecret"

// Plan is what a rotation would do. Passwords in it are [redacted].
type Plan struct {
	Username string `json:"username"`
	Server   string `json:"server"` // where, product and version
	Asked    string `json:"asked"`  // the strategy that the secret asks for
	Strategy string `json:"strategy"`
	Because  string `json:"because"` // why Strategy, if Asked is auto
	By       string `json:"by"`      // who makes the change
	// Statements are those of a rotation that finds all in order.
	Statements []Statement `json:"statements"`
	// Exposure says how long the value of AWSCURRENT does not log in.
	Exposure string        `json:"exposure"`
	Sessions []OpenSession `json:"sessions"` // of the user, at this moment
	// Hidden says which sessions cannot be seen; empty: none.
	Hidden  string   `json:"hidden,omitempty"`
	WayBack []string `json:"wayBack"`
	// Obstacles stand in the way of a rotation; none: it may begin. What lacks
	// is told as the statement that gives it.
	Obstacles []string `json:"obstacles,omitempty"`
	// Rehearsal is there after StepRehearse.
	Rehearsal *Rehearsal `json:"rehearsal,omitempty"`

	nearAtomic bool   // the change is committed together with the promotion
	untouched  string // as in Explanation
}

// Statement is what a step sends to the database.
type Statement struct {
	Step string `json:"step"`
	Text string `json:"text"`
}

// OpenSession is a connection of the user. It goes on after a rotation: no
// server here looks at the password again.
type OpenSession struct {
	ID      string `json:"id"`
	From    string `json:"from,omitempty"`
	State   string `json:"state,omitempty"`
	Seconds int64  `json:"seconds"` // in this state on MySQL and MariaDB, connected on PostgreSQL
}

// Explanation is what a Session says of a change that it could make.
type Explanation struct {
	Server     string // product and version
	Statements []Statement
	// Impossible is why the server or the account cannot have the strategy.
	Impossible string
	// Lacks are the statements that give what the session's account lacks.
	Lacks []string
	// Obstacles stand in the way of any strategy.
	Obstacles []string
	Sessions  []OpenSession // of the user
	Hidden    string        // which sessions cannot be seen; empty: none
	// Untouched says which accounts of the same user, for logins from other hosts,
	// keep the password that they have, or what else may keep it; empty: nothing.
	Untouched string
}

// Explainer is the ability of some sessions to tell what a change of a
// password by them would do. It changes nothing.
type Explainer interface {
	// Explain describes a change for user by StrategySingleUser or
	// StrategyDualPassword. Its failures are *Errors.
	Explain(ctx context.Context, user, strategy string) (Explanation, error)
}

// Redacted stands in statements for passwords and what is computed of them.
const Redacted = "[redacted]"

// plan answers StepPlan.
func (f *Function) plan(ctx context.Context, e Event, _ staging) (Result, error) {
	cur, err := f.readCurrent(ctx, e.SecretID)
	if err != nil {
		return Result{}, err
	}
	p, err := f.planOf(ctx, cur)
	if err != nil {
		return Result{}, err
	}
	return Result{Strategy: p.Strategy, Plan: p}, nil
}

func (f *Function) planOf(ctx context.Context, cur document) (*Plan, error) {
	p := &Plan{Username: cur.login.Username, Asked: cur.strategy, By: "the account itself"}
	if err := f.tryCurrent(ctx, cur, p); err != nil {
		return nil, err
	}
	session, err := f.changer(ctx, cur)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	if cur.masterARN != "" {
		p.By = "the administrator of the secret masterarn"
	}
	x, ok := session.(Explainer)
	switch {
	case !ok && len(p.Obstacles) > 0:
		return nil, Errorf(ClassAuth, "%s", p.Obstacles[0])
	case !ok:
		return nil, Errorf(ClassSecret, "the engine %s cannot tell what a rotation would do: %w", cur.login.Engine, ErrNoPlan)
	}
	err = p.explain(ctx, x)
	if err == nil {
		err = p.explainTurns(ctx, session, cur)
	}
	if err != nil {
		return nil, explain("asking "+cur.login.Address(0)+" what a rotation would do", err)
	}
	p.Server = cur.login.Address(0) + ", " + p.Server
	_, p.nearAtomic = session.(Transactional)
	p.outlook()
	if p.untouched != "" {
		p.Exposure += "; but " + p.untouched
	}
	return p, nil
}

// tryCurrent notes when an administrator would have to make up for a value of
// AWSCURRENT that does not log in.
func (f *Function) tryCurrent(ctx context.Context, cur document, p *Plan) error {
	if cur.masterARN == "" {
		return nil // changer logs in with it
	}
	valid, err := works(ctx, f.Engine, cur.login)
	if errors.Is(err, ErrExpired) {
		return nil // the administrator's change ends that
	}
	if err == nil && !valid {
		p.Obstacles = append(p.Obstacles, "the server refuses the value of AWSCURRENT; the administrator would replace the password all the same")
	}
	return err
}

// changer logs in as whoever changes the password, by AWSCURRENT's value.
func (f *Function) changer(ctx context.Context, cur document) (Session, error) {
	if cur.masterARN != "" {
		return f.connectAdmin(ctx, cur)
	}
	session, err := f.connect(ctx, cur.login)
	if err != nil {
		return nil, explain("logging in with the current password", err)
	}
	return session, nil
}

// explain finds the strategy as setSecret would, and takes over what the
// session says of it.
func (p *Plan) explain(ctx context.Context, x Explainer) error {
	p.Strategy = p.Asked
	if p.Asked != StrategyAuto {
		said, err := p.explainAsked(ctx, x)
		p.take(said)
		p.Obstacles = append(p.Obstacles, said.Lacks...)
		if said.Impossible != "" {
			p.Obstacles = append(p.Obstacles, said.Impossible)
		}
		p.Because = "the secret asks for it"
		return err
	}
	dual, err := x.Explain(ctx, p.Username, StrategyDualPassword)
	if err != nil {
		return err
	}
	if dual.Impossible == "" && len(dual.Lacks) == 0 {
		p.Strategy, p.Because = StrategyDualPassword, "server and account can have two passwords"
		p.take(dual)
		return nil
	}
	single, err := x.Explain(ctx, p.Username, StrategySingleUser)
	p.Strategy, p.Because = StrategySingleUser, dual.Impossible
	if dual.Impossible == "" {
		p.Because = "two passwords would need: " + joined(dual.Lacks)
	}
	p.take(single)
	p.Obstacles = append(p.Obstacles, single.Lacks...)
	return err
}

// explainAsked explains the strategy that the secret asks for. What AlternatingUsers
// does is explainTurns's to tell.
func (p *Plan) explainAsked(ctx context.Context, x Explainer) (Explanation, error) {
	if p.Asked == StrategySingleUser || p.Asked == StrategyDualPassword {
		return x.Explain(ctx, p.Username, p.Asked)
	}
	said, err := x.Explain(ctx, p.Username, StrategySingleUser)
	said.Statements = nil
	return said, err
}

// explainTurns finds out how a second user is made of the first, and whether it can be,
// as far as that can be known before.
func (p *Plan) explainTurns(ctx context.Context, session Session, cur document) error {
	if p.Strategy != StrategyAlternatingUsers {
		return nil
	}
	if cur.masterARN == "" {
		p.Obstacles = append(p.Obstacles, errNoAdmin.Error())
		return nil
	}
	other, err := OtherUser(cur.login)
	if x, ok := session.(CopyExplainer); ok && err == nil {
		err = p.explainCopy(ctx, x, cur.login, other)
	}
	if slices.Contains([]Class{ClassPolicy, ClassPrivilege, ClassSecret, ClassDatabase}, ClassOf(err)) {
		p.Obstacles = append(p.Obstacles, err.Error())
		return nil
	}
	return err
}

func (p *Plan) explainCopy(ctx context.Context, x CopyExplainer, from Login, to string) error {
	statements, err := x.ExplainCopy(ctx, from, to)
	for _, text := range statements {
		p.Statements = append(p.Statements, Statement{StepSet, text})
	}
	return err
}

func joined(all []string) string {
	text := ""
	for i, s := range all {
		if i > 0 {
			text += "; "
		}
		text += s
	}
	return text
}

func (p *Plan) take(said Explanation) {
	p.Server, p.Hidden, p.untouched = said.Server, said.Hidden, said.Untouched
	p.Statements = append([]Statement{}, said.Statements...) // [] in JSON, not null
	p.Sessions = append([]OpenSession{}, said.Sessions...)
	p.Obstacles = append(p.Obstacles, said.Obstacles...)
}

// outlook says what the strategy means for those who log in.
func (p *Plan) outlook() {
	if p.Strategy == StrategySingleUser {
		p.outlookOfOne()
		return
	}
	p.Exposure = "none: the value of AWSCURRENT logs in at every moment"
	until := "retireSecret"
	if p.Strategy == StrategyAlternatingUsers {
		until = "the next rotation, which sets the password of the user of AWSPREVIOUS"
	}
	p.WayBack = []string{
		"until finishSecret has moved AWSCURRENT: CancelRotateSecret; the value of AWSCURRENT stays valid",
		"after that, until " + until + ": UpdateSecretVersionStage moves AWSCURRENT back to the version of AWSPREVIOUS, which still logs in",
		"later: another rotation",
	}
}

func (p *Plan) outlookOfOne() {
	p.Exposure = "from the change in setSecret until finishSecret has moved AWSCURRENT: the value of AWSCURRENT is refused so long; \"rotation timeline\" shows how long it was"
	if p.nearAtomic {
		p.Exposure = "a COMMIT: setSecret moves AWSCURRENT, and then commits the change; \"rotation timeline\" shows how long it was"
	}
	p.WayBack = []string{
		"until setSecret has changed the password: CancelRotateSecret; nothing has happened",
		"after that: forward. The new password is stored as AWSPENDING before it is set, and the rotation is tried again until AWSCURRENT is on it",
		"to have the old password back: put the value of AWSPREVIOUS as a new version, with masterarn in it, and rotate",
	}
}

// impossible takes the reason out of an error that matches ErrNoDualPassword.
// Any other error stays.
func (x *Explanation) impossible(err error) error {
	if errors.Is(err, ErrNoDualPassword) {
		x.Impossible = err.Error()
		return nil
	}
	return err
}

// Refuse takes what an engine found out into the explanation: a reason against
// the strategy, or a privilege that lacks. It returns any other error.
func (x *Explanation) Refuse(err error) error {
	if err == nil || ClassOf(err) != ClassPrivilege {
		return x.impossible(err)
	}
	x.Lacks = append(x.Lacks, err.Error())
	return nil
}
