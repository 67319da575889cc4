package http1

import (
	"net/http"
	"strconv"
	"strings"
)

// maxHeaders is how many headers a usual request has at the most.
const maxHeaders = 32

// head is the head of a usual request. It is used again and again: the names and
// values of a request are there until the next is parsed.
type head struct {
	names  [maxHeaders]string
	values [maxHeaders]string
	count  int
	host   string
	length int
}

const requestLine = "POST / HTTP/1.1\r\n"

// parse reads a head up to its empty line, and tells whether it is usual.
func (h *head) parse(text []byte) bool {
	rest, ok := strings.CutPrefix(string(text), requestLine)
	if !ok {
		return false
	}
	h.count, h.host, h.length = 0, "", -1
	for rest != "\r\n" {
		var line string
		if line, rest, ok = strings.Cut(rest, "\r\n"); !ok || !h.add(line) {
			return false
		}
	}
	return h.host != "" && h.length >= 0
}

// add takes a line, unless there is anything about it that net/http should see.
func (h *head) add(line string) bool {
	name, value, ok := strings.Cut(line, ":")
	if !ok || h.count == maxHeaders || !isToken(name) || !isText(value) {
		return false
	}
	name, value = canonical(name), strings.Trim(value, " \t")
	if h.has(name) {
		return false
	}
	switch name {
	case "Transfer-Encoding", "Expect", "Upgrade", "Trailer", "Te", "Pragma", "Proxy-Connection":
		return false
	case "Connection":
		if !strings.EqualFold(value, "keep-alive") {
			return false
		}
	case "Content-Length":
		if h.length, ok = length(value); !ok {
			return false
		}
	case "Host":
		h.host = value
		return isHost(value)
	}
	h.names[h.count], h.values[h.count] = name, value
	h.count++
	return true
}

func (h *head) has(name string) bool {
	if name == "Host" {
		return h.host != ""
	}
	for _, n := range h.names[:h.count] {
		if n == name {
			return true
		}
	}
	return false
}

// fill puts the head into a request, whose header is empty.
func (h *head) fill(r *http.Request) {
	for i, name := range h.names[:h.count] {
		r.Header[name] = h.values[i : i+1 : i+1]
	}
	r.Host, r.ContentLength = h.host, int64(h.length)
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
