package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

type repairFlags struct {
	yes, dryRun bool
	function    string
}

// repair is the JSON form of "rotation repair".
type repair struct {
	ARN              string
	Name             string
	PendingVersionID string `json:"PendingVersionId,omitzero"`
	Logins           []repairLogin
	LastError        *stepError `json:",omitzero"`
	// The database may have the password of this version, which no login has tried.
	UnlabelledVersionID string `json:"UnlabelledVersionId,omitzero"`
	Action              repairAction
	Why                 string
	Done                bool
	VersionID           string `json:"VersionId,omitzero"` // AWSCURRENT after it
}

// repairLogin is what a login with one version's password has shown.
type repairLogin struct {
	VersionID  string `json:"VersionId"`
	Stages     []string
	Username   string `json:",omitzero"`
	Outcome    string // live, refused or unknown
	ErrorClass string `json:",omitzero"`
	Error      string `json:",omitzero"`
	At         time.Time
}

func newRotationRepairCommand(a *app) *cobra.Command {
	var flags repairFlags
	cmd := &cobra.Command{
		Use:   "repair SECRET",
		Short: "Complete, begin again or drop a rotation that is stuck",
		Long: `Log in with each staged password, say which is live and what that means, and then
complete the rotation that is stuck, begin it again with a new password, or drop
what is left of it. On a terminal it asks before it acts.

Completing or beginning a rotation enables automatic rotation, as RotateSecret
does, and waits for its end: 5 minutes at most, or as long as --timeout says.
The end is code 6 where nobody knows which password is live, and 4 where the pending
value can't become AWSCURRENT, whose password has to be healed first.

The logins are tried by the step proveSecret of keyturn's rotation functions,
here and on AWS; --function names one for a secret that has another's.`,
		Example: `  keyturn rotation repair prod/db --dry-run
  keyturn rotation repair prod/db --yes`,
		Args:              positional("SECRET"),
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.repair(cmd.Context(), args[0], flags) },
	}
	f := cmd.Flags()
	f.BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	f.BoolVar(&flags.dryRun, "dry-run", false, "say what it would do, and do nothing")
	f.StringVar(&flags.function, "function", "", "function that tries the logins, by name or ARN (the secret's own)")
	return cmd
}

// repairer has what a repair needs.
type repairer struct {
	app     *app
	secrets *secretsmanager.Client
	records *keyturnapi.Client
	repair
	newest time.Time // when the newest step of the record began
}

func (a *app) repair(ctx context.Context, name string, flags repairFlags) error {
	if !flags.yes && !flags.dryRun && !isTerminal(a.stdin) {
		return usagef("repair may change a password in the database: say --yes, or --dry-run to see what it would do")
	}
	cfg, err := a.awsConfig(ctx)
	if err != nil {
		return err
	}
	r := &repairer{app: a, secrets: secretsmanager.NewFromConfig(cfg), records: keyturnapi.New(cfg)}
	if err := r.look(ctx, cfg, name, flags.function); err != nil {
		return err
	}
	switch {
	case r.Action == repairWait:
		return guided{err: errors.New(r.Why), hint: strings.TrimRight(r.proofs()+r.mendText(), "\n"), code: exitRotationUnknown}
	case r.Action == repairHeal:
		return guided{err: errors.New(r.Why), hint: r.proofs() + r.healText(), code: exitPreflight}
	case r.Action == repairNothing || flags.dryRun:
		return r.write()
	}
	if a.flags.output != outputJSON {
		fmt.Fprintln(a.stderr, r.text())
	}
	if !flags.yes {
		fmt.Fprint(a.stderr, r.unlabelledText(r.PendingVersionID))
		ok, err := a.confirm(ctx, "Go on?")
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("nothing was changed")
		}
	}
	if err := r.act(ctx); err != nil {
		return err
	}
	r.Done = true
	return r.write()
}

// look finds out what is true, and decides.
func (r *repairer) look(ctx context.Context, cfg aws.Config, name, function string) error {
	described, err := r.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		return fmt.Errorf("describing the secret: %w", err)
	}
	records, err := r.records.ListRotations(ctx, &keyturnapi.ListRotationsInput{SecretID: name})
	if isUnsupported(err) {
		records, r.records, err = &keyturnapi.ListRotationsOutput{}, nil, nil
	}
	if err != nil {
		return fmt.Errorf("reading the rotation's record: %w", err)
	}
	if function, err = functionOf(described, function); err != nil {
		return err
	}
	r.ARN, r.Name = aws.ToString(described.ARN), aws.ToString(described.Name)
	proved, err := r.app.invokeStep(ctx, cfg, function, rotation.Event{Step: rotation.StepProve, SecretID: r.ARN})
	if err != nil {
		return untried(err)
	}
	if len(proved.Logins) == 0 {
		return notOurs(function, rotation.StepProve)
	}
	if len(records.Runs) > 0 {
		r.newest = records.Runs[0].Started
	}
	k := repairFactsOf(described, proved.Logins, records.Runs)
	for _, l := range proved.Logins {
		r.Logins = append(r.Logins, repairLogin{VersionID: l.VersionID, Stages: l.Stages, Username: l.Username,
			Outcome: l.Outcome, ErrorClass: string(l.Class), Error: l.Error, At: l.At})
	}
	r.LastError, r.PendingVersionID = lastError(records.Runs), k.pending
	r.Action, r.Why = repairOf(k)
	r.UnlabelledVersionID = unlabelled(records.Runs, proved.Logins)
	return nil
}

// act does what was decided.
func (r *repairer) act(ctx context.Context) error {
	if r.Action == repairDrop || r.Action == repairRecreate {
		if err := r.drop(ctx); err != nil {
			return err
		}
	}
	switch r.Action {
	case repairFinish:
		return r.rotate(ctx, &r.PendingVersionID)
	case repairRecreate, repairRotate:
		return r.rotate(ctx, nil)
	}
	return nil
}

// drop takes AWSPENDING off, which ends its rotation.
func (r *repairer) drop(ctx context.Context) error {
	_, err := r.secrets.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: &r.ARN, VersionStage: aws.String(stagePending), RemoveFromVersionId: &r.PendingVersionID,
	})
	if err != nil {
		return fmt.Errorf("dropping version %s: %w", r.PendingVersionID, err)
	}
	return nil
}

// rotate starts a rotation, or the one of a version again, and waits for it.
// AWS may answer that the rotation "will be reattempted", which is the same.
func (r *repairer) rotate(ctx context.Context, version *string) error {
	out, err := r.secrets.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: &r.ARN, ClientRequestToken: version})
	if version != nil && isIncomplete(err) {
		out, err = &secretsmanager.RotateSecretOutput{ARN: &r.ARN, Name: &r.Name, VersionId: version}, nil
	}
	if err != nil {
		return fmt.Errorf("rotating the secret: %w", err)
	}
	w := newWatch(r.app, r.secrets, r.records, out)
	w.since = r.newest
	err = r.app.waitFor(ctx, w)
	r.VersionID = w.version
	if failure, ok := errors.AsType[guided](err); ok && failure.code == exitRotationFailed {
		failure.hint += strings.TrimRight("\n"+r.unlabelledText(w.version), "\n")
		return failure
	}
	return err
}

// proofs are lines that say which password is live, and how that is known.
func (r *repairer) proofs() string {
	var b strings.Builder
	for _, l := range r.Logins {
		fmt.Fprintf(&b, "%s, version %s: %s\n", shownStages(l.Stages), l.VersionID, proofText(l))
	}
	return b.String()
}

func proofText(l repairLogin) string {
	at := l.At.UTC().Format(time.RFC3339)
	switch l.Outcome {
	case rotation.LoginLive:
		return fmt.Sprintf("live, %s logged in at %s", l.Username, at)
	case rotation.LoginRefused:
		return fmt.Sprintf("not live, %s was refused at %s", l.Username, at)
	}
	return fmt.Sprintf("not known, tried at %s: %s: %s", at, l.ErrorClass, l.Error)
}

// mendText says what to do where it is not the database that does not tell.
func (r *repairer) mendText() string {
	if r.Logins[0].ErrorClass != string(rotation.ClassSecret) {
		return ""
	}
	return fmt.Sprintf("Correct the value of the secret. If its function is the wrong one, another can follow it:\n"+
		"  aws secretsmanager cancel-rotate-secret --secret-id %s\n"+
		"  keyturn rotation repair %[2]s --function FUNCTION\n  keyturn secret rotate %[2]s --function FUNCTION", r.ARN, r.Name)
}

// healText says how the password of AWSCURRENT comes back into the database.
func (r *repairer) healText() string {
	return fmt.Sprintf("Set the password of AWSCURRENT in the database, and begin anew:\n"+
		"  aws secretsmanager cancel-rotate-secret --secret-id %s\n"+
		"  keyturn rotation heal %[2]s\n  keyturn rotation repair %[2]s\n  keyturn secret rotate %[2]s", r.ARN, r.Name)
}

// deeds say what an action does.
var deeds = map[repairAction]string{
	repairNothing:  "Nothing is to be done.",
	repairFinish:   "The rotation to version %s is tried again at once.",
	repairRecreate: "Version %s loses AWSPENDING, and a new rotation begins.",
	repairDrop:     "Version %s loses AWSPENDING.",
	repairRotate:   "A new rotation begins.",
}

func (r *repairer) text() string {
	text := r.proofs()
	if e := r.LastError; e != nil && r.PendingVersionID != "" {
		text += fmt.Sprintf("last error: %s %s: %s\n", e.Step, e.Class, e.Message)
	}
	deed := deeds[r.Action]
	if strings.Contains(deed, "%s") {
		deed = fmt.Sprintf(deed, r.PendingVersionID)
	}
	return text + r.Why + "\n" + deed
}

func (r *repairer) write() error {
	a := r.app
	switch {
	case a.flags.output == outputJSON:
		return a.writeJSON(r.repair)
	case !r.Done && r.Action == repairNothing:
		return a.println(r.text())
	case !r.Done:
		return a.println(r.text() + "\n" + r.unlabelledText(r.PendingVersionID) + "Nothing was changed (--dry-run).")
	case r.Action == repairDrop:
		return a.println("repaired", r.Name+": AWSPENDING is off version", r.PendingVersionID)
	}
	return a.println("repaired", r.Name+": AWSCURRENT is on version", r.VersionID)
}

// untried says why nobody is logged in. A value of AWSCURRENT that cannot be read says
// not even where to; who repairs has to put it right first.
func untried(err error) error {
	var failure *functionFailure
	if errors.As(err, &failure) && failure.Class == rotation.ClassSecret {
		return guided{err: fmt.Errorf("trying the logins: %w", err), code: exitRotationUnknown,
			hint: "Nothing was changed. Store a value that works (keyturn secret put), or move AWSCURRENT back to the version of\n" +
				"AWSPREVIOUS (aws secretsmanager update-secret-version-stage). Then repair again."}
	}
	return fmt.Errorf("trying the logins: %w", err)
}
