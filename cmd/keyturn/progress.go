package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/keyturn/keyturn/deploy"
)

// display shows the progress of a deploy.
type display struct {
	event func(deploy.Event) // called from one goroutine
	close func()             // after the last event
}

func (a *app) progress(ctx context.Context) display {
	switch {
	case a.flags.output == outputJSON:
		return jsonLines(a.stderr)
	case hasWidth(a.stderr):
		return bars(ctx, a.stderr)
	}
	return plainLines(a.stderr)
}

// hasWidth tells whether a stream is a screen on which lines can be redrawn;
// some terminals do not tell their size.
func hasWidth(stream any) bool {
	if !isTerminal(stream) {
		return false
	}
	width, _, err := term.GetSize(int(stream.(*os.File).Fd()))
	return err == nil && width > 0
}

func jsonLines(w io.Writer) display {
	encoder := json.NewEncoder(w)
	return display{
		event: func(e deploy.Event) { _ = encoder.Encode(e) },
		close: func() {},
	}
}

// plainLines writes a line for everything that is new.
func plainLines(w io.Writer) display {
	last := ""
	return display{
		event: func(e deploy.Event) {
			if e.State == deploy.Started {
				return
			}
			text := string(e.Step) + ": " + eventText(e)
			if text == last {
				return
			}
			last = text
			if e.State == deploy.Done {
				text += fmt.Sprintf(" (%s)", elapsed(e))
			}
			fmt.Fprintln(w, text)
		},
		close: func() {},
	}
}

func eventText(e deploy.Event) string {
	switch e.State {
	case deploy.Waiting:
		return e.Status
	case deploy.Done:
		return strings.TrimSpace(string(e.Outcome) + " " + e.Detail)
	case deploy.Failed:
		return "failed"
	}
	return ""
}

// elapsed is exact where that tells something: a cluster takes minutes.
func elapsed(e deploy.Event) time.Duration {
	if e.Elapsed() > 10*time.Second {
		return e.Elapsed().Round(time.Second)
	}
	return e.Elapsed().Round(time.Millisecond)
}

// bars keeps one line for each step, turning while it runs.
func bars(ctx context.Context, w io.Writer) display {
	p := mpb.NewWithContext(ctx, mpb.WithOutput(w), mpb.WithWidth(1), mpb.WithRefreshRate(120*time.Millisecond))
	var step *bar
	return display{
		event: func(e deploy.Event) {
			if e.State == deploy.Started {
				step = newBar(p, e.Step)
			}
			if step != nil {
				step.show(e)
			}
		},
		close: func() {
			if step != nil {
				step.Abort(false) // a step that has ended does not mind
			}
			p.Wait()
		},
	}
}

// bar is the line of one step; the display's goroutine reads its text.
type bar struct {
	*mpb.Bar
	mu   sync.Mutex
	text string
}

func newBar(p *mpb.Progress, step deploy.Step) *bar {
	b := &bar{}
	// The spaces around the spinner belong to the texts: mpb drops its own where a line is
	// cut, and columns would not stand below each other.
	b.Bar = p.New(1, mpb.SpinnerStyle(), mpb.BarFillerTrim(),
		mpb.PrependDecorators(decor.Name(string(step), decor.WC{W: 13, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			b.mu.Lock()
			defer b.mu.Unlock()
			return " " + b.text
		})),
		mpb.BarFillerOnComplete("✓"),
	)
	return b
}

func (b *bar) show(e deploy.Event) {
	text := strings.TrimSpace(eventText(e) + " " + elapsed(e).String())
	b.mu.Lock()
	b.text = text
	b.mu.Unlock()
	switch e.State {
	case deploy.Done:
		b.Increment()
	case deploy.Failed:
		b.Abort(false)
	}
}
