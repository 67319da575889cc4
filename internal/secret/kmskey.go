package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Failures of keys, in AWS's words.
var (
	errAccessDenied      = fault.Kind{Code: "AccessDeniedException", Status: 400}
	errEncryptionFailure = fault.Kind{Code: "EncryptionFailure", Status: 400}
	errDecryptionFailure = fault.Kind{Code: "DecryptionFailure", Status: 400}

	cantEncrypt = errEncryptionFailure.Errorf("Secrets Manager can't encrypt the protected secret text using the provided KMS key. Check that the KMS key is available, enabled, and not in an invalid state.")
	cantDecrypt = errDecryptionFailure.Errorf("Secrets Manager can't decrypt the protected secret text using the provided KMS key.")
)

// ErrStale says that what was sealed outside of a transaction no longer fits what
// the transaction found: the secret's key or values changed meanwhile. Whoever
// gets it seals anew and tries again.
var ErrStale = errors.New("the secret has changed since the value was sealed")

// maxAttempts bounds how often something is sealed anew: far more often than
// changes can come in between.
const maxAttempts = 100

// UntilFresh repeats what seals outside of a transaction and stores inside of one,
// as long as it is ErrStale.
func UntilFresh(do func() error) (err error) {
	for range maxAttempts {
		if err = do(); !errors.Is(err, ErrStale) {
			return err
		}
	}
	return err
}

// CheckKey returns ErrInvalidParameter if a KmsKeyId names no key of this server.
func (v *Vault) CheckKey(keyID string) error {
	return keyFault(v.keys.Check(keyID), cantEncrypt)
}

// keyFault turns what is wrong with a key into what callers see; unusable is the
// answer for a key that is known but can't be used.
func keyFault(err, unusable error) error {
	invalid, ok := errors.AsType[*envelope.InvalidKeyError](err)
	switch {
	case ok:
		return ErrInvalidParameter.Errorf("The operation failed because of an invalid KMS key: %s", invalid.Reason)
	case errors.Is(err, envelope.ErrAccessDenied):
		return errAccessDenied.Errorf("Access to KMS is not allowed")
	case errors.Is(err, envelope.ErrUnusable):
		return unusable
	}
	return err
}

func openFault(version *Version, err error) error {
	return keyFault(fmt.Errorf("opening version %s of %s: %w", version.ID, version.ARN, err), cantDecrypt)
}

// Rekeying is a new KmsKeyId of a secret, with the values that it makes
// necessary.
type Rekeying struct {
	KMSKeyID string
	versions map[VersionID]*Version // sealed anew
}

// Rekey seals what UpdateSecret re-encrypts when it changes KmsKeyId: the versions
// with AWSCURRENT, AWSPENDING and AWSPREVIOUS. The others stay under their key.
func (v *Vault) Rekey(ctx context.Context, arn ARN, keyID string) (*Rekeying, error) {
	if err := v.CheckKey(keyID); err != nil {
		return nil, err
	}
	var old []*Version
	err := v.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		old, err = v.underOtherKey(ctx, tx, arn, keyID)
		return err
	})
	if err != nil {
		return nil, err
	}
	r := &Rekeying{KMSKeyID: keyID, versions: map[VersionID]*Version{}}
	for _, version := range old {
		if r.versions[version.ID], err = v.sealAgain(ctx, version, Slot{arn, version.ID, keyID}); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// sealAgain seals the value of a version for another slot.
func (v *Vault) sealAgain(ctx context.Context, version *Version, s Slot) (*Version, error) {
	value, err := v.Open(ctx, version)
	if err != nil {
		return nil, err
	}
	again, err := v.Seal(ctx, s, value)
	if err != nil {
		return nil, err
	}
	again.Created, again.origin = version.Created, version.mark()
	return again, nil
}

// underOtherKey returns the versions that belong under keyID and are not.
func (v *Vault) underOtherKey(ctx context.Context, tx *sqldb.Tx, arn ARN, keyID string) ([]*Version, error) {
	b, err := readBoard(ctx, tx, arn)
	if err != nil {
		return nil, err
	}
	var all []*Version
	for id, stages := range b.allStages() {
		if !slices.ContainsFunc(stages, func(s string) bool { return s == Current || s == Pending || s == Previous }) {
			continue
		}
		version, err := v.ByID(ctx, tx, arn, id)
		if err != nil {
			return nil, err
		}
		if !version.Reserved() && version.KMSKeyID != keyID {
			all = append(all, version)
		}
	}
	return all, nil
}

// rekey puts a secret under another key. It is ErrStale if a value has come or
// changed since r was made.
func (v *Vault) rekey(ctx context.Context, tx *sqldb.Tx, arn ARN, r *Rekeying) error {
	old, err := v.underOtherKey(ctx, tx, arn, r.KMSKeyID)
	if err != nil {
		return err
	}
	for _, version := range old {
		again := r.versions[version.ID]
		if again == nil || !bytes.Equal(again.origin, version.mark()) {
			return ErrStale
		}
		_, err := change(ctx, tx, `UPDATE secret_versions SET kms_key_id = $3, key_id = $4, wrapped = $5, ciphertext = $6
			WHERE `+ofSecret+` AND id = $2`, arn, again.ID, r.KMSKeyID, again.sealed.KeyID, again.sealed.Wrapped, again.sealed.Ciphertext)
		if err != nil {
			return fmt.Errorf("storing a version under another key: %w", err)
		}
	}
	if _, err := change(ctx, tx, `UPDATE secrets SET kms_key_id = $2 WHERE `+byARN, arn, r.KMSKeyID); err != nil {
		return fmt.Errorf("storing a KmsKeyId: %w", err)
	}
	return v.tellPrimary(ctx, tx, arn, r.KMSKeyID)
}

// tellPrimary notes a replica's new key where its primary looks for it.
func (v *Vault) tellPrimary(ctx context.Context, tx *sqldb.Tx, arn ARN, keyID string) error {
	s, err := v.Find(ctx, tx, arn)
	if err != nil || !s.IsReplica() {
		return err
	}
	_, err = change(ctx, tx, `UPDATE secret_replicas SET kms_key_id = $2 WHERE arn = $1 AND region = $3`,
		s.PrimaryARN(), keyID, arn.Place().Region)
	return err
}
