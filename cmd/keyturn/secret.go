package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/spf13/cobra"
)

func newSecretCommand(a *app) *cobra.Command {
	return newGroup("secret", "List, read, write and rotate secrets",
		newSecretListCommand(a), newSecretGetCommand(a), newSecretPutCommand(a), newSecretCreateCommand(a),
		newSecretDescribeCommand(a), newSecretDeleteCommand(a), newSecretRestoreCommand(a), newSecretRotateCommand(a))
}

func newSecretListCommand(a *app) *cobra.Command {
	var planned bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the secrets",
		Long: `List all secrets of the account and region: as a table on a terminal, as one
name a line in a pipe, or as AWS's SecretList with -o json.`,
		Example: `  keyturn secret list
  keyturn secret list | grep ^prod/
  keyturn secret list -o json --include-planned-deletion`,
		Args: positional(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.listSecrets(cmd.Context(), planned)
			if err != nil {
				return err
			}
			return a.writeSecrets(list)
		},
	}
	cmd.Flags().BoolVar(&planned, "include-planned-deletion", false, "list also secrets that wait for their deletion")
	return cmd
}

func (a *app) listSecrets(ctx context.Context, planned bool) ([]types.SecretListEntry, error) {
	client, err := a.secrets(ctx)
	if err != nil {
		return nil, err
	}
	in := &secretsmanager.ListSecretsInput{}
	if planned {
		in.IncludePlannedDeletion = aws.Bool(true)
	}
	list := []types.SecretListEntry{}
	pages := secretsmanager.NewListSecretsPaginator(client, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing the secrets: %w", err)
		}
		list = append(list, page.SecretList...)
	}
	return list, nil
}

func (a *app) writeSecrets(list []types.SecretListEntry) error {
	switch {
	case a.flags.output == outputJSON:
		return a.writeJSON(struct{ SecretList []types.SecretListEntry }{list})
	case a.flags.output == outputTable, a.flags.output == "" && isTerminal(a.stdout):
		return a.writeSecretTable(list)
	}
	for _, s := range list {
		if err := a.println(aws.ToString(s.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) writeSecretTable(list []types.SecretListEntry) error {
	rows := [][]string{{"NAME", "ROTATION", "LAST CHANGED", "NEXT ROTATION", "DESCRIPTION"}}
	for _, s := range list {
		rotation, next := ruleText(s.RotationEnabled, s.RotationRules), s.NextRotationDate
		if s.DeletedDate != nil {
			rotation, next = "deleted", nil
		}
		rows = append(rows, []string{
			aws.ToString(s.Name), rotation, a.when(s.LastChangedDate), a.when(next), aws.ToString(s.Description),
		})
	}
	return a.writeTable(rows)
}

// ruleText says when a secret rotates.
func ruleText(enabled *bool, rules *types.RotationRulesType) string {
	switch {
	case !aws.ToBool(enabled):
		return "off"
	case rules == nil:
		return "on request"
	case rules.ScheduleExpression != nil:
		return *rules.ScheduleExpression
	case rules.AutomaticallyAfterDays == nil:
		return "on request"
	case *rules.AutomaticallyAfterDays == 1:
		return "every day"
	}
	return fmt.Sprintf("every %d days", *rules.AutomaticallyAfterDays)
}

func newSecretDescribeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "describe NAME",
		Short: "Show everything about a secret but its value",
		Example: `  keyturn secret describe prod/db
  keyturn secret describe prod/db -o json`,
		Args:              positional("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.secrets(cmd.Context())
			if err != nil {
				return err
			}
			out, err := client.DescribeSecret(cmd.Context(), &secretsmanager.DescribeSecretInput{SecretId: &args[0]})
			if err != nil {
				return fmt.Errorf("describing the secret: %w", err)
			}
			return a.writeDescription(out)
		},
	}
}

func (a *app) writeDescription(s *secretsmanager.DescribeSecretOutput) error {
	if a.flags.output == outputJSON {
		return a.writeJSON(s)
	}
	var f facts
	f.add("Name", aws.ToString(s.Name))
	f.add("ARN", aws.ToString(s.ARN))
	f.add("Description", aws.ToString(s.Description))
	f.add("KMS key", aws.ToString(s.KmsKeyId))
	f.add("Owning service", aws.ToString(s.OwningService))
	f.add("Type", aws.ToString(s.Type))
	f.add("Primary region", aws.ToString(s.PrimaryRegion))
	f.add("Created", a.when(s.CreatedDate))
	f.add("Last changed", a.when(s.LastChangedDate))
	f.add("Last accessed", a.when(s.LastAccessedDate))
	f.add("Scheduled for deletion", a.when(s.DeletedDate))
	f.add("Rotation", ruleText(s.RotationEnabled, s.RotationRules))
	f.add("Rotation function", aws.ToString(s.RotationLambdaARN))
	f.add("Last rotated", a.when(s.LastRotatedDate))
	if s.DeletedDate == nil {
		f.add("Next rotation", a.when(s.NextRotationDate))
	}
	for _, r := range s.ReplicationStatus {
		f.add("Replica", replicaText(r))
	}
	for _, tag := range s.Tags {
		f.add("Tag", aws.ToString(tag.Key)+"="+aws.ToString(tag.Value))
	}
	for _, row := range versionRows(s.VersionIdsToStages) {
		f.add("Version", row)
	}
	return a.writeTable(f)
}

// replicaText is a replica's state, and why it failed.
func replicaText(r types.ReplicationStatusType) string {
	text := aws.ToString(r.Region) + " " + string(r.Status)
	if r.Status == types.StatusTypeFailed {
		text += ": " + aws.ToString(r.StatusMessage)
	}
	return text
}

// shownStages joins staging labels for a person. AWSPENDING, which a rotation leaves beside
// AWSCURRENT as on AWS, would look like one that is stuck; -o json has it.
func shownStages(stages []string) string {
	if slices.Contains(stages, stageCurrent) {
		stages = slices.DeleteFunc(slices.Clone(stages), func(label string) bool { return label == stagePending })
	}
	return strings.Join(stages, " ")
}

// versionRows names each version with its staging labels, AWSCURRENT first.
func versionRows(versions map[string][]string) []string {
	rows := make([]string, 0, len(versions))
	for id, stages := range versions {
		rows = append(rows, strings.TrimSpace(id+" "+shownStages(stages)))
	}
	slices.SortFunc(rows, func(x, y string) int {
		if current := strings.Contains(x, stageCurrent); current != strings.Contains(y, stageCurrent) {
			if current {
				return -1
			}
			return 1
		}
		return strings.Compare(x, y)
	})
	return rows
}

const (
	stageCurrent  = "AWSCURRENT"
	stagePending  = "AWSPENDING"
	stagePrevious = "AWSPREVIOUS"
)
