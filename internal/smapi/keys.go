package smapi

import (
	"context"
	"strconv"
	"strings"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// The condition keys of Secrets Manager, in lower case as policies are asked
// for them. A key is there only if the request, or the secret, has what it
// stands for: a GetSecretValue without VersionStage has no VersionStage, though
// it reads AWSCURRENT.
//
// List: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecretsmanager.html
const (
	ownKey     = "secretsmanager:"
	tagKeys    = "aws:tagkeys"
	requestTag = "aws:requesttag/"
)

// resourceTags begin the keys for the tags of the secret; both say the same.
var resourceTags = []string{"aws:resourcetag/", "secretsmanager:resourcetag/"}

// keys answers a condition key of the request in, which is about the secret of
// entry.
func (s *Service) keys(ctx context.Context, entry *secret.Entry, in any, key string) ([]string, bool) {
	if key == "secretsmanager:secretid" {
		return []string{string(entry.ARN)}, true
	}
	if found := entry.Secret; found != nil {
		if values, ok := s.secretKey(ctx, found, key); ok {
			return values, true
		}
	}
	return requestKey(in, key)
}

// secretKey answers the keys that speak of the secret as it is.
func (s *Service) secretKey(ctx context.Context, found *secret.Secret, key string) ([]string, bool) {
	switch key {
	case "secretsmanager:secretprimaryregion":
		return value(ifSet(found.PrimaryRegion))
	case "secretsmanager:resource/type":
		return value(ifSet(found.Type))
	case "secretsmanager:resource/allowrotationlambdaarn":
		return value(s.rotationFunction(ctx, found.PrimaryARN()))
	}
	return resourceTag(found.Tags, key)
}

// rotationFunction is asked for only if a policy wants to know.
func (s *Service) rotationFunction(ctx context.Context, arn secret.ARN) *string {
	var state *scheduler.State
	err := s.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		state, err = s.sched.State(ctx, tx, arn)
		return err
	})
	if err != nil {
		s.log.Error("reading a rotation for a policy", "secret", arn, "error", err)
	}
	if state == nil {
		return nil
	}
	return ifSet(state.Function)
}

// resourceTag compares as IAM does with keys: without regard to case.
func resourceTag(tags []secret.Tag, key string) ([]string, bool) {
	for _, prefix := range resourceTags {
		name, ok := strings.CutPrefix(key, prefix)
		for _, t := range tags {
			if ok && strings.EqualFold(t.Key, name) {
				return []string{t.Value}, true
			}
		}
	}
	return nil, false
}

// requestKey answers the keys that speak of the request.
func requestKey(in any, key string) ([]string, bool) {
	switch in := in.(type) {
	case *sm.GetSecretValueInput:
		return getKey(in, key)
	case *sm.CreateSecretInput:
		return createKey(in, key)
	case *sm.UpdateSecretInput:
		return detailKey(in.Description, in.KmsKeyId, in.Type, secret.ARN(*in.SecretId).Place(), key)
	case *sm.RotateSecretInput:
		return rotateKey(in, key)
	case *sm.DeleteSecretInput:
		return deleteKey(in, key)
	case *sm.ReplicateSecretToRegionsInput:
		return replicateKey(in.AddReplicaRegions, in.ForceOverwriteReplicaSecret, key)
	case *sm.TagResourceInput:
		return tagKey(in.Tags, key)
	}
	switch in := in.(type) {
	case *sm.UpdateSecretVersionStageInput:
		if key == ownKey+"versionstage" {
			return value(in.VersionStage)
		}
	case *sm.PutResourcePolicyInput:
		if key == ownKey+"blockpublicpolicy" {
			return flag(in.BlockPublicPolicy)
		}
	case *sm.UntagResourceInput:
		if key == tagKeys {
			return in.TagKeys, true
		}
	}
	return nil, false
}

func getKey(in *sm.GetSecretValueInput, key string) ([]string, bool) {
	switch key {
	case "secretsmanager:versionid":
		return value(in.VersionId)
	case "secretsmanager:versionstage":
		return value(in.VersionStage)
	}
	return nil, false
}

func deleteKey(in *sm.DeleteSecretInput, key string) ([]string, bool) {
	switch {
	case key == "secretsmanager:forcedeletewithoutrecovery":
		return flag(in.ForceDeleteWithoutRecovery)
	case key == "secretsmanager:recoverywindowindays" && in.RecoveryWindowInDays != nil:
		return []string{strconv.FormatInt(*in.RecoveryWindowInDays, 10)}, true
	}
	return nil, false
}

func rotateKey(in *sm.RotateSecretInput, key string) ([]string, bool) {
	switch key {
	case "secretsmanager:rotationlambdaarn":
		return value(in.RotationLambdaARN)
	case "secretsmanager:externalsecretrotationrolearn":
		return value(in.ExternalSecretRotationRoleArn)
	case "secretsmanager:rotateimmediately":
		return flag(in.RotateImmediately)
	case "secretsmanager:modifyrotationrules":
		return flag(new(in.RotationRules != nil))
	}
	return nil, false
}

func replicateKey(regions []types.ReplicaRegionType, overwrite bool, key string) (values []string, ok bool) {
	switch key {
	case "secretsmanager:addreplicaregions":
		for _, r := range regions {
			values = append(values, orEmpty(r.Region))
		}
		return values, len(values) > 0
	case "secretsmanager:forceoverwritereplicasecret":
		return flag(&overwrite)
	}
	return nil, false
}

// createKey takes the tags that the secret is to have for those that it has.
func createKey(in *sm.CreateSecretInput, key string) ([]string, bool) {
	if key == "secretsmanager:name" {
		return value(in.Name)
	}
	if values, ok := resourceTag(tagsOf(in.Tags), key); ok {
		return values, true
	}
	if values, ok := tagKey(in.Tags, key); ok {
		return values, true
	}
	return replicateKey(in.AddReplicaRegions, in.ForceOverwriteReplicaSecret, key)
}

// detailKey answers what CreateSecret and UpdateSecret have in common.
func detailKey(description, key, kind *string, at secret.Place, asked string) ([]string, bool) {
	switch asked {
	case "secretsmanager:description":
		return value(description)
	case "secretsmanager:kmskeyid":
		return value(key)
	case "secretsmanager:kmskeyarn":
		return value(keyARN(key, at))
	case "secretsmanager:type":
		return value(kind)
	}
	return nil, false
}

// keyARN is the ARN of a key that may be named by its id or its alias.
func keyARN(id *string, at secret.Place) *string {
	switch {
	case orEmpty(id) == "":
		return nil
	case strings.HasPrefix(*id, "arn:"):
		return id
	case strings.HasPrefix(*id, "alias/"):
		return new("arn:aws:kms:" + at.Region + ":" + at.Account + ":" + *id)
	}
	return new("arn:aws:kms:" + at.Region + ":" + at.Account + ":key/" + *id)
}

func tagKey(tags []types.Tag, key string) (values []string, ok bool) {
	name, one := strings.CutPrefix(key, requestTag)
	for _, t := range tags {
		switch {
		case key == tagKeys:
			values = append(values, *t.Key)
		case one && strings.EqualFold(*t.Key, name):
			return []string{orEmpty(t.Value)}, true
		}
	}
	return values, len(values) > 0
}

func value(s *string) ([]string, bool) {
	if s == nil {
		return nil, false
	}
	return []string{*s}, true
}

func flag(b *bool) ([]string, bool) {
	if b == nil {
		return nil, false
	}
	return []string{strconv.FormatBool(*b)}, true
}

// creating is what CreateSecret touches.
func (s *Service) creating(ctx context.Context, in *sm.CreateSecretInput) (iam.Resource, error) {
	res, err := s.createTarget(ctx, in)
	res.Named = orEmpty(in.Name)
	at := here(ctx)
	res.Keys = func(key string) ([]string, bool) {
		if values, ok := detailKey(in.Description, in.KmsKeyId, in.Type, at, key); ok {
			return values, true
		}
		return createKey(in, key)
	}
	return res, err
}

// may asks for a permission beside that of the operation itself. Which
// operations need more than one stands in AWS's list of actions.
func (s *Service) may(ctx context.Context, operation string, res iam.Resource) error {
	return s.guard.Check(ctx, iam.CallerOf(ctx), "secretsmanager:"+operation, res)
}

// creatable asks for what CreateSecret does beside creating.
func (s *Service) creatable(ctx context.Context, in *sm.CreateSecretInput) error {
	res, err := s.creating(ctx, in)
	if err != nil {
		return err
	}
	if len(in.Tags) > 0 {
		if err := s.may(ctx, "TagResource", res); err != nil {
			return err
		}
	}
	if len(in.AddReplicaRegions) == 0 {
		return nil
	}
	return s.may(ctx, "ReplicateSecretToRegions", res)
}

// rotatable asks whether the caller may pass on the role of a managed external
// secret's rotation.
func (s *Service) rotatable(ctx context.Context, in *sm.RotateSecretInput) error {
	if in.ExternalSecretRotationRoleArn == nil {
		return nil
	}
	return s.guard.Check(ctx, iam.CallerOf(ctx), "iam:PassRole", iam.Resource{ARN: *in.ExternalSecretRotationRoleArn,
		Keys: func(key string) ([]string, bool) {
			return []string{"secretsmanager.amazonaws.com"}, key == "iam:passedtoservice"
		}})
}

// foreignKey refuses to open or seal another account's secret with that
// account's default key, which nobody else may use.
func (s *Service) foreignKey(ctx context.Context, id *string) error {
	if ownerOf(*id) == iam.CallerOf(ctx).Account {
		return nil
	}
	entry, err := s.vault.Lookup(ctx, here(ctx), *id)
	if err != nil || entry.Secret == nil || entry.Secret.KMSKeyID != "" {
		return err
	}
	return secret.ErrInvalidRequest.Errorf("You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key.")
}

func (s *Service) gettable(ctx context.Context, in *sm.GetSecretValueInput) error {
	return s.foreignKey(ctx, in.SecretId)
}

func (s *Service) puttable(ctx context.Context, in *sm.PutSecretValueInput) error {
	return s.foreignKey(ctx, in.SecretId)
}

// updatable is foreignKey for an UpdateSecret that seals something.
func (s *Service) updatable(ctx context.Context, in *sm.UpdateSecretInput) error {
	if in.SecretString == nil && in.SecretBinary == nil {
		return nil
	}
	return s.foreignKey(ctx, in.SecretId)
}

// ownerOf is the account of an ARN: its fifth part.
func ownerOf(arn string) (account string) {
	for range 5 {
		account, arn, _ = strings.Cut(arn, ":")
	}
	return account
}

// after makes an operation that asks something more before it acts, when its
// own permission is given.
func after[In, Out any](ask func(context.Context, *In) error, do func(context.Context, *In) (*Out, error)) func(context.Context, *In) (*Out, error) {
	return func(ctx context.Context, in *In) (*Out, error) {
		if err := ask(ctx, in); err != nil {
			return nil, err
		}
		return do(ctx, in)
	}
}
