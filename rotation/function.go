package rotation

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// Function is a rotation function: Handle answers the events of Secrets
// Manager. Its zero values are good defaults; Secrets and Engine must be set.
// It is safe for concurrent use and keeps no state but in Admins: what a step needs
// to know, it asks Secrets Manager and the database.
type Function struct {
	Secrets Secrets
	Engine  Engine

	// Grace is how long the old password of a DualPassword rotation stays
	// valid after finishSecret; 0 is 24 hours. The secret's tag TagGrace goes
	// before it.
	Grace time.Duration

	// Admins shares the sessions of administrators between steps; nil: each step
	// that needs one logs in.
	Admins *Admins

	// Now is the clock of what the results tell; nil is time.Now.
	Now func() time.Time

	settings settings // of the secret whose step runs
}

const (
	defaultGrace = 24 * time.Hour
	retireAgain  = 15 * time.Minute // a retireSecret that came during a rotation
)

// Handle runs the step that the event names. Every step may be repeated, also
// after a crash in the middle of it. Its errors are *Errors.
func (f *Function) Handle(ctx context.Context, e Event) (Result, error) {
	s, err := f.staging(ctx, e.SecretID)
	if err != nil {
		return Result{}, err
	}
	f = f.configured(s.settings)
	if own := f.ownStep(e.Step); own != nil {
		return own(ctx, e, s)
	}
	if s.has(e.ClientRequestToken, current) && !s.disabled {
		return f.done(ctx, e, s)
	}
	if err := s.check(e.ClientRequestToken); err != nil {
		return Result{}, err
	}
	switch e.Step {
	case StepCreate:
		return f.create(ctx, e)
	case StepSet:
		return f.set(ctx, e, s)
	case StepTest:
		return Result{}, f.test(ctx, e)
	case StepFinish:
		return f.finish(ctx, e, s)
	}
	return Result{}, Errorf(ClassSecret, "the event's step is none of %s, %s, %s, %s, %s", StepCreate, StepSet, StepTest, StepFinish, StepRetire)
}

// ownStep returns what answers a step that AWS does not have, or nil.
func (f *Function) ownStep(step string) func(context.Context, Event, staging) (Result, error) {
	switch step {
	case StepRetire:
		return f.retire
	case StepProve:
		return f.prove
	case StepHeal:
		return f.heal
	case StepPlan:
		return f.plan
	case StepRehearse:
		return f.rehearse
	}
	return nil
}

// create stores a new password as the token's version. One that has a value
// keeps it: Secrets Manager refuses another for the same version.
func (f *Function) create(ctx context.Context, e Event) (Result, error) {
	cur, err := f.readCurrent(ctx, e.SecretID)
	if err != nil {
		return Result{}, err
	}
	text, err := f.next(ctx, cur, e.Rejections)
	if err != nil {
		return Result{}, err
	}
	err = f.store(ctx, e, text)
	if isTaken(err) {
		return Result{}, nil
	}
	return Result{Created: err == nil}, err
}

// next returns the value that follows: the same text with a new password.
func (f *Function) next(ctx context.Context, cur document, rejections int64) (string, error) {
	login, err := cur.next()
	if err != nil {
		return "", err
	}
	password, err := f.randomPassword(ctx, rejections)
	if err != nil {
		return "", err
	}
	text, err := cur.with("password", password)
	if err != nil || login.Username == cur.login.Username {
		return text, err
	}
	renamed, err := parseDocument(text)
	if err != nil {
		return "", err
	}
	return renamed.with("username", login.Username)
}

func (f *Function) store(ctx context.Context, e Event, text string) error {
	in := &secretsmanager.PutSecretValueInput{
		SecretId:           aws.String(e.SecretID),
		ClientRequestToken: aws.String(e.ClientRequestToken),
		SecretString:       aws.String(text),
		VersionStages:      []string{pending},
	}
	if e.RotationToken != "" {
		in.RotationToken = aws.String(e.RotationToken)
	}
	if _, err := f.Secrets.PutSecretValue(ctx, in); err != nil {
		return Errorf(ClassAPI, "storing the pending value: %w", err)
	}
	return nil
}

// test logs in with the pending password over a new connection; Connect asks a
// trivial query. An account whose connections are all in use has proved its password
// as well; to wait for one would leave AWSCURRENT refused meanwhile.
func (f *Function) test(ctx context.Context, e Event) error {
	p, err := f.readPair(ctx, e)
	if err != nil {
		return err
	}
	session, err := f.connect(ctx, p.pending.login)
	if errors.Is(err, ErrConnectionLimit) {
		return nil
	}
	if err != nil {
		return explain("logging in with the pending password", err)
	}
	_ = session.Close()
	return nil
}
