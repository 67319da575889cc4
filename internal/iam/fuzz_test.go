package iam

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// One changed byte of a signed request never verifies: of its body, of a signed
// header, of the Authorization header, or of a presigned URL's query.
func FuzzOneChangedByte(f *testing.F) {
	f.Add("{}", "secretsmanager.GetSecretValue", false, uint(0), byte(1))
	f.Add(`{"SecretId":"a"}`, "x", true, uint(60), byte(0x20))
	f.Add("", "", false, uint(99), byte(0x80))
	f.Fuzz(func(t *testing.T, body, target string, presign bool, at uint, by byte) {
		d := drawn{method: http.MethodPost, path: "/", body: body, presign: presign, expires: 60,
			headers: map[string]string{"X-Amz-Target": letters(target)}}
		r := d.signedBySDK(t)
		if _, err := verify(r, []byte(body), oracleTime, d.keys()); err != nil {
			t.Fatalf("unchanged: %v", err)
		}
		changed, ok := changeOne(r, body, int(at%(1<<20)), by)
		if !ok {
			return
		}
		if _, err := verify(r, []byte(changed), oracleTime, d.keys()); err == nil {
			t.Fatalf("verified: %s %v, body %q", r.URL, r.Header, changed)
		}
	})
}

// letters makes a header's value of any text.
func letters(s string) string {
	return strings.Map(func(c rune) rune { return 'a' + (c%26+26)%26 }, s) + "x"
}

// changeOne changes one byte of what the signature covers, in r or in the body,
// which it returns. It is not ok where the change means nothing: none at all, a
// space between two elements, another spelling of the same query.
func changeOne(r *http.Request, body string, at int, by byte) (changed string, ok bool) {
	authorization, target, query := r.Header.Get("Authorization"), r.Header.Get("X-Amz-Target"), r.URL.RawQuery
	at %= len(body) + len(target) + len(authorization) + len(query)
	text := []byte(body + target + authorization + query)
	ok = by != 0 && text[at] != ' '
	text[at] ^= by
	cut := func(n int) (part string) {
		part, text = string(text[:n]), text[n:]
		return part
	}
	body = cut(len(body))
	r.Header.Set("X-Amz-Target", cut(len(target)))
	if authorization != "" {
		r.Header.Set("Authorization", cut(len(authorization)))
	}
	r.URL.RawQuery = cut(len(query))
	return body, ok && (r.URL.RawQuery == query || !sameQuery(r.URL.RawQuery, query))
}

func sameQuery(a, b string) bool {
	x, errX := url.ParseQuery(a)
	y, errY := url.ParseQuery(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}
