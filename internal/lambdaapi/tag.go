package lambdaapi

import (
	"context"
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

// maxTags is how many tags a function may have.
const maxTags = 50

func checkTags(tags map[string]string) error {
	var v wire.Violations
	for key, value := range tags {
		v.Length("tags.key", &key, 1, 128)
		v.Length("tags.value", &value, 0, 256)
	}
	if err := v.Err(); err != nil {
		return err
	}
	if len(tags) > maxTags {
		return ErrInvalidValue.Errorf("A function can have %d tags at most.", maxTags)
	}
	return nil
}

// checkReserved refuses keys that AWS reserves, in whatever case.
func checkReserved(tags map[string]string) error {
	for key := range tags {
		if strings.HasPrefix(strings.ToLower(key), "aws:") {
			return ErrInvalidValue.Errorf("Tag keys that begin with aws: are reserved.")
		}
	}
	return nil
}

func (s *Service) tag(ctx context.Context, in *lambda.TagResourceInput) (*lambda.TagResourceOutput, error) {
	if err := checkReserved(in.Tags); err != nil {
		return nil, err
	}
	return &lambda.TagResourceOutput{}, s.retag(ctx, in.Resource, func(tags map[string]string) { maps.Copy(tags, in.Tags) })
}

func (s *Service) untag(ctx context.Context, in *lambda.UntagResourceInput) (*lambda.UntagResourceOutput, error) {
	return &lambda.UntagResourceOutput{}, s.retag(ctx, in.Resource, func(tags map[string]string) {
		for _, key := range in.TagKeys {
			delete(tags, key)
		}
	})
}

func (s *Service) retag(ctx context.Context, functionARN *string, change func(map[string]string)) error {
	d, err := s.own(ctx, functionARN)
	if err != nil {
		return err
	}
	return s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		d, err := load(ctx, tx, d.arn)
		if err != nil {
			return err
		}
		if d.tags == nil {
			d.tags = map[string]string{}
		}
		change(d.tags)
		if err := checkTags(d.tags); err != nil {
			return err
		}
		return d.save(ctx, tx, false)
	})
}

func (s *Service) listTags(ctx context.Context, in *lambda.ListTagsInput) (*lambda.ListTagsOutput, error) {
	d, _, err := s.look(ctx, in.Resource)
	if err != nil {
		return nil, err
	}
	out := &lambda.ListTagsOutput{Tags: d.tags}
	if out.Tags == nil {
		out.Tags = map[string]string{}
	}
	return out, nil
}
