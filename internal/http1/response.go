package http1

import (
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// response gathers an answer, which is then written as a whole.
type response struct {
	header http.Header
	status int
	last   bool // the connection is closed after it
	head   []byte
	all    []byte // room for the head, and then the body
}

const (
	// roomForHead is how many bytes the head of an answer seldom exceeds.
	roomForHead = 512
	// maxKept bounds the memory that a connection keeps for its next answer, in
	// bytes.
	maxKept = 4 << 10
)

func (r *response) begin() {
	clear(r.header)
	r.status = 0
	if r.all == nil || cap(r.all) > maxKept {
		r.all = make([]byte, roomForHead, 2*roomForHead)
	}
	r.all = r.all[:roomForHead]
}

// Header implements http.ResponseWriter.
func (r *response) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter; as with net/http the first call
// counts.
func (r *response) WriteHeader(status int) {
	if r.status == 0 && status >= http.StatusOK {
		r.status = status
	}
}

// Write implements http.ResponseWriter.
func (r *response) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	r.all = append(r.all, p...)
	return len(p), nil
}

// wipe leaves nothing of an answer that was written: the next one may be long in
// coming.
func (r *response) wipe() {
	clear(r.all)
	clear(r.head[len(r.head):cap(r.head)]) // see text
}

// text is the whole answer; it is valid until wipe.
func (r *response) text(now time.Time) []byte {
	r.WriteHeader(http.StatusOK)
	r.head = r.appendHead(r.head[:0], now)
	start := roomForHead - len(r.head)
	if start < 0 {
		return append(r.head, r.all[roomForHead:]...)
	}
	copy(r.all[start:], r.head)
	return r.all[start:]
}

func (r *response) appendHead(out []byte, now time.Time) []byte {
	out = strconv.AppendInt(append(out, "HTTP/1.1 "...), int64(r.status), 10)
	out = append(append(append(out, ' '), http.StatusText(r.status)...), "\r\n"...)
	for name, values := range r.header {
		if name != "Content-Length" && name != "Date" && isToken(name) {
			out = appendHeader(out, name, values)
		}
	}
	if r.last {
		out = append(out, "Connection: close\r\n"...)
	}
	out = append(append(append(out, "Date: "...), date(now)...), "\r\n"...)
	if r.status == http.StatusNoContent || r.status == http.StatusNotModified { // these have no body
		r.all = r.all[:roomForHead]
		return append(out, "\r\n"...)
	}
	out = strconv.AppendInt(append(out, "Content-Length: "...), int64(len(r.all)-roomForHead), 10)
	return append(out, "\r\n\r\n"...)
}

var newlines = strings.NewReplacer("\n", " ", "\r", " ")

func appendHeader(out []byte, name string, values []string) []byte {
	for _, v := range values {
		if strings.IndexByte(v, '\n') >= 0 || strings.IndexByte(v, '\r') >= 0 {
			v = newlines.Replace(v)
		}
		out = append(append(append(append(append(out, name...), ": "...), v...), '\r'), '\n')
	}
	return out
}

// second is a second with its text.
type second struct {
	unix int64
	text string
}

var lastSecond atomic.Pointer[second]

// date is the value of the header Date, which changes once in a second.
func date(now time.Time) string {
	if s := lastSecond.Load(); s != nil && s.unix == now.Unix() {
		return s.text
	}
	s := &second{now.Unix(), now.UTC().Format(http.TimeFormat)}
	lastSecond.Store(s)
	return s.text
}
