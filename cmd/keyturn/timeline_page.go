package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

//go:embed timeline.html
var timelineHTML string

var timelineTemplate = template.Must(template.New("timeline").Parse(timelineHTML))

// timelinePage is what timeline.html shows.
type timelinePage struct {
	Name, ARN, Strategy string
	Made                string
	Next                string
	OldUntil            string // of an older password that is valid now
	Drift               []string
	History             history
	Figures             []figure // newest first
}

// writePage writes the page to a file, "-" is stdout.
func (a *app) writePage(t timeline, file string) error {
	var page bytes.Buffer
	if err := timelineTemplate.Execute(&page, a.page(t)); err != nil {
		return fmt.Errorf("drawing the timeline: %w", err)
	}
	if file == "-" {
		_, err := a.stdout.Write(page.Bytes())
		return err
	}
	if err := os.WriteFile(file, page.Bytes(), 0o600); err != nil {
		return fmt.Errorf("writing the timeline: %w", err)
	}
	return a.println("wrote", file)
}

func (a *app) page(t timeline) timelinePage {
	now := a.now().UTC()
	p := timelinePage{Name: t.Name, ARN: t.ARN, Strategy: t.Strategy, Made: moment(now)}
	if t.Next != nil {
		p.Next = fmt.Sprintf("%s at %s, attempt %d", t.Next.Step, moment(t.Next.At), t.Next.Attempt)
	}
	if w := t.Passwords; w != nil {
		p.Drift = w.Drift
		if w.OldPasswordUntil != nil {
			p.OldUntil = moment(*w.OldPasswordUntil)
		}
	}
	stories := storiesOf(t.Rotations)
	p.History = historyOf(stories, now)
	for i, s := range stories {
		p.Figures = append(p.Figures, draw(s, "rotation-"+strconv.Itoa(i+1), t.Passwords, now))
	}
	return p
}

// story is a rotation with the retirement of the password that it replaced, or
// a test.
type story struct {
	rotationRecord
	retired *time.Time // when the old password ended
}

// storiesOf joins retirements to their rotations, newest first.
func storiesOf(records []rotationRecord) []story {
	var stories []story
	for _, r := range records {
		if r.Kind != kindRetirement {
			stories = append(stories, story{rotationRecord: r})
		}
	}
	for _, r := range records {
		if r.Kind != kindRetirement {
			continue
		}
		i := slices.IndexFunc(stories, func(s story) bool { return s.VersionID == r.VersionID && s.Kind == kindRotation })
		if i < 0 {
			stories = append(stories, story{rotationRecord: r})
			continue
		}
		stories[i].Steps = append(slices.Clone(stories[i].Steps), r.Steps...)
		if r.Outcome == outcomeSucceeded {
			stories[i].retired = r.Ended
		}
	}
	return stories
}

const kindRetirement = "retirement"

// history is the strip of all rotations in true proportion of time.
type history struct {
	Width    int
	From, To string
	Dots     []dot
}

type dot struct {
	X              int
	Class, Glyph   string
	Anchor, Legend string
}

const historyWidth, historyEdge = 720, 16

func historyOf(stories []story, now time.Time) history {
	h := history{Width: historyWidth, To: moment(now)}
	if len(stories) == 0 {
		return h
	}
	from := stories[len(stories)-1].Started
	for _, s := range stories {
		if s.Started.Before(from) {
			from = s.Started
		}
	}
	h.From = moment(from)
	span := max(now.Sub(from), time.Millisecond)
	for i, s := range stories {
		x := historyEdge + int(float64(historyWidth-2*historyEdge)*float64(s.Started.Sub(from))/float64(span))
		h.Dots = append(h.Dots, dot{X: x, Class: s.Outcome, Glyph: glyphs[s.Outcome], Anchor: "rotation-" + strconv.Itoa(i+1),
			Legend: fmt.Sprintf("%s %s, %s", s.Kind, moment(s.Started), s.Outcome)})
	}
	slices.Reverse(h.Dots) // the newest is on top
	return h
}

// glyphs tell outcomes apart without colours.
var glyphs = map[string]string{outcomeSucceeded: "✓", outcomeFailed: "✗", "interrupted": "‖", "abandoned": "–", outcomeRunning: "…"}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// micros writes a measured time in the unit that fits.
func micros(n int64) string {
	switch d := time.Duration(n) * time.Microsecond; {
	case n < 1000:
		return fmt.Sprintf("%d µs", n)
	case d < time.Second:
		return fmt.Sprintf("%.1f ms", float64(n)/1000)
	case d < 2*time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return (time.Duration(n) * time.Microsecond).Round(time.Second).String()
}

// exposure is the longest that a step of a story has measured; nil: none has.
func exposure(steps []stepRecord) (longest *int64) {
	for _, s := range steps {
		if s.ExposureMicros != nil && (longest == nil || *s.ExposureMicros > *longest) {
			longest = s.ExposureMicros
		}
	}
	return longest
}

// oldPassword says how the life of the replaced password goes on.
func oldPassword(s story, w *keyturnapi.RotationPasswords) string {
	switch {
	case s.Kind != kindRotation:
		return ""
	case s.retired != nil:
		return "ended by retireSecret at " + moment(*s.retired)
	case w != nil && w.OldPasswordUntil != nil && w.OldPasswordReplacedBy == s.VersionID:
		return "valid until " + moment(*w.OldPasswordUntil)
	case s.Strategy == rotation.StrategyDualPassword && s.Outcome == outcomeSucceeded:
		return "ended by a later rotation"
	case s.Strategy == rotation.StrategyAlternatingUsers && s.Outcome == outcomeSucceeded:
		return "valid until the next rotation, when it is its user's turn"
	case s.Outcome == outcomeSucceeded:
		return "ended by setSecret"
	}
	return ""
}
