package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestScheduleFlags(t *testing.T) {
	for _, tc := range []struct {
		args   []string
		set    map[string]string
		remove []string
	}{
		{nil, map[string]string{}, nil},
		{[]string{"--time-zone", "Europe/Berlin"}, map[string]string{"keyturn:rotation-time-zone": "Europe/Berlin"}, nil},
		{[]string{"--blackout", "2026-11-27", "--time-zone", ""}, map[string]string{"keyturn:rotation-blackout": "2026-11-27"}, []string{"keyturn:rotation-time-zone"}},
	} {
		var f scheduleFlags
		cmd := &cobra.Command{}
		f.add(cmd)
		if err := cmd.ParseFlags(tc.args); err != nil {
			t.Fatal(err)
		}
		set, remove := f.tags(cmd)
		if diff := cmp.Diff(tc.set, set) + cmp.Diff(tc.remove, remove); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tc.args, diff)
		}
	}
}
