package http1

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
)

// maxHeaders is how many headers a usual request has at the most.
const maxHeaders = 32

// head is the head of a usual request. It is used again and again: the names and
// values of a request are there until the next is parsed. The heads of a
// connection are much alike, so that it knows most lines from the one before.
type head struct {
	lines  [maxHeaders]headLine
	values [maxHeaders]string // those of the lines, as a request has them
	count  int
	host   string
	length int

	filled int // so many lines' names are in the request's header; -1: others
}

// headLine is a line with what is in it.
type headLine struct{ text, name, value string }

const requestLine = "POST / HTTP/1.1\r\n"

// parse reads a head up to its empty line, and tells whether it is usual.
func (h *head) parse(text []byte) bool {
	rest, ok := bytes.CutPrefix(text, []byte(requestLine))
	if !ok {
		return false
	}
	h.count, h.host, h.length = 0, "", -1
	for len(rest) != len("\r\n") {
		end := bytes.IndexByte(rest, '\n')
		if end < 1 || rest[end-1] != '\r' || !h.add(rest[:end-1]) {
			return false
		}
		rest = rest[end+1:]
	}
	return string(rest) == "\r\n" && h.host != "" && h.length >= 0
}

// add takes a line, unless there is anything about it that net/http should see.
func (h *head) add(text []byte) bool {
	if h.count == maxHeaders {
		return false
	}
	line := &h.lines[h.count]
	if string(text) != line.text && !h.learn(line, string(text)) || h.has(line.name) || !h.heed(line) {
		return false
	}
	h.values[h.count] = line.value
	h.count++
	return true
}

// learn takes a line apart.
func (h *head) learn(line *headLine, text string) bool {
	name, value, ok := strings.Cut(text, ":")
	if !ok || !isToken(name) || !isText(value) {
		return false
	}
	name = canonical(name)
	if name != line.name {
		h.filled = -1
	}
	*line = headLine{text, name, strings.Trim(value, " \t")}
	return true
}

// heed does what a line says to the server, unless that is for net/http to do.
func (h *head) heed(line *headLine) (ok bool) {
	switch line.name {
	case "Transfer-Encoding", "Expect", "Upgrade", "Trailer", "Te", "Pragma", "Proxy-Connection":
		return false
	case "Connection":
		return strings.EqualFold(line.value, "keep-alive")
	case "Content-Length":
		h.length, ok = length(line.value)
		return ok
	case "Host":
		h.host = line.value
		return isHost(line.value)
	}
	return true
}

func (h *head) has(name string) bool {
	for i := range h.lines[:h.count] {
		if h.lines[i].name == name {
			return true
		}
	}
	return false
}

// fill puts the head into the request that the head before was put into.
func (h *head) fill(r *http.Request) {
	r.Host, r.ContentLength = h.host, int64(h.length)
	if h.filled == h.count {
		return // its header has these names, and looks for their values here
	}
	clear(r.Header)
	for i := range h.lines[:h.count] {
		if name := h.lines[i].name; name != "Host" {
			r.Header[name] = h.values[i : i+1 : i+1]
		}
	}
	h.filled = h.count
}

// canonicals are the names that the SDKs send, in the ways they write them.
var canonicals = func() map[string]string {
	names := map[string]string{}
	for _, name := range []string{
		"Accept", "Accept-Encoding", "Amz-Sdk-Invocation-Id", "Amz-Sdk-Request", "Authorization", "Connection", "Content-Length",
		"Content-Type", "Host", "User-Agent", "X-Amz-Content-Sha256", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Target", "X-Amz-User-Agent",
	} {
		names[name], names[strings.ToLower(name)] = name, name
	}
	return names
}()

func canonical(name string) string {
	if known, ok := canonicals[name]; ok {
		return known
	}
	return http.CanonicalHeaderKey(name)
}

// length reads a Content-Length of at most five digits.
func length(value string) (int, bool) {
	if value == "" || len(value) > 5 || strings.Trim(value, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(value)
	return n, err == nil
}

// bytesOf marks the bytes of an ASCII set.
func bytesOf(set string) (marks [256]bool) {
	for i := range len(set) {
		marks[set[i]] = true
	}
	return marks
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

var (
	tokenBytes = bytesOf(letters + "!#$%&'*+-.^_`|~") // RFC 9110, section 5.6.2
	hostBytes  = bytesOf(letters + ".-:[]")
)

func isToken(name string) bool { return name != "" && all(name, &tokenBytes) }
func isHost(value string) bool { return value != "" && all(value, &hostBytes) }

func all(text string, marks *[256]bool) bool {
	for i := range len(text) {
		if !marks[text[i]] {
			return false
		}
	}
	return true
}

// isText refuses control characters but the tab, and all that is not ASCII.
func isText(value string) bool {
	for i := range len(value) {
		if b := value[i]; b < ' ' && b != '\t' || b > '~' {
			return false
		}
	}
	return true
}
