package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// maxValue is the largest value of a secret version, in bytes.
// See "AWS Secrets Manager quotas".
const maxValue = 65536

const noValueArgument = "A value is never an argument: every process on the machine could read it, and the shell keeps\n" +
	"its history. Pipe it in, or name a file:\n" +
	"  printf %s \"$PASSWORD\" | keyturn secret put NAME\n" +
	"  keyturn secret put NAME --from-file login.json"

// secretValue holds plaintext.
type secretValue struct {
	data   []byte
	binary bool
}

// Format keeps the plaintext out of whatever prints the value.
func (secretValue) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// text returns SecretString, nil for a binary value.
func (v secretValue) text() *string {
	if v.binary || len(v.data) == 0 {
		return nil
	}
	s := string(v.data)
	return &s
}

// bytes returns SecretBinary, nil for a text.
func (v secretValue) bytes() []byte {
	if !v.binary {
		return nil
	}
	return v.data
}

// valueFlags say where the value of a new version comes from.
type valueFlags struct {
	file        string
	binary      bool
	trimNewline bool
}

// nameAndDash takes NAME and an optional "-" for stdin.
func nameAndDash(args []string) error {
	if len(args) == 0 {
		return usagef("NAME is missing")
	}
	if len(args) > 2 || len(args) == 2 && args[1] != "-" {
		return usageError{message: "a value is not taken as an argument", hint: noValueArgument}
	}
	return nil
}

// readValue gets the value from the file, from a pipe or from the keyboard.
// An empty one is left to the caller.
func (a *app) readValue(ctx context.Context, from valueFlags) (secretValue, error) {
	data, err := a.readBytes(ctx, from.file)
	if err != nil {
		return secretValue{}, err
	}
	if rest, ends := bytes.CutSuffix(data, []byte("\n")); ends && from.trimNewline {
		data = bytes.TrimSuffix(rest, []byte("\r"))
	}
	if len(data) > maxValue {
		return secretValue{}, usagef("the value is longer than %d bytes, the limit of Secrets Manager", maxValue)
	}
	v := secretValue{data: data, binary: from.binary || !utf8.Valid(data)}
	if !v.binary && isEchoed(data) {
		fmt.Fprintln(a.stderr, "keyturn: note: the value ends with a newline, which becomes part of it; --trim-newline leaves it out")
	}
	return v, nil
}

func (a *app) readBytes(ctx context.Context, file string) ([]byte, error) {
	if file != "" && file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("reading the value: %w", err)
		}
		defer f.Close()
		return readLimited(f)
	}
	if isTerminal(a.stdin) {
		return a.askTwice(ctx)
	}
	return readLimited(a.stdin)
}

// readLimited reads one byte more than may be, so that the caller sees it, also when a
// newline is left out.
func readLimited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxValue+int64(len("\r\n"))+1))
	if err != nil {
		return nil, fmt.Errorf("reading the value: %w", err)
	}
	return data, nil
}

// isEchoed tells one line that is probably a password written by echo. JSON
// does not mind the newline, and a text of several lines wants its last one.
func isEchoed(data []byte) bool {
	return bytes.HasSuffix(data, []byte("\n")) && bytes.Count(data, []byte("\n")) == 1 && data[0] != '{'
}

func (a *app) askTwice(ctx context.Context) ([]byte, error) {
	first, err := a.askHidden(ctx, "Value: ")
	if err != nil || len(first) == 0 {
		return first, err
	}
	second, err := a.askHidden(ctx, "Again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, errors.New("the two values differ; nothing was stored")
	}
	return first, nil
}

// askHidden reads a line from the terminal without showing it.
func (a *app) askHidden(ctx context.Context, prompt string) ([]byte, error) {
	fd := int(a.stdin.(*os.File).Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("reading the terminal's state: %w", err)
	}
	fmt.Fprint(a.stderr, prompt)
	defer fmt.Fprintln(a.stderr)
	text, err := await(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	if ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), term.Restore(fd, state))
	}
	return text, err
}

// await reads from a terminal, which cannot be called off: when the context
// ends first, the goroutine outlives the command by the moment that the process
// needs to end.
func await[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type answer struct {
		got T
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		got, err := read()
		answers <- answer{got, err}
	}()
	select {
	case a := <-answers:
		return a.got, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// confirm asks a question on a terminal. Scripts are not asked: they said what
// they want with their flags.
func (a *app) confirm(ctx context.Context, question string) (bool, error) {
	if !isTerminal(a.stdin) {
		return true, nil
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	word, err := await(ctx, func() (string, error) {
		var word string
		_, _ = fmt.Fscanln(a.stdin, &word) // an empty line is a no
		return strings.ToLower(word), nil
	})
	if err != nil {
		fmt.Fprintln(a.stderr)
	}
	return word == "y" || word == "yes", err
}
