package scheduler

import (
	"context"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// RetireNow makes the retirement of an old password due at once, whatever is
// left of its grace period. It returns the version whose rotation kept that
// password, and none if nothing is to be retired. While a rotation is under way
// it is ErrRotating: the rotation decides what becomes of the password.
func (s *Scheduler) RetireNow(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (secret.VersionID, error) {
	r, err := load(ctx, tx, arn)
	if err != nil || r == nil {
		return "", err
	}
	token := r.retireToken
	switch {
	case r.kind == rotating || r.kind == trial:
		return "", ErrRotating
	case r.kind == retirement:
		token, r.tryAt = r.token, tx.Now // a lease that is held delays it
	case r.retireAt == nil && r.strategy != alternating:
		return "", nil
	case r.retireAt == nil: // the other user's password, which nobody was going to end
		if token, err = s.vault.Holder(ctx, tx, arn, secret.Current); err != nil {
			return "", err
		}
		r.retireAt, r.retireToken = &tx.Now, token
	default:
		r.retireAt = &tx.Now
	}
	return token, r.save(ctx, tx)
}

// alternating is the strategy under which the password of AWSPREVIOUS lasts until
// its user's turn comes.
const alternating = "AlternatingUsers"

// ErrRotating is what RetireNow answers while a rotation is under way.
var ErrRotating = secret.ErrInvalidRequest.Errorf("A rotation of the secret is under way. Try again when it has ended.")
