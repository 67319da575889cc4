package main

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"
)

func newRandomPasswordCommand(a *app) *cobra.Command {
	in := &secretsmanager.GetRandomPasswordInput{}
	var length int64
	var excluded string
	switches := map[string]**bool{
		"exclude-numbers": &in.ExcludeNumbers, "exclude-punctuation": &in.ExcludePunctuation,
		"exclude-uppercase": &in.ExcludeUppercase, "exclude-lowercase": &in.ExcludeLowercase,
		"include-space": &in.IncludeSpace, "require-each-included-type": &in.RequireEachIncludedType,
	}
	cmd := &cobra.Command{
		Use:   "random-password",
		Short: "Make a password with GetRandomPassword",
		Long: `Ask Secrets Manager for a random password and print it. Nothing is stored. The
flags are the parameters of GetRandomPassword.`,
		Example: `  keyturn random-password --length 24 --exclude-punctuation
  keyturn random-password --exclude-characters '/@"'`,
		Args: positional(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("length") {
				in.PasswordLength = &length
			}
			in.ExcludeCharacters = optional(excluded)
			return a.randomPassword(cmd, in)
		},
	}
	f := cmd.Flags()
	f.Int64Var(&length, "length", 32, "PasswordLength: characters, 1 to 4096")
	f.StringVar(&excluded, "exclude-characters", "", "ExcludeCharacters: characters that must not occur")
	for name, field := range switches {
		*field = f.Bool(name, name == "require-each-included-type", switchHelp[name])
	}
	return cmd
}

var switchHelp = map[string]string{
	"exclude-numbers":            "ExcludeNumbers: no digits",
	"exclude-punctuation":        "ExcludePunctuation: no punctuation",
	"exclude-uppercase":          "ExcludeUppercase: no uppercase letters",
	"exclude-lowercase":          "ExcludeLowercase: no lowercase letters",
	"include-space":              "IncludeSpace: the space may occur",
	"require-each-included-type": "RequireEachIncludedType: at least one of each type",
}

func (a *app) randomPassword(cmd *cobra.Command, in *secretsmanager.GetRandomPasswordInput) error {
	client, err := a.secrets(cmd.Context())
	if err != nil {
		return err
	}
	out, err := client.GetRandomPassword(cmd.Context(), in)
	if err != nil {
		return fmt.Errorf("asking for a random password: %w", err)
	}
	if a.flags.output == outputJSON {
		return a.writeJSON(out)
	}
	return a.println(aws.ToString(out.RandomPassword))
}
