package main

import (
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/internal/scheduler"
)

// scheduleFlags are the settings of a secret's schedule that AWS does not have.
type scheduleFlags struct{ timeZone, blackout string }

// add gives a command the flags.
func (f *scheduleFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.timeZone, "time-zone", "", "time zone of the schedule, such as Europe/Berlin; empty: UTC again")
	cmd.Flags().StringVar(&f.blackout, "blackout", "", "days on which no scheduled rotation begins, such as \"2026-12-24/2027-01-02 2026-11-27\"; empty: none again")
}

// tags returns which tags of the secret a command line sets, and which it
// removes.
func (f *scheduleFlags) tags(cmd *cobra.Command) (set map[string]string, remove []string) {
	set = map[string]string{}
	for name, tag := range map[string]struct{ key, value string }{
		"time-zone": {scheduler.TimeZoneTag, f.timeZone}, "blackout": {scheduler.BlackoutTag, f.blackout},
	} {
		switch {
		case !cmd.Flags().Changed(name):
		case tag.value == "":
			remove = append(remove, tag.key)
		default:
			set[tag.key] = tag.value
		}
	}
	return set, remove
}
