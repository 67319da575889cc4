package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/keyturnapi"
)

// timeline is the JSON form of "rotation timeline".
type timeline struct {
	ARN       string
	Name      string
	Strategy  string                   `json:",omitzero"`
	Next      *keyturnapi.RotationNext `json:",omitzero"`
	Rotations []rotationRecord         // newest first

	Passwords *keyturnapi.RotationPasswords `json:",omitzero"`
}

// rotationRecord is all that was done for one version in one go: a rotation,
// a test, or the retirement of the old password.
type rotationRecord struct {
	VersionID string `json:"VersionId"`
	Kind      string // rotation, test or retirement
	Strategy  string `json:",omitzero"`
	Started   time.Time
	Ended     *time.Time `json:",omitzero"` // absent while it runs
	Millis    int64      `json:"DurationMs"`
	Outcome   string
	Steps     []stepRecord // oldest first
}

type stepRecord struct {
	Step       string
	Attempt    int64
	Started    time.Time
	Ended      *time.Time `json:",omitzero"`
	Millis     int64      `json:"DurationMs"`
	Outcome    string
	ErrorClass string `json:",omitzero"`
	Error      string `json:",omitzero"`
	// ExposureMicros is how long the database refused AWSCURRENT.
	ExposureMicros *int64 `json:",omitzero"`
}

// defaultRecords is how many records ListRotations answers unless it is told.
const defaultRecords = 100

func newRotationTimelineCommand(a *app) *cobra.Command {
	var records int64
	var html string
	cmd := &cobra.Command{
		Use:   "timeline SECRET",
		Short: "Show the steps of past rotations",
		Long: `Show each rotation of a secret, newest first, with its steps, how long each
attempt took, how it ended, the class of its error and the measured exposure:
how long the database refused AWSCURRENT. Only a keyturn server keeps this
record.

--html writes it as one page with a picture of each rotation, that needs nothing
from elsewhere and holds no values.`,
		Example: `  keyturn rotation timeline prod/db
  keyturn rotation timeline prod/db -o json
  keyturn rotation timeline prod/db --html timeline.html`,
		Args:              positional("SECRET"),
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.showTimeline(cmd, args[0], records, html) },
	}
	cmd.Flags().Int64Var(&records, "max-results", defaultRecords, "records to read, one for each attempt of a step, at most 1000")
	cmd.Flags().StringVar(&html, "html", "", "write a page to this file; -: to stdout")
	_ = cmd.MarkFlagFilename("html", "html")
	return cmd
}

func (a *app) showTimeline(cmd *cobra.Command, name string, records int64, html string) error {
	client, err := a.keyturn(cmd.Context())
	if err != nil {
		return err
	}
	out, err := client.ListRotations(cmd.Context(), &keyturnapi.ListRotationsInput{SecretID: name, MaxResults: records})
	if err != nil {
		return fmt.Errorf("reading the rotation's record: %w", err)
	}
	t := timeline{ARN: out.ARN, Name: out.Name, Strategy: out.Strategy, Next: out.Next, Rotations: group(out.Runs, a.now()), Passwords: out.Passwords}
	if int64(len(out.Runs)) == cmp.Or(records, defaultRecords) {
		t.Rotations = whole(t.Rotations)
	}
	if html != "" {
		return a.writePage(t, html)
	}
	if a.flags.output == outputJSON {
		return a.writeJSON(t)
	}
	return a.writeTimeline(t)
}

// group joins the records, newest first, that belong to the same version and
// kind. A step that still runs is measured up to now.
func group(runs []keyturnapi.RotationRun, now time.Time) []rotationRecord {
	groups := []rotationRecord{}
	for _, r := range runs {
		i := slices.IndexFunc(groups, func(g rotationRecord) bool { return g.VersionID == r.VersionID && g.Kind == r.Kind })
		if i < 0 {
			i = len(groups)
			groups = append(groups, rotationRecord{VersionID: r.VersionID, Kind: r.Kind, Ended: r.Ended, Outcome: r.Outcome})
		}
		g := &groups[i]
		g.Started = r.Started
		g.Strategy = firstOf(g.Strategy, r.Strategy)
		g.Steps = append(g.Steps, stepRecord{
			Step: r.Step, Attempt: r.Attempt, Started: r.Started, Ended: r.Ended, Millis: millis(r.Started, r.Ended, now),
			Outcome: r.Outcome, ErrorClass: r.ErrorClass, Error: r.Error, ExposureMicros: r.ExposureMicros,
		})
	}
	for i := range groups {
		slices.Reverse(groups[i].Steps)
		groups[i].Millis = millis(groups[i].Started, groups[i].Ended, now)
	}
	return groups
}

// whole leaves out the oldest rotation, in whose middle the records may begin: it would
// show a later start and fewer steps than it had. One that is alone stays.
func whole(groups []rotationRecord) []rotationRecord {
	return groups[:max(1, len(groups)-1)]
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func millis(start time.Time, end *time.Time, now time.Time) int64 {
	if end == nil {
		end = &now
	}
	return max(0, end.Sub(start).Milliseconds())
}

func (a *app) writeTimeline(t timeline) error {
	if len(t.Rotations) == 0 {
		return a.println("no rotation of", t.Name, "has been recorded")
	}
	var rows [][]string
	for i, g := range t.Rotations {
		if i > 0 {
			rows = append(rows, nil)
		}
		rows = append(rows, []string{fmt.Sprintf("%s of version %s, %s, %s %s in %d ms",
			g.Kind, g.VersionID, firstOf(g.Strategy, "no strategy yet"), a.when(&g.Started), g.Outcome, g.Millis)})
		for _, s := range g.Steps {
			rows = append(rows, stepRow(g, s))
		}
	}
	if t.Next != nil {
		rows = append(rows, nil, []string{fmt.Sprintf("next: %s at %s, attempt %d", t.Next.Step, a.when(&t.Next.At), t.Next.Attempt)})
	}
	return a.writeTable(rows)
}

func stepRow(g rotationRecord, s stepRecord) []string {
	return []string{
		"  " + s.Step,
		"+" + strconv.FormatInt(s.Started.Sub(g.Started).Milliseconds(), 10) + " ms",
		strconv.FormatInt(s.Millis, 10) + " ms",
		"attempt " + strconv.FormatInt(s.Attempt, 10),
		s.Outcome, s.ErrorClass, s.Error, exposureText(s),
	}
}

func exposureText(s stepRecord) string {
	if s.ExposureMicros == nil {
		return ""
	}
	return "exposure " + micros(*s.ExposureMicros)
}
