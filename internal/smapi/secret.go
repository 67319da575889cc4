package smapi

import (
	"context"
	"errors"
	"strings"
	"time"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/audit"
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
	checkReplicas(&v, in.AddReplicaRegions)
	if err := checkValue(&v, in.SecretString, in.SecretBinary); err != nil {
		return iam.Resource{}, err
	}
	if err := checkCreate(here(ctx), in); err != nil {
		return iam.Resource{}, err
	}
	return iam.Resource{ARN: string(secret.UnknownARN(here(ctx), *in.Name))}, nil
}

func checkCreate(at secret.Place, in *sm.CreateSecretInput) error {
	if err := secret.CheckName(*in.Name); err != nil {
		return err
	}
	if in.ClientRequestToken == nil {
		return errNoToken(secret.ErrInvalidRequest)
	}
	if err := checkTagValues(in.Tags); err != nil {
		return err
	}
	return checkRegions(at, in.AddReplicaRegions)
}

func checkDetails(v *wire.Violations, description, key, kind *string) {
	v.Length("description", description, 0, 2048)
	v.Length("kmsKeyId", key, 0, 2048)
	v.Length("type", kind, 0, 256)
}

func checkTags(v *wire.Violations, tags []types.Tag) {
	for i, t := range tags {
		at := wire.Member("tags", i)
		v.Required(at+".key", t.Key != nil)
		v.Length(at+".key", t.Key, 1, 128)
		v.Length(at+".value", t.Value, 0, 256)
	}
}

// keyOf is the key that a KmsKeyId names; empty is the default key, by whatever
// name.
func keyOf(id *string) string {
	if k := orEmpty(id); k != defaultKey && !strings.HasSuffix(k, ":"+defaultKey) {
		return k
	}
	return ""
}

func (s *Service) create(ctx context.Context, in *sm.CreateSecretInput) (*sm.CreateSecretOutput, error) {
	n := secret.New{ARN: secret.NewARN(here(ctx), *in.Name), Name: *in.Name, Description: orEmpty(in.Description),
		KMSKeyID: keyOf(in.KmsKeyId), Type: orEmpty(in.Type), Tags: tagsOf(in.Tags),
		Replicas: replicaRegions(in.AddReplicaRegions, in.ForceOverwriteReplicaSecret)}
	if err := s.vault.CheckKey(n.KMSKeyID); err != nil {
		return nil, err
	}
	value := secret.Value{Text: in.SecretString, Binary: in.SecretBinary}
	out := &sm.CreateSecretOutput{ARN: new(string(n.ARN)), Name: in.Name}
	version, err := s.sealFirst(ctx, n, in.ClientRequestToken, value)
	if err != nil {
		return nil, err
	}
	if version != nil {
		out.VersionId = in.ClientRequestToken
	}
	err = s.db.Write(ctx, func(tx *sqldb.Tx) (err error) {
		out.ReplicationStatus, err = s.insert(ctx, tx, n, version)
		return err
	})
	if taken, ok := errors.AsType[*secret.TakenError](err); ok {
		out.ARN = new(string(taken.Version.ARN))
		if err = s.vault.SameValue(ctx, taken, value); err == nil {
			out.ReplicationStatus, err = s.replicas(ctx, taken.Version.ARN)
		}
	}
	if err != nil {
		return nil, err
	}
	audit.Of(ctx).Resource = *out.ARN
	return out, nil
}

// sealFirst seals the first value of a new secret; nil if it has none.
func (s *Service) sealFirst(ctx context.Context, n secret.New, token *string, value secret.Value) (*secret.Version, error) {
	if value.IsZero() {
		return nil, nil //nolint:nilnil // a secret need not have a value
	}
	audit.Of(ctx).VersionID = *token
	return s.vault.Seal(ctx, secret.Slot{ARN: n.ARN, ID: secret.VersionID(*token), KMSKeyID: n.KMSKeyID}, value)
}

// insert stores a new secret, and returns how its replicas stand before anything
// was copied.
func (s *Service) insert(ctx context.Context, tx *sqldb.Tx, n secret.New, version *secret.Version) ([]types.ReplicationStatusType, error) {
	purged, err := s.vault.Create(ctx, tx, n, version)
	if err == nil && purged != "" {
		err = s.sched.Forget(ctx, tx, purged)
	}
	if err != nil || len(n.Replicas) == 0 {
		return nil, err
	}
	replicas, err := s.vault.Replicas(ctx, tx, n.ARN)
	return replicationStatus(replicas), err
}

func checkUpdate(v *wire.Violations, in *sm.UpdateSecretInput) error {
	checkToken(v, in.ClientRequestToken)
	checkDetails(v, in.Description, in.KmsKeyId, in.Type)
	if err := checkValue(v, in.SecretString, in.SecretBinary); err != nil {
		return err
	}
	if in.ClientRequestToken == nil && (in.SecretString != nil || in.SecretBinary != nil) {
		return errNoToken(secret.ErrInvalidRequest)
	}
	return nil
}

func (s *Service) update(ctx context.Context, in *sm.UpdateSecretInput) (*sm.UpdateSecretOutput, error) {
	arn := arnOf(in.SecretId)
	value := secret.Value{Text: in.SecretString, Binary: in.SecretBinary}
	err := secret.UntilFresh(func() error { return s.updateOnce(ctx, in, value) })
	if taken, ok := errors.AsType[*secret.TakenError](err); ok { // the value may be there, the rest not
		if err = s.vault.SameValue(ctx, taken, value); err == nil {
			err = secret.UntilFresh(func() error { return s.updateOnce(ctx, in, secret.Value{}) })
		}
	}
	if err != nil {
		return nil, err
	}
	out := &sm.UpdateSecretOutput{ARN: in.SecretId, Name: new(arn.Name())}
	if !value.IsZero() {
		out.VersionId = in.ClientRequestToken
		audit.Of(ctx).VersionID = *in.ClientRequestToken
	}
	return out, nil
}

// updateOnce seals what has to be sealed and stores it, or returns
// secret.ErrStale.
func (s *Service) updateOnce(ctx context.Context, in *sm.UpdateSecretInput, value secret.Value) (err error) {
	arn := arnOf(in.SecretId)
	change := secret.Change{Description: in.Description, Type: in.Type}
	if in.KmsKeyId != nil {
		if change.Key, err = s.rekey(ctx, in); err != nil {
			return err
		}
	}
	var version *secret.Version
	if !value.IsZero() {
		if version, err = s.sealUpdate(ctx, in, value); err != nil {
			return err
		}
	}
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		found, err := s.vault.Find(ctx, tx, arn)
		if err != nil {
			return err
		}
		if err := updatable(found, in); err != nil {
			return err
		}
		if err := s.vault.Update(ctx, tx, arn, change); err != nil || version == nil {
			return err
		}
		if change.Key != nil {
			found.KMSKeyID = change.Key.KMSKeyID
		}
		_, err = s.put(ctx, tx, found, version, nil)
		return err
	})
}

// rekey prepares another KmsKeyId. A secret that may not be changed is refused
// before its key is asked for anything.
func (s *Service) rekey(ctx context.Context, in *sm.UpdateSecretInput) (*secret.Rekeying, error) {
	arn := arnOf(in.SecretId)
	err := s.db.Read(ctx, func(tx *sqldb.Tx) error {
		found, err := s.vault.Find(ctx, tx, arn)
		if err != nil {
			return err
		}
		return updatable(found, in)
	})
	if err != nil {
		return nil, err
	}
	return s.vault.Rekey(ctx, arn, keyOf(in.KmsKeyId))
}

// sealUpdate seals a value under the key that its secret is to have.
func (s *Service) sealUpdate(ctx context.Context, in *sm.UpdateSecretInput, value secret.Value) (*secret.Version, error) {
	arn, id := arnOf(in.SecretId), secret.VersionID(*in.ClientRequestToken)
	if in.KmsKeyId == nil {
		return s.seal(ctx, arn, id, value)
	}
	return s.vault.Seal(ctx, secret.Slot{ARN: arn, ID: id, KMSKeyID: keyOf(in.KmsKeyId)}, value)
}

// updatable returns why UpdateSecret may not do this, or nil. Of a replica it
// changes the key and nothing else ("Promote a replica secret" in the AWS guide).
func updatable(found *secret.Secret, in *sm.UpdateSecretInput) error {
	value := in.SecretString != nil || in.SecretBinary != nil
	if found.IsReplica() && in.KmsKeyId != nil && in.Description == nil && in.Type == nil && !value {
		return found.RequireLive()
	}
	return found.RequireEditable()
}

func checkDelete(in *sm.DeleteSecretInput) error {
	switch {
	case in.RecoveryWindowInDays == nil:
		return nil
	case isTrue(in.ForceDeleteWithoutRecovery):
		return secret.ErrInvalidParameter.Errorf("You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	case *in.RecoveryWindowInDays < 7 || *in.RecoveryWindowInDays > 30:
		return secret.ErrInvalidParameter.Errorf("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
	}
	return nil
}

// defaultWindow is the recovery window where none is asked for, in days.
const defaultWindow = 30

func (s *Service) delete(ctx context.Context, in *sm.DeleteSecretInput) (*sm.DeleteSecretOutput, error) {
	if err := checkDelete(in); err != nil {
		return nil, err
	}
	arn, days := arnOf(in.SecretId), int64(defaultWindow)
	if in.RecoveryWindowInDays != nil {
		days = *in.RecoveryWindowInDays
	}
	out := &sm.DeleteSecretOutput{ARN: in.SecretId, Name: new(arn.Name())}
	var versions []secret.VersionID
	err := s.db.Write(ctx, func(tx *sqldb.Tx) (err error) {
		if err := s.deletable(ctx, tx, arn); err != nil {
			return err
		}
		if isTrue(in.ForceDeleteWithoutRecovery) {
			out.DeletionDate = &tx.Now
			versions, err = s.purge(ctx, tx, arn)
			return err
		}
		out.DeletionDate = new(tx.Now.Add(time.Duration(days) * 24 * time.Hour))
		versions, err = s.schedule(ctx, tx, arn, *out.DeletionDate)
		return err
	})
	if err != nil {
		return nil, err
	}
	if isTrue(in.ForceDeleteWithoutRecovery) {
		s.note(endDelete, arn, versions)
		return out, nil
	}
	s.note(startDelete, arn, versions)
	s.vault.Poke()
	return out, nil
}

// deletable returns why a secret may not be deleted, or nil, also for one that
// does not exist.
func (s *Service) deletable(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	found, err := s.vault.Find(ctx, tx, arn)
	if errors.Is(err, secret.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := found.RequirePrimary(); err != nil {
		return err
	}
	return found.RequireUnmanaged()
}

// schedule plans a deletion and returns the versions that it is to take.
func (s *Service) schedule(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, at time.Time) ([]secret.VersionID, error) {
	if err := s.vault.Delete(ctx, tx, arn, at); err != nil {
		return nil, err
	}
	if err := s.sched.Suspend(ctx, tx, arn); err != nil {
		return nil, err
	}
	return s.vault.VersionIDs(ctx, tx, arn)
}

// purge removes a secret at once and returns the versions that there were. One
// that does not exist is no error, as on AWS.
func (s *Service) purge(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) ([]secret.VersionID, error) {
	versions, err := s.vault.DeleteNow(ctx, tx, arn)
	if err != nil {
		return nil, err
	}
	return versions, s.sched.Forget(ctx, tx, arn)
}

func (s *Service) restore(ctx context.Context, in *sm.RestoreSecretInput) (*sm.RestoreSecretOutput, error) {
	arn := arnOf(in.SecretId)
	var versions []secret.VersionID
	err := s.db.Write(ctx, func(tx *sqldb.Tx) (err error) {
		if err := s.deletable(ctx, tx, arn); err != nil {
			return err
		}
		found, err := s.vault.Restore(ctx, tx, arn)
		if err != nil {
			return err
		}
		if versions = nil; found.Deleted() {
			if versions, err = s.vault.VersionIDs(ctx, tx, arn); err != nil {
				return err
			}
		}
		return s.sched.Resume(ctx, tx, arn)
	})
	if err != nil {
		return nil, err
	}
	s.note(cancelDelete, arn, versions)
	s.sched.Poke()
	return &sm.RestoreSecretOutput{ARN: in.SecretId, Name: new(arn.Name())}, nil
}
