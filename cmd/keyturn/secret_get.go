package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
)

type getFlags struct {
	versionID, versionStage, field string
	hasField                       bool // --field is given: it may be empty, as from a variable that is not set
}

func newSecretGetCommand(a *app) *cobra.Command {
	var flags getFlags
	cmd := &cobra.Command{
		Use:   "get NAME",
		Short: "Print the value of a secret",
		Long: `Print the value of a secret and nothing else, byte for byte. A newline is added
only on a terminal. --field prints one member of a value that is a JSON object,
a string without its quotes.`,
		Example: `  keyturn secret get prod/db
  keyturn secret get prod/db --field password
  PGPASSWORD=$(keyturn secret get prod/db --field password) psql -h db app
  keyturn secret get prod/db --version-stage AWSPREVIOUS -o json`,
		Args:              positional("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.hasField = cmd.Flags().Changed("field")
			return a.getSecret(cmd, args[0], flags)
		},
	}
	cmd.Flags().StringVar(&flags.versionID, "version-id", "", "version to read")
	cmd.Flags().StringVar(&flags.versionStage, "version-stage", "", "staging label of the version to read (AWSCURRENT)")
	cmd.Flags().StringVar(&flags.field, "field", "", "print only this member of the JSON object")
	return cmd
}

func (a *app) getSecret(cmd *cobra.Command, name string, flags getFlags) error {
	if flags.hasField && a.flags.output != "" && a.flags.output != outputText {
		return usagef("--field prints text; it does not go with --output %s", a.flags.output)
	}
	client, err := a.secrets(cmd.Context())
	if err != nil {
		return err
	}
	out, err := client.GetSecretValue(cmd.Context(), &secretsmanager.GetSecretValueInput{
		SecretId: &name, VersionId: optional(flags.versionID), VersionStage: optional(flags.versionStage),
	})
	if err != nil {
		return fmt.Errorf("reading the secret: %w", err)
	}
	switch a.flags.output {
	case outputJSON:
		return a.writeJSON(out)
	case outputTable:
		return a.writeValueTable(out)
	}
	value := valueOf(out)
	if flags.hasField {
		if value, err = fieldOf(value, flags.field); err != nil {
			return err
		}
	}
	return a.writeValue(value)
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func valueOf(out *secretsmanager.GetSecretValueOutput) secretValue {
	v := secretValue{data: out.SecretBinary, binary: out.SecretString == nil}
	if out.SecretString != nil {
		v.data = []byte(*out.SecretString)
	}
	return v
}

// fieldOf picks one member. Errors name the members that exist, never values.
func fieldOf(v secretValue, field string) (secretValue, error) {
	if v.binary {
		return secretValue{}, errors.New("the value is binary: it has no fields")
	}
	members, err := membersOf(v)
	if err != nil {
		return secretValue{}, err
	}
	raw, ok := members[field]
	if !ok {
		names := slices.Sorted(maps.Keys(members))
		err := fmt.Errorf("the value has no field %q; it has: %s", field, strings.Join(names, ", "))
		return secretValue{}, guided{err: err, code: exitNotFound}
	}
	return secretValue{data: []byte(memberText(raw))}, nil
}

// membersOf reads a JSON object; its numbers stay as they are written.
func membersOf(v secretValue) (map[string]jsontext.Value, error) {
	var members map[string]jsontext.Value
	// The decoder's own error could repeat a piece of the value.
	if json.Unmarshal(v.data, &members) != nil || members == nil {
		return nil, errors.New("the value is no JSON object: it has no fields")
	}
	return members, nil
}

func memberText(raw jsontext.Value) string {
	var text string
	if raw.Kind() != '"' || json.Unmarshal(raw, &text) != nil {
		return string(raw)
	}
	return text
}

func (a *app) writeValue(v secretValue) error {
	data := v.data
	if isTerminal(a.stdout) && !v.binary {
		data = append(slices.Clip(data), '\n')
	}
	if _, err := a.stdout.Write(data); err != nil {
		return fmt.Errorf("writing the value: %w", err)
	}
	return nil
}

// writeValueTable shows a JSON object member by member.
func (a *app) writeValueTable(out *secretsmanager.GetSecretValueOutput) error {
	var f facts
	f.add("Name", aws.ToString(out.Name))
	f.add("ARN", aws.ToString(out.ARN))
	f.add("Version", strings.TrimSpace(aws.ToString(out.VersionId)+" "+shownStages(out.VersionStages)))
	f.add("Created", a.when(out.CreatedDate))
	v := valueOf(out)
	members, err := membersOf(v)
	switch {
	case v.binary:
		f.add("Value", fmt.Sprintf("%d bytes, binary", len(v.data)))
	case err != nil:
		f.add("Value", string(v.data))
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		f.add("Value of "+name, memberText(members[name]))
	}
	return a.writeTable(f)
}
