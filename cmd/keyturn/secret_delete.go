package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"
)

type deleteFlags struct {
	window     int64
	force, yes bool
}

func newSecretDeleteCommand(a *app) *cobra.Command {
	var flags deleteFlags
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a secret, at the end of a recovery window",
		Long: `Delete a secret. Until its recovery window ends, 30 days from now unless said
otherwise, "keyturn secret restore" brings it back.
--force-delete-without-recovery deletes it for good, at once; on a terminal that
is asked about first.`,
		Example: `  keyturn secret delete test/db --recovery-window-in-days 7
  keyturn secret delete test/db --force-delete-without-recovery --yes`,
		Args:              positional("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.deleteSecret(cmd, args[0], flags) },
	}
	f := cmd.Flags()
	f.Int64Var(&flags.window, "recovery-window-in-days", 0, "days until the deletion, 7 to 30 (30)")
	f.BoolVar(&flags.force, "force-delete-without-recovery", false, "delete at once and for good")
	f.BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) deleteSecret(cmd *cobra.Command, name string, flags deleteFlags) error {
	in := &secretsmanager.DeleteSecretInput{SecretId: &name}
	if cmd.Flags().Changed("recovery-window-in-days") {
		in.RecoveryWindowInDays = &flags.window
	}
	if flags.force {
		in.ForceDeleteWithoutRecovery = aws.Bool(true)
	}
	if flags.force && in.RecoveryWindowInDays != nil {
		return usagef("--force-delete-without-recovery leaves no --recovery-window-in-days")
	}
	client, err := a.secrets(cmd.Context())
	if err != nil {
		return err
	}
	if flags.force && !flags.yes {
		ok, err := a.confirm(cmd.Context(), fmt.Sprintf("Delete %s for good?", name))
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("nothing was deleted")
		}
	}
	out, err := client.DeleteSecret(cmd.Context(), in)
	if err != nil {
		return fmt.Errorf("deleting the secret: %w", err)
	}
	return a.writeDeletion(out, flags.force)
}

// unknownSuffix is how a keyturn server ends the ARN of a secret that is not there, in the
// answer to a forced deletion, which succeeds all the same, as on AWS.
const unknownSuffix = "-??????"

func (a *app) writeDeletion(out *secretsmanager.DeleteSecretOutput, force bool) error {
	if a.flags.output == outputJSON {
		return a.writeJSON(out)
	}
	name := aws.ToString(out.Name)
	switch {
	case strings.HasSuffix(aws.ToString(out.ARN), unknownSuffix):
		return a.println("there is no secret", name+": nothing was deleted")
	case force:
		return a.println("deleted", name, "for good")
	}
	return a.println(name, "will be deleted at", aws.ToTime(out.DeletionDate).UTC().Format(time.RFC3339)+
		"; until then \"keyturn secret restore", name+"\" brings it back")
}

func newSecretRestoreCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "restore NAME",
		Short:             "Take back the deletion of a secret",
		Example:           `  keyturn secret restore test/db`,
		Args:              positional("NAME"),
		ValidArgsFunction: offer(1, a.deletedNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.secrets(cmd.Context())
			if err != nil {
				return err
			}
			out, err := client.RestoreSecret(cmd.Context(), &secretsmanager.RestoreSecretInput{SecretId: &args[0]})
			if err != nil {
				return fmt.Errorf("restoring the secret: %w", err)
			}
			if a.flags.output == outputJSON {
				return a.writeJSON(out)
			}
			return a.println("restored", aws.ToString(out.Name))
		},
	}
}
