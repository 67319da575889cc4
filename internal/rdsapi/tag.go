package rdsapi

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// targetTagged checks the ARN of something that has tags, and lowers its case
// as that of identifiers. The words are those that RDS was seen to use.
func targetTagged(ctx context.Context, name **string) (iam.Resource, error) {
	if err := required("ResourceName", *name); err != nil {
		return iam.Resource{}, err
	}
	arn := strings.ToLower(**name)
	if strings.Count(arn, ":") < 6 || !strings.HasPrefix(arn, "arn:") {
		return iam.Resource{}, ErrParameterValue.Errorf("Invalid resource name: %s", clip(**name))
	}
	if !strings.HasPrefix(arn, cluster.prefix(ctx)) && !strings.HasPrefix(arn, instance.prefix(ctx)) {
		return iam.Resource{}, ErrParameterValue.Errorf("The specified resource name does not match an RDS resource in this region.")
	}
	*name = &arn
	return iam.Resource{ARN: arn}, nil
}

func targetListTags(ctx context.Context, in *rds.ListTagsForResourceInput) (iam.Resource, error) {
	return targetTagged(ctx, &in.ResourceName)
}

func targetAddTags(ctx context.Context, in *rds.AddTagsToResourceInput) (iam.Resource, error) {
	if len(in.Tags) == 0 {
		return iam.Resource{}, missing("Tags")
	}
	return targetTagged(ctx, &in.ResourceName)
}

func targetRemoveTags(ctx context.Context, in *rds.RemoveTagsFromResourceInput) (iam.Resource, error) {
	if len(in.TagKeys) == 0 {
		return iam.Resource{}, missing("TagKeys")
	}
	return targetTagged(ctx, &in.ResourceName)
}

func (s *Service) listTags(ctx context.Context, in *rds.ListTagsForResourceInput) (*rds.ListTagsForResourceOutput, error) {
	out := &rds.ListTagsForResourceOutput{TagList: []types.Tag{}}
	err := s.config.DB.Read(ctx, func(tx *sqldb.Tx) error {
		t, err := findTagged(ctx, tx, *in.ResourceName)
		if err == nil && len(*t.tags) > 0 {
			out.TagList = *t.tags
		}
		return err
	})
	return out, err
}

func (s *Service) addTags(ctx context.Context, in *rds.AddTagsToResourceInput) (*rds.AddTagsToResourceOutput, error) {
	for _, tag := range in.Tags {
		if err := changeable(value(tag.Key)); err != nil {
			return nil, err
		}
	}
	return nil, s.changeTags(ctx, *in.ResourceName, func(tags []types.Tag) []types.Tag {
		for _, tag := range in.Tags {
			tags = withTag(tags, tag)
		}
		return tags
	})
}

// withTag replaces the tag of the same key, or appends. Like AWS it shows an
// empty value where none was given.
func withTag(tags []types.Tag, tag types.Tag) []types.Tag {
	tag.Value = new(value(tag.Value))
	at := slices.IndexFunc(tags, func(t types.Tag) bool { return value(t.Key) == value(tag.Key) })
	if at < 0 {
		return append(tags, tag)
	}
	tags[at] = tag
	return tags
}

// changeable refuses a change that would look as if it adopted another server.
func changeable(key string) error {
	if key == endpointTag {
		return ErrParameterCombination.Errorf("The tag %s is read when a DB cluster is created, and cannot be changed later.", endpointTag)
	}
	return nil
}

func (s *Service) removeTags(ctx context.Context, in *rds.RemoveTagsFromResourceInput) (*rds.RemoveTagsFromResourceOutput, error) {
	for _, key := range in.TagKeys {
		if err := changeable(key); err != nil {
			return nil, err
		}
	}
	return nil, s.changeTags(ctx, *in.ResourceName, func(tags []types.Tag) []types.Tag {
		return slices.DeleteFunc(tags, func(t types.Tag) bool { return slices.Contains(in.TagKeys, value(t.Key)) })
	})
}

func (s *Service) changeTags(ctx context.Context, arn string, change func([]types.Tag) []types.Tag) error {
	return s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		t, err := findTagged(ctx, tx, arn)
		if err != nil {
			return err
		}
		*t.tags = change(*t.tags)
		if err := checkTags(*t.tags); err != nil {
			return err
		}
		return t.save()
	})
}

// tagged is a row whose description holds tags.
type tagged struct {
	tags *[]types.Tag
	save func() error
}

func findTagged(ctx context.Context, tx *sqldb.Tx, arn string) (tagged, error) {
	if strings.HasPrefix(arn, cluster.prefix(ctx)) {
		c, err := findCluster(ctx, tx, arn)
		if err != nil {
			return tagged{}, err
		}
		return tagged{&c.shown.TagList, func() error { return updateCluster(ctx, tx, c) }}, nil
	}
	i, err := findInstance(ctx, tx, arn)
	if err != nil {
		return tagged{}, err
	}
	return tagged{&i.shown.TagList, func() error { return updateInstance(ctx, tx, i) }}, nil
}
