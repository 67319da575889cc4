package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

// figure is the picture of one story. A lane for each step, from left to right
// in the order of time. Attempts take milliseconds and the pauses between them
// minutes, so a width grows with the logarithm of its time; the times are
// written down.
type figure struct {
	ID, Kind, Version, Outcome, Strategy string
	Started, Took, Exposure, Old         string
	Width, Height, LanesEnd              int
	Lanes                                []lane
	Bars                                 []attemptBar
	Pauses                               []waitMark
	Exposed                              *band
	Lives                                []life
	Rows                                 []attemptRow
	LeftOut                              int // attempts that the picture leaves out
}

type lane struct {
	Y, TextY int
	Name     string
}

// attemptBar is an attempt of a step.
type attemptBar struct {
	X, Y, W, H, TextX, TextY int
	Class, Text, Tip         string
}

// waitMark is a wait between attempts.
type waitMark struct {
	X, TextX int
	Text     string
}

// band is the time in which the database refused AWSCURRENT.
type band struct{ X, W, H, TextX int }

// life is how long a password is valid.
type life struct {
	X, Y, W, H, TextX, TextY int
	Class, Text              string
	Open                     bool // it goes on
}

// attemptRow is a row of the table below the picture.
type attemptRow struct {
	Step, Attempt, Started, Offset, Took, Outcome, Glyph, Class, Exposure, Error string
}

// The measures of a figure, in pixels.
const (
	labelWidth  = 124
	laneHeight  = 30
	laneGap     = 6
	topSpace    = 26
	pauseWidth  = 64
	smallGap    = 4
	lifeHeight  = 22
	figureRight = 16
	figureMin   = 680
	longPause   = time.Second
	maxDrawn    = 40 // attempts
)

var laneOrder = []string{rotation.StepCreate, rotation.StepSet, rotation.StepTest, rotation.StepFinish, rotation.StepRetire}

func draw(s story, id string, w *keyturnapi.RotationPasswords, now time.Time) figure {
	f := figure{ID: id, Kind: s.Kind, Version: s.VersionID, Outcome: s.Outcome, Strategy: s.Strategy,
		Started: moment(s.Started), Took: micros(s.Millis * 1000), Old: oldPassword(s, w)}
	if e := exposure(s.Steps); e != nil {
		f.Exposure = micros(*e)
	}
	f.addLanes(s.Steps)
	places := f.addBars(s.Steps, now)
	f.addExposure(s.Steps, places)
	f.addLives(s, places)
	for _, step := range s.Steps {
		f.Rows = append(f.Rows, rowOf(s, step))
	}
	return f
}

func (f *figure) addLanes(steps []stepRecord) {
	y := topSpace
	for _, name := range lanesOf(steps) {
		f.Lanes = append(f.Lanes, lane{Y: y, TextY: y + laneHeight/2 + 4, Name: name})
		y += laneHeight + laneGap
	}
	f.LanesEnd, f.Height = y, y+laneGap
}

// lanesOf lists the steps of a rotation, and those of others that occur.
func lanesOf(steps []stepRecord) []string {
	occurs := func(name string) bool {
		return slices.ContainsFunc(steps, func(s stepRecord) bool { return s.Step == name })
	}
	var lanes []string
	for _, name := range laneOrder {
		if occurs(name) {
			lanes = append(lanes, name)
		}
	}
	for _, s := range steps {
		if !slices.Contains(lanes, s.Step) {
			lanes = append(lanes, s.Step)
		}
	}
	return lanes
}

// addBars places the attempts and returns where each step of the story is.
func (f *figure) addBars(steps []stepRecord, now time.Time) []attemptBar {
	places := make([]attemptBar, len(steps))
	x, until := labelWidth+smallGap, time.Time{}
	for i, s := range steps {
		if f.skips(i, len(steps)) {
			f.LeftOut++
			until = stepEnd(s, now)
			continue
		}
		if !until.IsZero() {
			x = f.addPause(x, s.Started.Sub(until), i)
		}
		places[i] = f.barOf(s, x)
		f.Bars = append(f.Bars, places[i])
		x, until = x+places[i].W, stepEnd(s, now)
	}
	f.Width = max(x+figureRight, figureMin)
	return places
}

// skips leaves out the middle of a long list.
func (f *figure) skips(i, n int) bool { return n > maxDrawn && i >= maxDrawn/2 && i < n-maxDrawn/2 }

func stepEnd(s stepRecord, now time.Time) time.Time {
	if s.Ended == nil {
		return now
	}
	return *s.Ended
}

func (f *figure) addPause(x int, d time.Duration, i int) int {
	if d < longPause {
		return x + smallGap
	}
	text := "wait " + d.Round(time.Second).String()
	if f.LeftOut > 0 && i == maxDrawn/2+f.LeftOut {
		text = fmt.Sprintf("%d more", f.LeftOut)
	}
	f.Pauses = append(f.Pauses, waitMark{X: x + pauseWidth/2, TextX: x + pauseWidth/2, Text: text})
	return x + pauseWidth
}

func (f *figure) barOf(s stepRecord, x int) attemptBar {
	i := slices.IndexFunc(f.Lanes, func(l lane) bool { return l.Name == s.Step })
	w := 58 + int(18*math.Log10(1+float64(s.Millis)))
	tip := fmt.Sprintf("%s, attempt %d: %s after %d ms, begun %s", s.Step, s.Attempt, s.Outcome, s.Millis, moment(s.Started))
	if s.Error != "" {
		tip += "; " + s.ErrorClass + ": " + s.Error
	}
	y := f.Lanes[i].Y
	return attemptBar{X: x, Y: y, W: w, H: laneHeight, TextX: x + w/2, TextY: y + laneHeight/2 + 4,
		Class: s.Outcome, Text: glyphs[s.Outcome] + " " + micros(s.Millis*1000), Tip: tip}
}

// addExposure marks it from the end of setSecret to that of the step that
// measured it, or within setSecret where one statement does both.
func (f *figure) addExposure(steps []stepRecord, places []attemptBar) {
	at := slices.IndexFunc(steps, func(s stepRecord) bool { return s.ExposureMicros != nil && *s.ExposureMicros > 0 })
	if at < 0 || places[at].W == 0 {
		return
	}
	end := places[at].X + places[at].W
	start := places[at].X + places[at].W*2/3
	if set := lastOf(steps, rotation.StepSet, outcomeSucceeded); set >= 0 && set < at && places[set].W > 0 {
		start = places[set].X + places[set].W - 8
	}
	f.Exposed = &band{X: start, W: max(end-start, 12), H: f.LanesEnd - topSpace + laneGap, TextX: start + (end-start)/2}
}

func lastOf(steps []stepRecord, step, outcome string) int {
	for i, s := range slices.Backward(steps) {
		if s.Step == step && s.Outcome == outcome {
			return i
		}
	}
	return -1
}

// addLives draws until when the old password is valid, and from when the new
// one is. What a setSecret that failed has done, nobody knows.
func (f *figure) addLives(s story, places []attemptBar) {
	if s.Kind != kindRotation {
		return
	}
	left, right := labelWidth+smallGap, f.Width-figureRight
	set := lastOf(s.Steps, rotation.StepSet, outcomeSucceeded)
	changed := right
	if set >= 0 && places[set].W > 0 {
		changed = places[set].X + places[set].W
	}
	old, open := changed, set < 0
	if set >= 0 && (s.Strategy == rotation.StrategyDualPassword || s.Strategy == rotation.StrategyAlternatingUsers) {
		old, open = right, true
		if end := lastOf(s.Steps, rotation.StepRetire, outcomeSucceeded); end >= 0 && places[end].W > 0 {
			old, open = places[end].X+places[end].W, false
		}
	}
	f.addLife("old password", "old", left, old, open)
	if set >= 0 {
		f.addLife("new password", "new", changed, right, true)
	}
	f.Height += laneGap
}

func (f *figure) addLife(text, class string, from, to int, open bool) {
	y := f.Height
	f.Lives = append(f.Lives, life{X: from, Y: y, W: max(to-from, 2), H: lifeHeight, TextX: labelWidth - 8, TextY: y + lifeHeight/2 + 4,
		Class: class, Text: text, Open: open})
	f.Height += lifeHeight + laneGap
}

func rowOf(s story, step stepRecord) attemptRow {
	r := attemptRow{Step: step.Step, Attempt: strconv.FormatInt(step.Attempt, 10), Started: moment(step.Started),
		Offset: "+" + micros(step.Started.Sub(s.Started).Microseconds()), Took: micros(step.Millis * 1000),
		Outcome: step.Outcome, Glyph: glyphs[step.Outcome], Class: step.ErrorClass, Error: step.Error}
	if step.ExposureMicros != nil {
		r.Exposure = micros(*step.ExposureMicros)
	}
	return r
}
