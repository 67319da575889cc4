package iam

import (
	"cmp"
	"strings"

	"github.com/keyturn/keyturn/internal/iam/policy"
)

// administrator is the policy of principals that may do everything.
var administrator = func() []*policy.Document {
	d, err := policy.ParseIdentity(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
	if err != nil {
		panic(err) // the text is a constant
	}
	return []*policy.Document{d}
}()

// Administrator returns the principal of an account that may do everything.
func Administrator(account string) Principal {
	p := User(account, "admin")
	p.Policies = administrator
	return p
}

// LocksOut reports whether the policy of res explicitly denies c the action, so
// that whoever attaches that policy could not undo it.
func LocksOut(c Caller, action string, res Resource) bool {
	q := ask(&c, action, &res)
	defer q.done()
	return res.Policy.Decide(&q.request) == policy.Deny
}

// verdict is a decision and its reason.
type verdict int

const (
	allowed verdict = iota
	deniedByIdentity
	deniedByResource
	notAllowedByIdentity
	notAllowedByResource
)

// judge decides whether c may do action (such as "secretsmanager:GetSecretValue")
// on res. An explicit Deny in any policy wins. On a resource of c's own account,
// an Allow of c's policies or of the resource's policy is enough; on another
// account's, both are needed. Whatever is not allowed is denied. Where nobody
// allows access to another account's resource, AWS names the resource's policy.
//
// Rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
func judge(c *Caller, action string, res *Resource) verdict {
	q := ask(c, action, res)
	defer q.done()
	byIdentity, byResource := q.identityEffect(), res.Policy.Decide(&q.request)
	own := q.owner() == c.Account
	switch {
	case byIdentity == policy.Deny:
		return deniedByIdentity
	case byResource == policy.Deny:
		return deniedByResource
	case own && (byIdentity == policy.Allow || byResource == policy.Allow):
		return allowed
	case !own && byResource == policy.None:
		return notAllowedByResource
	case !own && byIdentity == policy.Allow:
		return allowed
	}
	return notAllowedByIdentity
}

// reason is how AWS ends the message of a denial.
//
// Words: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
func (v verdict) reason(action string) string {
	switch v {
	case deniedByIdentity:
		return "with an explicit deny in an identity-based policy"
	case deniedByResource:
		return "with an explicit deny in a resource-based policy"
	case notAllowedByResource:
		return "because no resource-based policy allows the " + action + " action"
	}
	return "because no identity-based policy allows the " + action + " action"
}

// identityEffect is that of the caller's own policies. The root of an account
// needs none.
func (q *question) identityEffect() policy.Effect {
	strongest := policy.None
	if q.request.Principal.IsRoot() {
		strongest = policy.Allow
	}
	for _, d := range q.caller.Policies {
		strongest = max(strongest, d.Decide(&q.request))
	}
	return strongest
}

func (r *Resource) orAny() string {
	if r.ARN == "" {
		return "*"
	}
	return r.ARN
}

// owner is the account of the resource. What is asked of no single resource, such
// as a list, is about the caller's own.
func (q *question) owner() string { return cmp.Or(accountOf(q.resource.ARN), q.caller.Account) }

// accountOf is the owner that an ARN names, or "".
func accountOf(arn string) string {
	for range 4 {
		_, arn, _ = strings.Cut(arn, ":")
	}
	account, _, isARN := strings.Cut(arn, ":")
	if !isARN {
		return ""
	}
	return account
}
