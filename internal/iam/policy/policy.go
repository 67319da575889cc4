// Package policy evaluates IAM policies: identity policies and resource
// policies, in AWS's JSON form. It is pure: it knows no request, no clock and
// no store, only what it is told. A Document is compiled when it is parsed, so
// that a decision neither parses nor, without variables, allocates.
//
// Rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
package policy

import "errors"

// Document is a parsed policy. It is never changed and safe to share.
type Document struct{ statements []statement }

// Request is one question: may Principal do Action on Resource?
type Request struct {
	Action    string // secretsmanager:GetSecretValue
	Resource  string // an ARN, or "*"
	Principal Principal
	// Keys returns the values of a condition key, whose name is in lower case
	// (secretsmanager:versionstage, aws:sourceip); ok is false for a key that the
	// request does not have. It is asked only for keys that a policy names, maybe
	// more than once; the values must stay as they are until Decide returns. Nil
	// means that the request has no keys.
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
	// AllowAccount is an Allow for the principal's account (its number, or
	// arn:aws:iam::…:root) and not for the principal itself: it lets the account's
	// own policies decide. Only resource policies say so.
	AllowAccount
	Allow
	Deny
)

// Why a text is refused. Texts with several faults are answered with the first
// of these.
var (
	// ErrSyntax says that a text is no policy.
	ErrSyntax = errors.New("the policy has a syntax error")
	// ErrPrincipal says that a Principal names neither an account, a user, a role
	// nor a session, as groups and patterns do not.
	ErrPrincipal = errors.New("the policy has an unsupported principal")
	// ErrServicePrincipal says that a Principal's Service is not the name of one.
	ErrServicePrincipal = errors.New("the policy has an invalid service principal")
)

// ParseIdentity reads a policy that is attached to a principal. Its errors wrap
// ErrSyntax. How long a text may be is the caller's to say.
//
// Grammar: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
func ParseIdentity(text string) (*Document, error) { return parse(text, false) }

// ParseResource reads a policy that is attached to a resource, whose statements
// name principals. Its errors wrap ErrSyntax, ErrPrincipal or ErrServicePrincipal.
func ParseResource(text string) (*Document, error) { return parse(text, true) }

// Decide returns the strongest effect of the document's statements. A nil
// Document says nothing.
func (d *Document) Decide(r *Request) Effect {
	strongest := None
	if d == nil {
		return strongest
	}
	for i := range d.statements {
		s := &d.statements[i]
		if !s.deny && strongest == Allow {
			continue
		}
		strongest = max(strongest, s.decide(r))
		if strongest == Deny {
			break
		}
	}
	return strongest
}
