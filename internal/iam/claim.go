package iam

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	isoBasic   = "20060102T150405Z"
	maxExpires = 604800 // seconds: seven days
)

// Scope is the credential scope of a signature and the access key it names.
type Scope struct {
	AccessKeyID string
	Date        string // 20150830
	Region      string
	Service     string
}

// claim is what a request says about its signature; nothing of it is trusted yet.
type claim struct {
	Scope
	scopeText     string // 20150830/us-east-1/secretsmanager/aws4_request
	signedHeaders string // host;x-amz-date
	signature     string
	date          string // 20150830T123600Z
	token         string
	lifetime      time.Duration // how long after date it may be used
	presigned     bool
}

// ScopeOf returns the scope that a request claims to be signed for, without
// checking it. ok is false when the request names none.
func ScopeOf(r *http.Request) (s Scope, ok bool) {
	c, err := credentialOf(r)
	return c.Scope, err == nil
}

// credentialOf reads only the Credential element, so that a request with an
// otherwise broken signature can still be answered by the service it meant.
func credentialOf(r *http.Request) (claim, error) {
	var c claim
	if header := r.Header.Get("Authorization"); header != "" {
		_, rest, _ := strings.Cut(header, "Credential=")
		credential, _, _ := strings.Cut(rest, ",")
		return c, c.setCredential(strings.TrimSpace(credential))
	}
	if !isPresigned(r) {
		return c, ErrMissingAuthenticationToken.Errorf(textMissing)
	}
	return c, c.setCredential(r.URL.Query().Get("X-Amz-Credential"))
}

func isPresigned(r *http.Request) bool { return strings.Contains(r.URL.RawQuery, "X-Amz-") }

// readClaim reads the header form, or the presigned form if there is no
// Authorization header.
func readClaim(r *http.Request) (claim, error) {
	switch headers := r.Header["Authorization"]; {
	case len(headers) > 1:
		return claim{}, ErrIncompleteSignature.Errorf("Request has more than one Authorization header.")
	case len(headers) == 1 && headers[0] != "":
		return headerClaim(r, headers[0])
	case isPresigned(r):
		return queryClaim(r)
	}
	return claim{}, ErrMissingAuthenticationToken.Errorf(textMissing)
}

func headerClaim(r *http.Request, header string) (claim, error) {
	rest, ok := strings.CutPrefix(header, algorithm+" ")
	if !ok {
		return claim{}, ErrIncompleteSignature.Errorf("Unsupported AWS 'algorithm' in Authorization header: must be '%s'.", algorithm)
	}
	c := claim{lifetime: clockSkew}
	var credential string
	for element := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(element), "=")
		if !ok {
			return c, ErrIncompleteSignature.Errorf("Authorization header has an element that is not a valid key=value pair (missing equal-sign).")
		}
		if !setOnce(&c, &credential, name, value) {
			return c, ErrIncompleteSignature.Errorf("Authorization header has an unknown or repeated parameter.")
		}
	}
	c.token = r.Header.Get("X-Amz-Security-Token")
	if err := c.setDate(r); err != nil {
		return c, err
	}
	if err := c.complete(credential, "Authorization header requires '%s' parameter."); err != nil {
		return c, err
	}
	return c, c.setCredential(credential)
}

// setOnce is false for an unknown name and for one that came before.
func setOnce(c *claim, credential *string, name, value string) bool {
	var field *string
	switch name {
	case "Credential":
		field = credential
	case "SignedHeaders":
		field = &c.signedHeaders
	case "Signature":
		field = &c.signature
	}
	if field == nil || *field != "" {
		return false
	}
	*field = value
	return true
}

// complete names all that is absent, as AWS does.
func (c *claim) complete(credential, text string) error {
	missing := ""
	for _, part := range [...]struct{ name, value string }{
		{"Credential", credential}, {"Signature", c.signature}, {"SignedHeaders", c.signedHeaders},
	} {
		if part.value == "" {
			missing += " " + strings.Replace(text, "%s", part.name, 1)
		}
	}
	if c.date == "" {
		missing += " Authorization requires existence of either a 'X-Amz-Date' or a 'Date' header."
	}
	if missing == "" {
		return nil
	}
	return ErrIncompleteSignature.Errorf("%s", missing[1:])
}

// setDate takes X-Amz-Date, or the Date header if there is none.
func (c *claim) setDate(r *http.Request) error {
	c.date = r.Header.Get("X-Amz-Date")
	if c.date != "" {
		return nil
	}
	date := r.Header.Get("Date")
	if date == "" || len(date) == len(isoBasic) {
		c.date = date
		return nil
	}
	at, err := http.ParseTime(date)
	if err != nil {
		return ErrIncompleteSignature.Errorf("Date must be in ISO-8601 'basic format'.")
	}
	c.date = at.UTC().Format(isoBasic)
	return nil
}

func queryClaim(r *http.Request) (claim, error) {
	c := claim{presigned: true}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return c, ErrIncompleteSignature.Errorf("The query string contains a syntax error.")
	}
	for name, values := range query {
		if strings.HasPrefix(name, "X-Amz-") && len(values) > 1 {
			return c, ErrIncompleteSignature.Errorf("AWS query-string parameters must not be repeated.")
		}
	}
	if query.Get("X-Amz-Algorithm") != algorithm {
		return c, ErrIncompleteSignature.Errorf("Unsupported AWS 'algorithm' in 'X-Amz-Algorithm': must be '%s'.", algorithm)
	}
	c.signedHeaders, c.signature = query.Get("X-Amz-SignedHeaders"), query.Get("X-Amz-Signature")
	c.date, c.token = query.Get("X-Amz-Date"), query.Get("X-Amz-Security-Token")
	if c.lifetime, err = lifetime(query); err != nil {
		return c, err
	}
	credential := query.Get("X-Amz-Credential")
	if err := c.complete(credential, "AWS query-string parameters must include 'X-Amz-%s'."); err != nil {
		return c, err
	}
	return c, c.setCredential(credential)
}

// lifetime reads X-Amz-Expires. AWS's SDKs leave it out where a service has no
// use for it; such a request lives as long as one signed in its header.
func lifetime(query url.Values) (time.Duration, error) {
	text, ok := query["X-Amz-Expires"]
	if !ok {
		return clockSkew, nil
	}
	seconds, err := strconv.Atoi(text[0])
	if err != nil || seconds < 1 || seconds > maxExpires {
		return 0, ErrIncompleteSignature.Errorf("X-Amz-Expires must be a number of seconds between 1 and %d.", maxExpires)
	}
	return time.Duration(seconds) * time.Second, nil
}

// setCredential takes keyid/date/region/service/aws4_request apart.
func (c *claim) setCredential(credential string) error {
	id, scope, _ := strings.Cut(credential, "/")
	date, rest, _ := strings.Cut(scope, "/")
	region, rest, _ := strings.Cut(rest, "/")
	service, end, _ := strings.Cut(rest, "/")
	if id == "" || date == "" || region == "" || service == "" || end == "" || strings.Contains(end, "/") {
		return ErrIncompleteSignature.Errorf("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.")
	}
	if end != terminator {
		return ErrInvalidSignature.Errorf("Credential should be scoped with a valid terminator: '%s'.", terminator)
	}
	if !isRegion(region) {
		return ErrInvalidSignature.Errorf("Credential should be scoped to a valid region.")
	}
	c.Scope = Scope{AccessKeyID: id, Date: date, Region: region, Service: service}
	c.scopeText = scope
	return nil
}

// isRegion takes what could be the name of a region, whatever regions AWS has. A
// region becomes a part of ARNs, so one with a colon in it would move the account
// that stands behind it.
func isRegion(s string) bool {
	for i := range len(s) {
		switch b := s[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '-':
		default:
			return false
		}
	}
	return len(s) <= 64
}
