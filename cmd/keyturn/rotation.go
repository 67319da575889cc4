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
	"github.com/keyturn/keyturn/rotation"
)

func newRotationCommand(a *app) *cobra.Command {
	return newGroup("rotation", "See how rotations stand and went, and set how they go",
		newRotationStatusCommand(a), newRotationTimelineCommand(a), newRotationHealCommand(a),
		newRotationPlanCommand(a), newRotationAdoptCommand(a),
		newRotationExplainCommand(a), newRotationRunCommand(a),
		newRotationRepairCommand(a), newRotationConfigureCommand(a))
}

// rotationStatus is the JSON form of "rotation status".
type rotationStatus struct {
	ARN               string
	Name              string
	State             string
	StateSince        *time.Time `json:",omitzero"`
	RotationEnabled   bool
	RotationLambdaARN string                   `json:",omitzero"`
	RotationRules     *types.RotationRulesType `json:",omitzero"`
	LastRotatedDate   *time.Time               `json:",omitzero"`
	NextRotationDate  *time.Time               `json:",omitzero"` // the end of the next window
	NextRotationAt    *time.Time               `json:",omitzero"` // the moment in it
	DeletedDate       *time.Time               `json:",omitzero"` // scheduled for deletion: nothing rotates
	CurrentVersionID  string                   `json:"CurrentVersionId,omitzero"`
	PendingVersionID  string                   `json:"PendingVersionId,omitzero"`
	PendingSince      *time.Time               `json:",omitzero"`
	Strategy          string                   `json:",omitzero"`
	LastError         *stepError               `json:",omitzero"`
	Next              *keyturnapi.RotationNext `json:",omitzero"`

	LastTest  *testProof                    `json:",omitzero"` // of AWSCURRENT
	Passwords *keyturnapi.RotationPasswords `json:",omitzero"`

	running  *keyturnapi.RotationRun // the step that runs now; Next is when it runs again if its worker is gone
	recorded bool                    // a keyturn server has told of it; of a replica it tells at its primary
}

// stepError is a failure that no later success has made up for.
type stepError struct {
	Step    string
	Class   string `json:",omitzero"`
	Message string
	Advice  string `json:",omitzero"`
	At      time.Time
	Since   *time.Time `json:",omitzero"` // the first failure after the last success
	Attempt int64
}

type statusFlags struct {
	prove, failing bool
	tags           []string
}

const statusText = `Show whether a secret rotates, by which rule, when it did and will, and which
password is live in the database, with proof: when and how it was tried.

--prove tries now: the secret's function, which must be one of keyturn's own,
logs in once with each staged version. A password that was refused is not tried
again, so nobody is locked out.

Two times tell about the next rotation. AWS knows the window in which it may
happen; NextRotationDate is that window's end. A keyturn server also tells the
moment in the window, which is fixed for each secret.

From a keyturn server come also the strategy, an older password that is still
valid and until when, drift, the last error with its class and what to do, and
the next attempt. AWS keeps no such record: there what DescribeSecret says is
shown, and --prove.

Without SECRET, one line for each secret that rotates, or did before it was
cancelled, and how many are in each state; first those that need somebody, then
by what is due next. --tag chooses among them. The states:

  failing        the last step has failed
  drift          other passwords are valid than the secret says
  stuck          AWSPENDING is left from a rotation that does not go on, or that
                 is under way for more than an hour
  overdue        the window has ended without a rotation
  under way      a rotation is, or a test, or the end of an old password
  never rotated  the first rotation is yet to come
  off            the rotation was cancelled
  ok

--failing shows the first four alone, and ends with exit code 3 if there are any,
or 8 if there may be some that you may not see.`

func newRotationStatusCommand(a *app) *cobra.Command {
	var flags statusFlags
	cmd := &cobra.Command{
		Use:   "status [SECRET]",
		Short: "Show how the rotation of a secret stands, or of all",
		Long:  statusText,
		Example: `  keyturn rotation status prod/db
  keyturn rotation status prod/db --prove
  keyturn rotation status prod/db -o json
  keyturn rotation status --failing
  keyturn rotation status --tag team=payments -o json | jq -r '.[] | select(.State == "drift").Name'`,
		Args:              positionalIfAny("SECRET"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(args); err != nil {
				return err
			}
			if len(args) == 0 {
				return a.rotationOverview(cmd.Context(), flags)
			}
			status, err := a.rotationStatus(cmd.Context(), args[0], flags.prove)
			if err != nil {
				return err
			}
			if a.flags.output == outputJSON {
				return a.writeJSON(status)
			}
			return a.writeStatus(status)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.prove, "prove", false, "of SECRET: log in with each staged version now")
	f.BoolVar(&flags.failing, "failing", false, "of all, those that need somebody")
	f.StringArrayVar(&flags.tags, "tag", nil, "of all, those with this tag, such as team=payments; may be repeated")
	return cmd
}

func (f statusFlags) check(args []string) error {
	switch {
	case len(args) > 0 && (f.failing || len(f.tags) > 0):
		return usagef("either name a secret, or choose of all by --tag and --failing")
	case len(args) == 0 && f.prove:
		return usagef("--prove tries the logins of one secret: name it")
	}
	return checkTags(f.tags)
}

func (a *app) rotationStatus(ctx context.Context, name string, prove bool) (rotationStatus, error) {
	cfg, err := a.awsConfig(ctx)
	if err != nil {
		return rotationStatus{}, err
	}
	client := secretsmanager.NewFromConfig(cfg)
	described, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		return rotationStatus{}, fmt.Errorf("describing the secret: %w", err)
	}
	var now *keyturnapi.RotationPasswords
	if prove {
		if now, err = a.prove(ctx, cfg, described); err != nil {
			return rotationStatus{}, err
		}
	}
	records, err := keyturnapi.New(cfg).ListRotations(ctx, &keyturnapi.ListRotationsInput{SecretID: name})
	if isUnsupported(err) {
		records, err = &keyturnapi.ListRotationsOutput{}, nil
	}
	if err != nil {
		return rotationStatus{}, fmt.Errorf("reading the rotation's record: %w", err)
	}
	status := statusOf(described, records)
	status.Passwords = withProof(status.Passwords, now)
	status.PendingSince = pendingSince(ctx, client, status)
	return status.judged(a.now()), nil
}

// pendingSince is when the version on its way was made, if the record does not tell. It is
// left out where the caller may not list versions.
func pendingSince(ctx context.Context, client *secretsmanager.Client, s rotationStatus) *time.Time {
	if s.PendingVersionID == "" || s.PendingSince != nil {
		return s.PendingSince
	}
	out, err := client.ListSecretVersionIds(ctx, &secretsmanager.ListSecretVersionIdsInput{SecretId: &s.ARN})
	if err != nil {
		return nil
	}
	for _, v := range out.Versions {
		if aws.ToString(v.VersionId) == s.PendingVersionID {
			return v.CreatedDate
		}
	}
	return nil
}

func statusOf(s *secretsmanager.DescribeSecretOutput, records *keyturnapi.ListRotationsOutput) rotationStatus {
	current := labelled(s.VersionIdsToStages, stageCurrent)
	return rotationStatus{
		running: running(records.Runs),
		ARN:     aws.ToString(s.ARN), Name: aws.ToString(s.Name),
		RotationEnabled: aws.ToBool(s.RotationEnabled), RotationLambdaARN: aws.ToString(s.RotationLambdaARN),
		RotationRules: s.RotationRules, LastRotatedDate: s.LastRotatedDate, NextRotationDate: s.NextRotationDate, DeletedDate: s.DeletedDate,
		PendingVersionID: pendingVersion(s.VersionIdsToStages),
		Strategy:         records.Strategy, LastError: lastError(records.Runs).since(records.FailingSince), Next: records.Next,
		CurrentVersionID: current, NextRotationAt: records.RotateAt, PendingSince: records.PendingSince,
		LastTest: lastTest(records.TestedAt, current), Passwords: records.Passwords,
		recorded: records.ARN != "" && !isReplica(aws.ToString(s.PrimaryRegion), aws.ToString(s.ARN)),
	}.mended()
}

// running returns the step that runs now, or nil.
func running(runs []keyturnapi.RotationRun) *keyturnapi.RotationRun {
	if len(runs) == 0 || runs[0].Outcome != outcomeRunning {
		return nil
	}
	return &runs[0]
}

// provenClasses are of errors that a login by the value of AWSCURRENT contradicts.
var provenClasses = []rotation.Class{rotation.ClassDNS, rotation.ClassTCP, rotation.ClassTLS, rotation.ClassTimeout, rotation.ClassAuth, rotation.ClassSecret}

// mended leaves out the last error where somebody has corrected its reason by hand: no
// rotation waits for its next attempt, and AWSCURRENT has logged in since.
func (s rotationStatus) mended() rotationStatus {
	waits := s.PendingVersionID != "" || s.Next != nil && s.Next.Attempt > 1
	if s.LastError == nil || waits || !slices.Contains(provenClasses, rotation.Class(s.LastError.Class)) {
		return s
	}
	if p := s.Passwords; p != nil && len(p.Drift) == 0 && liveSince(p.Logins, s.CurrentVersionID, s.LastError.At) {
		s.LastError = nil
	}
	return s
}

// liveSince tells whether a version has logged in after a moment.
func liveSince(logins []keyturnapi.RotationLogin, version string, moment time.Time) bool {
	return slices.ContainsFunc(logins, func(l keyturnapi.RotationLogin) bool {
		return l.VersionID == version && l.Outcome == rotation.LoginLive && l.At.After(moment)
	})
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
			return &stepError{Step: r.Step, Class: r.ErrorClass, Message: r.Error, At: at, Attempt: r.Attempt,
				Advice: adviceOn(r)}
		case outcomeSucceeded:
			return nil
		}
	}
	return nil
}

func (e *stepError) since(first *time.Time) *stepError {
	if e != nil {
		e.Since = first
	}
	return e
}

func (a *app) writeStatus(s rotationStatus) error {
	var f facts
	f.add("Name", s.Name)
	f.add("State", s.State)
	f.add("Scheduled for deletion", a.when(s.DeletedDate))
	f.add("Rotation", ruleText(&s.RotationEnabled, s.RotationRules))
	f.add("Function", s.RotationLambdaARN)
	f.add("Last rotated", a.when(s.LastRotatedDate))
	f.add("Next rotation", a.nextRotation(s))
	f.add("Strategy", s.Strategy)
	a.loginFacts(&f, s)
	a.driftFacts(&f, s)
	f.add("Pending version", a.pendingText(s))
	if e := s.LastError; e != nil {
		f.add("Last error", fmt.Sprintf("%s: %s", strings.TrimSpace(e.Step+" "+e.Class), e.Message))
		f.add("Failed at", fmt.Sprintf("%s, attempt %d", a.when(&e.At), e.Attempt))
		f.add("Failing since", a.when(e.Since))
	}
	f.add("What to do", s.advice())
	if r := s.running; r != nil {
		f.add("Under way", fmt.Sprintf("%s since %s, attempt %d", r.Step, a.when(&r.Started), r.Attempt))
	} else if s.Next != nil && (s.Next.Step != rotation.StepCreate || s.PendingVersionID != "") {
		f.add("Next step", fmt.Sprintf("%s at %s, attempt %d", s.Next.Step, a.when(&s.Next.At), s.Next.Attempt))
	}
	return a.writeTable(f)
}

// advice is how to mend the last error, or what is stuck without one.
func (s rotationStatus) advice() string {
	switch {
	case s.LastError != nil:
		return s.LastError.Advice
	case s.State == stateStuck:
		return "keyturn rotation repair " + s.Name + " completes it, begins it again or drops what is left; --dry-run tells which."
	}
	return ""
}

// nextRotation tells the moment and the window that AWS speaks of.
func (a *app) nextRotation(s rotationStatus) string {
	switch {
	case s.DeletedDate != nil && s.RotationEnabled:
		return "none, unless \"keyturn secret restore\" brings the secret back"
	case s.NextRotationAt != nil && s.NextRotationDate != nil:
		return a.when(s.NextRotationAt) + ", the secret's moment in the window that ends " + a.when(s.NextRotationDate)
	case s.NextRotationDate != nil:
		return "by " + a.when(s.NextRotationDate) + ", the end of its window (NextRotationDate)"
	}
	return ""
}

func (a *app) pendingText(s rotationStatus) string {
	if s.PendingSince == nil {
		return s.PendingVersionID
	}
	return s.PendingVersionID + ", since " + a.when(s.PendingSince)
}
