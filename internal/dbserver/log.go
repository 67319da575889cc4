package dbserver

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// freshLog keeps the log of the run before and begins a new one.
func (s *Server) freshLog() (*os.File, error) {
	path := s.path(logFile)
	if err := os.Rename(path, path+".old"); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("putting a server's log aside: %w", err)
	}
	return openLog(path)
}

func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a server's log: %w", err)
	}
	return f, nil
}

const (
	tailBytes = 4096
	tailLines = 12
)

// logTail returns the last lines of the log. No server writes a password of
// ours there, since none ever gets one in a statement that it would log; that
// they are blotted out as well costs nothing.
func (s *Server) logTail(hide ...Password) string {
	f, err := os.Open(s.path(logFile))
	if err != nil {
		return "(there is no log)"
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > tailBytes {
		_, _ = f.Seek(-tailBytes, io.SeekEnd)
	}
	text, _ := io.ReadAll(f)
	lines := telling(strings.Split(strings.TrimSpace(string(text)), "\n"))
	tail := strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
	for _, password := range append(hide, s.config.AdminPassword) {
		tail = strings.ReplaceAll(tail, string(password), redacted)
	}
	return tail
}

// telling returns the lines that name an error, or all lines if none does: the
// end of some logs is advice that fits every failure.
func telling(lines []string) []string {
	errors := slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return !strings.Contains(line, "ERROR") && !strings.Contains(line, "FATAL") && !strings.Contains(line, "PANIC")
	})
	if len(errors) == 0 {
		return lines
	}
	return errors
}
