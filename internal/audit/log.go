package audit

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"
)

// Fsync is when lines are forced to the disk.
type Fsync string

// The fsync policies. With each of them a line was handed to the operating
// system before its call is answered, so that it outlives this process.
const (
	// FsyncInterval syncs once in a second: a power cut may take the last one.
	FsyncInterval Fsync = "interval"
	// FsyncAlways answers a call only when its line is on disk.
	FsyncAlways Fsync = "always"
	// FsyncNever leaves it to the operating system.
	FsyncNever Fsync = "never"
)

// Interval is how long a line may wait for its fsync and its signature, unless
// Fsync is FsyncAlways.
const Interval = time.Second

// DefaultMaxFile is how many bytes a file of the log has before the next begins.
const DefaultMaxFile = 256 << 20

// Config is what Open needs.
type Config struct {
	// Dir is the log's folder, made if missing. Needed.
	Dir string
	// Key signs the heads. Needed.
	Key ed25519.PrivateKey
	// Known says that a log was opened with this key before, so there must be one.
	Known bool
	// Fsync is the policy; empty means FsyncInterval.
	Fsync Fsync
	// MaxFile bounds a file, in bytes; zero means DefaultMaxFile.
	MaxFile int64
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log gets what goes wrong; nil means slog.Default().
	Log *slog.Logger
}

// ErrNotRecorded says that a line could not be written.
var ErrNotRecorded = errors.New("the audit log can't be written")

// Log is a Recorder that appends lines to files. It is safe for concurrent use.
//
// Whoever records while nobody writes becomes the writer and writes its line;
// those who come meanwhile gather in the next batch, of which one becomes the
// next writer. A batch is one write, and with FsyncAlways one fsync.
type Log struct {
	config Config
	dirty  chan struct{} // lines were written that are not signed yet, or something failed
	head   *os.File

	mu      sync.Mutex
	writing bool
	shared  bool   // the last write was for more than one call
	writes  int    // how often somebody became the writer
	next    *batch // lines that wait for the writer; nil: none
	end     link   // of the last line of next
	spare   *batch // was written; nil: none
	written link   // the last line in the files
	signed  link   // the last line that a head vouches for
	file    *os.File
	failure error  // why the last attempt to write or sync did not succeed
	lost    uint64 // how many calls were not recorded since then

	// The writer's own, by whom it is touched alone.
	number int   // of the file
	size   int64 // of the file, up to the last line that was recorded
	broken bool  // there may be more in the file
}

// Record appends the line of an event. It returns an error that wraps
// ErrNotRecorded when that is not possible, and as long as nobody knows that it
// is possible again: Run finds that out.
func (l *Log) Record(e *Event) error {
	l.mu.Lock()
	if l.failure != nil {
		defer l.mu.Unlock()
		l.lost++
		return l.failure
	}
	b := l.add(e, nil)
	b.calls++
	return l.join(b)
}

// recordOwn appends a line of the log's own, also after a failure. details are
// the inside of an object.
func (l *Log) recordOwn(name string, details []byte) error {
	e := l.own(name)
	l.mu.Lock()
	return l.join(l.add(e, details))
}

// recordStop appends the last line of this process: none comes behind it.
func (l *Log) recordStop() error {
	e := l.own(nameStopped)
	l.mu.Lock()
	b := l.add(e, nil)
	l.failure = fmt.Errorf("%w: it is closed", ErrNotRecorded)
	return l.join(b)
}

func (l *Log) own(name string) *Event {
	return &Event{Time: l.config.Now(), Type: ServiceEvent, Source: ownSource, Name: name}
}

func (l *Log) wrote(b *batch) {
	l.written, l.shared = b.after, b.calls > 1
	if l.config.Fsync == FsyncAlways {
		l.signed = b.after
	}
	if l.failure == nil && l.written != l.signed {
		l.poke()
	}
}

// fail ends a batch that was not written, and the one behind it, whose lines
// carry hashes of lines that are not there.
func (l *Log) fail(b *batch, cause error) error {
	err := fmt.Errorf("%w: %w", ErrNotRecorded, cause)
	if l.failure == nil {
		l.config.Log.Error("the audit log can't be written: calls are refused until it can", "error", cause)
	}
	l.failure, l.end = err, b.before
	l.lost += b.calls
	if next := l.next; next != nil {
		l.lost += next.calls
		l.next = nil
		next.end(err)
	}
	l.poke()
	return err
}

func (l *Log) poke() {
	select {
	case l.dirty <- struct{}{}:
	default: // Run looks anyway
	}
}

// put appends a batch to the file.
func (l *Log) put(b *batch) error {
	if err := l.mend(); err != nil {
		return err
	}
	if l.size > 0 && l.size+int64(len(b.lines)) > l.config.MaxFile && b.lines[0] != '\n' {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	l.broken = true
	if _, err := l.file.Write(b.lines); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	if l.config.Fsync == FsyncAlways {
		if err := l.seal(l.file, b.after); err != nil {
			return err
		}
	}
	l.broken = false
	l.size += int64(len(b.lines))
	return nil
}

// mend takes back what a write that failed has left: those calls were refused.
func (l *Log) mend() error {
	if !l.broken {
		return nil
	}
	if err := l.file.Truncate(l.size); err != nil {
		return fmt.Errorf("taking back half a line: %w", err)
	}
	l.broken = false
	return nil
}

// rotate begins the next file.
func (l *Log) rotate() error {
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", l.file.Name(), err)
	}
	f, err := create(l.config.Dir, l.number+1)
	if err != nil {
		return err
	}
	l.mu.Lock()
	old := l.file
	l.file = f
	l.mu.Unlock()
	l.number++
	l.size = 0
	return old.Close()
}

// seal forces a file to the disk and signs its last line. The head is written
// when what it tells of is on disk, so it never promises what a power cut takes.
func (l *Log) seal(f *os.File, at link) error {
	if l.config.Fsync != FsyncNever {
		if err := f.Sync(); err != nil && !errors.Is(err, os.ErrClosed) { // rotate has synced it
			return fmt.Errorf("syncing: %w", err)
		}
	}
	if err := l.stillThere(f); err != nil {
		return err
	}
	return sign(l.config.Key, at, l.config.Now()).write(l.head)
}

// stillThere makes sure that what is written can be found: a file that was
// removed or replaced under the server takes lines that nobody will read.
func (l *Log) stillThere(log *os.File) error {
	for _, f := range []*os.File{log, l.head} {
		opened, err := f.Stat()
		if errors.Is(err, os.ErrClosed) { // rotate has been faster
			continue
		}
		if err != nil {
			return fmt.Errorf("looking at %s: %w", f.Name(), err)
		}
		if named, err := os.Stat(f.Name()); err != nil || !os.SameFile(opened, named) {
			return fmt.Errorf("%s was removed or replaced; start the server again, which notes what is missing", f.Name())
		}
	}
	return nil
}

// Err returns nil while calls can be recorded, or why they can't.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

// Ready returns nil if calls can be recorded and the line that is being written,
// if there is one, gets into the file before ctx ends.
func (l *Log) Ready(ctx context.Context) error {
	l.mu.Lock()
	written := l.written
	l.mu.Unlock()
	for l.writesBehind(written) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for a line to be written: %w", ctx.Err())
		case <-time.After(lookAgain):
		}
	}
	return l.Err()
}

// lookAgain is how often Ready looks whether the line is written.
const lookAgain = 10 * time.Millisecond

// writesBehind reports whether the line behind this one is being written.
func (l *Log) writesBehind(at link) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writing && l.written == at && l.failure == nil
}

// sync seals what was written since it was called last.
func (l *Log) sync() error {
	l.mu.Lock()
	f, at := l.file, l.written
	done := at == l.signed
	l.mu.Unlock()
	if done {
		return nil
	}
	err := l.seal(f, at)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		if l.failure == nil {
			l.config.Log.Error("the audit log can't be synced: calls are refused until it can", "error", err)
		}
		l.failure = fmt.Errorf("%w: %w", ErrNotRecorded, err)
		return l.failure
	}
	l.signed = at
	return nil
}

// resume tries whether a log that failed can be written again, and notes how
// many calls it lost.
func (l *Log) resume() error {
	l.mu.Lock()
	failure, lost := l.failure, l.lost
	l.mu.Unlock()
	if failure == nil {
		return nil
	}
	details := strconv.AppendUint([]byte(`"unrecordedCalls":`), lost, 10)
	if err := l.recordOwn(nameResumed, details); err != nil {
		return err
	}
	if err := l.sync(); err != nil {
		return err
	}
	l.mu.Lock()
	l.failure, l.lost = nil, l.lost-lost
	l.mu.Unlock()
	l.config.Log.Info("the audit log can be written again", "unrecordedCalls", lost)
	return nil
}
