package transfer

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"
)

// putVersions stores every version under its own id. The one before the current
// goes first and the current second, as they came to be; a version that is there
// with the same value is no error.
func (t *target) putVersions(ctx context.Context) error {
	order := slices.SortedStableFunc(slices.Values(t.want.Versions), func(a, b Version) int {
		return cmp.Compare(rank(a), rank(b))
	})
	for _, v := range order {
		in := &sm.PutSecretValueInput{SecretId: &t.arn, ClientRequestToken: &v.ID, SecretString: v.Text, SecretBinary: v.Binary,
			VersionStages: firstLabels(v)}
		if _, err := t.api.PutSecretValue(ctx, in); err != nil {
			return fmt.Errorf("putting version %s: %w", v.ID, err)
		}
	}
	return nil
}

func rank(v Version) int {
	switch {
	case slices.Contains(v.Stages, current):
		return 1
	case slices.Contains(v.Stages, previous):
		return 0
	}
	return 2
}

// firstLabels are those that a new version gets at once. AWSPREVIOUS comes by
// itself when AWSCURRENT moves on, so the version that is to have it begins with
// AWSCURRENT, as it once did.
func firstLabels(v Version) []string {
	labels := slices.DeleteFunc(slices.Clone(v.Stages), func(l string) bool { return l == previous })
	if rank(v) == 0 || len(labels) == 0 {
		return nil // AWSCURRENT
	}
	return labels
}

// label moves every staging label to where the archive has it, AWSCURRENT first
// since others move with it.
func (t *target) label(ctx context.Context) error {
	want := holders(t.want.Versions)
	labels := slices.DeleteFunc(slices.Sorted(maps.Keys(want)), func(l string) bool { return l == current })
	if want[current] != "" {
		labels = slices.Insert(labels, 0, current)
	}
	for _, l := range labels {
		if err := t.moveLabel(ctx, l, want[l]); err != nil {
			return err
		}
	}
	return t.removeLabels(ctx, want)
}

// moveLabel looks where the label is and moves it from there.
func (t *target) moveLabel(ctx context.Context, label, to string) error {
	now, err := t.labels(ctx)
	if err != nil || now[label] == to {
		return err
	}
	in := &sm.UpdateSecretVersionStageInput{SecretId: &t.arn, VersionStage: &label, MoveToVersionId: &to, RemoveFromVersionId: ifSet(now[label])}
	if _, err := t.api.UpdateSecretVersionStage(ctx, in); err != nil {
		return fmt.Errorf("moving %s to version %s: %w", label, to, err)
	}
	return nil
}

// removeLabels takes away what the archive does not have.
func (t *target) removeLabels(ctx context.Context, want map[string]string) error {
	now, err := t.labels(ctx)
	if err != nil {
		return err
	}
	for l, id := range now {
		if want[l] != "" {
			continue
		}
		in := &sm.UpdateSecretVersionStageInput{SecretId: &t.arn, VersionStage: &l, RemoveFromVersionId: &id}
		if _, err := t.api.UpdateSecretVersionStage(ctx, in); err != nil {
			return fmt.Errorf("removing %s: %w", l, err)
		}
	}
	return nil
}

// labels tells which version has which label now.
func (t *target) labels(ctx context.Context) (map[string]string, error) {
	d, err := t.api.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &t.arn})
	if err != nil {
		return nil, fmt.Errorf("describing it: %w", err)
	}
	now := map[string]string{}
	for id, stages := range d.VersionIdsToStages {
		for _, l := range stages {
			now[l] = id
		}
	}
	return now, nil
}

func holders(versions []Version) map[string]string {
	m := map[string]string{}
	for _, v := range versions {
		for _, l := range v.Stages {
			m[l] = v.ID
		}
	}
	return m
}

// configureRotation enables rotation where it was enabled, under the rules of the
// archive, by the function of the same name in this account and region.
func (t *target) configureRotation(ctx context.Context) error {
	r := t.want.Rotation
	if !t.options.WithRotation || r == nil || !r.Enabled {
		return nil
	}
	d, err := t.api.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &t.arn})
	if err != nil {
		return fmt.Errorf("describing it: %w", err)
	}
	want := *r
	want.Function = here(r.Function, t.arn)
	if now := rotationOf(d); now != nil && *now == want {
		return nil
	}
	if err := t.findAdmin(ctx); err != nil {
		return fmt.Errorf("configuring its rotation (all else was imported): %w", err)
	}
	in := &sm.RotateSecretInput{SecretId: &t.arn, RotationLambdaARN: ifSet(want.Function), RotateImmediately: aws.Bool(false),
		RotationRules: &types.RotationRulesType{ScheduleExpression: ifSet(r.Expression), Duration: ifSet(r.Duration)}}
	if r.Days > 0 {
		in.RotationRules.AutomaticallyAfterDays = &r.Days
	}
	if _, err := t.api.RotateSecret(ctx, in); err != nil {
		return fmt.Errorf("configuring its rotation (all else was imported): %w", err)
	}
	return nil
}

// findAdmin looks for the secret of the administrator, which the value names by the ARN at
// its source. testSecret does without it; the first rotation would fail.
func (t *target) findAdmin(ctx context.Context) error {
	admin := t.want.admin()
	if admin == "" {
		return nil
	}
	if _, err := t.api.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &admin}); err != nil {
		return fmt.Errorf("the secret that masterarn names is not here: correct that key, and configure the rotation by \"keyturn rotation adopt\": %w", err)
	}
	return nil
}

// admin is the key masterarn of AWSCURRENT; "" where there is none.
func (s *Secret) admin() string {
	var value struct {
		Admin string `json:"masterarn"`
	}
	for _, v := range s.Versions {
		if v.Text != nil && slices.Contains(v.Stages, current) {
			_ = json.Unmarshal([]byte(*v.Text), &value) // what is no such value names nobody
		}
	}
	return value.Admin
}

// here is the ARN of a function moved to the account and region of a secret.
func here(function, secret string) string {
	_, name, ok := strings.Cut(function, ":function:")
	if !ok {
		return function
	}
	return "arn:" + part(secret, 1) + ":lambda:" + part(secret, 3) + ":" + part(secret, 4) + ":function:" + name
}
