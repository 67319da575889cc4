package secret

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyturn/keyturn/internal/iam/policy"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Entry is a secret as a request meets it, before permission is decided. It is
// shared between requests: never change what it holds.
type Entry struct {
	ARN    ARN              // that of a missing secret is the one it would have
	Secret *Secret          // nil: there is none
	Policy *policy.Document // its resource policy, parsed; nil: none
}

// Lookup turns a SecretId, as the caller in place at wrote it, into an Entry.
// See Resolve for what it accepts and returns.
func (v *Vault) Lookup(ctx context.Context, at Place, id string) (*Entry, error) {
	var e *Entry
	err := v.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		e, err = v.entry(ctx, tx, at, id)
		return err
	})
	return e, err
}

func (v *Vault) entry(ctx context.Context, tx *sqldb.Tx, at Place, id string) (*Entry, error) {
	arn, err := v.Resolve(ctx, tx, at, id)
	if err != nil {
		return nil, err
	}
	e := &Entry{ARN: arn}
	e.Secret, err = v.Find(ctx, tx, arn)
	if errors.Is(err, ErrNotFound) {
		return e, nil
	}
	if err != nil || e.Secret.Policy == "" {
		return e, err
	}
	if e.Policy, err = policy.ParseResource(e.Secret.Policy); err != nil {
		return nil, fmt.Errorf("reading the resource policy of %s: %w", arn, err)
	}
	return e, nil
}
