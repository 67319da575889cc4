package main

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/keyturnapi"
)

func newRotationExplainCommand(a *app) *cobra.Command {
	windows := int64(5)
	cmd := &cobra.Command{
		Use:   "explain SECRET",
		Short: "Show the next rotation windows of a secret, and why",
		Long: `Show the next windows in which a secret rotates, the moment in each, and what they
follow from: the rule, the time zone, the blackout days, and what the rule counts
from. It supposes that each rotation succeeds.

On AWS the windows are computed here from what DescribeSecret says, in UTC. The
moment within a window is AWS's own choice, and time zones and blackouts are
keyturn's: AWS does not mind these tags.`,
		Example: `  keyturn rotation explain prod/db
  keyturn rotation explain prod/db --windows 12 -o json`,
		Args:              positional("SECRET"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if windows < 1 || windows > 100 {
				return usagef("--windows is a number from 1 to 100, not %d", windows)
			}
			out, err := a.explainSchedule(cmd.Context(), args[0], windows)
			if err != nil {
				return err
			}
			if a.flags.output == outputJSON {
				return a.writeJSON(out)
			}
			return a.writeExplanation(out)
		},
	}
	cmd.Flags().Int64Var(&windows, "windows", windows, "how many windows, 1 to 100")
	return cmd
}

// explanation is what the server says, or what was computed here for AWS.
type explanation struct {
	keyturnapi.ExplainRotationOutput
	computed bool
}

func (a *app) explainSchedule(ctx context.Context, name string, windows int64) (*explanation, error) {
	cfg, err := a.awsConfig(ctx)
	if err != nil {
		return nil, err
	}
	out, err := keyturnapi.New(cfg).ExplainRotation(ctx, &keyturnapi.ExplainRotationInput{SecretID: name, MaxResults: windows})
	if err == nil {
		return &explanation{ExplainRotationOutput: *out}, nil
	}
	if !isUnsupported(err) {
		return nil, fmt.Errorf("explaining the rotation: %w", err)
	}
	described, err := secretsmanager.NewFromConfig(cfg).DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		return nil, fmt.Errorf("describing the secret: %w", err)
	}
	return explainDescribed(described, int(windows)), nil
}

// explainDescribed computes the windows of a secret on AWS.
func explainDescribed(s *secretsmanager.DescribeSecretOutput, windows int) *explanation {
	e := &explanation{computed: true}
	e.ARN, e.Name, e.TimeZone = aws.ToString(s.ARN), aws.ToString(s.Name), "UTC"
	e.RotationEnabled, e.LastRotatedDate, e.DeletedDate = aws.ToBool(s.RotationEnabled), s.LastRotatedDate, s.DeletedDate
	r := s.RotationRules
	if r == nil {
		return e
	}
	e.ScheduleExpression, e.Duration = aws.ToString(r.ScheduleExpression), aws.ToString(r.Duration)
	if e.ScheduleExpression == "" { // AWS computes the days of an expression
		e.AutomaticallyAfterDays = aws.ToInt64(r.AutomaticallyAfterDays)
	}
	if !e.RotationEnabled || s.NextRotationDate == nil || s.DeletedDate != nil {
		return e
	}
	rule := scheduler.Rule{Days: e.AutomaticallyAfterDays, Expr: e.ScheduleExpression, Duration: e.Duration}
	found, err := rule.WindowsFrom(*s.NextRotationDate, "", windows)
	if err != nil {
		return e // a rule that only AWS understands
	}
	for _, w := range found {
		e.Windows = append(e.Windows, keyturnapi.RotationWindow{Opens: w.Start, Closes: w.End})
	}
	return e
}

func (a *app) writeExplanation(e *explanation) error {
	var f facts
	f.add("Name", e.Name)
	f.add("Rule", e.rule())
	f.add("Time zone", e.TimeZone)
	f.add("Blackout", e.Blackout)
	f.add("Counted from", e.countedFrom())
	f.add("Moment", e.moment())
	f.add("Next", e.none())
	if err := a.writeTable(f); err != nil || len(e.Windows) == 0 {
		return err
	}
	rows := [][]string{{"OPENS", "ROTATES", "CLOSES", "WHY"}}
	for i, w := range e.Windows {
		rows = append(rows, []string{e.shown(&w.Opens), e.shown(w.Rotates), e.shown(&w.Closes), e.why(i)})
	}
	if err := a.println(); err != nil {
		return err
	}
	return a.writeTable(rows)
}

// shown writes a moment as the clocks of the secret's zone show it.
func (e *explanation) shown(t *time.Time) string {
	if t == nil {
		return "-"
	}
	zone, err := time.LoadLocation(e.TimeZone)
	if err != nil {
		zone = time.UTC
	}
	return t.In(zone).Format("Mon 2006-01-02 15:04:05 -07:00")
}

func (e *explanation) rule() string {
	text := e.ScheduleExpression
	switch {
	case e.AutomaticallyAfterDays > 0:
		text = fmt.Sprintf("%d days after the last rotation", e.AutomaticallyAfterDays)
	case text == "":
		return "none: the secret rotates on demand"
	}
	if e.Duration != "" {
		text += ", for " + e.Duration
	}
	return text
}

func (e *explanation) countedFrom() string {
	switch {
	case e.CountedFrom == nil:
		return e.shownOr(e.LastRotatedDate, ", the last rotation")
	case e.LastRotatedDate != nil && e.LastRotatedDate.Equal(*e.CountedFrom):
		return e.shown(e.CountedFrom) + ", the last rotation"
	case e.LastRotatedDate != nil:
		return e.shown(e.CountedFrom) + ", when a value was put by hand, which counts as a rotation"
	}
	return e.shown(e.CountedFrom) + ", when rotation was configured or a value was put by hand"
}

func (e *explanation) shownOr(t *time.Time, what string) string {
	if t == nil {
		return ""
	}
	return e.shown(t) + what
}

func (e *explanation) moment() string {
	if e.computed {
		return "AWS chooses one in each window"
	}
	return "fixed for each secret, spread over the first three quarters of a window"
}

// none says why there is no window.
func (e *explanation) none() string {
	switch {
	case len(e.Windows) > 0:
		return ""
	case !e.RotationEnabled:
		return "never: rotation is not enabled"
	case e.DeletedDate != nil:
		return "never: the secret is scheduled for deletion"
	}
	return "not planned"
}

func (e *explanation) why(i int) string {
	if at := e.Windows[i].PassedOver; at != nil {
		return "the blackout took the window of " + e.shown(at)
	}
	if i == 0 || e.AutomaticallyAfterDays == 0 {
		return "the rule"
	}
	return fmt.Sprintf("%d days after the rotation before", e.AutomaticallyAfterDays)
}
