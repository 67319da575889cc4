package rdsapi

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// masterChange is what a modification says of a master user's password.
type masterChange struct {
	management
	rotate, now *bool // RotateMasterUserPassword, ApplyImmediately
}

// mastered is a cluster, or an instance without one, that a change concerns.
type mastered struct {
	arn    string
	engine *string                 // its name
	secret *types.MasterUserSecret // nil: its master user is not managed
	state  fault.Kind              // of a change that its state does not allow
	up     bool                    // its server takes logins
	begun  bool                    // it has a server, which may be down
	// set gives the master user of a server of ours a new password.
	set func(ctx context.Context, d *database, password string) error
}

func (m masterChange) turnsOn(o mastered) bool { return value(m.manage) && o.secret == nil }
func (m masterChange) turnsOff(o mastered) bool {
	return m.manage != nil && !*m.manage && o.secret != nil
}

// check refuses what contradicts itself or the state of the master user.
func (m masterChange) check(o mastered, adopted bool) error {
	switch {
	case value(m.rotate) && !value(m.now):
		return ErrParameterCombination.Errorf("You must apply the change immediately when rotating the master user password: specify ApplyImmediately with RotateMasterUserPassword.")
	case value(m.rotate) && (o.secret == nil || m.manage != nil && !*m.manage):
		return ErrParameterCombination.Errorf("RotateMasterUserPassword can be specified only if the master user password is managed in AWS Secrets Manager: ManageMasterUserPassword is turned off.")
	case m.key != nil && !m.turnsOn(o):
		return ErrParameterCombination.Errorf("MasterUserSecretKmsKeyId can be specified only when ManageMasterUserPassword is turned on.")
	case m.turnsOff(o) && m.password == nil:
		return ErrParameterCombination.Errorf("MasterUserPassword must be specified when ManageMasterUserPassword is turned off.")
	case m.turnsOn(o) && adopted && m.password == nil:
		return ErrParameterCombination.Errorf("The server is adopted and keyturn has no account there: give the master user's password of today as MasterUserPassword, and the secret begins with it.")
	case m.password == nil || m.turnsOff(o) || m.turnsOn(o) && adopted:
		return nil
	case value(m.manage), o.secret != nil:
		return errExclusive()
	}
	return nil
}

// effect is what a change does in the transaction that stores the rest of the
// modification; shown is where the description tells of the secret.
type effect func(tx *sqldb.Tx, shown **types.MasterUserSecret) error

// changeMaster prepares a change of a master user's password. after, if it is
// not nil, is to be done when effect was committed.
func (s *Service) changeMaster(ctx context.Context, o mastered, m masterChange) (do effect, after func() error, err error) {
	do = func(*sqldb.Tx, **types.MasterUserSecret) error { return nil }
	var d *database
	err = s.config.DB.Read(ctx, func(tx *sqldb.Tx) error {
		d, err = findDatabase(ctx, tx, o.arn)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if err := m.check(o, d.adopted()); err != nil {
		return nil, nil, err
	}
	if err := o.accepts(m.password); err != nil {
		return nil, nil, err
	}
	switch {
	case m.turnsOn(o):
		do, err = s.turnOn(ctx, o, d, m)
		return do, nil, err
	case m.turnsOff(o):
		return s.turnOff(ctx, o, d, *m.password)
	case m.password != nil:
		return do, nil, o.set(ctx, d, *m.password)
	case value(m.rotate):
		return s.rotateNow(ctx, o), nil, nil
	}
	return do, nil, nil
}

// accepts checks a password before anything is done.
func (o mastered) accepts(password *string) error {
	if password == nil {
		return nil
	}
	e, err := engineOf(value(o.engine))
	if err != nil {
		return err
	}
	return e.password(*password)
}

func (s *Service) rotateNow(ctx context.Context, o mastered) effect {
	return func(tx *sqldb.Tx, shown **types.MasterUserSecret) error {
		if *shown == nil {
			return nil // turned off meanwhile
		}
		return o.orState(s.config.Masters.Rotate(ctx, tx, secret.ARN(*(*shown).SecretArn)))
	}
}

// orState makes ErrRotating what a caller sees.
func (o mastered) orState(err error) error {
	if errors.Is(err, ErrRotating) {
		return o.state.Errorf("A previous rotation of the master user password of %s isn't complete. That rotation will be reattempted.", idOf(o.arn))
	}
	return err
}

// turnOn makes the secret. A server of ours that runs gets its new password by
// a rotation that begins with it: the scheduler carries that to its end,
// whatever happens to this process. A server that is still to be made gets it
// when it is made.
func (s *Service) turnOn(ctx context.Context, o mastered, d *database, m masterChange) (effect, error) {
	if !o.up && o.begun && !d.adopted() {
		return nil, o.state.Errorf("%s is not available at the moment: its master user password can be managed when it is.", idOf(o.arn))
	}
	password := dbserver.Password(rand.Text())
	if d.adopted() {
		password = dbserver.Password(*m.password)
		if err := logsIn(ctx, d, password); err != nil {
			return nil, err
		}
	}
	shown, store, err := s.newMaster(ctx, d, password, m.key)
	if err != nil {
		return nil, err
	}
	sealed, err := s.seal(ctx, password, d.owner, d.masterUser)
	if err != nil {
		return nil, err
	}
	return func(tx *sqldb.Tx, now **types.MasterUserSecret) error {
		if *now != nil {
			return nil // turned on meanwhile
		}
		if err := store(tx); err != nil {
			return err
		}
		*now = shown
		switch {
		case d.adopted():
			return s.served(ctx, tx, d.owner)
		case o.up:
			return s.config.Masters.Rotate(ctx, tx, secret.ARN(*shown.SecretArn))
		}
		return setMaster(ctx, tx, d.owner, sealed)
	}, nil
}

// turnOff deletes the secret and then sets the password: were it the other way
// round, a rotation could change it once more. Whoever is interrupted between
// the two repeats the request, which is an ordinary change of the password by
// then.
func (s *Service) turnOff(ctx context.Context, o mastered, d *database, password string) (effect, func() error, error) {
	if !o.up && o.begun && !d.adopted() {
		return nil, nil, o.state.Errorf("%s is not available at the moment: its master user password can be changed when it is.", idOf(o.arn))
	}
	after := func() error { return o.set(ctx, d, password) }
	if d.adopted() {
		after = nil // nothing is changed there
		if err := logsIn(ctx, d, dbserver.Password(password)); err != nil {
			return nil, nil, err
		}
	}
	return func(tx *sqldb.Tx, shown **types.MasterUserSecret) error {
		if *shown == nil {
			return nil
		}
		status, err := s.config.Masters.Status(ctx, tx, secret.ARN(*(*shown).SecretArn))
		if err != nil {
			return err
		}
		if status == rotatingStatus {
			return o.orState(ErrRotating)
		}
		if err := s.served(ctx, tx, d.owner); err != nil {
			return err
		}
		return s.removeMaster(ctx, tx, shown)
	}, after, nil
}

// logsIn makes sure that an adopted server takes a password.
func logsIn(ctx context.Context, d *database, password dbserver.Password) error {
	h := &adoptedHost{dbserver.Login{Product: d.product, Host: d.host, Port: d.port, User: d.masterUser, Password: password}}
	if err := h.Start(ctx); err != nil {
		return ErrParameterValue.Errorf("MasterUserPassword must be the password that the adopted server takes today: %s", reasonOf(err))
	}
	return nil
}

// Served says that a managed master user has logged in with the password of its secret.
// An adopted server is then not asked any more for that with which it was adopted; to a
// server of ours it means nothing.
func (s *Service) Served(ctx context.Context, owner string) error {
	return s.config.DB.Write(ctx, func(tx *sqldb.Tx) error { return s.served(ctx, tx, owner) })
}

func (s *Service) served(ctx context.Context, tx *sqldb.Tx, owner string) error {
	tx.OnCommit(func() { s.wake(owner) })
	_, err := tx.Exec(ctx, `UPDATE databases SET master_password = '' WHERE owner = $1 AND folder = ''`, owner)
	return err
}
