// Package transfer moves secrets between AWS Secrets Manager and keyturn's own
// server, either way: Export reads them into an archive, Import writes them from
// one. Both are ordinary clients of the API.
//
// What is moved of a secret: its name, description, tags and resource policy,
// its rotation rules, and every version that has a staging label, with its id,
// its labels and its value, byte for byte. What is not: versions without labels,
// dates, the key (a key of one account means nothing in another), replicas, tags
// in the aws: name-space, and secrets that another service manages.
//
// # Archive
//
// An archive is a stream of JSON lines: a header, one line for each secret, and
// a trailer with their number and the SHA-256 of all lines before it. Each
// secret carries the hash of its own content. It holds plaintext: whoever stores
// an archive encrypts it.
package transfer

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

// format names this form of archive; another form gets another name.
const format = "keyturn-archive-1"

// maxLine bounds the line of one secret, in bytes: 100 versions of 64 KiB, in
// which JSON may write a byte as six.
const maxLine = 48 << 20

// ErrArchive says that an archive cannot be read: it is none, was changed or is
// cut short.
var ErrArchive = errors.New("the archive is damaged")

// Secret is a secret in an archive. It holds plaintext and prints as [redacted].
type Secret struct {
	Name        string    `json:"name"`
	ARN         string    `json:"arn"` // where it came from
	Description string    `json:"description,omitempty"`
	Type        string    `json:"type,omitempty"`
	KMSKeyID    string    `json:"kmsKeyId,omitempty"` // where it came from; Import does not use it
	Tags        []Tag     `json:"tags,omitempty"`
	Policy      string    `json:"policy,omitempty"`
	Rotation    *Rotation `json:"rotation,omitempty"`
	Versions    []Version `json:"versions"`
	Hash        string    `json:"sha256"` // of all that Import must bring about
}

// Tag is a tag of a secret.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Rotation is how a secret was rotated.
type Rotation struct {
	Enabled    bool   `json:"enabled"`
	Function   string `json:"function,omitempty"` // ARN
	Days       int64  `json:"automaticallyAfterDays,omitempty"`
	Expression string `json:"scheduleExpression,omitempty"`
	Duration   string `json:"duration,omitempty"`
}

// Version is a version with staging labels.
type Version struct {
	ID      string    `json:"id"`
	Stages  []string  `json:"stages"`
	Created time.Time `json:"created"`
	Text    *string   `json:"string,omitempty"`
	Binary  []byte    `json:"binary,omitempty"`
}

// Format hides what a version holds.
func (Version) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// Format hides what a secret holds.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.Name+" [redacted]") }

// seal brings the lists into one order and notes the hash of the content.
func (s *Secret) seal() error {
	slices.SortFunc(s.Tags, func(a, b Tag) int { return cmp.Compare(a.Key, b.Key) })
	slices.SortFunc(s.Versions, func(a, b Version) int { return cmp.Compare(a.ID, b.ID) })
	for _, v := range s.Versions {
		slices.Sort(v.Stages)
	}
	sum, err := s.sum()
	s.Hash = sum
	return err
}

// sum hashes what must be equal on both sides. Dates, ARN, key and rotation
// differ between servers.
func (s *Secret) sum() (string, error) {
	same := Secret{Name: s.Name, Description: s.Description, Type: s.Type, Tags: s.Tags, Policy: s.Policy}
	for _, v := range s.Versions {
		v.Created = time.Time{}
		same.Versions = append(same.Versions, v)
	}
	text, err := json.Marshal(same)
	if err != nil {
		return "", fmt.Errorf("hashing %s: %w", s.Name, err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// line is one line of an archive; exactly one member is set.
type line struct {
	Header  *header  `json:"header,omitempty"`
	Secret  *Secret  `json:"secret,omitempty"`
	Trailer *trailer `json:"trailer,omitempty"`
}

type header struct {
	Format  string    `json:"format"`
	Created time.Time `json:"created"`
}

type trailer struct {
	Secrets int    `json:"secrets"`
	Hash    string `json:"sha256"`
}

// writer writes an archive.
type writer struct {
	out     io.Writer
	sum     hash.Hash
	secrets int
}

func newWriter(out io.Writer, now time.Time) (*writer, error) {
	w := &writer{out: out, sum: sha256.New()}
	return w, w.write(line{Header: &header{Format: format, Created: now.UTC()}})
}

func (w *writer) add(s *Secret) error {
	w.secrets++
	return w.write(line{Secret: s})
}

// close writes the trailer, without which an archive counts as cut short.
func (w *writer) close() (hash string, err error) {
	hash = hex.EncodeToString(w.sum.Sum(nil))
	return hash, w.write(line{Trailer: &trailer{Secrets: w.secrets, Hash: hash}})
}

func (w *writer) write(l line) error {
	text, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encoding a line: %w", err)
	}
	text = append(text, '\n')
	w.sum.Write(text)
	if _, err := w.out.Write(text); err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	return nil
}

// reader reads an archive, and believes nothing that its hashes do not confirm.
type reader struct {
	lines   *bufio.Scanner
	sum     hash.Hash
	secrets int
	hash    string // of the whole archive, after the trailer
}

func newReader(in io.Reader) (*reader, error) {
	r := &reader{lines: bufio.NewScanner(in), sum: sha256.New()}
	r.lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	first, _, err := r.next()
	switch {
	case err != nil:
		return nil, err
	case first.Header == nil || first.Header.Format != format:
		return nil, fmt.Errorf("%w: it does not begin as one that this keyturn reads", ErrArchive)
	}
	return r, nil
}

// secret returns the next secret, or nil after the trailer.
func (r *reader) secret() (*Secret, error) {
	l, before, err := r.next()
	switch {
	case err != nil:
		return nil, err
	case l.Trailer != nil:
		return nil, r.end(l.Trailer, before)
	case l.Secret == nil:
		return nil, fmt.Errorf("%w: line %d holds no secret", ErrArchive, r.secrets+2)
	}
	r.secrets++
	if sum, err := l.Secret.sum(); err != nil || sum != l.Secret.Hash {
		return nil, fmt.Errorf("%w: the hash of %s does not match its content", ErrArchive, l.Secret.Name)
	}
	return l.Secret, nil
}

// end compares the trailer with what was read before it.
func (r *reader) end(t *trailer, hash string) error {
	if t.Secrets != r.secrets || t.Hash != hash {
		return fmt.Errorf("%w: its %d secrets do not match its trailer", ErrArchive, r.secrets)
	}
	if _, _, err := r.next(); !errors.Is(err, errEnd) {
		return fmt.Errorf("%w: something follows its trailer", ErrArchive)
	}
	r.hash = hash
	return nil
}

var errEnd = fmt.Errorf("%w: it is cut short", ErrArchive)

// next returns a line, and the hash of all lines before it.
func (r *reader) next() (l line, before string, err error) {
	before = hex.EncodeToString(r.sum.Sum(nil))
	if !r.lines.Scan() {
		return l, before, r.stopped()
	}
	text := r.lines.Bytes()
	r.sum.Write(text)
	r.sum.Write([]byte{'\n'})
	if err := json.Unmarshal(text, &l, json.RejectUnknownMembers(true)); err != nil { // its text may repeat what it read
		return line{}, before, fmt.Errorf("%w: a line is not as it should be", ErrArchive)
	}
	return l, before, nil
}

func (r *reader) stopped() error {
	switch err := r.lines.Err(); {
	case err == nil:
		return errEnd
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("%w: a line is longer than any secret", ErrArchive)
	default:
		return fmt.Errorf("reading the archive: %w", err)
	}
}
