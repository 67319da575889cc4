package rotation

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// stage is Secrets Manager for a rehearsal: one secret whose versions live in
// memory, with AWSPENDING staged on a version that has no value yet. Everything
// else is the real one's. It is for one goroutine.
type stage struct {
	Secrets // for passwords, other secrets, and what the secret's settings are

	id     string
	values map[string]string // :: version → SecretString
	labels map[string]string // :: staging label → version
}

func newStage(real Secrets, id, value, token string) *stage {
	const first = "00000000-0000-0000-0000-000000000001"
	return &stage{Secrets: real, id: id,
		values: map[string]string{first: value}, labels: map[string]string{current: first, pending: token}}
}

// DescribeSecret shows the real secret with the versions of the stage.
func (s *stage) DescribeSecret(ctx context.Context, in *secretsmanager.DescribeSecretInput, o ...func(*secretsmanager.Options)) (*secretsmanager.DescribeSecretOutput, error) {
	out, err := s.Secrets.DescribeSecret(ctx, in, o...)
	if err != nil || aws.ToString(in.SecretId) != s.id {
		return out, err
	}
	out.RotationEnabled = aws.Bool(true)
	out.VersionIdsToStages = map[string][]string{}
	for label, version := range s.labels {
		out.VersionIdsToStages[version] = append(out.VersionIdsToStages[version], label)
	}
	for _, labels := range out.VersionIdsToStages {
		slices.Sort(labels)
	}
	return out, nil
}

// GetSecretValue reads from the stage.
func (s *stage) GetSecretValue(ctx context.Context, in *secretsmanager.GetSecretValueInput, o ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	if aws.ToString(in.SecretId) != s.id {
		return s.Secrets.GetSecretValue(ctx, in, o...)
	}
	label := aws.ToString(in.VersionStage)
	if label == "" && in.VersionId == nil {
		label = current
	}
	version := s.labels[label]
	if label == "" {
		version = *in.VersionId
	}
	value, ok := s.values[version]
	if !ok || in.VersionId != nil && *in.VersionId != version {
		return nil, &types.ResourceNotFoundException{Message: aws.String("Secrets Manager can't find the specified secret value for staging label: " + label)}
	}
	return &secretsmanager.GetSecretValueOutput{ARN: &s.id, SecretString: &value, VersionId: &version}, nil
}

// PutSecretValue writes to the stage.
func (s *stage) PutSecretValue(_ context.Context, in *secretsmanager.PutSecretValueInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.PutSecretValueOutput, error) {
	token := aws.ToString(in.ClientRequestToken)
	s.values[token] = aws.ToString(in.SecretString)
	for _, label := range in.VersionStages {
		s.labels[label] = token
	}
	return &secretsmanager.PutSecretValueOutput{VersionId: &token}, nil
}

// UpdateSecretVersionStage moves a label on the stage.
func (s *stage) UpdateSecretVersionStage(_ context.Context, in *secretsmanager.UpdateSecretVersionStageInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.UpdateSecretVersionStageOutput, error) {
	label, to := aws.ToString(in.VersionStage), aws.ToString(in.MoveToVersionId)
	if label == current {
		s.labels[previous] = s.labels[current]
	}
	s.labels[label] = to
	return &secretsmanager.UpdateSecretVersionStageOutput{}, nil
}
