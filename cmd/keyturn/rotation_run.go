package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/keyturnapi"
)

type runFlags struct {
	all             bool
	tags            []string
	revokeOld       bool
	parallel        int
	dryRun          bool
	continueOnError bool
	wait            time.Duration
}

func newRotationRunCommand(a *app) *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "run [SECRET…]",
		Short: "Rotate many secrets now, as after a leak",
		Long: `Rotate secrets now, in the order of their names, at most --parallel at a time, and
wait for the end of each. Which ones: those that are named, or with --all those
whose rotation is configured; --tag takes of all those that have every tag given.

--revoke-old also ends the old password of each as soon as its rotation has
succeeded, instead of after its grace period: for passwords that have leaked.
On AWS that invokes the secret's function, which must be one of keyturn's.

An earlier rotation that is not complete is tried again and waited for; then the
secret is rotated anew, so that its password is younger than the command.

The first failure stops it: rotations under way are waited for, no other begins.
--continue-on-error goes on instead. The report on stdout tells of every secret;
the exit code is that of the first failure (see "keyturn help exit-codes").`,
		Example: `  keyturn rotation run prod/db prod/cache
  keyturn rotation run --all --tag team=payments --revoke-old --parallel 8
  keyturn rotation run --all --dry-run -o json`,
		ValidArgsFunction: a.completeManyNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(args); err != nil {
				return err
			}
			return a.runRotations(cmd.Context(), args, flags)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.all, "all", false, "every secret whose rotation is configured")
	f.StringArrayVar(&flags.tags, "tag", nil, "of all, those with this tag, such as team=payments; may be repeated")
	f.BoolVar(&flags.revokeOld, "revoke-old", false, "end each old password at once")
	f.IntVar(&flags.parallel, "parallel", 8, "how many at a time")
	f.BoolVar(&flags.dryRun, "dry-run", false, "only list what would be rotated")
	f.BoolVar(&flags.continueOnError, "continue-on-error", false, "go on after a failure")
	f.DurationVar(&flags.wait, "wait", defaultWait, "how long to wait for each")
	return cmd
}

func (f runFlags) check(args []string) error {
	switch {
	case len(args) > 0 && (f.all || len(f.tags) > 0):
		return usagef("either name secrets, or choose them by --all and --tag")
	case len(args) == 0 && !f.all && len(f.tags) == 0:
		return usagef("which secrets? Name them, or choose them by --all or --tag")
	case f.parallel < 1:
		return usagef("--parallel is a number from 1, not %d", f.parallel)
	case f.wait <= 0:
		return usagef("--wait is a time such as 5m, not %s", f.wait)
	}
	return checkTags(f.tags)
}

func checkTags(tags []string) error {
	for _, tag := range tags {
		if key, _, ok := strings.Cut(tag, "="); !ok || key == "" {
			return usagef("--tag is a key and a value, such as team=payments, not %q", tag)
		}
	}
	return nil
}

// What became of a secret.
const (
	runRotated   = "rotated"
	runRevoked   = "rotated, old password ended"
	runFailed    = "failed"
	runUnknown   = "unknown"
	runNotBegun  = "not begun"
	runWouldTurn = "would be rotated"
	runWouldFail = "would fail"
)

// runEntry is a line of the report.
type runEntry struct {
	Name      string
	ARN       string `json:",omitzero"`
	VersionID string `json:"VersionId,omitzero"`
	Outcome   string
	Error     string  `json:",omitzero"`
	Seconds   float64 `json:",omitzero"`

	err error
}

func (a *app) runRotations(ctx context.Context, names []string, flags runFlags) error {
	cfg, err := a.awsConfig(ctx)
	if err != nil {
		return err
	}
	client := secretsmanager.NewFromConfig(cfg)
	entries, err := runEntries(ctx, client, names, flags)
	if err != nil {
		return err
	}
	if len(entries) == 0 && len(flags.tags) > 0 {
		return errors.Join(noneChosen(flags.tags), a.writeRun(entries))
	}
	if flags.dryRun && len(names) > 0 {
		return errors.Join(wouldFail(ctx, client, entries), a.writeRun(entries))
	}
	if !flags.dryRun {
		r := &incident{app: a, cfg: cfg, flags: flags, entries: entries}
		r.run(ctx)
	}
	return errors.Join(firstFailure(ctx, entries), a.writeRun(entries))
}

// noneChosen is a failure: after a leak, a tag that is mistyped must not look like a
// rotation of all that has it.
func noneChosen(tags []string) error {
	return guided{err: fmt.Errorf("of the secrets whose rotation is configured, none has the tag %s", strings.Join(tags, " and ")),
		hint: "\"keyturn secret describe NAME\" shows a secret's tags.", code: exitNotFound}
}

// wouldFail looks which of the secrets that were named cannot be rotated, and returns the
// reason of the first of them. Those that were chosen by --all rotate.
func wouldFail(ctx context.Context, client *secretsmanager.Client, entries []*runEntry) error {
	failed := 0
	var first error
	for _, e := range entries {
		err := rotatable(ctx, client, e.Name)
		if err == nil {
			continue
		}
		failed++
		first = cmp.Or(first, err)
		e.Outcome, e.Error = runWouldFail, reason(err)
	}
	if first == nil {
		return nil
	}
	return guided{err: fmt.Errorf("%d of %d rotations would fail: %s", failed, len(entries), reason(first)),
		hint: hintFor(first), code: exitCode(first)}
}

func rotatable(ctx context.Context, client *secretsmanager.Client, name string) error {
	s, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	switch {
	case err != nil:
		return fmt.Errorf("describing the secret: %w", err)
	case s.DeletedDate != nil:
		return fmt.Errorf("%s is scheduled for deletion", name)
	case !aws.ToBool(s.RotationEnabled) && s.RotationLambdaARN == nil:
		return fmt.Errorf("the rotation of %s is not configured", name)
	}
	return nil
}

// runEntries lists what is to be rotated, by name.
func runEntries(ctx context.Context, client *secretsmanager.Client, names []string, flags runFlags) (all []*runEntry, err error) {
	outcome := runNotBegun
	if flags.dryRun {
		outcome = runWouldTurn
	}
	for _, name := range names {
		all = append(all, &runEntry{Name: name, Outcome: outcome})
	}
	resolve(ctx, client, all)
	if len(names) == 0 {
		if all, err = listRotating(ctx, client, flags.tags, outcome); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(x, y *runEntry) int { return cmp.Compare(x.Name, y.Name) })
	return slices.CompactFunc(all, func(x, y *runEntry) bool { return x.Name == y.Name }), nil
}

func listRotating(ctx context.Context, client *secretsmanager.Client, tags []string, outcome string) (all []*runEntry, err error) {
	pages := secretsmanager.NewListSecretsPaginator(client, &secretsmanager.ListSecretsInput{MaxResults: aws.Int32(100)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing secrets: %w", err)
		}
		for _, s := range page.SecretList {
			if aws.ToBool(s.RotationEnabled) && isPrimary(s) && hasTags(s.Tags, tags) {
				all = append(all, &runEntry{Name: aws.ToString(s.Name), ARN: aws.ToString(s.ARN), Outcome: outcome})
			}
		}
	}
	return all, nil
}

// isPrimary leaves replicas out: their primary is rotated, in its region.
func isPrimary(s types.SecretListEntry) bool {
	return !isReplica(aws.ToString(s.PrimaryRegion), aws.ToString(s.ARN))
}

func isReplica(primaryRegion, arn string) bool {
	return primaryRegion != "" && !strings.Contains(arn, ":secretsmanager:"+primaryRegion+":")
}

func hasTags(have []types.Tag, wanted []string) bool {
	for _, tag := range wanted {
		if !slices.ContainsFunc(have, func(t types.Tag) bool { return aws.ToString(t.Key)+"="+aws.ToString(t.Value) == tag }) {
			return false
		}
	}
	return true
}

// firstFailure is the error of the first entry that failed.
func firstFailure(ctx context.Context, entries []*runEntry) error {
	failed, begun := 0, len(entries)
	var first error
	for _, e := range entries {
		if e.err != nil {
			failed++
			first = cmp.Or(first, e.err)
		}
		if e.Outcome == runNotBegun {
			begun--
		}
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return guided{err: ctx.Err(), hint: goesOn}
	case first == nil:
		return context.Cause(ctx)
	}
	// The service's sentence alone would take the place of what is said here.
	return guided{err: fmt.Errorf("%d of %d rotations failed, %d were not begun: %s", failed, begun, len(entries)-begun, message(first)),
		hint: hintFor(first), code: exitCode(first)}
}

func (a *app) writeRun(entries []*runEntry) error {
	if a.flags.output == outputJSON {
		return a.writeJSON(entries)
	}
	if len(entries) == 0 {
		return a.println("no secret is chosen")
	}
	rows := [][]string{{"NAME", "OUTCOME", "VERSION", "SECONDS", "ERROR"}}
	for _, e := range entries {
		took := ""
		if e.Seconds > 0 {
			took = fmt.Sprintf("%.1f", e.Seconds)
		}
		rows = append(rows, []string{e.Name, e.Outcome, e.VersionID, took, e.Error})
	}
	return a.writeTable(rows)
}

// incident is a run under way.
type incident struct {
	*app
	cfg     aws.Config
	flags   runFlags
	entries []*runEntry
}

// rotateOne rotates a secret and waits for its end.
func (r *incident) rotateOne(ctx context.Context, e *runEntry) error {
	client := secretsmanager.NewFromConfig(r.cfg)
	records := keyturnapi.New(r.cfg)
	first := &earlier{secrets: client, records: records, id: cmp.Or(e.ARN, e.Name)}
	out, err := first.begin(ctx)
	if err != nil {
		return fmt.Errorf("rotating the secret: %w", err)
	}
	w := newWatch(r.app, client, records, out)
	w.show = func(string) {} // the steps of many at once tell nothing
	err = w.run(ctx)
	if e.ARN, e.VersionID = w.arn, w.version; err != nil {
		return err
	}
	e.Outcome = runRotated
	return nil
}

// reason is why a secret was not rotated, in the report.
func reason(err error) string {
	if errors.Is(err, context.Canceled) {
		return errInterrupted.Error()
	}
	return message(err)
}

func runOutcome(err error) string {
	if errors.Is(err, context.Canceled) || exitCode(err) == exitRotationUnknown {
		return runUnknown
	}
	return runFailed
}
