package iam

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// clockSkew is how far a client's clock may be from ours.
const clockSkew = 5 * time.Minute

// Verifier verifies requests. It keeps the signing keys it derived, as they serve
// for a whole day. It is safe to share.
type Verifier struct {
	Keys Keys
	Now  func() time.Time

	derived signingKeys
}

// Verify names the caller of a request signed with Signature Version 4, in the
// Authorization header or in a presigned URL. body is the whole body that was
// read from r. Failures are the kinds of this package, in AWS's words; any
// other error means that keys could not be asked.
//
// Rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func (v *Verifier) Verify(r *http.Request, body []byte) (Caller, error) {
	c, err := readClaim(r)
	if err != nil {
		return Caller{}, err
	}
	credential, err := v.lookup(r.Context(), c.AccessKeyID)
	if err != nil {
		return Caller{}, err
	}
	if subtle.ConstantTimeCompare([]byte(c.token), []byte(credential.SessionToken)) != 1 {
		return Caller{}, ErrUnrecognizedClient.Errorf(textInvalidToken)
	}
	now := v.Now()
	if err := credential.checkExpiry(now); err != nil {
		return Caller{}, err
	}
	if err := c.checkTime(now); err != nil {
		return Caller{}, err
	}
	if err := c.checkSignedHeaders(r); err != nil {
		return Caller{}, err
	}
	if err := v.checkSignature(r, body, &c, credential.Secret); err != nil {
		return Caller{}, err
	}
	return Caller{Principal: credential.Principal, AccessKeyID: c.AccessKeyID, Region: c.Region, Service: c.Service}, nil
}

func (v *Verifier) lookup(ctx context.Context, id string) (Credential, error) {
	credential, err := v.Keys.Lookup(ctx, id)
	if errors.Is(err, ErrUnknownKey) {
		return credential, ErrUnrecognizedClient.Errorf(textInvalidToken)
	}
	if err != nil {
		return credential, fmt.Errorf("looking up an access key: %w", err)
	}
	return credential, nil
}

func (c *Credential) checkExpiry(now time.Time) error {
	if !c.Expires.IsZero() && !now.Before(c.Expires) {
		return ErrExpiredToken.Errorf(textExpiredToken)
	}
	return nil
}

func (v *Verifier) checkSignature(r *http.Request, body []byte, c *claim, secret string) error {
	hash := hexSum(body)
	if err := checkBodyHash(r, hash[:]); err != nil {
		return err
	}
	var buf [1024]byte
	canonical, err := appendCanonical(buf[:0], r, c, hash[:])
	if err != nil {
		return err
	}
	key, known := v.derived.find(c.Scope, secret)
	if !known {
		key = deriveKey(c.Scope, secret)
	}
	want := key.sign(c, hexSum(canonical))
	if subtle.ConstantTimeCompare(want[:], []byte(c.signature)) != 1 {
		return ErrInvalidSignature.Errorf(textMismatch)
	}
	if !known {
		v.derived.keep(c.Scope, key)
	}
	return nil
}

func hexSum(b []byte) (out [2 * sha256.Size]byte) {
	sum := sha256.Sum256(b)
	hex.Encode(out[:], sum[:])
	return out
}

// checkBodyHash: the body's hash is always part of the signature, so a client
// that states another one, or none, cannot be served.
func checkBodyHash(r *http.Request, hash []byte) error {
	stated := r.Header.Get("X-Amz-Content-Sha256")
	if stated == "" && isPresigned(r) {
		stated = r.URL.Query().Get("X-Amz-Content-Sha256")
	}
	switch {
	case stated == "" || subtle.ConstantTimeCompare([]byte(stated), hash) == 1:
		return nil
	case strings.HasPrefix(stated, "STREAMING-"):
		return ErrInvalidSignature.Errorf("Chunked signatures (x-amz-content-sha256: STREAMING-...) are not supported: sign the whole body.")
	case stated == "UNSIGNED-PAYLOAD":
		return ErrInvalidSignature.Errorf("Unsigned payloads (x-amz-content-sha256: UNSIGNED-PAYLOAD) are not supported: sign the whole body.")
	}
	return ErrInvalidSignature.Errorf("The provided 'x-amz-content-sha256' header does not match what was computed.")
}

// checkTime compares the signature's date with its scope and with our clock.
func (c *claim) checkTime(now time.Time) error {
	at, err := time.Parse(isoBasic, c.date)
	if err != nil || len(c.date) != len(isoBasic) {
		return ErrIncompleteSignature.Errorf("Date must be in ISO-8601 'basic format'.")
	}
	if c.date[:8] != c.Date {
		return ErrInvalidSignature.Errorf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.",
			printable(c.Date), c.date[:8], c.date)
	}
	now = now.UTC().Truncate(time.Second)
	if earliest := now.Add(-c.lifetime); at.Before(earliest) {
		return ErrInvalidSignature.Errorf("Signature expired: %s is now earlier than %s (%s - %s)",
			c.date, earliest.Format(isoBasic), now.Format(isoBasic), span(c.lifetime))
	}
	if latest := now.Add(clockSkew); at.After(latest) {
		return ErrInvalidSignature.Errorf("Signature not yet current: %s is still later than %s (%s + %s)",
			c.date, latest.Format(isoBasic), now.Format(isoBasic), span(clockSkew))
	}
	return nil
}

func span(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%d min.", d/time.Minute)
	}
	return fmt.Sprintf("%d sec.", d/time.Second)
}

// checkSignedHeaders demands that host and every x-amz-* header be signed:
// they say where the request goes and what it means.
func (c *claim) checkSignedHeaders(r *http.Request) error {
	if !signs(c.signedHeaders, "Host") {
		return ErrInvalidSignature.Errorf("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-") && !signs(c.signedHeaders, name) {
			return ErrInvalidSignature.Errorf("'%s' must be a 'SignedHeader' in the AWS Authorization.", printable(name))
		}
	}
	return nil
}

// signs looks for a header in a list such as host;x-amz-date.
func signs(list, name string) bool {
	for rest, more := list, true; more; {
		var signed string
		signed, rest, more = strings.Cut(rest, ";")
		if isLower(signed, name) {
			return true
		}
	}
	return false
}

// isLower compares exactly: a name signed in capitals would be signed without
// its value.
func isLower(signed, name string) bool {
	if len(signed) != len(name) {
		return false
	}
	for i := range len(name) {
		if signed[i] != lower(name[i]) {
			return false
		}
	}
	return true
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

// printable shortens what a stranger wrote before it goes into an error text.
func printable(s string) string { return s[:min(len(s), 64)] }
