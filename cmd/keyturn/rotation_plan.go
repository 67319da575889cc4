package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/rotation"
)

type planFlags struct {
	function string
	rehearse bool
}

func newRotationPlanCommand(a *app) *cobra.Command {
	var flags planFlags
	cmd := &cobra.Command{
		Use:   "plan SECRET",
		Short: "Show what a rotation would do, or rehearse it",
		Long: `Show what a rotation of a secret would do, without doing it: the statements with
their passwords redacted, the strategy and why it is this one, how long
AWSCURRENT would not log in, the sessions of the user that are open now, the way
back, and what stands in the way, as the GRANT that is missing.

--rehearse also runs all steps with a throw-away user on the real server, says
how long each one took, and drops the user. The secret's versions and its
account are not touched. The account, or the administrator of masterarn, must be
allowed to create users.

The rotation function of the secret is asked, on a keyturn server and on AWS;
before rotation is configured, the one that every keyturn server has for the
engine of the secret. Exit code 4 says that something stands in the way.`,
		Example: `  keyturn rotation plan prod/db
  keyturn rotation plan prod/db --rehearse
  keyturn rotation plan prod/db --function keyturn-rotate-postgres -o json`,
		Args:              positional("SECRET"),
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.showPlan(cmd.Context(), args[0], flags) },
	}
	cmd.Flags().StringVar(&flags.function, "function", "", "ask this rotation function, by name or ARN")
	cmd.Flags().BoolVar(&flags.rehearse, "rehearse", false, "run all steps with a throw-away user")
	return cmd
}

func (a *app) showPlan(ctx context.Context, name string, flags planFlags) error {
	cfg, err := a.awsConfig(ctx)
	if err != nil {
		return err
	}
	client := secretsmanager.NewFromConfig(cfg)
	s, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		return fmt.Errorf("describing the secret: %w", err)
	}
	function, err := a.planner(ctx, client, s, flags.function)
	if err != nil {
		return err
	}
	plan, err := a.askPlan(ctx, cfg, function, aws.ToString(s.ARN), flags.rehearse)
	if err != nil {
		return preflight(err)
	}
	if a.flags.output == outputJSON {
		err = a.writeJSON(plan)
	} else {
		err = a.writePlan(plan)
	}
	if err == nil && len(plan.Obstacles) > 0 {
		err = guided{err: errors.New("a rotation would not succeed"), hint: "In the way stands what the plan lists under \"In the way\".", code: exitPreflight}
	}
	return err
}

// planner is the function to ask: that of the secret, or else that of its
// engine.
func (a *app) planner(ctx context.Context, client *secretsmanager.Client, s *secretsmanager.DescribeSecretOutput, asked string) (string, error) {
	function, failure := functionOf(s, asked)
	if failure == nil {
		return function, nil
	}
	out, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: s.ARN})
	if err != nil {
		return "", fmt.Errorf("reading the engine of the secret: %w", err)
	}
	var value struct {
		Engine string `json:"engine"`
	}
	if json.Unmarshal([]byte(aws.ToString(out.SecretString)), &value) != nil {
		return "", failure
	}
	if function = engineFunction(value.Engine); function == "" {
		return "", failure
	}
	return function, nil
}

// engineFunction is keyturn's own function for an engine; "" for any other.
func engineFunction(engine string) string {
	switch {
	case strings.Contains(engine, "postgres"):
		return postgresFunction
	case strings.Contains(engine, "mysql"), engine == "mariadb", engine == "aurora":
		return mysqlFunction
	case engine == "redis", engine == "valkey":
		return redisFunction
	}
	return ""
}

func (a *app) askPlan(ctx context.Context, cfg aws.Config, function, secretARN string, rehearse bool) (*rotation.Plan, error) {
	step := rotation.StepPlan
	if rehearse {
		step = rotation.StepRehearse
	}
	result, err := a.invokeStep(ctx, cfg, function, rotation.Event{Step: step, SecretID: secretARN})
	if err != nil {
		return nil, err
	}
	if result.Plan == nil {
		return nil, notOurs(function, step)
	}
	return result.Plan, nil
}

// preflight gives a function's failure its exit code: nothing was begun.
func preflight(err error) error {
	var failure *functionFailure
	if !errors.As(err, &failure) {
		return err
	}
	hint := ""
	if isClass(failure.Class) {
		hint = "The class of the error is " + string(failure.Class) + "; nothing was changed."
	}
	return guided{err: err, hint: hint, code: exitPreflight}
}

func (a *app) writePlan(p *rotation.Plan) error {
	var f facts
	f.add("User", p.Username)
	f.add("Server", p.Server)
	f.add("Strategy", p.Strategy+", because "+p.Because)
	f.add("Changed by", p.By)
	f.add("Exposure", p.Exposure)
	for _, s := range p.Statements {
		f.add(s.Step, s.Text)
	}
	for i, text := range p.WayBack {
		f.add(first(i, "Way back"), text)
	}
	f.add("Open sessions", strconv.Itoa(len(p.Sessions)))
	for _, s := range p.Sessions {
		f = append(f, []string{"", strings.TrimSpace(fmt.Sprintf("%s from %s, %s for %d s", s.ID, s.From, s.State, s.Seconds))})
	}
	f.add("Hidden", p.Hidden)
	for i, text := range p.Obstacles {
		f.add(first(i, "In the way"), text)
	}
	if err := a.writeTable(f); err != nil || p.Rehearsal == nil {
		return err
	}
	return a.writeRehearsal(p.Rehearsal)
}

// first is a name that stands beside the first of several lines only.
func first(i int, name string) string {
	if i > 0 {
		return name + " " + strconv.Itoa(i+1)
	}
	return name
}

func (a *app) writeRehearsal(r *rotation.Rehearsal) error {
	rows := [][]string{nil, {"rehearsed with the throw-away user " + r.Username + ", " + r.Strategy + "; it is dropped"}}
	for _, s := range r.Steps {
		rows = append(rows, []string{"  " + s.Step, micros(s.Micros)})
	}
	rows = append(rows, []string{"  exposure", micros(r.ExposureMicros)})
	if len(r.LeftOvers) > 0 {
		rows = append(rows, []string{"  dropped too", strings.Join(r.LeftOvers, ", ")})
	}
	return a.writeTable(rows)
}
