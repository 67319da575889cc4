package main

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/spf13/cobra"
)

const valueHelp = `The value is read from stdin or from a file, never from an argument; on a
terminal it is asked for, hidden and twice. Bytes that are no UTF-8 become
SecretBinary, everything else SecretString, exactly as it came.`

func addValueFlags(cmd *cobra.Command, flags *valueFlags) {
	cmd.Flags().StringVar(&flags.file, "from-file", "", "file that holds the value (-: stdin)")
	cmd.Flags().BoolVar(&flags.binary, "binary", false, "store the value as SecretBinary")
	cmd.Flags().BoolVar(&flags.trimNewline, "trim-newline", false, "leave out one newline at the value's end")
	_ = cmd.MarkFlagFilename("from-file")
}

type createFlags struct {
	value       valueFlags
	none        bool
	description string
	kmsKeyID    string
	token       string
	tags        []string
}

func newSecretCreateCommand(a *app) *cobra.Command {
	var flags createFlags
	cmd := &cobra.Command{
		Use:   "create NAME [-]",
		Short: "Create a secret",
		Long: `Create a secret, with its first value or without one.

` + valueHelp + ` An empty value, or --no-value, creates
a secret that has none yet.`,
		Example: `  keyturn secret create prod/db --from-file login.json --tag team=payments
  printf %s "$TOKEN" | keyturn secret create prod/token --description "token of the mail service"
  keyturn secret create prod/later --no-value`,
		Args:              func(_ *cobra.Command, args []string) error { return nameAndDash(args) },
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.createSecret(cmd, args[0], flags) },
	}
	addValueFlags(cmd, &flags.value)
	f := cmd.Flags()
	f.BoolVar(&flags.none, "no-value", false, "read no value")
	f.StringVar(&flags.description, "description", "", "description of the secret")
	f.StringVar(&flags.kmsKeyID, "kms-key-id", "", "key that encrypts the secret")
	f.StringVar(&flags.token, "client-request-token", "", "id of the first version, which makes a repetition harmless")
	f.StringArrayVar(&flags.tags, "tag", nil, "tag KEY=VALUE; may be given several times")
	return cmd
}

func (a *app) createSecret(cmd *cobra.Command, name string, flags createFlags) error {
	tags, err := parseTags(flags.tags)
	if err != nil {
		return err
	}
	var value secretValue
	if flags.none && flags.value != (valueFlags{}) {
		return usagef("--no-value does not go with a flag that concerns the value")
	}
	client, err := a.secrets(cmd.Context())
	if err != nil {
		return err
	}
	if !flags.none {
		if value, err = a.readValue(cmd.Context(), flags.value); err != nil {
			return err
		}
	}
	if len(value.data) == 0 {
		value.binary = false
	}
	out, err := client.CreateSecret(cmd.Context(), &secretsmanager.CreateSecretInput{
		Name: &name, Description: optional(flags.description), KmsKeyId: optional(flags.kmsKeyID),
		ClientRequestToken: optional(flags.token), Tags: tags,
		SecretString: value.text(), SecretBinary: value.bytes(),
	})
	if err != nil {
		return fmt.Errorf("creating the secret: %w", err)
	}
	if a.flags.output == outputJSON {
		return a.writeJSON(out)
	}
	if out.VersionId == nil {
		return a.println("created", *out.Name, "without a value")
	}
	return a.println("created", *out.Name, "with version", *out.VersionId)
}

func parseTags(pairs []string) ([]types.Tag, error) {
	var tags []types.Tag
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usagef("--tag is KEY=VALUE, not %q", pair)
		}
		tags = append(tags, types.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
	return tags, nil
}

type putFlags struct {
	value  valueFlags
	token  string
	stages []string
}

func newSecretPutCommand(a *app) *cobra.Command {
	var flags putFlags
	cmd := &cobra.Command{
		Use:   "put NAME [-]",
		Short: "Store a new version of a secret",
		Long: `Store a new version of a secret. It becomes AWSCURRENT unless --stage says
otherwise; the version that was current becomes AWSPREVIOUS.

` + valueHelp,
		Example: `  keyturn secret put prod/db --from-file login.json
  printf %s "$TOKEN" | keyturn secret put prod/token
  keyturn secret put prod/db --stage AWSPENDING --from-file next.json`,
		Args:              func(_ *cobra.Command, args []string) error { return nameAndDash(args) },
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.putSecret(cmd, args[0], flags) },
	}
	addValueFlags(cmd, &flags.value)
	cmd.Flags().StringVar(&flags.token, "client-request-token", "", "id of the version, which makes a repetition harmless")
	cmd.Flags().StringArrayVar(&flags.stages, "stage", nil, "staging label of the version (AWSCURRENT); may be given several times")
	return cmd
}

func (a *app) putSecret(cmd *cobra.Command, name string, flags putFlags) error {
	client, err := a.secrets(cmd.Context())
	if err != nil {
		return err
	}
	value, err := a.readValue(cmd.Context(), flags.value)
	if err != nil {
		return err
	}
	if len(value.data) == 0 {
		return usageError{message: "the value is empty", hint: noValueArgument}
	}
	out, err := client.PutSecretValue(cmd.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: &name, VersionStages: flags.stages, ClientRequestToken: optional(flags.token),
		SecretString: value.text(), SecretBinary: value.bytes(),
	})
	if err != nil {
		return fmt.Errorf("storing the value: %w", err)
	}
	if a.flags.output == outputJSON {
		return a.writeJSON(out)
	}
	return a.println("stored version", aws.ToString(out.VersionId), "of", aws.ToString(out.Name),
		"as", strings.Join(out.VersionStages, ", "))
}
