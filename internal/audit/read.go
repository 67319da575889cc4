package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Entry is a line of the log as it is read.
type Entry struct {
	Time      string   `json:"eventTime"` // RFC 3339 in UTC, with milliseconds
	Type      string   `json:"eventType"`
	Source    string   `json:"eventSource"`
	Name      string   `json:"eventName"`
	Identity  Identity `json:"userIdentity"`
	Region    string   `json:"awsRegion"`
	SourceIP  string   `json:"sourceIPAddress"`
	UserAgent string   `json:"userAgent"`
	ErrorCode string   `json:"errorCode"`
	ErrorText string   `json:"errorMessage"`
	RequestID string   `json:"requestID"`
	Resources []struct {
		ARN string `json:"ARN"`
	} `json:"resources"`
	VersionID string `json:"versionId"`
	Recipient string `json:"recipientAccountId"`
	Sequence  uint64 `json:"sequence"`
}

// Identity is who called.
type Identity struct {
	ARN         string `json:"arn"` // empty: nobody whose signature was right
	Account     string `json:"accountId"`
	AccessKeyID string `json:"accessKeyId"`
	InvokedBy   string `json:"invokedBy"` // of a service event
}

// ParseLine reads a line of the log.
func ParseLine(line []byte) (*Entry, error) {
	e := new(Entry)
	if err := json.Unmarshal(line, e); err != nil {
		return nil, fmt.Errorf("reading a line of the audit log: %w", err)
	}
	return e, nil
}

// Resource is the ARN of what was touched; empty: nothing is known of it.
func (e *Entry) Resource() string {
	if len(e.Resources) == 0 {
		return ""
	}
	return e.Resources[0].ARN
}

// Denied reports whether the call was refused for who made it: it had no
// permission, or no valid signature.
func (e *Entry) Denied() bool {
	switch e.ErrorCode {
	case "AccessDeniedException", "MissingAuthenticationTokenException", "IncompleteSignatureException",
		"UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException":
		return true
	}
	return false
}

// Filter selects lines. Zero fields select all.
type Filter struct {
	Since, Until time.Time // Until itself is left out
	Secret       string    // a name or an ARN
	Principal    string    // an ARN, or its end behind a : or /
	Event        string
	Denied       bool
}

// Match returns the entry of a line that the filter selects, or nil. Lines that
// are none of the log's are not selected.
func (f *Filter) Match(line []byte) *Entry {
	if len(line) < ownAt || !f.inTime(string(line[timeAt:ownAt])) {
		return nil
	}
	e, err := ParseLine(line)
	switch {
	case err != nil,
		f.Event != "" && e.Name != f.Event,
		f.Denied && !e.Denied(),
		f.Secret != "" && !isSecret(e.Resource(), f.Secret),
		f.Principal != "" && !endsWith(e.Identity.ARN, f.Principal):
		return nil
	}
	return e
}

// inTime compares texts: they have one length and one zone.
func (f *Filter) inTime(at string) bool {
	return (f.Since.IsZero() || at >= f.Since.UTC().Format(timeFormat)) &&
		(f.Until.IsZero() || at < f.Until.UTC().Format(timeFormat))
}

// isSecret reports whether an ARN is that of a secret, or of the secret that
// has not been found, by this name or ARN.
func isSecret(arn, id string) bool {
	if strings.HasPrefix(id, "arn:") {
		return arn == id
	}
	_, name, ok := strings.Cut(arn, ":secret:")
	return ok && len(name) > 7 && name[:len(name)-7] == id && name[len(name)-7] == '-'
}

func endsWith(arn, end string) bool {
	rest, ok := strings.CutSuffix(arn, end)
	return ok && (rest == "" || strings.HasSuffix(rest, ":") || strings.HasSuffix(rest, "/"))
}

// Reader reads a log line by line, also while it is being written. It is not
// safe for concurrent use.
type Reader struct {
	dir    string
	number int // of file; 0: none yet
	file   *os.File
	text   []byte // was read and is not returned yet
	buffer []byte
}

// NewReader reads the log in a folder from its beginning.
func NewReader(dir string) *Reader {
	return &Reader{dir: dir, buffer: make([]byte, 256<<10)}
}

// Next returns the next line without its newline. It is io.EOF as long as there
// is no other whole line; later there may be. The line is valid until the next
// call.
func (r *Reader) Next() ([]byte, error) {
	for {
		if line, rest, ok := bytes.Cut(r.text, []byte("\n")); ok {
			r.text = rest
			return line, nil
		}
		more, err := r.fill()
		if err != nil {
			return nil, err
		}
		if !more {
			return nil, io.EOF
		}
	}
}

// fill reads on, in the next file when this one is at its end.
func (r *Reader) fill() (more bool, err error) {
	for {
		next, err := r.following() // before the read: a file that has one behind it grows no more
		if err != nil {
			return false, err
		}
		if r.file != nil {
			n, err := r.file.Read(r.buffer)
			r.text = append(bytes.Clone(r.text), r.buffer[:n]...)
			if n > 0 {
				return true, nil
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return false, fmt.Errorf("reading the audit log: %w", err)
			}
		}
		if next == 0 {
			return false, nil
		}
		if err := r.open(next); err != nil {
			return false, err
		}
	}
}

// following returns the number of the file behind the one that is read; 0: none.
func (r *Reader) following() (number int, err error) {
	numbers, err := numbersIn(r.dir)
	for _, n := range numbers {
		if n > r.number {
			return n, nil
		}
	}
	return 0, err
}

func (r *Reader) open(number int) error {
	if err := r.Close(); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(r.dir, fileName(number)))
	if err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	r.file, r.number, r.text = f, number, nil
	return nil
}

// SkipTo moves a new reader to where the last n lines begin.
func (r *Reader) SkipTo(n int) error {
	numbers, err := numbersIn(r.dir)
	if err != nil {
		return err
	}
	for i, number := range slices.Backward(numbers) {
		offset, found, err := lastLines(filepath.Join(r.dir, fileName(number)), n)
		if err != nil {
			return err
		}
		if n -= found; n > 0 && i > 0 {
			continue
		}
		if err := r.open(number); err != nil {
			return err
		}
		_, err = r.file.Seek(offset, io.SeekStart)
		return err
	}
	return nil
}

// lastLines returns where the last n lines of a file begin, and how many of
// them there are.
func lastLines(path string, n int) (offset int64, found int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, fmt.Errorf("reading the audit log: %w", err)
	}
	defer f.Close()
	offset, err = f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	buffer := make([]byte, 64<<10)
	newlines := 0 // of which the last one ends the last line
	for offset > 0 {
		part := buffer[:min(int64(len(buffer)), offset)]
		offset -= int64(len(part))
		if _, err := f.ReadAt(part, offset); err != nil {
			return 0, 0, fmt.Errorf("reading the audit log: %w", err)
		}
		for i := len(part) - 1; i >= 0; i-- {
			if part[i] != '\n' {
				continue
			}
			if newlines++; newlines > n {
				return offset + int64(i) + 1, n, nil
			}
		}
	}
	return 0, newlines, nil
}

// Close closes the file that is read.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
