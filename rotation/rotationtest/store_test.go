package rotationtest

import (
	"context"
	"crypto/rand"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// store is the five methods of Secrets Manager with its staging rules, in
// memory: a label is on one version only, a version keeps its first value, and
// a reserved version has none.
type store struct {
	mu      sync.Mutex
	secrets map[string]*secret // :: secret id → secret
}

type secret struct {
	disabled bool
	changed  time.Time           // LastChangedDate
	values   map[string]string   // :: version id → SecretString
	labels   map[string][]string // :: version id → labels
	tags     []types.Tag
}

func (s *secret) tag(key, value string) {
	s.tags = append(s.tags, types.Tag{Key: &key, Value: &value})
}

func newStore() *store { return &store{secrets: map[string]*secret{}} }

// create makes a secret with one version, AWSCURRENT.
func (s *store) create(id, value string) {
	s.secrets[id] = &secret{
		values: map[string]string{"version-0": value},
		labels: map[string][]string{"version-0": {"AWSCURRENT"}},
	}
}

// begin reserves a version as RotateSecret does.
func (s *store) begin(id, token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[id].move("AWSPENDING", token)
}

// abandon takes AWSPENDING away, as an operator does after CancelRotateSecret.
func (s *store) abandon(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[id].unlabel("AWSPENDING")
}

// value reads by label; "" if there is none.
func (s *store) value(id, label string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec := s.secrets[id]
	return sec.values[sec.holder(label)]
}

func (s *secret) holder(label string) string {
	for version, labels := range s.labels {
		if slices.Contains(labels, label) {
			return version
		}
	}
	return ""
}

func (s *secret) unlabel(label string) {
	for version, labels := range s.labels {
		s.labels[version] = slices.DeleteFunc(labels, func(l string) bool { return l == label })
	}
}

// move puts a label on a version. AWSPREVIOUS follows AWSCURRENT.
func (s *secret) move(label, version string) {
	from := s.holder(label)
	s.unlabel(label)
	s.labels[version] = append(s.labels[version], label)
	s.changed = time.Now()
	if label == "AWSCURRENT" && from != "" && from != version {
		s.move("AWSPREVIOUS", from)
	}
}

func notFound(text string) error {
	return &types.ResourceNotFoundException{Message: aws.String(text)}
}

func (s *store) find(id *string) (*secret, error) {
	sec, ok := s.secrets[aws.ToString(id)]
	if !ok {
		return nil, notFound("Secrets Manager can't find the specified secret.")
	}
	return sec, nil
}

func (s *store) DescribeSecret(_ context.Context, in *sm.DescribeSecretInput, _ ...func(*sm.Options)) (*sm.DescribeSecretOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.find(in.SecretId)
	if err != nil {
		return nil, err
	}
	out := &sm.DescribeSecretOutput{RotationEnabled: aws.Bool(!sec.disabled), VersionIdsToStages: map[string][]string{},
		LastChangedDate: aws.Time(sec.changed), Tags: sec.tags}
	for version, labels := range sec.labels {
		if len(labels) > 0 {
			out.VersionIdsToStages[version] = slices.Clone(labels)
		}
	}
	return out, nil
}

func (s *store) GetSecretValue(_ context.Context, in *sm.GetSecretValueInput, _ ...func(*sm.Options)) (*sm.GetSecretValueOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.find(in.SecretId)
	if err != nil {
		return nil, err
	}
	label := aws.ToString(in.VersionStage)
	version := sec.holder(label)
	switch {
	case label == "" && in.VersionId == nil:
		version = sec.holder("AWSCURRENT")
	case label == "":
		version = *in.VersionId
	}
	if in.VersionId != nil && *in.VersionId != version {
		return nil, &types.InvalidRequestException{Message: aws.String("You provided a VersionStage that is not associated to the provided VersionId.")}
	}
	value, ok := sec.values[version]
	if !ok {
		return nil, notFound("Secrets Manager can't find the specified secret value for staging label: " + label)
	}
	return &sm.GetSecretValueOutput{SecretString: aws.String(value), VersionId: aws.String(version)}, nil
}

func (s *store) PutSecretValue(_ context.Context, in *sm.PutSecretValueInput, _ ...func(*sm.Options)) (*sm.PutSecretValueOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.find(in.SecretId)
	if err != nil {
		return nil, err
	}
	token := aws.ToString(in.ClientRequestToken)
	if old, ok := sec.values[token]; ok && old != aws.ToString(in.SecretString) {
		return nil, &types.ResourceExistsException{Message: aws.String("You can't use ClientRequestToken " + token + " because that value is already in use for a version of the secret.")}
	}
	sec.values[token] = aws.ToString(in.SecretString)
	for _, label := range in.VersionStages {
		sec.move(label, token)
	}
	return &sm.PutSecretValueOutput{VersionId: aws.String(token)}, nil
}

func (s *store) UpdateSecretVersionStage(_ context.Context, in *sm.UpdateSecretVersionStageInput, _ ...func(*sm.Options)) (*sm.UpdateSecretVersionStageOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.find(in.SecretId)
	if err != nil {
		return nil, err
	}
	label := aws.ToString(in.VersionStage)
	if from := sec.holder(label); from != aws.ToString(in.RemoveFromVersionId) {
		return nil, &types.InvalidParameterException{Message: aws.String("The parameter RemoveFromVersionId can't be empty. Staging label " + label + " is currently attached to version " + from + ", so you must explicitly reference that version in RemoveFromVersionId.")}
	}
	sec.move(label, aws.ToString(in.MoveToVersionId))
	return &sm.UpdateSecretVersionStageOutput{}, nil
}

// GetRandomPassword gives one character of each type, as RequireEachIncludedType asks.
func (s *store) GetRandomPassword(_ context.Context, in *sm.GetRandomPasswordInput, _ ...func(*sm.Options)) (*sm.GetRandomPasswordOutput, error) {
	var alphabet, password string
	for _, t := range []struct {
		excluded   *bool
		characters string
	}{
		{in.ExcludeLowercase, "abcdefghijklmnopqrstuvwxyz"}, {in.ExcludeUppercase, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
		{in.ExcludeNumbers, "0123456789"}, {in.ExcludePunctuation, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"},
	} {
		left := strings.Join(strings.FieldsFunc(t.characters, func(c rune) bool { return strings.ContainsRune(aws.ToString(in.ExcludeCharacters), c) }), "")
		switch {
		case aws.ToBool(t.excluded):
		case left == "":
			return nil, &types.InvalidParameterException{Message: aws.String("All characters of the desired type have been excluded.")}
		default:
			alphabet, password = alphabet+left, password+left[:1]
		}
	}
	for len(password) < int(aws.ToInt64(in.PasswordLength)) {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			return nil, err
		}
		password += alphabet[n.Int64() : n.Int64()+1]
	}
	return &sm.GetRandomPasswordOutput{RandomPassword: &password}, nil
}

func TestStoreReservedVersionHasNoValue(t *testing.T) {
	s := newStore()
	s.create("id", "{}")
	s.begin("id", "token")
	_, err := s.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("id"), VersionId: aws.String("token"), VersionStage: aws.String("AWSPENDING")})
	var missing *types.ResourceNotFoundException
	if !errors.As(err, &missing) {
		t.Fatalf("GetSecretValue of a reserved version: %v, want ResourceNotFoundException", err)
	}
}
