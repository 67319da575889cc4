package execenv

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
)

// Bounds of what is kept of a process's output for one event, in bytes.
const (
	maxTail   = 4 << 10 // LogType Tail of Invoke
	maxLogged = 64 << 10
)

// output is the file that a process writes to. A file, unlike a pipe, holds all
// that was written when the answer arrives. It is emptied after every event.
type output struct{ file *os.File }

func openOutput(path string) (*output, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making a function's output: %w", err)
	}
	return &output{file: f}, nil
}

// take returns the end and the beginning of what was written since it was called
// last. Output that can't be read is lost, which fails nothing.
func (o *output) take() (tail, printed []byte) {
	size, err := o.file.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return nil, nil
	}
	tail = o.read(max(0, size-maxTail), maxTail)
	printed = o.read(0, maxLogged)
	_ = o.file.Truncate(0)
	return tail, printed
}

func (o *output) read(from, most int64) []byte {
	b, _ := io.ReadAll(io.NewSectionReader(o.file, from, most))
	return b
}

// log writes lines at level debug: a function may print what it likes, secrets
// too.
func (o *output) log(log *slog.Logger, function, id string, printed []byte) {
	for line := range bytes.Lines(printed) {
		log.Debug("a function printed", "function", function, "requestId", id, "text", string(bytes.TrimRight(line, "\r\n")))
	}
}

func (o *output) close() { _ = o.file.Close() } // it is removed with its folder
