package iam

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// appendCanonical writes the canonical request: method, path, query, headers,
// their names and the body's hash, one to a line.
func appendCanonical(dst []byte, r *http.Request, c *claim, bodyHash []byte) ([]byte, error) {
	dst = append(append(dst, r.Method...), '\n')
	dst = append(appendPath(dst, r.URL.EscapedPath()), '\n')
	dst, err := appendQuery(dst, r.URL.RawQuery, c.presigned)
	if err != nil {
		return dst, err
	}
	dst = append(dst, '\n')
	for rest, more := c.signedHeaders, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, ";")
		dst = appendHeader(dst, r, name)
	}
	dst = append(dst, '\n')
	dst = append(append(dst, c.signedHeaders...), '\n')
	return append(dst, bodyHash...), nil
}

// appendPath normalises a path as it stood on the wire and encodes it once
// more: every service but S3 signs the doubly encoded path.
func appendPath(dst []byte, escaped string) []byte {
	if escaped == "" || escaped == "/" {
		return append(dst, '/')
	}
	start := len(dst)
	for segment := range strings.SplitSeq(escaped, "/") {
		switch segment {
		case "", ".":
		case "..":
			dst = dst[:start+max(0, bytes.LastIndexByte(dst[start:], '/'))]
		default:
			dst = appendEscaped(append(dst, '/'), segment)
		}
	}
	if len(dst) == start || endsInDirectory(escaped) {
		dst = append(dst, '/')
	}
	return dst
}

func endsInDirectory(path string) bool {
	return strings.HasSuffix(path, "/") || strings.HasSuffix(path, "/.") || strings.HasSuffix(path, "/..")
}

// appendQuery writes the parameters encoded and sorted, without the signature itself.
func appendQuery(dst []byte, raw string, presigned bool) ([]byte, error) {
	if raw == "" {
		return dst, nil
	}
	var pairs [][2]string
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		pair, err := encodedPair(part)
		if err != nil {
			return dst, err
		}
		if presigned && pair[0] == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, pair)
	}
	slices.SortFunc(pairs, func(a, b [2]string) int {
		if order := strings.Compare(a[0], b[0]); order != 0 {
			return order
		}
		return strings.Compare(a[1], b[1])
	})
	for i, pair := range pairs {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = append(append(append(dst, pair[0]...), '='), pair[1]...)
	}
	return dst, nil
}

// encodedPair brings one parameter into the one encoding that is signed,
// however the client wrote it.
func encodedPair(part string) (pair [2]string, err error) {
	name, value, _ := strings.Cut(part, "=")
	for i, s := range [...]string{name, value} {
		plain, err := url.QueryUnescape(s)
		if err != nil {
			return pair, ErrIncompleteSignature.Errorf("The query string contains a syntax error.")
		}
		pair[i] = string(appendEscaped(nil, plain))
	}
	return pair, nil
}

// appendEscaped encodes all but the unreserved characters of RFC 3986.
func appendEscaped(dst []byte, s string) []byte {
	const upperHex = "0123456789ABCDEF"
	for i := range len(s) {
		b := s[i]
		if 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' ||
			b == '-' || b == '_' || b == '.' || b == '~' {
			dst = append(dst, b)
			continue
		}
		dst = append(dst, '%', upperHex[b>>4], upperHex[b&15])
	}
	return dst
}

// appendHeader writes "name:value\n"; several values are joined with commas.
func appendHeader(dst []byte, r *http.Request, name string) []byte {
	dst = append(append(dst, name...), ':')
	values := headerValues(r, name)
	for i, value := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendFolded(dst, value)
	}
	if len(values) == 0 {
		dst = appendMoved(dst, r, name)
	}
	return append(dst, '\n')
}

// appendMoved writes a header that net/http keeps in a field of the request
// and not among its headers.
func appendMoved(dst []byte, r *http.Request, name string) []byte {
	switch name {
	case "host":
		if r.Host == "" {
			return append(dst, r.URL.Host...)
		}
		return append(dst, r.Host...)
	case "content-length":
		return strconv.AppendInt(dst, max(0, r.ContentLength), 10)
	case "transfer-encoding":
		return append(dst, strings.Join(r.TransferEncoding, ",")...)
	}
	return dst
}

// headerValues looks a lower-case name up without allocating its canonical form.
func headerValues(r *http.Request, name string) []string {
	var buf [64]byte
	key := buf[:0]
	upper := true
	for i := range len(name) {
		b := name[i]
		if upper && 'a' <= b && b <= 'z' {
			b -= 'a' - 'A'
		}
		upper = b == '-'
		key = append(key, b)
	}
	return r.Header[string(key)]
}

// appendFolded trims a value and folds runs of spaces into one.
func appendFolded(dst []byte, value string) []byte {
	value = strings.Trim(value, " \t")
	if !strings.Contains(value, "  ") {
		return append(dst, value...)
	}
	for i := range len(value) {
		if value[i] != ' ' || value[i-1] != ' ' {
			dst = append(dst, value[i])
		}
	}
	return dst
}
