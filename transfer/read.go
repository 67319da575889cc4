package transfer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// systemTag begins the keys of tags that only AWS itself sets.
const systemTag = "aws:"

// attempts bounds how often a secret that changes while it is read is read anew.
const attempts = 5

// read reads a secret as it stands at one moment.
func read(ctx context.Context, api *sm.Client, id string) (*Secret, error) {
	for range attempts {
		before, err := api.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &id})
		if err != nil {
			return nil, fmt.Errorf("describing %s: %w", id, err)
		}
		s, err := assemble(ctx, api, before)
		if err != nil {
			return nil, err
		}
		after, err := api.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &id})
		if err != nil {
			return nil, fmt.Errorf("describing %s: %w", id, err)
		}
		if same(before, after) {
			return s, s.seal()
		}
	}
	return nil, fmt.Errorf("reading %s: it changed %d times meanwhile", id, attempts)
}

// same reports whether nothing was written between two descriptions.
func same(a, b *sm.DescribeSecretOutput) bool {
	return aws.ToTime(a.LastChangedDate).Equal(aws.ToTime(b.LastChangedDate)) &&
		maps.EqualFunc(a.VersionIdsToStages, b.VersionIdsToStages, sameSet)
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func assemble(ctx context.Context, api *sm.Client, d *sm.DescribeSecretOutput) (*Secret, error) {
	s := &Secret{Name: aws.ToString(d.Name), ARN: aws.ToString(d.ARN), Description: aws.ToString(d.Description),
		Type: aws.ToString(d.Type), KMSKeyID: aws.ToString(d.KmsKeyId), Tags: tagsOf(d.Tags), Rotation: rotationOf(d)}
	policy, err := api.GetResourcePolicy(ctx, &sm.GetResourcePolicyInput{SecretId: d.ARN})
	if err != nil {
		return nil, fmt.Errorf("reading the resource policy of %s: %w", s.Name, err)
	}
	s.Policy = aws.ToString(policy.ResourcePolicy)
	for id, stages := range d.VersionIdsToStages {
		v, err := readVersion(ctx, api, s.ARN, id)
		if errors.As(err, new(*types.ResourceNotFoundException)) {
			continue // a rotation's version that has no value yet
		}
		if err != nil {
			return nil, fmt.Errorf("reading version %s of %s: %w", id, s.Name, err)
		}
		v.Stages = slices.Clone(stages)
		s.Versions = append(s.Versions, v)
	}
	return s, nil
}

func readVersion(ctx context.Context, api *sm.Client, arn, id string) (Version, error) {
	out, err := api.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: &arn, VersionId: &id})
	if err != nil {
		return Version{}, err
	}
	return Version{ID: id, Created: aws.ToTime(out.CreatedDate).UTC(), Text: out.SecretString, Binary: out.SecretBinary}, nil
}

func tagsOf(tags []types.Tag) (own []Tag) {
	for _, t := range tags {
		if !strings.HasPrefix(aws.ToString(t.Key), systemTag) {
			own = append(own, Tag{Key: aws.ToString(t.Key), Value: aws.ToString(t.Value)})
		}
	}
	return own
}

func rotationOf(d *sm.DescribeSecretOutput) *Rotation {
	if d.RotationEnabled == nil {
		return nil
	}
	r := &Rotation{Enabled: *d.RotationEnabled, Function: aws.ToString(d.RotationLambdaARN)}
	if rules := d.RotationRules; rules != nil {
		r.Expression, r.Duration = aws.ToString(rules.ScheduleExpression), aws.ToString(rules.Duration)
		if r.Expression == "" { // beside an expression the service computes the days from it
			r.Days = aws.ToInt64(rules.AutomaticallyAfterDays)
		}
	}
	return r
}
