package iam

import "github.com/keyturn/keyturn/internal/fault"

// What a caller can do wrong before an operation starts. The codes and statuses
// are those of AWS JSON 1.1; package wire renames them for the other protocols,
// which spell the same failures differently (SignatureDoesNotMatch, 403).
var (
	// ErrMissingAuthenticationToken: the request carries no signature at all.
	ErrMissingAuthenticationToken = fault.Kind{Code: "MissingAuthenticationTokenException", Status: 400}
	// ErrIncompleteSignature: a part of the signature is absent or unreadable.
	ErrIncompleteSignature = fault.Kind{Code: "IncompleteSignatureException", Status: 400}
	// ErrUnrecognizedClient: nobody has this access key, or its session token differs.
	ErrUnrecognizedClient = fault.Kind{Code: "UnrecognizedClientException", Status: 400}
	// ErrExpiredToken: a temporary credential has come to its end.
	ErrExpiredToken = fault.Kind{Code: "ExpiredTokenException", Status: 400}
	// ErrInvalidSignature: the signature is readable and wrong, or out of its time.
	ErrInvalidSignature = fault.Kind{Code: "InvalidSignatureException", Status: 400}
	// ErrAccessDenied: the caller is known and may not do this.
	ErrAccessDenied = fault.Kind{Code: "AccessDeniedException", Status: 400}
)

const (
	textMissing      = "Request is missing Authentication Token"
	textInvalidToken = "The security token included in the request is invalid."
	textExpiredToken = "The security token included in the request is expired"
	textMismatch     = "The request signature we calculated does not match the signature you provided. " +
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)
