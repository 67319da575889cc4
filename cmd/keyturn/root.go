package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// app is what every command shares: the streams, the clock and the global
// flags.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	now            func() time.Time
	flags          globalFlags
	cancel         context.CancelFunc // of --timeout; nil without one
	expired        func() bool        // whether --timeout is over; nil without one
}

// globalFlags are the flags of every command. Empty fields leave the matter to
// the ordinary AWS settings.
type globalFlags struct {
	profile     string
	region      string
	endpointURL string
	output      string        // json, table or text; empty: the command's own default
	timeout     time.Duration // of the whole command; 0: none
	debug       bool
}

const (
	outputJSON  = "json"
	outputTable = "table"
	outputText  = "text"
)

// commands is where a command is registered.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newServeCommand(a),
		newDemoCommand(a),
		newDeployCommand(a),
		newSecretCommand(a),
		newKeyCommand(a),
		newRotationCommand(a),
		newAuditCommand(a),
		newAccessKeyCommand(a),
		newRandomPasswordCommand(a),
		newExportCommand(a),
		newImportCommand(a),
		newClockCommand(a),
		newDoctorCommand(a),
		newVersionCommand(a),
		newExitCodesTopic(),
		newEnvironmentTopic(),
	}
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "keyturn",
		Short: "Keep database credentials and rotate them",
		Long: `keyturn keeps database credentials in AWS Secrets Manager, or in its own server
that speaks the same API, and rotates them.

Every command but "serve", "demo" and "audit" is an ordinary AWS client: profile,
region, credentials and endpoint come from where the AWS CLI takes them. See
"keyturn help environment" and "keyturn help exit-codes".`,
		Example: `  keyturn serve
  export AWS_ENDPOINT_URL=http://127.0.0.1:4566
  export AWS_SHARED_CREDENTIALS_FILE=keyturn-data/credentials
  keyturn secret create prod/db --from-file login.json
  keyturn secret get prod/db --field password`,
		Args:              knownCommand,
		RunE:              showHelp,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: a.prepare,
	}
	root.SetFlagErrorFunc(flagError)
	a.addGlobalFlags(root)
	root.AddCommand(commands(a)...)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	fitCompletion(root)
	fitHelp(root)
	a.fitFlags(root)
	return root
}

// fitCompletion gives cobra's own command the manners of the others.
func fitCompletion(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		cmd.Short = "Print the completion script of a shell"
		cmd.Example = "  source <(keyturn completion bash)\n  keyturn completion fish > ~/.config/fish/completions/keyturn.fish"
		cmd.Args, cmd.RunE = knownCommand, showHelp
		for _, shell := range cmd.Commands() {
			shell.Args = positional()
			shell.Example = "  keyturn completion " + shell.Name()
		}
	}
}

// fitHelp makes a topic that does not exist an error: cobra's own command ends
// with code 0.
func fitHelp(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.Name() != "help" {
			continue
		}
		cmd.Run = nil
		cmd.RunE = func(_ *cobra.Command, args []string) error {
			topic, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("there is no help about %q", strings.Join(args, " "))
			}
			return topic.Help()
		}
	}
}

func (a *app) addGlobalFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&a.flags.profile, "profile", "", "profile of the AWS settings (AWS_PROFILE)")
	f.StringVar(&a.flags.region, "region", "", "AWS region (AWS_REGION); us-east-1 when the endpoint is not AWS")
	f.StringVar(&a.flags.endpointURL, "endpoint-url", "", "server to speak to (AWS_ENDPOINT_URL)")
	f.StringVarP(&a.flags.output, "output", "o", "", "output: json, table or text")
	f.DurationVar(&a.flags.timeout, "timeout", 0, "give up after this time, such as 30s (0: never)")
	f.BoolVar(&a.flags.debug, "debug", false, "write each request to stderr, without headers and values")
	_ = root.RegisterFlagCompletionFunc("output",
		cobra.FixedCompletions([]string{outputJSON, outputTable, outputText}, cobra.ShellCompDirectiveNoFileComp))
}

// prepare runs before every command: it checks the global flags and starts the
// clock of --timeout.
func (a *app) prepare(cmd *cobra.Command, _ []string) error {
	if o := a.flags.output; o != "" && !slices.Contains([]string{outputJSON, outputTable, outputText}, o) {
		return usagef("--output is json, table or text, not %q", o)
	}
	if a.flags.timeout < 0 {
		return usagef("--timeout is a time such as 30s, not %s", a.flags.timeout)
	}
	if a.flags.timeout > 0 {
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), a.flags.timeout, errTimeout)
		a.cancel = cancel
		a.expired = func() bool { return errors.Is(context.Cause(ctx), errTimeout) }
		cmd.SetContext(ctx)
	}
	return nil
}

func (a *app) close() {
	if a.cancel != nil {
		a.cancel()
	}
}

// newGroup is a command that only holds others.
func newGroup(use, short string, members ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{Use: use, Short: short, Args: knownCommand, RunE: showHelp}
	group.AddCommand(members...)
	return group
}

func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// knownCommand refuses what is left when no subcommand matched.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := nearest(cmd, args[0]); len(near) > 0 {
		hint = fmt.Sprintf("; did you mean %s?", strings.Join(near, " or "))
	}
	return usagef("%s has no command %q%s", cmd.CommandPath(), args[0], hint)
}

// nearest proposes commands whose names differ by one letter, or else by two.
func nearest(cmd *cobra.Command, typed string) []string {
	for cmd.SuggestionsMinimumDistance = 1; cmd.SuggestionsMinimumDistance <= 2; cmd.SuggestionsMinimumDistance++ {
		if near := cmd.SuggestionsFor(typed); len(near) > 0 {
			return near
		}
	}
	return nil
}

// positional takes exactly the named arguments. What is too much is not
// repeated: it may be a value that should never have been an argument.
func positional(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usagef("%s is missing", strings.Join(names[len(args):], " and "))
		}
		if len(args) == len(names) {
			return nil
		}
		if len(names) == 0 {
			return usagef("no argument is taken, %d given", len(args))
		}
		return usagef("only %s is taken, %d arguments given", strings.Join(names, " and "), len(args))
	}
}

// positionalIfAny takes the named argument, or none.
func positionalIfAny(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return positional(name)(cmd, args)
	}
}

// flagError explains a flag that could not be parsed. Flags that would carry a
// value are answered with the way that keeps it out of the process list.
func flagError(_ *cobra.Command, err error) error {
	// "unknown shorthand flag: 'p' in -pSECRET" would repeat what was typed.
	message, _, _ := strings.Cut(err.Error(), " in -")
	for _, name := range []string{"secret-string", "secret-binary", "password", "value"} {
		if message == "unknown flag: --"+name {
			return usageError{message: message, hint: noValueArgument}
		}
	}
	return usageError{message: message}
}
