package smapi

import (
	"context"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

func checkTagResource(v *wire.Violations, in *sm.TagResourceInput) error {
	v.Required("tags", in.Tags != nil)
	checkTags(v, in.Tags)
	if err := v.Err(); err != nil {
		return err
	}
	return checkTagValues(in.Tags)
}

// checkTagValues refuses keys that are reserved, and values of keyturn's own
// tags that it does not understand.
func checkTagValues(tags []types.Tag) error {
	for _, t := range tagsOf(tags) {
		if err := secret.CheckTagKey(t.Key); err != nil {
			return err
		}
		if err := scheduler.CheckTag(t); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) tag(ctx context.Context, in *sm.TagResourceInput) (*sm.TagResourceOutput, error) {
	arn, tags := arnOf(in.SecretId), tagsOf(in.Tags)
	return nil, s.retag(ctx, arn, keysOf(tags), func(tx *sqldb.Tx) error { return s.vault.Tag(ctx, tx, arn, tags) })
}

func tagsOf(list []types.Tag) (all []secret.Tag) {
	for _, t := range list {
		all = append(all, secret.Tag{Key: *t.Key, Value: orEmpty(t.Value)})
	}
	return all
}

func checkUntagResource(v *wire.Violations, in *sm.UntagResourceInput) error {
	v.Required("tagKeys", in.TagKeys != nil)
	for i := range in.TagKeys {
		v.Length(wire.Member("tagKeys", i), &in.TagKeys[i], 1, 128)
	}
	if err := v.Err(); err != nil {
		return err
	}
	for _, key := range in.TagKeys {
		if err := secret.CheckTagKey(key); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) untag(ctx context.Context, in *sm.UntagResourceInput) (*sm.UntagResourceOutput, error) {
	arn := arnOf(in.SecretId)
	return nil, s.retag(ctx, arn, in.TagKeys, func(tx *sqldb.Tx) error { return s.vault.Untag(ctx, tx, arn, in.TagKeys) })
}

// retag changes the tags with these keys, some of which may say when the secret
// rotates, or when a canary login looks at it.
func (s *Service) retag(ctx context.Context, arn secret.ARN, keys []string, change func(*sqldb.Tx) error) error {
	err := s.edit(ctx, arn, func(tx *sqldb.Tx, _ *secret.Secret) error {
		if err := change(tx); err != nil {
			return err
		}
		if err := s.sched.TagsChanged(ctx, tx, arn); err != nil {
			return err
		}
		return s.checkTagged(ctx, tx, arn, keys)
	})
	s.sched.Poke()
	return err
}

// edit changes a secret that callers may change.
func (s *Service) edit(ctx context.Context, arn secret.ARN, change func(*sqldb.Tx, *secret.Secret) error) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		found, err := s.vault.FindEditable(ctx, tx, arn)
		if err != nil {
			return err
		}
		return change(tx, found)
	})
}
