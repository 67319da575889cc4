package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/term"
)

// checkedWriter keeps the error of a write, for cobra, which writes its help, minds none.
type checkedWriter struct {
	io.Writer
	err error
}

// Write implements io.Writer.
func (w *checkedWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err != nil {
		w.err = fmt.Errorf("writing the output: %w", err)
	}
	return n, err
}

// isTerminal tells whether a stream is a person's screen or keyboard.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// writeJSON writes what the AWS CLI would: members under AWS's names, absent
// ones left out, times in RFC 3339, binary in base64.
func (a *app) writeJSON(v any) error {
	dropMetadata(v)
	err := json.MarshalWrite(a.stdout, v, json.OmitZeroStructFields(true), json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return a.println()
}

// dropMetadata takes what the SDK notes about the exchange out of its answer:
// it is no member of the service's.
func dropMetadata(v any) {
	answer := reflect.ValueOf(v)
	if answer.Kind() != reflect.Pointer {
		return
	}
	if f := answer.Elem().FieldByName("ResultMetadata"); f.IsValid() && f.CanSet() {
		f.SetZero()
	}
}

// println writes one line to stdout.
func (a *app) println(words ...any) error {
	if _, err := fmt.Fprintln(a.stdout, words...); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

// writeTable writes rows in aligned columns.
func (a *app) writeTable(rows [][]string) error {
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = io.WriteString(w, line(row)) // a buffer takes everything
	}
	_ = w.Flush()
	for text := range strings.Lines(table.String()) { // empty cells leave no blanks
		if _, err := fmt.Fprintln(a.stdout, strings.TrimRight(text, " \n")); err != nil {
			return fmt.Errorf("writing the output: %w", err)
		}
	}
	return nil
}

// line joins the cells of a row.
func line(row []string) string {
	cells := make([]string, len(row))
	for i, cell := range row {
		cells[i] = printable(cell)
	}
	return strings.Join(cells, "\t") + "\n"
}

// printable keeps what others wrote from moving the cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// facts are the lines of a description; a fact without a value is left out.
type facts [][]string

func (f *facts) add(name, value string) {
	if value != "" {
		*f = append(*f, []string{name + ":", value})
	}
}

// when writes a time in UTC, for people with its distance from now.
func (a *app) when(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	text := t.UTC().Format(time.RFC3339)
	if !isTerminal(a.stdout) {
		return text
	}
	return text + " (" + distance(t.Sub(a.now())) + ")"
}

// moment is when in short: for people its distance from now alone.
func (a *app) moment(t *time.Time) string {
	if t == nil || t.IsZero() || !isTerminal(a.stdout) {
		return a.when(t)
	}
	return distance(t.Sub(a.now()))
}

// distance says how far away a moment is, in its greatest unit.
func distance(d time.Duration) string {
	format := "in %d %s"
	if d < 0 {
		d, format = -d, "%d %s ago"
	}
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		n := int64(d / unit.size)
		if n == 1 {
			return fmt.Sprintf(format, n, unit.name)
		}
		if n > 1 {
			return fmt.Sprintf(format, n, unit.name+"s")
		}
	}
	return "now"
}

// sleep waits, or returns early with the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
