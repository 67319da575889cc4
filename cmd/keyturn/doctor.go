package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/doctor"
	"github.com/keyturn/keyturn/rotation"
	"github.com/keyturn/keyturn/rotation/mysql"
	"github.com/keyturn/keyturn/rotation/postgres"
)

type doctorFlags struct {
	fixOwnership bool
	dryRun       bool
	yes          bool
}

func newDoctorCommand(a *app) *cobra.Command {
	var flags doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor SECRET",
		Short: "Examine the database users of a secret",
		Long: `Compare the two users that take turns under the strategy AlternatingUsers: what
one of them may do and the other may not fails after the next rotation. The
database is asked from this machine, as the administrator of the secret's
masterarn. Exit code 3 says that something was found; nothing is changed.

--fix-ownership (PostgreSQL) mends what AWS's rotation templates leave: objects
that belong to whichever of the two logins made them. An owner role that cannot
log in gets the objects and grants of both, in every database of the server that
the administrator may enter, and both logins act as it from then on. Each
statement is shown first; --dry-run ends there, and --yes does not ask. Tables
are locked for a moment each; a lock that is not had in 10 seconds ends the
command, which may be repeated.`,
		Example: `  keyturn doctor prod/db
  keyturn doctor prod/db -o json
  keyturn doctor prod/db --fix-ownership --dry-run
  keyturn doctor prod/db --fix-ownership --yes`,
		Args:              positional("SECRET"),
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.doctor(cmd.Context(), args[0], flags) },
	}
	f := cmd.Flags()
	f.BoolVar(&flags.fixOwnership, "fix-ownership", false, "hand the objects of both users over to an owner role")
	f.BoolVar(&flags.dryRun, "dry-run", false, "with --fix-ownership: only show what would be done")
	f.BoolVarP(&flags.yes, "yes", "y", false, "with --fix-ownership: do not ask")
	return cmd
}

func (a *app) doctor(ctx context.Context, name string, flags doctorFlags) error {
	if !flags.fixOwnership && (flags.dryRun || flags.yes) {
		return usagef("--dry-run and --yes belong to --fix-ownership")
	}
	if flags.fixOwnership && !flags.dryRun && !flags.yes && !isTerminal(a.stdin) {
		return usagef("--fix-ownership changes the database: say --yes, or --dry-run to see what it would do")
	}
	cfg, err := a.awsConfig(ctx)
	if err != nil {
		return err
	}
	d := doctor.Doctor{Secrets: secretsmanager.NewFromConfig(cfg), Engine: anyEngine{}}
	found, err := d.Examine(ctx, name)
	if err != nil {
		return examining(err)
	}
	if !flags.fixOwnership || flags.dryRun || len(found.Ownership) == 0 {
		return a.writeExamined(found)
	}
	return a.fixOwnership(ctx, d, name, found, flags.yes)
}

// examining keeps what was asked for before the service's sentence: it may be the secret
// that masterarn names. A database that does not answer says itself what to do.
func examining(err error) error {
	err = fmt.Errorf("examining the secret: %w", err)
	_, asked := errors.AsType[*smithy.OperationError](err)
	switch {
	case isRefusal(err):
		return withStep(err)
	case asked:
		return err
	}
	return guided{err: err}
}

// anyEngine chooses by the secret.
type anyEngine struct{}

func (anyEngine) Connect(ctx context.Context, l rotation.Login) (rotation.Session, error) {
	switch l.Engine {
	case "postgres", "postgresql", "aurora-postgresql":
		return postgres.Engine{}.Connect(ctx, l)
	}
	return mysql.Engine{}.Connect(ctx, l)
}

var errFound = errors.New("something was found; nothing was changed")

// writeExamined ends with exit code 3 if there is something to mend.
func (a *app) writeExamined(r doctor.Report) error {
	if err := a.writeExamination(r, "to do for --fix-ownership:"); err != nil || r.Healthy() {
		return err
	}
	g := guided{err: errFound, code: exitFound}
	if len(r.Ownership) > 0 {
		g.hint = "\"keyturn doctor SECRET --fix-ownership\" mends the ownership."
	}
	return g
}

func (a *app) fixOwnership(ctx context.Context, d doctor.Doctor, name string, found doctor.Report, yes bool) error {
	if err := writeActions(a.stderr, "this will be done:", found.Ownership); err != nil {
		return err
	}
	if !yes {
		ok, err := a.confirm(ctx, "Do that?")
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("nothing was changed")
		}
	}
	done, err := d.FixOwnership(ctx, name)
	if err != nil {
		return guided{
			err:  fmt.Errorf("fixing the ownership, after %d of %d statements: %w", len(done.Ownership), len(found.Ownership), err),
			hint: "Both users can log in and have their rights. Run the command again when the cause is mended.",
		}
	}
	return a.writeExamination(done, "done:")
}

func (a *app) writeExamination(r doctor.Report, title string) error {
	if a.flags.output == outputJSON {
		return a.writeJSON(&r)
	}
	if r.Missing {
		return a.println("there is no user", r.OtherUser, "yet; the first rotation by AlternatingUsers makes it")
	}
	rows := [][]string{{"ONLY", "HAS"}}
	for _, each := range r.Differences {
		rows = append(rows, []string{each.User, each.What})
	}
	if len(r.Differences) == 0 {
		rows = [][]string{{r.CurrentUser + " and " + r.OtherUser + " may do the same"}}
	}
	if err := a.writeTable(rows); err != nil {
		return err
	}
	return writeActions(a.stdout, title, r.Ownership)
}

// writeActions writes the statements of each database under their reason.
func writeActions(w io.Writer, title string, actions []rotation.Action) error {
	if len(actions) == 0 {
		return nil
	}
	text := title + "\n"
	for _, each := range actions {
		if each.Reason != "" {
			text += "  -- in database " + printable(each.Database) + ": " + printable(each.Reason) + "\n"
		}
		text += "  " + printable(each.Statement) + ";\n"
	}
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}
