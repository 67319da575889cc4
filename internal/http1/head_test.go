package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

const usualHead = "POST / HTTP/1.1\r\nHost: localhost:4566\r\nUser-Agent: Boto3/1.43\r\nContent-Length: 2\r\nX-Amz-Target: secretsmanager.ListSecrets\r\n" +
	"content-type: application/x-amz-json-1.1\r\nx-amz-date: 20261127T120000Z\r\nAuthorization:AWS4-HMAC-SHA256 Credential=A/B \t\r\nX-Odd: \r\n\r\n"

// Each of these differs from a usual head in one thing.
var unusualHeads = map[string]string{
	"another method":             strings.Replace(usualHead, "POST", "GET", 1),
	"another path":               strings.Replace(usualHead, "/ ", "/livez ", 1),
	"a query":                    strings.Replace(usualHead, "/ ", "/?a=b ", 1),
	"HTTP/1.0":                   strings.Replace(usualHead, "1.1", "1.0", 1),
	"a line feed alone":          strings.Replace(usualHead, "4566\r\n", "4566\n", 1),
	"a folded line":              strings.Replace(usualHead, "Boto3", "a\r\n b", 1),
	"a blank before the colon":   strings.Replace(usualHead, "Host:", "Host :", 1),
	"no colon":                   strings.Replace(usualHead, "X-Odd: ", "X-Odd", 1),
	"no name":                    strings.Replace(usualHead, "X-Odd: ", ": a", 1),
	"a control character":        strings.Replace(usualHead, "Boto3", "a\x00b", 1),
	"a carriage return":          strings.Replace(usualHead, "Boto3", "a\rb", 1),
	"a byte beyond ASCII":        strings.Replace(usualHead, "Boto3", "\xff", 1),
	"two hosts":                  strings.Replace(usualHead, "X-Odd: ", "host: other", 1),
	"no host":                    strings.Replace(usualHead, "Host", "X-Host", 1),
	"an empty host":              strings.Replace(usualHead, "localhost:4566", "", 1),
	"a host with a path":         strings.Replace(usualHead, "4566", "4566/a", 1),
	"two lengths":                strings.Replace(usualHead, "X-Odd: ", "Content-length: 2", 1),
	"no length":                  strings.Replace(usualHead, "Content-Length: 2", "X-Length: 2", 1),
	"a signed length":            strings.Replace(usualHead, "Length: 2", "Length: +2", 1),
	"a list of lengths":          strings.Replace(usualHead, "Length: 2", "Length: 2, 2", 1),
	"a length of many digits":    strings.Replace(usualHead, "Length: 2", "Length: 000002", 1),
	"chunks":                     strings.Replace(usualHead, "X-Odd: ", "Transfer-Encoding: chunked", 1),
	"an expectation":             strings.Replace(usualHead, "X-Odd: ", "Expect: 100-continue", 1),
	"an upgrade":                 strings.Replace(usualHead, "X-Odd: ", "Upgrade: h2c", 1),
	"the wish to close":          strings.Replace(usualHead, "X-Odd: ", "Connection: close", 1),
	"a header of the connection": strings.Replace(usualHead, "X-Odd: ", "Connection: keep-alive, X-Odd", 1),
	"a header that comes twice":  strings.Replace(usualHead, "X-Odd: ", "X-AMZ-Date: 1", 1),
	"too many headers":           strings.Replace(usualHead, "X-Odd: ", strings.Repeat("A-: b\r\n", maxHeaders), 1),
}

func TestUsualHead(t *testing.T) {
	if !sameAsNetHTTP(t, []byte(usualHead)) {
		t.Error("it is not taken")
	}
	if !sameAsNetHTTP(t, []byte(strings.Replace(usualHead, "X-Odd: ", "Connection: Keep-Alive", 1))) {
		t.Error("a connection that shall stay is not taken")
	}
}

func TestUnusualHeadsAreLeftAlone(t *testing.T) {
	for name, text := range unusualHeads {
		if text == usualHead {
			t.Errorf("%s: the text is as usual", name)
		}
		if new(head).parse([]byte(text)) {
			t.Errorf("%s: it is taken", name)
		}
	}
}

// sameAsNetHTTP tells whether a head is taken; then http.ReadRequest must read
// the same, whatever came before on the connection.
func sameAsNetHTTP(t *testing.T, text []byte) bool {
	t.Helper()
	taken := sameAfter(t, text)
	for _, before := range []string{usualHead, strings.Replace(usualHead, "X-Odd: ", "X-Amz-Odd:1\r\nX-Even: 2", 1), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"} {
		if sameAfter(t, text, []byte(before)) != taken {
			t.Errorf("%q: taken: %v, but not so behind %q", text, taken, before)
		}
	}
	if taken {
		sameAfter(t, []byte(usualHead), text)
		sameAfter(t, text, text)
	}
	return taken
}

// sameAfter is sameAsNetHTTP for a head behind others, which are taken.
func sameAfter(t *testing.T, text []byte, before ...[]byte) bool {
	t.Helper()
	h := new(head)
	got := &http.Request{Header: http.Header{}}
	for _, b := range before {
		if !h.parse(b) {
			t.Fatalf("%q is not taken", b)
		}
		h.fill(got)
	}
	if !h.parse(text) {
		return false
	}
	h.fill(got)
	want, err := http.ReadRequest(bufio.NewReader(io.MultiReader(bytes.NewReader(text), strings.NewReader(strings.Repeat(" ", h.length)))))
	if err != nil {
		t.Fatalf("%q is taken; http.ReadRequest: %v", text, err)
	}
	if got.Host != want.Host || got.ContentLength != want.ContentLength || !reflect.DeepEqual(got.Header, want.Header) {
		t.Errorf("%q: got %v of %q with %d bytes, want %v of %q with %d", text, got.Header, got.Host, got.ContentLength, want.Header, want.Host, want.ContentLength)
	}
	if want.Method != http.MethodPost || want.RequestURI != "/" || want.Proto != "HTTP/1.1" || want.Close || want.TransferEncoding != nil || want.Trailer != nil {
		t.Errorf("%q is taken; http.ReadRequest reads %+v", text, want)
	}
	body, err := io.ReadAll(want.Body)
	if err != nil || len(body) != h.length {
		t.Errorf("%q: http.ReadRequest reads a body of %d bytes, %v", text, len(body), err)
	}
	return true
}

// Whatever is taken is read as net/http reads it, up to the last byte.
func FuzzHead(f *testing.F) {
	f.Add([]byte(usualHead))
	for _, text := range unusualHeads {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if end := bytes.Index(text, endOfHead); end >= 0 {
			sameAsNetHTTP(t, text[:end+len(endOfHead)])
		}
	})
}
