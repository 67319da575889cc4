package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/keyturnapi"
)

// defaultWait is how long --wait waits when --timeout says nothing.
const defaultWait = 5 * time.Minute

type rotateFlags struct {
	function    string
	days        int64
	immediately bool
	wait        bool
	token       string
}

func newSecretRotateCommand(a *app) *cobra.Command {
	var flags rotateFlags
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Rotate a secret, now or from now on",
		Long: `Rotate a secret now. With --function and --days the rotation is configured first;
without them it must have been.

--wait follows the rotation until AWSCURRENT is on the new version, 5 minutes at
most or as long as --timeout says. It ends with exit code 5 when a step failed
before it changed the password, and with 6 when the end is not known. keyturn
repeats a failed step by itself: "keyturn rotation status" tells when.`,
		Example: `  keyturn secret rotate prod/db --wait
  keyturn secret rotate prod/db --function keyturn-rotate-mysql --days 30
  keyturn secret rotate prod/db --days 7 --rotate-immediately=false`,
		Args:              positional("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.rotateSecret(cmd, args[0], flags) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.function, "function", "", "rotation function, by name or ARN")
	f.Int64Var(&flags.days, "days", 0, "days from one rotation to the next, 1 to 1000")
	f.BoolVar(&flags.immediately, "rotate-immediately", true, "rotate now, not only at the next scheduled time")
	f.BoolVar(&flags.wait, "wait", false, "wait for the end of the rotation")
	f.StringVar(&flags.token, "client-request-token", "", "id of the new version, which makes a repetition harmless")
	return cmd
}

func (a *app) rotateSecret(cmd *cobra.Command, name string, flags rotateFlags) error {
	in, err := rotateInput(cmd, name, flags)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	cfg, err := a.awsConfig(ctx)
	if err != nil {
		return err
	}
	if in.RotationLambdaARN, err = functionARN(ctx, cfg, flags.function); err != nil {
		return err
	}
	client := secretsmanager.NewFromConfig(cfg)
	out, err := client.RotateSecret(ctx, in)
	if err != nil {
		return fmt.Errorf("rotating the secret: %w", err)
	}
	if flags.wait {
		w := newWatch(a, client, keyturnapi.New(cfg), out)
		if err := a.waitFor(ctx, w); err != nil {
			return err
		}
		out.VersionId = &w.version
	}
	return a.writeRotated(out, flags)
}

func rotateInput(cmd *cobra.Command, name string, flags rotateFlags) (*secretsmanager.RotateSecretInput, error) {
	if flags.wait && !flags.immediately {
		return nil, usagef("--wait needs a rotation that happens now: leave out --rotate-immediately=false")
	}
	in := &secretsmanager.RotateSecretInput{SecretId: &name, ClientRequestToken: optional(flags.token)}
	if cmd.Flags().Changed("days") {
		in.RotationRules = &types.RotationRulesType{AutomaticallyAfterDays: &flags.days}
	}
	if cmd.Flags().Changed("rotate-immediately") {
		in.RotateImmediately = &flags.immediately
	}
	return in, nil
}

// functionARN finds the ARN of a function that is given by its name.
func functionARN(ctx context.Context, cfg aws.Config, function string) (*string, error) {
	if function == "" || strings.HasPrefix(function, "arn:") {
		return optional(function), nil
	}
	out, err := lambda.NewFromConfig(cfg).GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: &function})
	if err != nil {
		return nil, fmt.Errorf("looking for the function %s: %w", function, err)
	}
	if out.Configuration == nil || out.Configuration.FunctionArn == nil {
		return nil, fmt.Errorf("looking for the function %s: the answer holds no ARN", function)
	}
	return out.Configuration.FunctionArn, nil
}

func (a *app) waitFor(ctx context.Context, w *watch) error {
	if a.flags.timeout == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, defaultWait, errTimeout)
		defer cancel()
	}
	return w.run(ctx)
}

func (a *app) writeRotated(out *secretsmanager.RotateSecretOutput, flags rotateFlags) error {
	name := aws.ToString(out.Name)
	switch {
	case a.flags.output == outputJSON:
		return a.writeJSON(out)
	case flags.wait:
		return a.println("rotated", name, "to version", aws.ToString(out.VersionId))
	case !flags.immediately:
		return a.println("configured the rotation of", name)
	}
	return a.println("started the rotation of", name, "to version", aws.ToString(out.VersionId))
}
