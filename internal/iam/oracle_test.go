package iam

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"
)

var oracleTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// drawn is a request as a client would make it.
type drawn struct {
	method, path, query, body string
	headers                   map[string]string
	token                     string
	presign                   bool
	expires                   int // seconds
}

func draw(t *rapid.T) drawn {
	segment := rapid.StringMatching(`[a-zA-Z0-9:$_.~ @+é-]{1,12}x`)
	path := ""
	for _, s := range rapid.SliceOfN(segment, 0, 4).Draw(t, "path") {
		path += "/" + url.PathEscape(s)
	}
	query := url.Values{}
	for _, name := range rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,5}`), 0, 4).Draw(t, "names") {
		query.Add(name, rapid.StringMatching(`[ -~é]{0,8}`).Draw(t, "value"))
	}
	headers := map[string]string{}
	for _, name := range rapid.SliceOfN(rapid.StringMatching(`(My|X-Amz)-[A-Z][a-z]{3,9}`), 0, 4).Draw(t, "headers") {
		headers[name] = rapid.StringMatching(`[!-~]{1,5}( {1,3}[!-~]{1,5})?`).Draw(t, "header")
	}
	return drawn{
		method: rapid.SampledFrom([]string{"GET", "POST", "PUT", "DELETE"}).Draw(t, "method"),
		path:   path + "/", query: strings.ReplaceAll(query.Encode(), "+", "%20"), headers: headers,
		body:    rapid.String().Draw(t, "body"),
		token:   rapid.SampledFrom([]string{"", "to/ken+="}).Draw(t, "token"),
		presign: rapid.Bool().Draw(t, "presign"),
		expires: rapid.IntRange(0, 700).Draw(t, "expires"),
	}
}

// request builds it as a server would receive it, unsigned.
func (d drawn) request(t testing.TB) *http.Request {
	target := "https://secretsmanager.us-east-1.amazonaws.com" + d.path
	query := d.query
	if d.presign && d.expires > 0 {
		query = strings.TrimPrefix(query+"&X-Amz-Expires="+strconv.Itoa(d.expires), "&")
	}
	r, err := http.NewRequestWithContext(context.Background(), d.method, target+"?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range d.headers {
		r.Header.Set(name, value)
	}
	return r
}

// signedBySDK signs with the SDK's own signer.
func (d drawn) signedBySDK(t testing.TB) *http.Request {
	r, hash := d.request(t), sha256.Sum256([]byte(d.body))
	credentials := aws.Credentials{AccessKeyID: suiteKey, SecretAccessKey: suiteSecret, SessionToken: d.token}
	if !d.presign {
		err := v4.NewSigner().SignHTTP(r.Context(), credentials, r, hex.EncodeToString(hash[:]), "secretsmanager", "us-east-1", oracleTime)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	target, header, err := v4.NewSigner().PresignHTTP(r.Context(), credentials, r, hex.EncodeToString(hash[:]), "secretsmanager", "us-east-1", oracleTime)
	if err != nil {
		t.Fatal(err)
	}
	signed := httptest.NewRequest(d.method, target, nil)
	signed.Host = r.URL.Host
	signed.Header = header
	signed.Header.Del("Host")
	return signed
}

func (d drawn) keys() oneKey {
	return oneKey{suiteKey, Credential{Secret: suiteSecret, SessionToken: d.token, Principal: Administrator("000000000000")}}
}

func TestSDKSignatureVerifies(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := draw(rt)
		r := d.signedBySDK(t)
		v := Verifier{Keys: d.keys(), Now: func() time.Time { return oracleTime }}
		for range 2 { // the second time with the kept signing key
			c, err := v.Verify(r, []byte(d.body))
			if err != nil {
				rt.Fatalf("%v\n%s\n%v", err, r.URL, r.Header)
			}
			if c.Service != "secretsmanager" || c.Region != "us-east-1" {
				rt.Fatalf("caller = %+v", c)
			}
		}
	})
}

func TestOneChangedByteNeverVerifies(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := draw(rt)
		r, body := d.signedBySDK(t), []byte(d.body)
		changed, changedBody, what := change(rt, r, body)
		if _, err := verify(changed, changedBody, oracleTime, d.keys()); err == nil {
			rt.Fatalf("verified after a change of %s: %s %v", what, changed.URL, changed.Header)
		}
	})
}

// change alters one byte of what the signature covers.
func change(t *rapid.T, r *http.Request, body []byte) (*http.Request, []byte, string) {
	r = r.Clone(r.Context())
	what := rapid.SampledFrom([]string{"method", "path", "query", "header", "host", "body", "signature"}).Draw(t, "what")
	switch what {
	case "method":
		r.Method = flip(t, r.Method)
	case "path":
		r.URL.Path, r.URL.RawPath = "/"+flip(t, r.URL.Path+"y"), ""
	case "query":
		r.URL.RawQuery += "&z=1"
	case "header":
		changeHeader(t, r)
	case "host":
		r.Host = flip(t, r.URL.Host+r.Host)
	case "body":
		body = []byte(flip(t, string(body)+"y"))
	case "signature":
		changeSignature(t, r)
	}
	return r, body, what
}

// flip changes one byte into a letter that it is not.
func flip(t *rapid.T, s string) string {
	i := rapid.IntRange(0, len(s)-1).Draw(t, "position")
	b := byte('q')
	if s[i] == b {
		b = 'w'
	}
	return s[:i] + string(b) + s[i+1:]
}

func changeHeader(t *rapid.T, r *http.Request) {
	for name := range r.Header {
		if strings.HasPrefix(name, "My-") || strings.HasPrefix(name, "X-Amz-") {
			r.Header.Set(name, flip(t, r.Header.Get(name)+"y"))
			return
		}
	}
	r.Header.Set("X-Amz-Added", "1")
}

func changeSignature(t *rapid.T, r *http.Request) {
	if h := r.Header.Get("Authorization"); h != "" {
		cut := len(h) - 64
		r.Header.Set("Authorization", h[:cut]+flip(t, h[cut:]))
		return
	}
	head, signature, _ := strings.Cut(r.URL.RawQuery, "X-Amz-Signature=")
	r.URL.RawQuery = head + "X-Amz-Signature=" + flip(t, signature)
}

func TestPresignedLifetime(t *testing.T) {
	d := drawn{method: "GET", path: "/", presign: true, expires: 90}
	for _, tc := range []struct {
		name  string
		after time.Duration
		text  string
	}{
		{"OK", 90 * time.Second, ""},
		{"Expired", 91 * time.Second, "Signature expired: 20260304T050607Z is now earlier than 20260304T050608Z (20260304T050738Z - 90 sec.)"},
		{"NotYet", -6 * time.Minute, "Signature not yet current: 20260304T050607Z is still later than 20260304T050507Z (20260304T050007Z + 5 min.)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := verify(d.signedBySDK(t), nil, oracleTime.Add(tc.after), d.keys())
			if tc.text == "" && err != nil {
				t.Fatal(err)
			}
			if tc.text != "" {
				checkFault(t, err, ErrInvalidSignature, tc.text)
			}
		})
	}
}

func TestPresignedRefuses(t *testing.T) {
	for _, tc := range []struct{ name, old, new, text string }{
		{"TooLong", "X-Amz-Expires=90", "X-Amz-Expires=604801", "between 1 and 604800"},
		{"Zero", "X-Amz-Expires=90", "X-Amz-Expires=0", "between 1 and 604800"},
		{"NoNumber", "X-Amz-Expires=90", "X-Amz-Expires=soon", "between 1 and 604800"},
		{"NoAlgorithm", "X-Amz-Algorithm", "X-Amz-Other", "X-Amz-Algorithm"},
		{"NoSignature", "X-Amz-Signature", "X-Amz-Other", "'X-Amz-Signature'"},
		{"Repeated", "X-Amz-Expires=90", "X-Amz-Expires=90&X-Amz-Expires=90", "repeated"},
		{"BadEscape", "X-Amz-Expires=90", "X-Amz-Expires=%zz", "syntax error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := drawn{method: "GET", path: "/", presign: true, expires: 90}
			r := d.signedBySDK(t)
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, tc.old, tc.new, 1)
			_, err := verify(r, nil, oracleTime, d.keys())
			checkFault(t, err, ErrIncompleteSignature, tc.text)
		})
	}
}

func TestContentHashHeader(t *testing.T) {
	for _, tc := range []struct{ name, stated, text string }{
		{"OK", fmt.Sprintf("%x", sha256.Sum256([]byte("{}"))), ""},
		{"Chunked", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "Chunked"},
		{"Unsigned", "UNSIGNED-PAYLOAD", "Unsigned"},
		{"Other", strings.Repeat("0", 64), "does not match what was computed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := drawn{method: "POST", path: "/", body: "{}", headers: map[string]string{"X-Amz-Content-Sha256": tc.stated}}
			_, err := verify(d.signedBySDK(t), []byte(d.body), oracleTime, d.keys())
			if tc.text == "" && err != nil {
				t.Fatal(err)
			}
			if tc.text != "" {
				checkFault(t, err, ErrInvalidSignature, tc.text)
			}
		})
	}
}

// A key that was replaced must not live on in the kept signing keys.
func TestVerifierForgetsAReplacedSecret(t *testing.T) {
	d := drawn{method: "POST", path: "/"}
	r, keys := d.signedBySDK(t), d.keys()
	v := Verifier{Keys: &keys, Now: func() time.Time { return oracleTime }}
	if _, err := v.Verify(r, nil); err != nil {
		t.Fatal(err)
	}
	keys.Secret = "another"
	_, err := v.Verify(r, nil)
	checkFault(t, err, ErrInvalidSignature, "does not match")
}

func TestSigningKeysAreBounded(t *testing.T) {
	var k signingKeys
	for i := range 3 * maxDerived {
		k.keep(Scope{AccessKeyID: strconv.Itoa(i)}, &signingKey{})
	}
	if n := len(k.byScope); n > maxDerived {
		t.Errorf("%d keys are kept, want at most %d", n, maxDerived)
	}
}

func checkRedacted(t *testing.T, values ...any) {
	t.Helper()
	for _, v := range values {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%v %+v %#v %s %q %x %d", v, v, v, v, v, v, v) + log.String() + string(encoded)
		if strings.Contains(text, suiteSecret) || strings.Contains(text, "token") || strings.Contains(text, hex.EncodeToString([]byte(suiteSecret))) {
			t.Errorf("%T shows its secret: %s", v, text)
		}
	}
}

func FuzzVerify(f *testing.F) {
	d := drawn{method: "POST", path: "/", body: "{}"}
	f.Add(d.signedBySDK(f).Header.Get("Authorization"), "")
	d.presign, d.expires = true, 60
	f.Add("", d.signedBySDK(f).URL.RawQuery)
	f.Add("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260304/us-east-1/secretsmanager/aws4_request, SignedHeaders=;;host, Signature=00", "a=%zz")
	// Another secret than the one that signed the seeds: nothing may verify.
	keys := oneKey{suiteKey, Credential{Secret: "another"}}
	f.Fuzz(func(t *testing.T, authorization, query string) {
		r := httptest.NewRequest("POST", "/", nil)
		r.URL.RawQuery = query
		r.Header.Set("X-Amz-Date", oracleTime.Format(isoBasic))
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		if c, err := verify(r, nil, oracleTime, keys); err == nil {
			t.Fatalf("verified: %+v", c)
		} else if status := statusOf(err); status != 400 {
			t.Fatalf("status %d: %v", status, err)
		}
		Trust(r, "000000000000", "us-east-1")
	})
}

func BenchmarkVerify(b *testing.B) {
	d := drawn{method: "POST", path: "/", body: `{"SecretId":"prod/app/database"}`, headers: map[string]string{
		"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager.GetSecretValue",
		"Amz-Sdk-Invocation-Id": "3d6f2b80-6a3a-4f0e-9f37-1f4f6f2f5c11", "Amz-Sdk-Request": "attempt=1; max=3",
	}}
	r, body := d.signedBySDK(b), []byte(d.body)
	v := Verifier{Keys: d.keys(), Now: func() time.Time { return oracleTime }}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(r, body); err != nil {
			b.Fatal(err)
		}
	}
}
