package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/internal/audit"
)

// auditPoll is how often "audit tail -f" looks for more.
const auditPoll = 200 * time.Millisecond

func newAuditTailCommand(a *app) *cobra.Command {
	var data string
	var lines int
	var follow bool
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show the last lines of the audit log, and follow it",
		Long: `Show the last lines of the audit log, oldest first, and with -f each further one
as it is written. With -o json the lines are shown as they stand in the log.`,
		Example: `  keyturn audit tail
  keyturn audit tail -f -n 0
  keyturn audit tail -n 100 -o json --data /var/lib/keyturn`,
		Args:              positional(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if lines < 0 {
				return usagef("--lines is a number of lines, not %d", lines)
			}
			return noLog(a.tailAudit(cmd.Context(), auditDir(data), lines, follow), data)
		},
	}
	addData(cmd, &data)
	cmd.Flags().IntVarP(&lines, "lines", "n", 20, "how many lines")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "show further lines as they are written")
	return cmd
}

func (a *app) tailAudit(ctx context.Context, dir string, lines int, follow bool) (err error) {
	log := audit.NewReader(dir)
	defer func() { err = errors.Join(err, log.Close()) }()
	if err := log.SkipTo(lines); err != nil {
		return err
	}
	printer := &auditPrinter{app: a}
	for {
		if err := printAudit(ctx, log, &audit.Filter{}, printer); err != nil || !follow {
			return err
		}
		if err := sleep(ctx, auditPoll); err != nil {
			return err
		}
	}
}

// printAudit shows what the filter selects of the lines that are there.
func printAudit(ctx context.Context, log *audit.Reader, filter *audit.Filter, printer *auditPrinter) error {
	for ctx.Err() == nil {
		raw, err := log.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if e := filter.Match(raw); e != nil {
			if err := printer.print(raw, e); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

type auditSearchFlags struct {
	data, since, until string
	filter             audit.Filter
}

func newAuditSearchCommand(a *app) *cobra.Command {
	var flags auditSearchFlags
	cmd := &cobra.Command{
		Use:   "search",
		Short: "Search the audit log",
		Long: `Show the lines of the audit log to which all flags apply, oldest first. With -o
json they are shown as they stand in the log.

--denied selects calls that were refused for who made them: without permission,
or without a valid signature. --since and --until take a time in RFC 3339, a date
(UTC), or how long ago it was.`,
		Example: `  keyturn audit search --secret prod/db --since 24h
  keyturn audit search --event GetSecretValue --principal user/app
  keyturn audit search --denied --since 2026-01-31 --until 2026-02-01 -o json`,
		Args:              positional(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return noLog(a.searchAudit(cmd.Context(), flags), flags.data)
		},
	}
	addData(cmd, &flags.data)
	f := cmd.Flags()
	f.StringVar(&flags.filter.Secret, "secret", "", "name or ARN of the secret")
	f.StringVar(&flags.filter.Principal, "principal", "", "ARN of the caller, or the end of it, such as user/app")
	f.StringVar(&flags.filter.Event, "event", "", "name of the event, such as GetSecretValue or RotationFailed")
	f.BoolVar(&flags.filter.Denied, "denied", false, "only calls without permission or valid signature")
	f.StringVar(&flags.since, "since", "", "not before this moment")
	f.StringVar(&flags.until, "until", "", "before this moment")
	_ = cmd.RegisterFlagCompletionFunc("secret", a.completeNames)
	_ = cmd.RegisterFlagCompletionFunc("event", cobra.FixedCompletions(auditEvents, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// auditEvents are the events that are looked for most.
var auditEvents = []string{"GetSecretValue", "BatchGetSecretValue", "PutSecretValue", "UpdateSecret", "CreateSecret", "DeleteSecret",
	"PutResourcePolicy", "RotateSecret", "RotationStarted", "RotationSucceeded", "RotationFailed", "RotationAbandoned",
	"RetirementSucceeded", "RetirementFailed", "RotationDriftDetected",
	"CreateAccessKey", "ServerStarted", "ServerStopped"}

func (a *app) searchAudit(ctx context.Context, flags auditSearchFlags) (err error) {
	filter := flags.filter
	if filter.Since, err = a.momentOf("--since", flags.since); err != nil {
		return err
	}
	if filter.Until, err = a.momentOf("--until", flags.until); err != nil {
		return err
	}
	log := audit.NewReader(auditDir(flags.data))
	defer func() { err = errors.Join(err, log.Close()) }()
	return printAudit(ctx, log, &filter, &auditPrinter{app: a})
}
