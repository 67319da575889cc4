package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

type healFlags struct{ yes, dryRun bool }

// healing is the JSON form of "rotation heal".
type healing struct {
	ARN    string
	Name   string
	Healed bool
	Before []keyturnapi.RotationLogin
	After  []keyturnapi.RotationLogin `json:",omitzero"`
}

func newRotationHealCommand(a *app) *cobra.Command {
	var flags healFlags
	cmd := &cobra.Command{
		Use:   "heal SECRET",
		Short: "Set the database's password back to the value of AWSCURRENT",
		Long: `Set the password in the database to the value of AWSCURRENT, after somebody has
changed it there. First the logins are tried, and what would be done is said;
where AWSCURRENT is live, nothing is.

The password is set by the administrator that the secret's key masterarn names
or, without one, by the account itself, while AWSPREVIOUS or AWSPENDING is live.
Whatever else was valid for the account ends: who uses a password that was set
by hand is locked out. Sessions that are open stay. No version is made and no
label moves; to give the account a new password, rotate it instead.

The secret's function must be one of keyturn's own, here or on AWS.`,
		Example: `  keyturn rotation heal prod/db --dry-run
  keyturn rotation heal prod/db --yes`,
		Args:              positional("SECRET"),
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.heal(cmd.Context(), args[0], flags) },
	}
	f := cmd.Flags()
	f.BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	f.BoolVar(&flags.dryRun, "dry-run", false, "try the logins and say what would be done")
	return cmd
}

func (a *app) heal(ctx context.Context, name string, flags healFlags) error {
	if !flags.yes && !flags.dryRun && !isTerminal(a.stdin) {
		return usagef("heal changes a password in the database: say --yes, or --dry-run to see what it would do")
	}
	cfg, err := a.awsConfig(ctx)
	if err != nil {
		return err
	}
	described, err := secretsmanager.NewFromConfig(cfg).DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		return fmt.Errorf("describing the secret: %w", err)
	}
	before, err := a.prove(ctx, cfg, described)
	if err != nil {
		return err
	}
	h := healing{ARN: aws.ToString(described.ARN), Name: aws.ToString(described.Name), Before: before.Logins}
	needed, err := healable(before)
	if err != nil {
		return err
	}
	pending := pendingVersion(described.VersionIdsToStages)
	if needed && pending != "" && aws.ToBool(described.RotationEnabled) {
		return guided{err: fmt.Errorf("a rotation to version %s is not complete, and comes first", pending), code: exitPreflight,
			hint: "\"keyturn rotation repair\" completes or drops it; \"aws secretsmanager cancel-rotate-secret\" ends it."}
	}
	if needed && !flags.dryRun {
		if err := a.healNow(ctx, cfg, described, &h, flags); err != nil {
			return err
		}
	}
	return a.writeHealing(h, needed)
}

// healable tells whether there is something to heal: only a refusal is proof.
func healable(p *keyturnapi.RotationPasswords) (bool, error) {
	current := currentLogin(p)
	switch {
	case current == nil:
		return false, errors.New("the secret has no AWSCURRENT to set the password to")
	case current.Outcome == rotation.LoginUnknown:
		return false, fmt.Errorf("nobody knows whether AWSCURRENT is live (%s), so nothing was changed: %s", current.ErrorClass, current.Error)
	}
	return current.Outcome == rotation.LoginRefused, nil
}

func (a *app) healNow(ctx context.Context, cfg aws.Config, described *secretsmanager.DescribeSecretOutput, h *healing, flags healFlags) error {
	fmt.Fprintln(a.stderr, healPlan(*h))
	if !flags.yes {
		ok, err := a.confirm(ctx, "Set the password?")
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("nothing was changed")
		}
	}
	function, err := functionOf(described, "")
	if err != nil {
		return err
	}
	if _, err := a.invokeStep(ctx, cfg, function, rotation.Event{Step: rotation.StepHeal, SecretID: h.ARN}); err != nil {
		return fmt.Errorf("healing: %w", err)
	}
	after, err := a.prove(ctx, cfg, described)
	if err != nil {
		return err
	}
	h.After = after.Logins
	if l := currentLogin(after); l == nil || l.Outcome != rotation.LoginLive {
		return guided{err: errors.New("the function has set the password, but AWSCURRENT still does not log in"), code: exitRotationUnknown}
	}
	h.Healed = true
	return nil
}

// healPlan says what is about to be done.
func healPlan(h healing) string {
	p := &keyturnapi.RotationPasswords{Logins: h.Before}
	current := currentLogin(p)
	return fmt.Sprintf("The database refuses user %s with AWSCURRENT (version %s) of %s.\n"+
		"Its password is set to the value of AWSCURRENT; whatever else is valid for the user ends.",
		current.Username, current.VersionID, h.Name)
}

func (a *app) writeHealing(h healing, needed bool) error {
	switch {
	case a.flags.output == outputJSON:
		return a.writeJSON(h)
	case !needed:
		return a.println("AWSCURRENT of", h.Name, "is live; there is nothing to heal")
	case h.Healed:
		return a.println("healed", h.Name+": AWSCURRENT logs in")
	}
	return a.println(healPlan(h) + "\nNothing was changed (--dry-run).")
}
