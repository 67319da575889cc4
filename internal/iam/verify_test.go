package iam

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/fault"
)

// The credential and the moment of AWS's published SigV4 test suite.
const (
	suiteKey    = "AKIDEXAMPLE"
	suiteSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

var suiteTime = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)

type oneKey struct {
	id string
	Credential
}

func (k oneKey) Lookup(_ context.Context, id string) (Credential, error) {
	if id != k.id {
		return Credential{}, ErrUnknownKey
	}
	return k.Credential, nil
}

var suiteKeys = oneKey{suiteKey, Credential{Secret: suiteSecret, Principal: Administrator("000000000000")}}

// suiteRequest builds a request of the suite. headers are "Name: value" lines.
func suiteRequest(method, target, body, signature, signed string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "example.amazonaws.com"
	r.Header.Set("X-Amz-Date", "20150830T123600Z")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="+
		signed+", Signature="+signature)
	return r
}

func TestVerifyPublishedSuite(t *testing.T) {
	const vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
	const basic = "host;x-amz-date"
	for _, tc := range []struct {
		name, method, target, body, signature, signed string
		headers                                       []string
	}{
		{name: "get-vanilla", method: "GET", target: "/", signature: vanilla, signed: basic},
		{name: "get-relative-relative", method: "GET", target: "/example1/example2/../..", signature: vanilla, signed: basic},
		{name: "get-slash-dot-slash", method: "GET", target: "/./", signature: vanilla, signed: basic},
		{name: "get-slashes", method: "GET", target: "//example//", signed: basic,
			signature: "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
		{name: "get-slash-pointless-dot", method: "GET", target: "/./example", signed: basic,
			signature: "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
		{name: "get-vanilla-query-order-key-case", method: "GET", target: "/?Param2=value2&Param1=value1", signed: basic,
			signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{name: "get-header-key-duplicate", method: "GET", target: "/", signed: "host;my-header1;x-amz-date",
			headers:   []string{"My-Header1: value2", "My-Header1: value2", "My-Header1: value1"},
			signature: "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
		{name: "get-header-value-trim", method: "GET", target: "/", signed: "host;my-header1;my-header2;x-amz-date",
			headers:   []string{"My-Header1:  value1", `My-Header2:  "a   b   c"`},
			signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
		{name: "post-vanilla", method: "POST", target: "/", signed: basic,
			signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{name: "post-header-value-case", method: "POST", target: "/", signed: "host;my-header1;x-amz-date",
			headers:   []string{"My-Header1: VALUE1"},
			signature: "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
		{name: "post-x-www-form-urlencoded", method: "POST", target: "/", body: "Param1=value1",
			signed:    "content-type;host;x-amz-date",
			headers:   []string{"Content-Type: application/x-www-form-urlencoded"},
			signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := suiteRequest(tc.method, tc.target, tc.body, tc.signature, tc.signed, tc.headers...)
			c, err := verify(r, []byte(tc.body), suiteTime, suiteKeys)
			if err != nil {
				t.Fatal(err)
			}
			if c.Region != "us-east-1" || c.Service != "service" || c.AccessKeyID != suiteKey || c.Account != "000000000000" {
				t.Errorf("caller = %+v", c)
			}
		})
	}
}

// The example of AWS's signing guide: IAM ListUsers with its query string.
func TestVerifyListUsersExample(t *testing.T) {
	r := httptest.NewRequest("GET", "/?Action=ListUsers&Version=2010-05-08", nil)
	r.Host = "iam.amazonaws.com"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("X-Amz-Date", "20150830T123600Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "+
		"SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")
	if _, err := verify(r, nil, suiteTime, suiteKeys); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	const good = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
	const scope = "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"
	const prefix = "AWS4-HMAC-SHA256 "
	const rest = ", SignedHeaders=host;x-amz-date, Signature=" + good
	with := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for _, tc := range []struct {
		name   string
		change func(*http.Request)
		now    time.Duration
		kind   fault.Kind
		text   string
	}{
		{"NoSignature", func(r *http.Request) { r.Header.Del("Authorization") }, 0, ErrMissingAuthenticationToken, "Request is missing Authentication Token"},
		{"OtherAlgorithm", with("Authorization", "Basic Zm9vOmJhcg=="), 0, ErrIncompleteSignature, "algorithm"},
		{"NoSignatureElement", with("Authorization", prefix+scope+", SignedHeaders=host"), 0, ErrIncompleteSignature, "requires 'Signature' parameter"},
		{"NothingAtAll", with("Authorization", prefix+"x"), 0, ErrIncompleteSignature, "missing equal-sign"},
		{"RepeatedElement", with("Authorization", prefix+scope+rest+", Signature=00"), 0, ErrIncompleteSignature, "repeated"},
		{"TwoHeaders", func(r *http.Request) { r.Header.Add("Authorization", "x") }, 0, ErrIncompleteSignature, "more than one"},
		{"FourScopeElements", with("Authorization", prefix+"Credential=AKIDEXAMPLE/20150830/us-east-1/aws4_request"+rest), 0, ErrIncompleteSignature, "exactly 5"},
		{"SixScopeElements", with("Authorization", prefix+scope+"/x"+rest), 0, ErrIncompleteSignature, "exactly 5"},
		{"ColonInRegion", with("Authorization", prefix+"Credential=AKIDEXAMPLE/20150830/us-east-1:111122223333/service/aws4_request"+rest), 0, ErrInvalidSignature, "valid region"},
		{"PatternAsRegion", with("Authorization", prefix+"Credential=AKIDEXAMPLE/20150830/us-east-*/service/aws4_request"+rest), 0, ErrInvalidSignature, "valid region"},
		{"OtherTerminator", with("Authorization", prefix+"Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws5_request"+rest), 0, ErrInvalidSignature, "terminator"},
		{"UnknownKey", with("Authorization", prefix+"Credential=AKIDOTHER/20150830/us-east-1/service/aws4_request"+rest), 0, ErrUnrecognizedClient, "The security token included in the request is invalid."},
		{"UnexpectedToken", with("X-Amz-Security-Token", "token"), 0, ErrUnrecognizedClient, "The security token included in the request is invalid."},
		{"OtherDay", with("Authorization", prefix+"Credential=AKIDEXAMPLE/20150831/us-east-1/service/aws4_request"+rest), 0, ErrInvalidSignature, "'20150831' != '20150830', from '20150830T123600Z'"},
		{"NoDate", func(r *http.Request) { r.Header.Del("X-Amz-Date") }, 0, ErrIncompleteSignature, "'X-Amz-Date' or a 'Date' header"},
		{"BadDate", with("X-Amz-Date", "2015-08-30"), 0, ErrIncompleteSignature, "ISO-8601"},
		{"Expired", func(*http.Request) {}, 5*time.Minute + time.Second, ErrInvalidSignature,
			"Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)"},
		{"NotYet", func(*http.Request) {}, -5*time.Minute - time.Second, ErrInvalidSignature,
			"Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)"},
		{"HostUnsigned", with("Authorization", prefix+scope+", SignedHeaders=x-amz-date, Signature="+good), 0, ErrInvalidSignature, "'Host'"},
		{"HostInCapitals", with("Authorization", prefix+scope+", SignedHeaders=Host;x-amz-date, Signature="+good), 0, ErrInvalidSignature, "'Host'"},
		{"AmzUnsigned", with("X-Amz-Target", "secretsmanager.GetSecretValue"), 0, ErrInvalidSignature, "'X-Amz-Target' must be a 'SignedHeader'"},
		{"OtherSignature", with("Authorization", prefix+scope+strings.Replace(rest, "5fa0", "5fa1", 1)), 0, ErrInvalidSignature, "does not match the signature you provided"},
		{"ShortSignature", with("Authorization", prefix+scope+strings.TrimSuffix(rest, "1")), 0, ErrInvalidSignature, "does not match"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := suiteRequest("GET", "/", "", good, "host;x-amz-date")
			tc.change(r)
			_, err := verify(r, nil, suiteTime.Add(tc.now), suiteKeys)
			checkFault(t, err, tc.kind, tc.text)
		})
	}
}

func checkFault(t testing.TB, err error, kind fault.Kind, text string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(fault.Of(err).Message, text) {
		t.Errorf("got %v, want %s with %q", err, kind.Code, text)
	}
}

func TestVerifyTimeLimitsAreInclusive(t *testing.T) {
	r := suiteRequest("GET", "/", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", "host;x-amz-date")
	for _, skew := range []time.Duration{-5 * time.Minute, 5 * time.Minute, 5*time.Minute + 900*time.Millisecond} {
		if _, err := verify(r, nil, suiteTime.Add(skew), suiteKeys); err != nil {
			t.Errorf("%s: %v", skew, err)
		}
	}
}

// A store that cannot be asked is our fault and not the caller's.
func TestVerifyStoreFails(t *testing.T) {
	r := suiteRequest("GET", "/", "", "00", "host;x-amz-date")
	_, err := verify(r, nil, suiteTime, brokenKeys{})
	if err == nil || fault.Of(err).Kind != fault.Internal {
		t.Errorf("got %v", err)
	}
}

type brokenKeys struct{}

func (brokenKeys) Lookup(context.Context, string) (Credential, error) {
	return Credential{}, errors.New("disk on fire")
}

func TestCredentialPrintsRedacted(t *testing.T) {
	c := Credential{Secret: suiteSecret, SessionToken: "token"}
	checkRedacted(t, c, &c, struct{ C Credential }{c}, []Credential{c})
}

// verify verifies a request at a time, by a Verifier that remembers nothing.
func verify(r *http.Request, body []byte, now time.Time, keys Keys) (Caller, error) {
	return (&Verifier{Keys: keys, Now: func() time.Time { return now }}).Verify(r, body)
}
