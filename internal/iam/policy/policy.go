// Package policy evaluates IAM policies: identity policies and resource
// policies, in AWS's JSON form. It is pure: it knows no request, no clock and
// no store, only what it is told.
//
// Rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
package policy

import "errors"

// Document is a parsed policy. It is never changed and safe to share.
type Document struct{ statements []statement }

type statement struct{}

// Request is one question: may Principal do Action on Resource?
type Request struct {
	Action    string // secretsmanager:GetSecretValue
	Resource  string // an ARN, or "*"
	Principal Principal
	// Keys returns the values of a condition key, whose name is in lower case
	// (secretsmanager:versionstage, aws:sourceip); ok is false for a key that the
	// request does not have. It is asked only for keys that a policy names.
	Keys func(key string) (values []string, ok bool)
}

// Principal is who asks.
type Principal struct {
	ARN     string // arn:aws:iam::000000000000:user/app
	Account string // 12 digits
	Service string // secretsmanager.amazonaws.com, for a call by a service; else empty
}

// Effect is what a policy says about a request.
type Effect int

// The effects, from weak to strong.
const (
	None Effect = iota // no statement applies
	Allow
	Deny
)

// ErrSyntax says that a text is no policy.
var ErrSyntax = errors.New("the policy has a syntax error")

// ParseIdentity reads a policy that is attached to a principal.
func ParseIdentity(text string) (*Document, error) { return nil, ErrSyntax }

// ParseResource reads a policy that is attached to a resource, whose statements
// name principals.
func ParseResource(text string) (*Document, error) { return nil, ErrSyntax }

// Decide returns the strongest effect of the document's statements. A nil
// Document says nothing.
func (d *Document) Decide(r *Request) Effect { return None }

// IsPublic reports whether a resource policy grants broad access: to everybody,
// without a condition that narrows it to fixed accounts, sources or principals.
func (d *Document) IsPublic() bool { return false }
