package audit

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNextFileIsMadeAfterAnAttemptThatFailed(t *testing.T) {
	c := testConfig(t.TempDir())
	c.MaxFile = 600
	l := open(t, c)
	// What an attempt leaves that could not sync the folder.
	if err := os.WriteFile(filepath.Join(c.Dir, fileName(2)), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		record(t, l, getValue(n))
	}
	closeLog(t, l)
	files, err := Files(c.Dir)
	if err != nil || len(files) < 3 {
		t.Errorf("files %v, %v", files, err)
	}
}

func TestFileOfSomebodyElseIsNotTaken(t *testing.T) {
	c := testConfig(t.TempDir())
	if err := os.WriteFile(filepath.Join(c.Dir, fileName(2)), []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := create(c.Dir, 2); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("create: %v", err)
	}
}

func TestRemovedFilesAreNoticed(t *testing.T) {
	for _, name := range []string{headFile, fileName(1)} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(t.TempDir())
			l := open(t, c)
			record(t, l, getValue(1))
			if err := os.Remove(filepath.Join(c.Dir, name)); err != nil {
				t.Fatal(err)
			}
			if err := l.sync(); err == nil || !strings.Contains(err.Error(), name+" was removed or replaced") {
				t.Errorf("sync: %v", err)
			}
			if l.Err() == nil || l.Record(getValue(2)) == nil {
				t.Error("calls are still recorded where nobody will find them")
			}
			_ = l.Close()
		})
	}
}

// A disk that hangs lets no line get into the file: no call is answered.
func TestReadyWaitsForALine(t *testing.T) {
	l := open(t, testConfig(t.TempDir()))
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write(make([]byte, 64<<10)); err != nil { // no more fits in
		t.Fatal(err)
	}
	good := l.file
	l.file = in
	recorded := make(chan error, 1)
	go func() { recorded <- l.Record(getValue(1)) }()
	for writing := false; !writing; {
		l.mu.Lock()
		writing = l.writing
		l.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*lookAgain)
	defer cancel()
	if l.Ready(ctx) == nil {
		t.Error("the log seems to be well")
	}
	if _, err := io.CopyN(io.Discard, out, 64<<10); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-recorded, l.Ready(t.Context())); err != nil {
		t.Error(err)
	}
	l.file = good
	if err := errors.Join(out.Close(), in.Close(), l.closeFiles()); err != nil {
		t.Error(err)
	}
}
