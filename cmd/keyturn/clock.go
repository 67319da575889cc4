package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/keyturnapi"
)

func newClockCommand(a *app) *cobra.Command {
	return newGroup("clock", "Move the clock of a server in dev mode", newClockAdvanceCommand(a))
}

func newClockAdvanceCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "advance DURATION",
		Short: "Move the server's clock forward",
		Long: `Move the clock of a server that was started with "keyturn serve --dev" forward,
and with it every rotation that becomes due. A duration is written in days (d),
hours (h), minutes (m) and seconds (s), largest first.`,
		Example: `  keyturn clock advance 30d
  keyturn clock advance 1d12h`,
		Args:              positional("DURATION"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := parseDuration(args[0])
			if err != nil {
				return err
			}
			return a.advanceClock(cmd, d)
		},
	}
}

func (a *app) advanceClock(cmd *cobra.Command, d time.Duration) error {
	client, err := a.keyturn(cmd.Context())
	if err != nil {
		return err
	}
	out, err := client.AdvanceClock(cmd.Context(), &keyturnapi.AdvanceClockInput{Seconds: int64(d / time.Second)})
	if err != nil {
		return fmt.Errorf("advancing the clock: %w", err)
	}
	if a.flags.output == outputJSON {
		return a.writeJSON(out)
	}
	return a.println("the server's clock shows", out.Now.UTC().Format(time.RFC3339))
}

// maxDays keeps the sum within what time.Duration holds, some 292 years.
const maxDays = 36_500

// parseDuration reads what time.ParseDuration reads, with days before it.
func parseDuration(s string) (time.Duration, error) {
	refusal := usagef("DURATION is a time such as 30d, 1d12h or 90m, of whole seconds, not %q", s)
	var days int64
	rest := s
	if before, after, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseInt(before, 10, 64)
		if err != nil || n < 0 || n > maxDays {
			return 0, refusal
		}
		days, rest = n, after
	}
	var d time.Duration
	if rest != "" {
		var err error
		if d, err = time.ParseDuration(rest); err != nil || d < 0 || d > maxDays*24*time.Hour {
			return 0, refusal
		}
	}
	d += time.Duration(days) * 24 * time.Hour
	if d <= 0 || d%time.Second != 0 {
		return 0, refusal
	}
	return d, nil
}
