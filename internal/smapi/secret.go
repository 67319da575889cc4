package smapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

// defaultKey is the key that AWS never shows.
const defaultKey = "alias/aws/secretsmanager"

func (s *Service) createTarget(ctx context.Context, in *sm.CreateSecretInput) (iam.Resource, error) {
	var v wire.Violations
	v.Required("name", in.Name != nil)
	v.Length("name", in.Name, 1, 512)
	checkToken(&v, in.ClientRequestToken)
	checkDetails(&v, in.Description, in.KmsKeyId, in.Type)
	checkTags(&v, in.Tags)
	if err := checkValue(&v, in.SecretString, in.SecretBinary); err != nil {
		return iam.Resource{}, err
	}
	if err := checkCreate(in); err != nil {
		return iam.Resource{}, err
	}
	return iam.Resource{ARN: string(secret.UnknownARN(here(ctx), *in.Name))}, nil
}

func checkCreate(in *sm.CreateSecretInput) error {
	if err := secret.CheckName(*in.Name); err != nil {
		return err
	}
	if in.ClientRequestToken == nil {
		return errNoToken(secret.ErrInvalidRequest)
	}
	if len(in.AddReplicaRegions) > 0 {
		return secret.ErrInvalidParameter.Errorf("This server doesn't replicate secrets to other regions yet: leave AddReplicaRegions out.")
	}
	for _, t := range in.Tags {
		if strings.HasPrefix(*t.Key, "aws:") {
			return secret.ErrInvalidParameter.Errorf("Tag keys that begin with aws: are reserved for system use.")
		}
	}
	return nil
}

func checkDetails(v *wire.Violations, description, key, kind *string) {
	v.Length("description", description, 0, 2048)
	v.Length("kmsKeyId", key, 0, 2048)
	v.Length("type", kind, 0, 256)
}

func checkTags(v *wire.Violations, tags []types.Tag) {
	v.Count("tags", tags != nil, len(tags), 0, 50)
	for i, t := range tags {
		at := wire.Member("tags", i)
		v.Required(at+".key", t.Key != nil)
		v.Length(at+".key", t.Key, 1, 128)
		v.Length(at+".value", t.Value, 0, 256)
	}
}

func keyOf(id *string) string {
	if orEmpty(id) == defaultKey {
		return ""
	}
	return orEmpty(id)
}

func (s *Service) create(ctx context.Context, in *sm.CreateSecretInput) (*sm.CreateSecretOutput, error) {
	n := secret.New{ARN: secret.NewARN(here(ctx), *in.Name), Name: *in.Name, Description: orEmpty(in.Description),
		KMSKeyID: keyOf(in.KmsKeyId), Type: orEmpty(in.Type)}
	for _, t := range in.Tags {
		n.Tags = append(n.Tags, secret.Tag{Key: *t.Key, Value: orEmpty(t.Value)})
	}
	value := secret.Value{Text: in.SecretString, Binary: in.SecretBinary}
	out := &sm.CreateSecretOutput{ARN: ptr(string(n.ARN)), Name: in.Name}
	var version *secret.Version
	if !value.IsZero() {
		var err error
		if version, err = s.vault.Seal(ctx, n.ARN, secret.VersionID(*in.ClientRequestToken), value); err != nil {
			return nil, err
		}
		out.VersionId = in.ClientRequestToken
	}
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		purged, err := s.vault.Create(ctx, tx, n, version)
		if err != nil {
			return err
		}
		return s.sched.Forget(ctx, tx, purged)
	})
	if taken, ok := errors.AsType[*secret.TakenError](err); ok {
		out.ARN = ptr(string(taken.Version.ARN))
	}
	_, err = s.orRepeated(ctx, err, value, nil)
	return out, err
}

func checkUpdate(in *sm.UpdateSecretInput) error {
	var v wire.Violations
	checkToken(&v, in.ClientRequestToken)
	checkDetails(&v, in.Description, in.KmsKeyId, in.Type)
	if err := checkValue(&v, in.SecretString, in.SecretBinary); err != nil {
		return err
	}
	if in.ClientRequestToken == nil && (in.SecretString != nil || in.SecretBinary != nil) {
		return errNoToken(secret.ErrInvalidRequest)
	}
	return nil
}

func (s *Service) update(ctx context.Context, in *sm.UpdateSecretInput) (*sm.UpdateSecretOutput, error) {
	arn := arnOf(in.SecretId)
	change := secret.Change{Description: in.Description, Type: in.Type}
	if in.KmsKeyId != nil {
		change.KMSKeyID = ptr(keyOf(in.KmsKeyId))
	}
	out := &sm.UpdateSecretOutput{ARN: in.SecretId, Name: ptr(arn.Name())}
	value := secret.Value{Text: in.SecretString, Binary: in.SecretBinary}
	var version *secret.Version
	if !value.IsZero() {
		var err error
		if version, err = s.vault.Seal(ctx, arn, secret.VersionID(*in.ClientRequestToken), value); err != nil {
			return nil, err
		}
		out.VersionId = in.ClientRequestToken
	}
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error { return s.change(ctx, tx, arn, change, version) })
	if taken, ok := errors.AsType[*secret.TakenError](err); ok { // the value may be there, the rest not
		if err = s.vault.SameValue(ctx, taken, value); err == nil {
			err = s.db.Write(ctx, func(tx *sqldb.Tx) error { return s.change(ctx, tx, arn, change, nil) })
		}
	}
	if err != nil {
		return nil, err
	}
	s.sched.Poke()
	return out, nil
}

func (s *Service) change(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, c secret.Change, version *secret.Version) error {
	if _, err := s.vault.FindLive(ctx, tx, arn); err != nil {
		return err
	}
	if version != nil {
		if _, err := s.put(ctx, tx, version, nil); err != nil {
			return err
		}
	}
	return s.vault.Update(ctx, tx, arn, c)
}

func (s *Service) delete(ctx context.Context, in *sm.DeleteSecretInput) (*sm.DeleteSecretOutput, error) {
	force := in.ForceDeleteWithoutRecovery != nil && *in.ForceDeleteWithoutRecovery
	days := int64(30)
	if in.RecoveryWindowInDays != nil {
		days = *in.RecoveryWindowInDays
	}
	switch {
	case force && in.RecoveryWindowInDays != nil:
		return nil, secret.ErrInvalidParameter.Errorf("You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	case days < 7 || days > 30:
		return nil, secret.ErrInvalidParameter.Errorf("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
	}
	arn := arnOf(in.SecretId)
	out := &sm.DeleteSecretOutput{ARN: in.SecretId, Name: ptr(arn.Name())}
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		if force {
			out.DeletionDate = &tx.Now
			return s.purge(ctx, tx, arn)
		}
		out.DeletionDate = ptr(tx.Now.Add(time.Duration(days) * 24 * time.Hour))
		if err := s.vault.Delete(ctx, tx, arn, *out.DeletionDate); err != nil {
			return err
		}
		return s.sched.Suspend(ctx, tx, arn)
	})
	return out, err
}

// purge removes a secret at once. One that does not exist is no error, as on
// AWS.
func (s *Service) purge(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	if err := s.vault.Purge(ctx, tx, arn); err != nil {
		return err
	}
	return s.sched.Forget(ctx, tx, arn)
}

// purgeBatch bounds how many secrets one transaction removes.
const purgeBatch = 100

// PurgeExpired removes the secrets whose recovery window has ended, and returns
// when the next one ends, or nil.
func (s *Service) PurgeExpired(ctx context.Context) (next *time.Time, err error) {
	for more := true; more && err == nil; {
		err = s.db.Write(ctx, func(tx *sqldb.Tx) error {
			expired, err := s.vault.Expired(ctx, tx, purgeBatch)
			if err != nil {
				return err
			}
			for _, arn := range expired {
				if err := s.purge(ctx, tx, arn); err != nil {
					return err
				}
			}
			more = len(expired) == purgeBatch
			next, err = s.vault.NextExpiry(ctx, tx)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("removing secrets whose recovery window has ended: %w", err)
	}
	return next, nil
}

func (s *Service) restore(ctx context.Context, in *sm.RestoreSecretInput) (*sm.RestoreSecretOutput, error) {
	arn := arnOf(in.SecretId)
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		if _, err := s.vault.Restore(ctx, tx, arn); err != nil {
			return err
		}
		return s.sched.Resume(ctx, tx, arn)
	})
	if err != nil {
		return nil, err
	}
	s.sched.Poke()
	return &sm.RestoreSecretOutput{ARN: in.SecretId, Name: ptr(arn.Name())}, nil
}
