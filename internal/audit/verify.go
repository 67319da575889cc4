package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
)

// Proof says what Verify is to check.
type Proof struct {
	// Files are the log's files, oldest first.
	Files []string
	// Head is the newest signed statement; nil: nothing is signed. It must have
	// been read before the files.
	Head *Head
	// Key is what the head must be signed with; nil: whatever key it names.
	Key PublicKey
	// From is the sequence number of the first line to look at, which must be there;
	// zero means 1. What the files have before it is passed over.
	From uint64
	// Known are lines that somebody has noted elsewhere: each must be in the log.
	Known []Line
}

// Line is a place in the chain.
type Line struct {
	Sequence uint64
	Hash     string // SHA-256 of the line, in hex
}

// Report is what a log that holds together contains.
type Report struct {
	Files  int
	Lines  uint64
	First  uint64 // the sequence number of the first line; 0: there is none
	Last   Line
	Signed uint64 // the sequence number up to which the head vouches; 0: none
	Mended uint64 // ends of the log that a crash had torn
}

// BreakError says where a log was changed, or lacks something.
type BreakError struct {
	File     string // empty: behind the last line
	Line     int    // in the file, from 1
	Sequence uint64 // that a line should have here
	Reason   string
}

// Error names the place.
func (e *BreakError) Error() string {
	if e.File == "" {
		return e.Reason
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason)
}

// Verify checks that the lines of a log are a whole chain up to the signed head:
// that none was changed, moved, added or taken out. It returns a *BreakError for
// the first place where that is not so.
func Verify(p Proof) (*Report, error) {
	v := &verifier{proof: p, hashes: map[uint64]string{}}
	if err := v.checkHead(); err != nil {
		return nil, err
	}
	for _, known := range p.Known {
		v.hashes[known.Sequence] = known.Hash
	}
	for i, path := range p.Files {
		if err := v.file(path, i == len(p.Files)-1); err != nil {
			return &v.report, err
		}
	}
	return &v.report, v.finish()
}

type verifier struct {
	proof  Proof
	report Report
	last   link
	hashes map[uint64]string // :: sequence number → the hash that the line must have
	// torn hashes lines that are none, until a line ServerStarted accounts for them.
	torn     hash.Hash
	tornAt   BreakError
	tornOpen bool
	stopped  bool // the line before is a ServerStopped
}

func (v *verifier) checkHead() error {
	h := v.proof.Head
	if h == nil {
		return nil
	}
	key := v.proof.Key
	named, err := ParsePublicKey(h.PublicKey)
	switch {
	case err != nil:
		return &BreakError{Reason: "the head file is damaged"}
	case key == nil:
		key = named
	case !bytes.Equal(key, named):
		return &BreakError{Reason: fmt.Sprintf("the head is signed with the key %s, which is not that of this log, %s", named, key)}
	}
	if !h.verify(key) {
		return &BreakError{Reason: "the head's signature is wrong: it was not written by the server"}
	}
	if h.Sequence > 0 {
		v.hashes[h.Sequence] = h.Hash
	}
	return nil
}

func (v *verifier) file(path string, isLast bool) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	defer f.Close()
	v.report.Files++
	r := bufio.NewReaderSize(f, 256<<10)
	for number := 1; ; number++ {
		line, err := readLine(r)
		at := BreakError{File: path, Line: number, Sequence: v.last.sequence + 1}
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, io.EOF) && isLast: // it is being written, or a crash has torn it
			v.tornOpen = false
			return nil
		case errors.Is(err, io.EOF): // whole files end with a whole line
			v.tear(line, at)
			return nil
		case err != nil:
			return fmt.Errorf("reading the audit log: %w", err)
		}
		if err := v.line(bytes.TrimSuffix(line, []byte("\n")), at); err != nil {
			return err
		}
	}
}

// readLine returns a line with its newline, and io.EOF for one without.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	whole := bytes.Clone(line) // longer than any line of ours
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.ReadSlice('\n')
		whole = append(whole, line...)
	}
	return whole, err
}

// line takes the next line of the files.
func (v *verifier) line(line []byte, at BreakError) error {
	t, ok := parseTail(line)
	if !ok {
		v.tear(line, at)
		return nil
	}
	if v.report.Lines == 0 && v.proof.From > 1 {
		v.tornOpen = false // it stands before From
	}
	if v.report.Lines == 0 && t.sequence < v.proof.From {
		return nil
	}
	if err := v.atStart(line, at); err != nil {
		return err
	}
	if v.report.Lines == 0 {
		if err := v.first(t, at); err != nil {
			return err
		}
	}
	if err := v.follows(t, at); err != nil {
		return err
	}
	v.last = link{sequence: t.sequence, hash: sha256.Sum256(line)}
	v.report.Lines++
	v.report.Last = Line{Sequence: t.sequence, Hash: hex.EncodeToString(v.last.hash[:])}
	return v.expected(at)
}

func (v *verifier) tear(line []byte, at BreakError) {
	if v.tornOpen {
		v.torn.Write([]byte{'\n'})
	} else {
		v.tornAt, v.tornOpen, v.torn = at, true, sha256.New()
	}
	v.torn.Write(line)
}

// atStart checks what may stand behind torn lines and behind a line
// ServerStopped: only a ServerStarted.
func (v *verifier) atStart(line []byte, at BreakError) error {
	stopped := v.stopped
	v.stopped = isOwn(line, nameStopped)
	switch {
	case isOwn(line, nameStarted):
		return v.started(line, at)
	case v.tornOpen:
		return v.noLine()
	case stopped:
		at.Reason = "a line was added behind the one with which the server had ended the log"
		return &at
	}
	return nil
}

func (v *verifier) noLine() error {
	v.tornAt.Reason = "this is no line of the log: it was changed or added"
	return &v.tornAt
}

// started checks what the server found when it started, and whether that
// accounts for torn lines.
func (v *verifier) started(line []byte, at BreakError) error {
	var s struct {
		Details struct {
			TornText    string `json:"tornText"`
			HeadMissing bool   `json:"headMissing"`
			LogMissing  bool   `json:"logMissing"`
		} `json:"serviceEventDetails"`
	}
	if err := json.Unmarshal(line, &s); err != nil {
		at.Reason = "this is no line of the log: it was changed"
		return &at
	}
	switch {
	case v.tornOpen && s.Details.TornText != hex.EncodeToString(v.torn.Sum(nil)):
		return v.noLine()
	case !v.tornOpen && s.Details.TornText != "" && at.Sequence > v.proof.From:
		at.Reason = "when the server started here, half a line stood before: it was removed"
		return &at
	case s.Details.LogMissing && at.Sequence >= v.proof.From:
		at.Reason = "when the server started here, the log that it had kept before was gone"
		return &at
	case s.Details.HeadMissing && at.Sequence > v.proof.From:
		at.Reason = "when the server started here, its head file was missing or not its own: lines before this one may have been removed"
		return &at
	}
	if v.tornOpen {
		v.report.Mended++
		v.tornOpen = false
	}
	return nil
}

// first checks that nothing is missing before the first line.
func (v *verifier) first(t tail, at BreakError) error {
	v.report.First = t.sequence
	from := max(v.proof.From, 1)
	if t.sequence != from {
		at.Sequence = from
		at.Reason = fmt.Sprintf("the first line has the sequence number %d instead of %d: lines before it are missing", t.sequence, from)
		return &at
	}
	if from > 1 { // what it follows is not here
		v.last = link{sequence: t.sequence - 1, hash: t.previous}
	}
	return nil
}

func (v *verifier) follows(t tail, at BreakError) error {
	switch {
	case t.follows(v.last):
		return nil
	case t.sequence > at.Sequence:
		at.Reason = fmt.Sprintf("lines %d to %d are missing", at.Sequence, t.sequence-1)
	case t.sequence < at.Sequence:
		at.Reason = fmt.Sprintf("line %d stands where line %d should be", t.sequence, at.Sequence)
	case at.Sequence == 1:
		at.Reason = "the first line was changed"
	default:
		at.Reason = fmt.Sprintf("line %d does not carry the hash of line %d: one of the two was changed", t.sequence, v.last.sequence)
	}
	return &at
}

// expected compares a line with what the head, or somebody, says of it.
func (v *verifier) expected(at BreakError) error {
	want, known := v.hashes[v.last.sequence]
	if !known {
		return nil
	}
	if want != v.report.Last.Hash {
		at.Reason = fmt.Sprintf("line %d was changed: it has another hash than was noted", v.last.sequence)
		return &at
	}
	delete(v.hashes, v.last.sequence)
	if h := v.proof.Head; h != nil && h.Sequence == v.last.sequence {
		v.report.Signed = h.Sequence
	}
	return nil
}

// finish checks that nothing is missing behind the last line.
func (v *verifier) finish() error {
	if v.tornOpen {
		return v.noLine()
	}
	if from := v.proof.From; from > 1 && v.report.Lines == 0 {
		return &BreakError{Sequence: from, Reason: fmt.Sprintf("the log has no line %d, with which to begin", from)}
	}
	for sequence := range v.hashes {
		if sequence < v.report.First && sequence < v.proof.From {
			continue // it is in what is not looked at
		}
		return &BreakError{Sequence: v.last.sequence + 1,
			Reason: fmt.Sprintf("the log ends with line %d, but had line %d: its end was removed", v.last.sequence, sequence)}
	}
	return nil
}

// Folder returns the proof of the log in a folder.
func Folder(dir string) (Proof, error) {
	head, err := readHead(dir) // before the files, to which lines are added meanwhile
	if errors.Is(err, errDamagedHead) {
		return Proof{}, &BreakError{File: filepath.Join(dir, headFile), Line: 1, Reason: err.Error()}
	}
	if err != nil { // who may not read the log has found nothing
		return Proof{}, err
	}
	files, err := Files(dir)
	if err != nil {
		return Proof{}, err
	}
	return Proof{Files: files, Head: head}, nil
}
