package rotation

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// Transactional is the ability of some sessions to hold a change of a password
// back until COMMIT.
type Transactional interface {
	// BeginPassword is SetPassword without its COMMIT: until then the password
	// before is valid and the new one is not. The server itself ends a change
	// that is neither committed nor rolled back within a minute.
	BeginPassword(ctx context.Context, user, password string) (Tx, error)
}

// Tx is a change of a password that is held back. The session must not be used
// for anything else meanwhile.
type Tx interface {
	// Commit makes the change valid. After a failure it may be valid or not.
	Commit(ctx context.Context) error
	// Rollback gives the change up; after Commit it does nothing.
	Rollback()
}

// The change of a near-atomic rotation is committed right after AWSCURRENT has
// moved, inside setSecret:
//
//	BEGIN, ALTER ROLE ── fails ──▶ nothing has happened
//	move AWSCURRENT ──── fails ──▶ ROLLBACK: nothing has happened
//	COMMIT ───────────── fails ──▶ look; if the change is not there, move AWSCURRENT back
//
// The other order would commit first, and leave AWSCURRENT refused for as long
// as the call to Secrets Manager takes: a connection, throttling, retries. In
// this one all of that is over before anything is exposed; what is left is the
// way of one answer and one COMMIT. An application that was refused with a
// value from its cache finds the new one at once, for AWSCURRENT moved before.
//
// A crash between the two leaves AWSCURRENT on a password that the database
// does not have, and AWSPREVIOUS on the one that it has. The next setSecret
// finds that and sets the password once more.

const (
	// promoteTime bounds the call that moves AWSCURRENT while the change is
	// held back, and each look that ends a doubt.
	promoteTime = 5 * time.Second
)

// nearAtomic tells whether a change is committed together with the promotion.
func (a *attempt) nearAtomic(s Session, strategy string) bool {
	_, can := s.(Transactional)
	return can && (strategy == StrategyAuto || strategy == StrategySingleUser)
}

// atomically changes the password, moves AWSCURRENT, and commits.
func (a *attempt) atomically(ctx context.Context, c Change) (Result, error) {
	tx, err := c.Session.(Transactional).BeginPassword(ctx, c.Pending.Username, c.Pending.Password)
	if err != nil {
		return Result{}, explain("changing the password", err)
	}
	defer tx.Rollback()
	begin := a.f.now()
	if err := a.promote(ctx); err != nil {
		return Result{}, err
	}
	promoted := a.f.now()
	if err := tx.Commit(ctx); err != nil {
		if err := a.mend(ctx, c, err); err != nil {
			return Result{}, err
		}
	}
	changed := a.f.now()
	return Result{
		Strategy:         StrategySingleUser,
		PromotedAtMicros: promoted.UnixMicro(),
		ChangedAtMicros:  changed.UnixMicro(),
		ExposureMicros:   micros(changed.Sub(begin).Microseconds()),
	}, nil
}

// promote moves AWSCURRENT to the token. If the answer is lost, it looks.
func (a *attempt) promote(ctx context.Context) error {
	from, to := a.s.holder(current), a.e.ClientRequestToken
	err := a.move(ctx, from, to)
	if err == nil {
		return nil
	}
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), promoteTime)
	defer cancel()
	if now, lookErr := a.f.staging(look, a.e.SecretID); lookErr == nil && now.has(to, current) {
		return nil
	}
	return err
}

// move moves AWSCURRENT from one version to another.
func (a *attempt) move(ctx context.Context, from, to string) error {
	ctx, cancel := context.WithTimeout(ctx, promoteTime)
	defer cancel()
	_, err := a.f.Secrets.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId:            aws.String(a.e.SecretID),
		VersionStage:        aws.String(current),
		MoveToVersionId:     aws.String(to),
		RemoveFromVersionId: aws.String(from),
	})
	if err != nil {
		return Errorf(ClassAPI, "moving AWSCURRENT to version %s: %w", to, err)
	}
	return nil
}

// mend is called after a COMMIT that failed. It returns nil if the change is
// there all the same. If it is not, AWSCURRENT goes back to the version whose
// password is. If nobody knows, the labels stay, and the next attempt looks.
func (a *attempt) mend(ctx context.Context, c Change, failure error) error {
	ctx = context.WithoutCancel(ctx)
	look, cancel := context.WithTimeout(ctx, promoteTime)
	defer cancel()
	there, err := works(look, a.f.Engine, c.Pending)
	if there {
		return nil
	}
	if err == nil {
		err = a.move(ctx, a.e.ClientRequestToken, a.s.holder(current))
	}
	if err != nil {
		failure = Errorf(ClassOf(explain("", failure)), "%w; and AWSCURRENT may be on a password that the database does not have until the next attempt: %w", failure, err)
	}
	return explain("committing the change of the password", failure)
}
