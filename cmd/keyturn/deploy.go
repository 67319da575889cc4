package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/deploy"
	"github.com/keyturn/keyturn/keyturnapi"
)

const deployAgain = "Run the deploy again: it goes on where it stopped."

type deployFlags struct {
	config, passwordFile string
	dryRun               bool
}

func newDeployCommand(a *app) *cobra.Command {
	var flags deployFlags
	cmd := &cobra.Command{
		Use:   "deploy",
		Short: "Bring cluster, secret and rotation in line with config.yml",
		Long: `Bring a database cluster, its instance, the rotation function's permission, the
secret and its rotation in line with config.yml, then write the latest password
into that file. What exists already is left as it is, so a deploy that was
interrupted is simply run again.

--dry-run looks at what is there in the same steps, and tells what would be
created, updated and left. It changes nothing and waits for nothing. What stands
in the way of a deploy is an error of the dry run, too, as far as it can be seen.

The progress goes to stderr: a display on a terminal, plain lines elsewhere,
and one JSON object a line with -o json. stdout gets the report. The exit code
is 2 when config.yml is wrong, and 6 when the first rotation has not ended.`,
		Example: `  keyturn deploy
  keyturn deploy -f staging.yml --timeout 20m
  keyturn deploy --dry-run
  keyturn deploy -o json | jq -r .secretArn
  pass show db | keyturn deploy --master-user-password-file -`,
		Args:              positional(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.deploy(cmd.Context(), flags) },
	}
	f := cmd.Flags()
	f.StringVarP(&flags.config, "file", "f", "config.yml", "the configuration")
	f.StringVar(&flags.passwordFile, "master-user-password-file", "",
		"file that holds the master password of a database that exists already (-: stdin)")
	f.BoolVar(&flags.dryRun, "dry-run", false, "only tell what would be done")
	_ = cmd.MarkFlagFilename("file", "yml", "yaml")
	_ = cmd.MarkFlagFilename("master-user-password-file")
	return cmd
}

func (a *app) deploy(ctx context.Context, flags deployFlags) error {
	if err := deploy.Check(flags.config); err != nil {
		return err // before credentials are looked for
	}
	password, err := a.masterPassword(flags.passwordFile)
	if err != nil {
		return err
	}
	cfg, err := a.awsConfig(ctx)
	if err != nil {
		return err
	}
	records := keyturnapi.New(cfg)
	show := a.progress(ctx)
	if flags.dryRun { // its steps are no deeds
		show = display{event: func(deploy.Event) {}, close: func() {}}
	}
	report, err := deploy.Run(ctx, deploy.Options{
		ConfigPath: flags.config,
		Password:   password,
		DryRun:     flags.dryRun,
		Clients: deploy.Clients{
			SecretsManager: secretsmanager.NewFromConfig(cfg),
			RDS:            rds.NewFromConfig(cfg),
			Lambda:         lambda.NewFromConfig(cfg),
		},
		Progress: show.event,
		Stuck: func(ctx context.Context, secret string, until time.Time) bool {
			return stuck(ctx, records, secret, until)
		},
	})
	show.close()
	if err != nil {
		err = a.explainRotation(ctx, records, report, err)
	}
	if a.flags.output == outputJSON {
		return errors.Join(err, a.writeReportJSON(report))
	}
	if flags.dryRun {
		return errors.Join(err, a.writeDryRun(report))
	}
	if err != nil {
		return err
	}
	return a.writeReport(report)
}

// wouldBe are the words for the outcomes of a dry run.
var wouldBe = map[deploy.Outcome]string{deploy.Created: "would be created", deploy.Updated: "would be updated", deploy.Unchanged: "unchanged"}

// writeDryRun tells what the steps would do, as far as the first that would fail.
func (a *app) writeDryRun(r deploy.Report) error {
	if len(r.Steps) == 0 {
		return nil
	}
	rows := [][]string{{"STEP", "OUTCOME", "WHAT"}}
	for _, s := range r.Steps {
		rows = append(rows, []string{string(s.Step), wouldBe[s.Outcome], s.Detail})
	}
	return a.writeTable(rows)
}

// stuck tells whether a rotation has failed and is not tried again before a moment,
// as far as the server keeps a record.
func stuck(ctx context.Context, records *keyturnapi.Client, secret string, until time.Time) bool {
	out, err := records.ListRotations(ctx, &keyturnapi.ListRotationsInput{SecretID: secret})
	if err != nil || len(out.Runs) == 0 || out.Runs[0].Outcome != outcomeFailed {
		return false
	}
	return out.Next == nil || out.Next.At.After(until)
}

// explainRotation adds to the failure of a deploy's last wait what the server
// has recorded about the rotation.
func (a *app) explainRotation(ctx context.Context, records *keyturnapi.Client, report deploy.Report, err error) error {
	step, ok := errors.AsType[*deploy.StepError](err)
	if !ok || step.Step != deploy.StepRotation || step.Code != "" {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	out, listErr := records.ListRotations(ctx, &keyturnapi.ListRotationsInput{SecretID: report.SecretName})
	if listErr != nil {
		return err // AWS keeps no such record
	}
	w := &watch{runs: out.Runs, next: out.Next}
	if failure := w.failure(); failure != nil {
		hint := "\"keyturn rotation status\" shows how it stands; \"aws secretsmanager cancel-rotate-secret\" ends it."
		return guided{err: errors.Join(failure, err), hint: w.later() + "\n" + hint, code: exitRotationUnknown}
	}
	return err
}

// masterPassword reads the first line of a file; a password has no newline.
func (a *app) masterPassword(file string) (deploy.Password, error) {
	if file == "" {
		return "", nil
	}
	in := a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("reading the master password: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxValue))
	if err != nil {
		return "", fmt.Errorf("reading the master password: %w", err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return "", usagef("--master-user-password-file: the first line is empty")
	}
	return deploy.Password(line), nil
}

// writeReportJSON keeps to the names that package deploy gives its fields.
func (a *app) writeReportJSON(r deploy.Report) error {
	encoder := json.NewEncoder(a.stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

func (a *app) writeReport(r deploy.Report) error {
	var f facts
	f.add("Cluster", r.ClusterIdentifier)
	f.add("Instance", r.InstanceIdentifier)
	if r.Host != "" {
		f.add("Endpoint", r.Host+":"+strconv.Itoa(r.Port))
	}
	f.add("User", r.Username)
	f.add("Secret", r.SecretName)
	f.add("Version", r.VersionID)
	if r.RotateAfterDays > 0 {
		f.add("Rotation", "every "+strconv.FormatInt(r.RotateAfterDays, 10)+" days")
	}
	f.add("Next rotation", a.when(r.NextRotation))
	f.add("Written to "+r.ConfigPath, strings.Join(r.ConfigKeys, ", "))
	return a.writeTable(f)
}

// exitCodeOfDeploy returns false for an error that is not deploy's.
func exitCodeOfDeploy(err error) (int, bool) {
	var step *deploy.StepError
	var bad *deploy.ConfigError
	switch {
	case errors.As(err, &step) && step.Code != "":
		return exitCodeOfCode(step.Code), true
	case errors.As(err, &step) && step.Step == deploy.StepRotation:
		return exitRotationUnknown, true
	case errors.As(err, &step):
		return exitFailure, true
	case errors.As(err, &bad):
		return exitUsage, true
	}
	return 0, false
}
