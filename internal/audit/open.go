package audit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Files of the log are named by their number, which has six digits at least.
const (
	filePrefix = "audit-"
	fileSuffix = ".jsonl"
)

func fileName(number int) string { return fmt.Sprintf("%s%06d%s", filePrefix, number, fileSuffix) }

func fileNumber(name string) (number int, ok bool) {
	digits, isLog := strings.CutPrefix(name, filePrefix)
	digits, ends := strings.CutSuffix(digits, fileSuffix)
	n, err := strconv.Atoi(digits)
	return n, isLog && ends && err == nil && n > 0 && name == fileName(n)
}

// Files returns the paths of the log's files in a folder, oldest first.
func Files(dir string) ([]string, error) {
	numbers, err := numbersIn(dir)
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(numbers))
	for i, n := range numbers {
		paths[i] = filepath.Join(dir, fileName(n))
	}
	return paths, nil
}

// create makes a file of the log, and its name durable. An attempt that failed
// leaves an empty file, which is taken; one with lines is refused.
func create(dir string, number int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, fileName(number)), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making a file of the audit log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() > 0 {
		err = fmt.Errorf("making a file of the audit log: %s has lines of somebody else", f.Name())
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("syncing the audit log's folder: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open opens the log in a folder, or makes one, and writes a line ServerStarted.
// What a crash has left at the end of the last file is closed off and noted in
// that line, and so is a log that lacks lines which its head vouches for.
func Open(c Config) (*Log, error) {
	if len(c.Key) != ed25519.PrivateKeySize {
		return nil, errors.New("opening the audit log: a key is needed")
	}
	switch c.Fsync {
	case "":
		c.Fsync = FsyncInterval
	case FsyncInterval, FsyncAlways, FsyncNever:
	default:
		return nil, fmt.Errorf("opening the audit log: the fsync policy %q is none of always, interval and never", c.Fsync)
	}
	c.MaxFile = cmp.Or(c.MaxFile, DefaultMaxFile)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	l := &Log{config: c, dirty: make(chan struct{}, 1)}
	if err := l.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the audit log: %w", err), l.closeFiles())
	}
	return l, nil
}

func (l *Log) open() error {
	if err := os.MkdirAll(l.config.Dir, 0o700); err != nil {
		return err
	}
	numbers, err := numbersIn(l.config.Dir)
	if err != nil {
		return err
	}
	found, err := lastLine(l.config.Dir, numbers)
	if err != nil {
		return err
	}
	start := l.resumeFrom(found)
	if err := l.openFiles(numbers); err != nil {
		return err
	}
	if found.open { // one write closes off what was torn, and accounts for it
		l.next = &batch{lines: []byte("\n"), before: l.end}
	}
	if err := l.recordOwn(nameStarted, start.details(l.config.Key)); err != nil {
		return err
	}
	return l.sync()
}

// openFiles opens the head and the last file. The head is on disk before the first
// line: a log without one was changed by somebody. Later ones are written over it,
// so a power cut leaves one of them.
func (l *Log) openFiles(numbers []int) (err error) {
	if l.head, err = os.OpenFile(filepath.Join(l.config.Dir, headFile), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	if len(numbers) == 0 {
		if err := sign(l.config.Key, l.end, l.config.Now()).write(l.head); err != nil {
			return err
		}
		if err := l.head.Sync(); err != nil {
			return err
		}
		l.number = 1
		l.file, err = create(l.config.Dir, 1)
		return err
	}
	l.number = numbers[len(numbers)-1]
	l.file, err = os.OpenFile(filepath.Join(l.config.Dir, fileName(l.number)), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	l.size = info.Size()
	return nil
}

// numbersIn returns the numbers of the log's files in a folder in ascending order.
func numbersIn(dir string) (numbers []int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log's folder: %w", err)
	}
	for _, e := range entries {
		if n, ok := fileNumber(e.Name()); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers) // a name of seven digits comes before some of six
	return numbers, nil
}

// start is what the line ServerStarted tells of the lines before it.
type start struct {
	torn        []byte // what stands behind the last line; nil: nothing
	missing     uint64 // lines that the head vouches for and that are not there
	unsigned    uint64 // lines behind the one that the head vouches for
	headMissing bool
	logMissing  bool
}

// resumeFrom decides behind which line the log goes on: the last one that is
// there, or, if there were more, the last one that there was. So a gap stays
// visible.
func (l *Log) resumeFrom(found lastFound) start {
	s := start{torn: found.torn}
	head, err := readHead(l.config.Dir)
	valid := err == nil && head != nil && head.verify(publicKey(l.config.Key))
	l.end = found.link
	switch {
	case valid && head.Sequence >= found.sequence:
		s.missing, l.end = head.Sequence-found.sequence, head.link()
	case valid:
		s.unsigned = found.sequence - head.Sequence
	default:
		s.headMissing = head != nil || err != nil || found.sequence > 0
	}
	s.logMissing = l.config.Known && l.end.sequence == 0
	l.written = l.end
	if s.missing > 0 || s.headMissing || s.logMissing || s.unsigned == 0 && l.end.hash != found.hash {
		l.config.Log.Error("the audit log is not as it was left: run \"keyturn audit verify\"", "folder", l.config.Dir,
			"missingLines", s.missing, "headMissing", s.headMissing, "logMissing", s.logMissing)
	}
	return s
}

func (s start) details(key ed25519.PrivateKey) []byte {
	b := fmt.Appendf(nil, `"publicKey":%q`, publicKey(key).String())
	if s.torn != nil {
		hash := sha256.Sum256(s.torn)
		b = fmt.Appendf(b, `,"tornText":%q`, hex.EncodeToString(hash[:]))
	}
	if s.missing > 0 {
		b = fmt.Appendf(b, `,"missingLines":%d`, s.missing)
	}
	if s.unsigned > 0 {
		b = fmt.Appendf(b, `,"unsignedLines":%d`, s.unsigned)
	}
	if s.headMissing {
		b = append(b, `,"headMissing":true`...)
	}
	if s.logMissing {
		b = append(b, `,"logMissing":true`...)
	}
	return b
}

// lastFound is the end of a log as it lies in its files.
type lastFound struct {
	link
	torn []byte // what stands behind the last line, without a final newline; nil: nothing
	open bool   // the last file does not end with a newline
}

// lastLine looks for the last line. Only what stands behind it in the last file
// that has any is taken for torn.
func lastLine(dir string, numbers []int) (found lastFound, err error) {
	for i := len(numbers) - 1; i >= 0; i-- {
		end, err := fileEnd(filepath.Join(dir, fileName(numbers[i])))
		if err != nil {
			return found, err
		}
		if found.torn == nil {
			found.torn = end.torn
		}
		found.open = found.open || end.open && i == len(numbers)-1
		if found.link = end.link; found.sequence > 0 {
			return found, nil
		}
	}
	return found, nil
}

// fileEnd reads backwards, and more the further away the last line is.
func fileEnd(path string) (lastFound, error) {
	f, err := os.Open(path)
	if err != nil {
		return lastFound{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return lastFound{}, err
	}
	for window := int64(4 * maxLine); ; window *= 8 {
		from := max(0, info.Size()-window)
		text, err := io.ReadAll(io.NewSectionReader(f, from, info.Size()-from))
		if err != nil {
			return lastFound{}, err
		}
		if from > 0 { // in the middle of a line, of which the end would look like a line
			_, text, _ = bytes.Cut(text, []byte("\n"))
		}
		if end := endOf(text); end.sequence > 0 || from == 0 {
			return end, nil
		}
	}
}

// endOf finds the last line in the end of a file. A line that lacks nothing but
// its newline is one.
func endOf(text []byte) (end lastFound) {
	end.open = len(text) > 0 && text[len(text)-1] != '\n'
	rest := bytes.TrimSuffix(text, []byte("\n"))
	for stop := len(rest); stop > 0; {
		begin := bytes.LastIndexByte(rest[:stop], '\n') + 1
		line := rest[begin:stop]
		if t, ok := parseTail(line); ok {
			end.link = link{sequence: t.sequence, hash: sha256.Sum256(line)}
			if stop < len(rest) {
				end.torn = rest[stop+1:]
			}
			return end
		}
		stop = begin - 1
	}
	if len(text) > 0 {
		end.torn = rest
	}
	return end
}

// Run syncs and signs what is written, until ctx ends. Close does it for the
// rest.
func (l *Log) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.dirty:
		}
		t := time.NewTimer(Interval)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		if l.sync() != nil || l.resume() != nil {
			l.poke() // it is logged, and tried again
		}
	}
}

// Close writes a line ServerStopped, and signs and closes the log. What is
// recorded afterwards is refused.
func (l *Log) Close() error {
	err := l.recordStop()
	if err == nil {
		err = l.sync()
	}
	return errors.Join(err, l.closeFiles())
}

func (l *Log) closeFiles() error {
	var errs []error
	for _, f := range []*os.File{l.file, l.head} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
