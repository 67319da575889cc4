package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotation"
)

// tagSetting is one flag of "rotation configure": a setting that lives in a tag
// of the secret.
type tagSetting struct {
	flag, tag, usage string
	check            func(value string) error // of a value that is not empty
	values           []string                 // for completion; nil: any
}

// tagSettings is where the flags of "rotation configure" are registered.
func tagSettings() []tagSetting {
	return slices.Concat(functionSettings(), scheduleSettings())
}

// functionSettings are what a rotation function reads.
func functionSettings() []tagSetting {
	return []tagSetting{
		{flag: "strategy", tag: rotation.TagStrategy, usage: "auto, SingleUser, DualPassword or AlternatingUsers",
			check: rotation.CheckStrategy, values: rotation.Strategies()},
		{flag: "grace", tag: rotation.TagGrace, usage: "how long an old password stays valid, such as 6h or 2d",
			check: func(value string) error { _, err := rotation.ParseGrace(value); return err }},
		{flag: "password-length", tag: rotation.TagPasswordLength, usage: "how many characters a new password has, 8 to 128",
			check: func(value string) error { _, err := rotation.ParsePasswordLength(value); return err }},
		{flag: "password-exclude", tag: rotation.TagPasswordExclude, usage: "characters that a new password must not have, such as ._ or 0O1lI",
			check: rotation.CheckPasswordExclude},
	}
}

// rotationSettings is the JSON form of "rotation configure".
type rotationSettings struct {
	ARN      string
	Name     string
	Settings map[string]string // :: flag → value; without those that are not set
}

func newRotationConfigureCommand(a *app) *cobra.Command {
	given := map[string]*string{}
	cmd := &cobra.Command{
		Use:   "configure SECRET",
		Short: "Set how a secret rotates, or show it",
		Long: `Set how a secret rotates, in tags of the secret, so that AWS, Terraform and a
keyturn server keep it alike. An empty value removes a setting; without flags
the settings are shown. The key rotationStrategy in the secret's value goes
before --strategy.`,
		Example: `  keyturn rotation configure prod/db --strategy AlternatingUsers
  keyturn rotation configure prod/db --grace 2d
  keyturn rotation configure prod/db --grace ''
  keyturn rotation configure prod/db --password-length 24 --password-exclude ._
  keyturn rotation configure prod/db --time-zone Europe/Berlin --blackout 2026-12-24/2027-01-02
  keyturn rotation configure prod/db -o json`,
		Args:              positional("SECRET"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			changes := map[string]string{}
			for flag, value := range given {
				if cmd.Flags().Changed(flag) {
					changes[flag] = *value
				}
			}
			return a.configureRotation(cmd.Context(), args[0], changes)
		},
	}
	for _, s := range tagSettings() {
		given[s.flag] = cmd.Flags().String(s.flag, "", s.usage)
		_ = cmd.RegisterFlagCompletionFunc(s.flag, cobra.FixedCompletions(s.values, cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

// configureRotation checks all changes before it makes the first one.
func (a *app) configureRotation(ctx context.Context, name string, changes map[string]string) error {
	var set []types.Tag
	var remove []string
	for _, s := range tagSettings() {
		value, changed := changes[s.flag]
		switch {
		case !changed:
		case value == "":
			remove = append(remove, s.tag)
		default:
			if err := s.check(value); err != nil {
				return usagef("--%s: %v", s.flag, err)
			}
			set = append(set, types.Tag{Key: aws.String(s.tag), Value: aws.String(value)})
		}
	}
	cfg, err := a.awsConfig(ctx)
	if err != nil {
		return err
	}
	client := secretsmanager.NewFromConfig(cfg)
	if err := changeTags(ctx, client, name, set, remove); err != nil {
		return err
	}
	described, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		return fmt.Errorf("describing the secret: %w", err)
	}
	return a.writeSettings(described)
}

func changeTags(ctx context.Context, client *secretsmanager.Client, name string, set []types.Tag, remove []string) error {
	if len(set) > 0 {
		if _, err := client.TagResource(ctx, &secretsmanager.TagResourceInput{SecretId: &name, Tags: set}); err != nil {
			return fmt.Errorf("setting the tags: %w", err)
		}
	}
	if len(remove) > 0 {
		if _, err := client.UntagResource(ctx, &secretsmanager.UntagResourceInput{SecretId: &name, TagKeys: remove}); err != nil {
			return fmt.Errorf("removing the tags: %w", err)
		}
	}
	return nil
}

func (a *app) writeSettings(s *secretsmanager.DescribeSecretOutput) error {
	found := rotationSettings{ARN: aws.ToString(s.ARN), Name: aws.ToString(s.Name), Settings: map[string]string{}}
	var f facts
	f.add("name", found.Name)
	for _, each := range tagSettings() {
		value := tagOf(s.Tags, each.tag)
		if value != "" {
			found.Settings[each.flag] = value
		}
		f.add(each.flag, orDash(value))
	}
	if a.flags.output == outputJSON {
		return a.writeJSON(&found)
	}
	return a.writeTable(f)
}

func tagOf(tags []types.Tag, key string) string {
	for _, tag := range tags {
		if aws.ToString(tag.Key) == key {
			return aws.ToString(tag.Value)
		}
	}
	return ""
}
