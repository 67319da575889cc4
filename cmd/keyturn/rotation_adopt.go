package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

type adoptFlags struct {
	function string
	every    string
	schedule string
	admin    string
	fill     bool
	dryRun   bool
}

// defaultEvery is the rule of a secret that has none.
const defaultEvery = "30d"

func newRotationAdoptCommand(a *app) *cobra.Command {
	var flags adoptFlags
	cmd := &cobra.Command{
		Use:   "adopt SECRET",
		Short: "Let an existing account rotate from now on, and only test now",
		Long: `Take over an existing account without changing it. What the value of the secret
lacks is said; the account's login is tried; then the rotation is configured with
RotateImmediately=false, which runs testSecret and nothing else. The password
stays as it is until the first window, which is shown.

--fill adds the keys host, port and engine to the value where they lack, from the
cluster or instance that dbClusterIdentifier or dbInstanceIdentifier names.
--admin adds masterarn. Both make a new version of the secret with the same
password; AWSCURRENT goes back if something stands in the way. The permission
for Secrets Manager to invoke the function is added if it lacks. --dry-run says
what would be done and does nothing of it.

Exit code 4 says that something stands in the way: a key, the login, a privilege,
or the test failed.`,
		Example: `  keyturn rotation adopt prod/db --dry-run
  keyturn rotation adopt prod/db --every 30d
  keyturn rotation adopt prod/db --schedule "cron(0 3 ? * SUN *)" --admin prod/db-admin
  keyturn rotation adopt prod/db --fill -o json`,
		Args:              positional("SECRET"),
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.adopt(cmd.Context(), args[0], flags) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.function, "function", "", "rotation function, by name or ARN (default: keyturn's own for the engine)")
	f.StringVar(&flags.every, "every", "", "from one rotation to the next: 30d or 12h (default: as configured, else "+defaultEvery+")")
	f.StringVar(&flags.schedule, "schedule", "", "a cron() or rate() expression, as Secrets Manager knows them")
	f.StringVar(&flags.admin, "admin", "", "the secret of an administrator, by name or ARN: the key masterarn")
	f.BoolVar(&flags.fill, "fill", false, "add host, port and engine from RDS where they lack")
	f.BoolVar(&flags.dryRun, "dry-run", false, "say what would be done")
	return cmd
}

// adoption is the JSON form of "rotation adopt".
type adoption struct {
	ARN               string
	Name              string
	RotationLambdaARN string
	Added             []string                 `json:",omitzero"` // keys of the value
	PermissionAdded   bool                     `json:",omitzero"`
	Strategy          string                   `json:",omitzero"` // that a rotation would use
	Obstacles         []string                 `json:",omitzero"`
	RotationRules     *types.RotationRulesType `json:",omitzero"`
	NextRotationDate  *time.Time               `json:",omitzero"`
	Test              *adoptionTest            `json:",omitzero"`
	DryRun            bool                     `json:",omitzero"`
}

// adoptionTest is how testSecret ended.
type adoptionTest struct {
	Outcome    string
	ErrorClass string `json:",omitzero"`
	Error      string `json:",omitzero"`
	Millis     int64  `json:"DurationMs"`
}

func (a *app) adopt(ctx context.Context, name string, flags adoptFlags) error {
	rules, err := rulesOf(flags)
	if err != nil {
		return err
	}
	cfg, err := a.awsConfig(ctx)
	if err != nil {
		return err
	}
	ad := &adopter{app: a, cfg: cfg, client: secretsmanager.NewFromConfig(cfg), flags: flags, rules: rules}
	err = ad.run(ctx, name)
	if err != nil && ad.done.Obstacles == nil && ad.done.Test == nil {
		return err
	}
	if written := a.writeAdoption(&ad.done); written != nil {
		return written
	}
	return err
}

// rulesOf reads --every and --schedule; nil: neither is given.
func rulesOf(flags adoptFlags) (*types.RotationRulesType, error) {
	switch {
	case flags.schedule != "" && flags.every != "":
		return nil, usagef("--every and --schedule are two forms of the same rule: leave one out")
	case flags.schedule != "":
		return &types.RotationRulesType{ScheduleExpression: &flags.schedule}, nil
	case flags.every == "":
		return nil, nil //nolint:nilnil // what is configured stays
	}
	unit := flags.every[len(flags.every)-1:]
	n, err := strconv.ParseInt(strings.TrimSuffix(flags.every, unit), 10, 64)
	switch {
	case err != nil || n < 1 || unit != "d" && unit != "h":
		return nil, usagef("--every is a number of days or hours such as 30d or 12h")
	case unit == "h":
		return &types.RotationRulesType{ScheduleExpression: aws.String(fmt.Sprintf("rate(%d hours)", n))}, nil
	}
	return &types.RotationRulesType{AutomaticallyAfterDays: &n}, nil
}

// adopter takes one secret over. Every step of it may be repeated.
type adopter struct {
	*app
	cfg    aws.Config
	client *secretsmanager.Client
	flags  adoptFlags
	rules  *types.RotationRulesType
	done   adoption

	before, after string // AWSCURRENT without and with what was added to it; "": nothing was
	configured    bool
}

func (ad *adopter) run(ctx context.Context, name string) error {
	s, err := ad.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		return fmt.Errorf("describing the secret: %w", err)
	}
	if s.OwningService != nil {
		return fmt.Errorf("the secret is managed by %s, which rotates it: \"keyturn secret rotate --days\" sets its schedule", *s.OwningService)
	}
	ad.done = adoption{ARN: aws.ToString(s.ARN), Name: aws.ToString(s.Name), DryRun: ad.flags.dryRun}
	engine, text, err := ad.completeValue(ctx)
	if err != nil {
		return err
	}
	if err := ad.chooseFunction(ctx, s, engine); err != nil {
		return err
	}
	if err := ad.store(ctx, text); err != nil {
		return err
	}
	if err := ad.takeOver(ctx, s); err != nil {
		return ad.takeBack(ctx, err)
	}
	return nil
}

// takeOver looks whether a rotation would succeed, and configures it.
func (ad *adopter) takeOver(ctx context.Context, s *secretsmanager.DescribeSecretOutput) error {
	if err := ad.look(ctx); err != nil {
		return err
	}
	if err := ad.permit(ctx); err != nil {
		return err
	}
	if ad.rules == nil && s.RotationRules == nil {
		ad.rules, _ = rulesOf(adoptFlags{every: defaultEvery}) // is understood
	}
	ad.done.RotationRules = cmp.Or(ad.rules, s.RotationRules)
	if ad.flags.dryRun {
		return nil
	}
	return ad.configure(ctx)
}

func (ad *adopter) chooseFunction(ctx context.Context, s *secretsmanager.DescribeSecretOutput, engine string) error {
	function, err := functionOf(s, ad.flags.function)
	if err != nil {
		if function = engineFunction(engine); function == "" {
			return guided{err: fmt.Errorf("keyturn has no rotation function for the engine %q of the secret", engine), code: exitPreflight,
				hint: "It has them for mysql, mariadb, aurora-mysql, postgres, aurora-postgresql, redis and valkey. Correct the key engine,\n" +
					"or name a function of your own with --function."}
		}
	}
	arn, err := functionARN(ctx, ad.cfg, function)
	if err != nil {
		return err
	}
	ad.done.RotationLambdaARN = *arn
	return nil
}

// look asks the function what a rotation would do, which tries the login. A
// function of somebody else does not know, and one of keyturn's may say so
// (rotation.TypeNoPlan, which is no class): then testSecret logs in.
func (ad *adopter) look(ctx context.Context) error {
	if ad.flags.dryRun && len(ad.done.Added) > 0 {
		return nil // the value is not there yet
	}
	plan, err := ad.askPlan(ctx, ad.cfg, ad.done.RotationLambdaARN, ad.done.ARN, false)
	var failure *functionFailure
	switch {
	case errors.As(err, &failure) && !isClass(failure.Class), isGuided(err):
		return nil
	case err != nil:
		return preflight(err)
	}
	ad.done.Strategy, ad.done.Obstacles = plan.Strategy, plan.Obstacles
	if len(plan.Obstacles) > 0 {
		return guided{err: errors.New("a rotation would not succeed"), hint: "Nothing was configured. In the way stands what is listed.", code: exitPreflight}
	}
	return nil
}

// isClass tells the errors of keyturn's own functions from those of others.
func isClass(c rotation.Class) bool { return c != "" && strings.ToLower(string(c)) == string(c) }

func (ad *adopter) configure(ctx context.Context) error {
	out, err := ad.client.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: &ad.done.ARN, RotateImmediately: aws.Bool(false),
		RotationLambdaARN: &ad.done.RotationLambdaARN, RotationRules: ad.rules})
	if err != nil {
		return fmt.Errorf("configuring the rotation: %w", err)
	}
	ad.configured = true
	if ad.done.Test, err = ad.awaitTest(ctx, aws.ToString(out.VersionId)); err != nil {
		return err
	}
	s, err := ad.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &ad.done.ARN})
	if err != nil {
		return fmt.Errorf("describing the secret: %w", err)
	}
	ad.done.RotationRules, ad.done.NextRotationDate = s.RotationRules, s.NextRotationDate
	if ad.done.Test.Outcome == outcomeFailed {
		return guided{err: fmt.Errorf("the test failed: %s", ad.done.Test.Error), code: exitPreflight,
			hint: "The rotation is configured; \"aws secretsmanager cancel-rotate-secret\" takes that back."}
	}
	return nil
}

const testPoll = 100 * time.Millisecond

// awaitTest waits until the test has ended. AWS keeps no record of it: there
// the temporary version vanishes, and CloudTrail tells how it went.
func (ad *adopter) awaitTest(ctx context.Context, version string) (*adoptionTest, error) {
	records := keyturnapi.New(ad.cfg)
	for {
		out, err := records.ListRotations(ctx, &keyturnapi.ListRotationsInput{SecretID: ad.done.ARN})
		if isUnsupported(err) {
			return ad.awaitVanishing(ctx, version)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the rotation's record: %w", err)
		}
		for _, r := range out.Runs {
			if r.VersionID == version && r.Ended != nil {
				return &adoptionTest{Outcome: r.Outcome, ErrorClass: r.ErrorClass, Error: r.Error, Millis: millis(r.Started, r.Ended, ad.now())}, nil
			}
		}
		if err := sleep(ctx, testPoll); err != nil {
			return nil, err
		}
	}
}

func (ad *adopter) awaitVanishing(ctx context.Context, version string) (*adoptionTest, error) {
	for {
		s, err := ad.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &ad.done.ARN})
		if err != nil {
			return nil, fmt.Errorf("describing the secret: %w", err)
		}
		if _, there := s.VersionIdsToStages[version]; !there {
			return &adoptionTest{Outcome: "ended; CloudTrail's TestRotationSucceeded or TestRotationFailed tells how"}, nil
		}
		if err := sleep(ctx, time.Second); err != nil {
			return nil, err
		}
	}
}

func (a *app) writeAdoption(d *adoption) error {
	if a.flags.output == outputJSON {
		return a.writeJSON(d)
	}
	var f facts
	f.add("Name", d.Name)
	f.add("Function", d.RotationLambdaARN)
	f.add("Keys added", strings.Join(d.Added, ", "))
	if d.PermissionAdded {
		f.add("Permission", "added: secretsmanager.amazonaws.com may invoke the function")
	}
	f.add("Strategy", d.Strategy)
	for i, text := range d.Obstacles {
		f.add(first(i, "In the way"), text)
	}
	if d.Test != nil {
		f.add("Test", strings.TrimSpace(d.Test.Outcome+" "+d.Test.ErrorClass)+" in "+strconv.FormatInt(d.Test.Millis, 10)+" ms")
	}
	f.add("Rotation", ruleText(aws.Bool(true), d.RotationRules))
	f.add("Next rotation", a.when(d.NextRotationDate))
	if d.DryRun {
		f.add("Dry run", "nothing was changed")
	}
	return a.writeTable(f)
}
