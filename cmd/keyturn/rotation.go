package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/keyturnapi"
)

func newRotationCommand(a *app) *cobra.Command {
	return newGroup("rotation", "See how rotations stand and went, and set how they go",
		newRotationStatusCommand(a), newRotationTimelineCommand(a), newRotationConfigureCommand(a))
}

// rotationStatus is the JSON form of "rotation status".
type rotationStatus struct {
	ARN               string
	Name              string
	RotationEnabled   bool
	RotationLambdaARN string                   `json:",omitzero"`
	RotationRules     *types.RotationRulesType `json:",omitzero"`
	LastRotatedDate   *time.Time               `json:",omitzero"`
	NextRotationDate  *time.Time               `json:",omitzero"`
	PendingVersionID  string                   `json:"PendingVersionId,omitzero"`
	Strategy          string                   `json:",omitzero"`
	LastError         *stepError               `json:",omitzero"`
	Next              *keyturnapi.RotationNext `json:",omitzero"`
}

// stepError is a failure that no later success has made up for.
type stepError struct {
	Step    string
	Class   string `json:",omitzero"`
	Message string
	At      time.Time
	Attempt int64
}

func newRotationStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status SECRET",
		Short: "Show how the rotation of a secret stands",
		Long: `Show whether a secret rotates, by which rule, when it did and will, and, from a
keyturn server, the strategy, the last error with its class and the next
attempt. AWS keeps no such record: there only what DescribeSecret says is shown.`,
		Example: `  keyturn rotation status prod/db
  keyturn rotation status prod/db -o json`,
		Args:              positional("SECRET"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			status, err := a.rotationStatus(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if a.flags.output == outputJSON {
				return a.writeJSON(status)
			}
			return a.writeStatus(status)
		},
	}
}

func (a *app) rotationStatus(ctx context.Context, name string) (rotationStatus, error) {
	cfg, err := a.awsConfig(ctx)
	if err != nil {
		return rotationStatus{}, err
	}
	client := secretsmanager.NewFromConfig(cfg)
	described, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		return rotationStatus{}, fmt.Errorf("describing the secret: %w", err)
	}
	records, err := keyturnapi.New(cfg).ListRotations(ctx, &keyturnapi.ListRotationsInput{SecretID: name})
	if isUnsupported(err) {
		records, err = &keyturnapi.ListRotationsOutput{}, nil
	}
	if err != nil {
		return rotationStatus{}, fmt.Errorf("reading the rotation's record: %w", err)
	}
	return statusOf(described, records), nil
}

func statusOf(s *secretsmanager.DescribeSecretOutput, records *keyturnapi.ListRotationsOutput) rotationStatus {
	return rotationStatus{
		ARN: aws.ToString(s.ARN), Name: aws.ToString(s.Name),
		RotationEnabled: aws.ToBool(s.RotationEnabled), RotationLambdaARN: aws.ToString(s.RotationLambdaARN),
		RotationRules: s.RotationRules, LastRotatedDate: s.LastRotatedDate, NextRotationDate: s.NextRotationDate,
		PendingVersionID: pendingVersion(s.VersionIdsToStages),
		Strategy:         records.Strategy, LastError: lastError(records.Runs), Next: records.Next,
	}
}

// pendingVersion is the version on its way. After a rotation AWS leaves
// AWSPENDING beside AWSCURRENT: that is none.
func pendingVersion(versions map[string][]string) string {
	for id, stages := range versions {
		if slices.Contains(stages, stagePending) && !slices.Contains(stages, stageCurrent) {
			return id
		}
	}
	return ""
}

// lastError finds the newest ended step, if it failed.
func lastError(runs []keyturnapi.RotationRun) *stepError {
	for _, r := range runs {
		switch r.Outcome {
		case outcomeFailed:
			at := r.Started
			if r.Ended != nil {
				at = *r.Ended
			}
			return &stepError{Step: r.Step, Class: r.ErrorClass, Message: r.Error, At: at, Attempt: r.Attempt}
		case outcomeSucceeded:
			return nil
		}
	}
	return nil
}

func (a *app) writeStatus(s rotationStatus) error {
	var f facts
	f.add("Name", s.Name)
	f.add("Rotation", ruleText(&s.RotationEnabled, s.RotationRules))
	f.add("Function", s.RotationLambdaARN)
	f.add("Last rotated", a.when(s.LastRotatedDate))
	f.add("Next rotation", a.when(s.NextRotationDate))
	f.add("Strategy", s.Strategy)
	f.add("Pending version", s.PendingVersionID)
	if e := s.LastError; e != nil {
		f.add("Last error", fmt.Sprintf("%s: %s", strings.TrimSpace(e.Step+" "+e.Class), e.Message))
		f.add("Failed at", fmt.Sprintf("%s, attempt %d", a.when(&e.At), e.Attempt))
	}
	if s.Next != nil {
		f.add("Next step", fmt.Sprintf("%s at %s, attempt %d", s.Next.Step, a.when(&s.Next.At), s.Next.Attempt))
	}
	return a.writeTable(f)
}
