package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A line is a JSON object with the members of a CloudTrail record, in a fixed
// order, and two of ours at its end:
//
//	…,"sequence":42,"previous":"5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"}
//
// sequence counts the lines from 1, and previous is the SHA-256 of the line
// before, without its newline, in hex: 64 zeros for the first one.

// link is the place of a line in the chain.
type link struct {
	sequence uint64
	hash     [sha256.Size]byte // of the line without its newline; zero before the first
}

// The most bytes that are kept of what a stranger may write. What is cut off
// ends in an ellipsis.
const (
	maxName      = 128
	maxKeyID     = 128
	maxRegion    = 64
	maxARN       = 2300 // a SecretId of 2048 behind the head of an ARN
	maxVersionID = 64
	maxUserAgent = 512
	maxErrorText = 1024
	// maxLine is more than any line takes: an escape has six bytes at most.
	maxLine = 6*(2*maxName+maxKeyID+maxRegion+3*maxARN+maxVersionID+maxUserAgent+maxErrorText) + 4096
)

const timeFormat = "2006-01-02T15:04:05.000Z"

// appendEvent appends the members of an event, without the end of the object.
func appendEvent(b []byte, e *Event) []byte {
	b = append(b, `{"eventVersion":"1.11","eventTime":"`...)
	b = appendTime(b, e.Time)
	b = append(b, `","eventType":"`...)
	b = append(b, e.Type...)
	b = appendMember(b, `","eventSource":"`, e.Source, maxName)
	b = appendMember(b, `","eventName":"`, e.Name, maxName)
	b = append(b, `","userIdentity":{`...)
	b = appendIdentity(b, e)
	b = append(b, '}')
	b = appendIf(b, "awsRegion", e.Region, maxRegion)
	b = appendIf(b, "sourceIPAddress", e.SourceIP, maxName)
	b = appendIf(b, "userAgent", e.UserAgent, maxUserAgent)
	b = appendIf(b, "errorCode", e.ErrorCode, maxName)
	b = appendIf(b, "errorMessage", e.ErrorText, maxErrorText)
	b = appendIf(b, "requestID", e.RequestID, maxName)
	if e.Resource != "" {
		b = appendMember(b, `,"resources":[{"ARN":"`, e.Resource, maxARN)
		b = append(b, `"}]`...)
	}
	b = appendIf(b, "versionId", e.VersionID, maxVersionID)
	return appendIf(b, "recipientAccountId", recipient(e), maxName)
}

func appendIdentity(b []byte, e *Event) []byte {
	if e.Type == ServiceEvent {
		b = appendMember(b, `"invokedBy":"`, e.Source, maxName)
		b = append(b, '"')
		return appendIf(b, "accountId", e.Account, maxName)
	}
	b = appendMember(b, `"arn":"`, e.Principal, maxARN)
	b = append(b, '"')
	b = appendIf(b, "accountId", e.Account, maxName)
	return appendIf(b, "accessKeyId", e.AccessKeyID, maxKeyID)
}

// recipient is the account whose resource was touched: that of its ARN.
func recipient(e *Event) string {
	rest := e.Resource
	for range 4 {
		_, after, found := strings.Cut(rest, ":")
		if !found {
			return e.Account
		}
		rest = after
	}
	if account, _, _ := strings.Cut(rest, ":"); len(account) == 12 {
		return account
	}
	return e.Account
}

// appendChain ends the line of an event that follows before, and returns its
// own place. start is where the line begins in b.
func appendChain(b []byte, start int, before link) ([]byte, link) {
	b = append(b, `,"sequence":`...)
	b = strconv.AppendUint(b, before.sequence+1, 10)
	b = append(b, `,"previous":"`...)
	b = hex.AppendEncode(b, before.hash[:])
	b = append(b, `"}`...)
	here := link{sequence: before.sequence + 1, hash: sha256.Sum256(b[start:])}
	return append(b, '\n'), here
}

// appendTime writes a time in UTC with milliseconds.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(b, timeFormat)
	}
	hour, minute, second := t.Clock()
	b = append(appendDigits(b, 4, year), '-')
	b = append(appendDigits(b, 2, int(month)), '-')
	b = append(appendDigits(b, 2, day), 'T')
	b = append(appendDigits(b, 2, hour), ':')
	b = append(appendDigits(b, 2, minute), ':')
	b = append(appendDigits(b, 2, second), '.')
	return append(appendDigits(b, 3, t.Nanosecond()/int(time.Millisecond)), 'Z')
}

// appendDigits writes a number with leading zeros.
func appendDigits(b []byte, digits, n int) []byte {
	b = append(b, "0000"[:digits]...)
	for i := len(b) - 1; n > 0; i-- {
		b[i] += byte(n % 10)
		n /= 10
	}
	return b
}

// appendIf appends a member unless it is empty.
func appendIf(b []byte, name, value string, most int) []byte {
	if value == "" {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":"`...)
	return append(appendText(b, value, most), '"')
}

func appendMember(b []byte, lead, value string, most int) []byte {
	return appendText(append(b, lead...), value, most)
}

// plain are the bytes that stand in a JSON string, and on a terminal, as they
// are.
var plain = func() (table [256]bool) {
	for c := byte(' '); c < 0x7f; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

// appendText writes at most most bytes of a text as the inside of a JSON string.
// Nothing in it can end the string or the line, or move a terminal's cursor.
func appendText(b []byte, s string, most int) []byte {
	cut := len(s) > most
	if cut {
		for most > 0 && !utf8.RuneStart(s[most]) {
			most--
		}
		s = s[:most]
	}
	i := 0
	for i < len(s) && plain[s[i]] {
		i++
	}
	b = append(b, s[:i]...)
	for _, r := range s[i:] {
		b = appendRune(b, r)
	}
	if cut {
		b = append(b, "…"...)
	}
	return b
}

func appendRune(b []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	switch {
	case r == '"' || r == '\\':
		return append(b, '\\', byte(r))
	case r < ' ', 0x7f <= r && r < 0xa0, r == '\u2028', r == '\u2029', 0x202a <= r && r <= 0x202e, 0x2066 <= r && r <= 0x2069:
		return append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
	}
	return utf8.AppendRune(b, r) // bytes that are no UTF-8 come as U+FFFD
}

var (
	sequenceMark = []byte(`,"sequence":`)
	previousMark = []byte(`,"previous":"`)
	lineEnd      = []byte(`"}`)
)

// tail is what the end of a line says of the chain.
type tail struct {
	sequence uint64
	previous [sha256.Size]byte
}

// parseTail reads the end of a line, which is given without its newline. It
// takes nothing but what appendChain writes.
func parseTail(line []byte) (t tail, ok bool) {
	rest, ok := bytes.CutSuffix(line, lineEnd)
	digits := len(rest) - 2*sha256.Size
	if !ok || digits < 0 {
		return t, false
	}
	if n, err := hex.Decode(t.previous[:], rest[digits:]); n != sha256.Size || err != nil {
		return t, false
	}
	if rest, ok = bytes.CutSuffix(rest[:digits], previousMark); !ok {
		return t, false
	}
	mark := bytes.LastIndex(rest, sequenceMark)
	if mark < 0 {
		return t, false
	}
	text := rest[mark+len(sequenceMark):]
	n, err := strconv.ParseUint(string(text), 10, 64)
	t.sequence = n
	return t, err == nil && text[0] != '0' && text[0] != '+'
}

// follows reports whether a line that says t stands behind before.
func (t tail) follows(before link) bool {
	return t.sequence == before.sequence+1 && t.previous == before.hash
}

// Lines that the log writes about itself.
const (
	ownSource   = "keyturn"
	nameStarted = "ServerStarted"
	nameStopped = "ServerStopped"
	nameResumed = "RecordingResumed"
)

// ownMark stands in the log's own lines behind the time, which has the same
// length in all lines.
const (
	timeAt  = len(`{"eventVersion":"1.11","eventTime":"`)
	ownAt   = timeAt + len(timeFormat)
	ownMark = `","eventType":"` + ServiceEvent + `","eventSource":"` + ownSource + `","eventName":"`
)

// isOwn reports whether a line is one of the log's own of that name.
func isOwn(line []byte, name string) bool {
	if len(line) < ownAt {
		return false
	}
	rest, ok := bytes.CutPrefix(line[ownAt:], []byte(ownMark))
	return ok && bytes.HasPrefix(rest, []byte(name+`"`))
}
