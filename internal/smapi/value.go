package smapi

import (
	"context"
	"errors"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

// maxValue is the largest SecretString or SecretBinary, in bytes.
const maxValue = 65536

func checkToken(v *wire.Violations, token *string) {
	v.Length("clientRequestToken", token, 32, 64)
}

// checkValue checks a new value; the text of a violation never shows it.
func checkValue(v *wire.Violations, text *string, binary []byte) error {
	if text != nil {
		v.SensitiveLength("secretString", len(*text), 1, maxValue)
	}
	if binary != nil {
		v.SensitiveLength("secretBinary", len(binary), 1, maxValue)
	}
	if err := v.Err(); err != nil {
		return err
	}
	if text != nil && binary != nil {
		return secret.ErrInvalidParameter.Errorf("You can't specify both a binary secret value and a string secret value in the same secret.")
	}
	return nil
}

func errNoToken(kind fault.Kind) error {
	return kind.Errorf("You must provide a ClientRequestToken value. We recommend a UUID-type value.")
}

func checkGet(v *wire.Violations, in *sm.GetSecretValueInput) error {
	v.Length("versionId", in.VersionId, 32, 64)
	v.Length("versionStage", in.VersionStage, 1, 256)
	return v.Err()
}

func (s *Service) getValue(ctx context.Context, in *sm.GetSecretValueInput) (*sm.GetSecretValueOutput, error) {
	arn := arnOf(in.SecretId)
	version, value, err := s.vault.Read(ctx, arn, secret.Selector{ID: secret.VersionID(orEmpty(in.VersionId)), Stage: orEmpty(in.VersionStage)})
	if err != nil {
		return nil, err
	}
	s.noteAccess(version)
	audit.Of(ctx).VersionID = string(version.ID)
	return &sm.GetSecretValueOutput{ARN: in.SecretId, Name: new(arn.Name()), VersionId: new(string(version.ID)),
		SecretString: value.Text, SecretBinary: value.Binary, VersionStages: version.Stages, CreatedDate: &version.Created}, nil
}

var rotationToken = wire.NewPattern(`^[a-zA-Z0-9\-]+$`)

func checkPut(v *wire.Violations, in *sm.PutSecretValueInput) error {
	checkToken(v, in.ClientRequestToken)
	if in.RotationToken != nil {
		v.SensitiveLength("rotationToken", len(*in.RotationToken), 36, 256)
		v.SensitivePattern("rotationToken", in.RotationToken, rotationToken)
	}
	v.Count("versionStages", in.VersionStages != nil, len(in.VersionStages), 1, 20)
	for i := range in.VersionStages {
		v.Length(wire.Member("versionStages", i), &in.VersionStages[i], 1, 256)
	}
	if err := checkValue(v, in.SecretString, in.SecretBinary); err != nil {
		return err
	}
	switch {
	case in.ClientRequestToken == nil:
		return errNoToken(secret.ErrInvalidRequest)
	case in.SecretString == nil && in.SecretBinary == nil:
		return secret.ErrInvalidRequest.Errorf("You must provide either SecretString or SecretBinary.")
	}
	return nil
}

func (s *Service) putValue(ctx context.Context, in *sm.PutSecretValueInput) (*sm.PutSecretValueOutput, error) {
	arn, id := arnOf(in.SecretId), secret.VersionID(*in.ClientRequestToken)
	audit.Of(ctx).VersionID = *in.ClientRequestToken
	value := secret.Value{Text: in.SecretString, Binary: in.SecretBinary}
	var stages []string
	err := secret.UntilFresh(func() error {
		version, err := s.seal(ctx, arn, id, value)
		if err != nil {
			return err
		}
		return s.db.Write(ctx, func(tx *sqldb.Tx) error {
			found, err := s.editable(ctx, tx, arn)
			if err != nil {
				return err
			}
			stages, err = s.put(ctx, tx, found, version, in.VersionStages)
			return err
		})
	})
	if stages, err = s.orRepeated(ctx, err, value, stages); err != nil {
		return nil, err
	}
	return &sm.PutSecretValueOutput{ARN: in.SecretId, Name: new(arn.Name()), VersionId: in.ClientRequestToken, VersionStages: stages}, nil
}

// seal encrypts a value under the key that its secret has now.
func (s *Service) seal(ctx context.Context, arn secret.ARN, id secret.VersionID, value secret.Value) (*secret.Version, error) {
	entry, err := s.vault.LookupARN(ctx, arn)
	if err != nil {
		return nil, err
	}
	slot := secret.Slot{ARN: arn, ID: id}
	if entry.Secret != nil {
		slot.KMSKeyID = entry.Secret.KMSKeyID
	}
	return s.vault.Seal(ctx, slot, value)
}

// put stores a version and tells the scheduler where labels may have moved. It is
// secret.ErrStale if the version was sealed under a key that is no longer the
// secret's.
func (s *Service) put(ctx context.Context, tx *sqldb.Tx, found *secret.Secret, version *secret.Version, labels []string) ([]string, error) {
	if found.KMSKeyID != version.KMSKeyID {
		return nil, secret.ErrStale
	}
	stages, promoted, err := s.vault.Put(ctx, tx, version, labels)
	switch {
	case err != nil:
		return nil, err
	case promoted:
		return stages, s.sched.ValueChanged(ctx, tx, version.ARN)
	}
	return stages, s.sched.PendingMoved(ctx, tx, version.ARN)
}

// orRepeated makes a success of a failure that only says that this request was
// carried out before; the answer has the version's present labels.
func (s *Service) orRepeated(ctx context.Context, err error, value secret.Value, stages []string) ([]string, error) {
	taken, ok := errors.AsType[*secret.TakenError](err)
	if !ok {
		return stages, err
	}
	return taken.Version.Stages, s.vault.SameValue(ctx, taken, value)
}

func checkStage(v *wire.Violations, in *sm.UpdateSecretVersionStageInput) error {
	v.Required("versionStage", in.VersionStage != nil)
	v.Length("versionStage", in.VersionStage, 1, 256)
	v.Length("removeFromVersionId", in.RemoveFromVersionId, 32, 64)
	v.Length("moveToVersionId", in.MoveToVersionId, 32, 64)
	return v.Err()
}

func (s *Service) updateStage(ctx context.Context, in *sm.UpdateSecretVersionStageInput) (*sm.UpdateSecretVersionStageOutput, error) {
	arn := arnOf(in.SecretId)
	from, to := secret.VersionID(orEmpty(in.RemoveFromVersionId)), secret.VersionID(orEmpty(in.MoveToVersionId))
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		if _, err := s.editable(ctx, tx, arn); err != nil {
			return err
		}
		if err := s.vault.MoveLabel(ctx, tx, arn, *in.VersionStage, from, to); err != nil {
			return err
		}
		if *in.VersionStage != secret.Pending {
			return nil
		}
		return s.sched.PendingMoved(ctx, tx, arn)
	})
	if err != nil {
		return nil, err
	}
	return &sm.UpdateSecretVersionStageOutput{ARN: in.SecretId, Name: new(arn.Name())}, nil
}
