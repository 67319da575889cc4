package iam

import (
	"context"
	"strings"
)

// Administrator returns the principal of an account that may do everything.
func Administrator(account string) Principal {
	return Principal{
		ARN:     "arn:aws:iam::" + account + ":user/admin",
		Account: account,
		Allow:   []Allow{{Actions: []string{"*"}, Resources: []string{"*"}}},
	}
}

// Decide says whether c may do action (such as "secretsmanager:GetSecretValue")
// on res. Whatever no statement allows is denied. Actions are compared without
// regard to case, resources with regard to it, as IAM does. Another account's
// resources are out of reach of an identity's policy alone.
func Decide(c Caller, action string, res Resource) bool {
	arn := res.orAny()
	if owner := res.account(); owner != "" && owner != c.Account {
		return false
	}
	for i := range c.Allow {
		if matchesAny(c.Allow[i].Actions, action, true) && matchesAny(c.Allow[i].Resources, arn, false) {
			return true
		}
	}
	return false
}

// Guard is the one door through which every permission question goes. The zero
// value is ready.
type Guard struct{}

// Check returns nil if c may do action on res, and ErrAccessDenied in AWS's
// words if not.
func (g *Guard) Check(_ context.Context, c Caller, action string, res Resource) error {
	if Decide(c, action, res) {
		return nil
	}
	return ErrAccessDenied.Errorf("User: %s is not authorized to perform: %s on resource: %s"+
		" because no identity-based policy allows the %s action", c.ARN, action, res.orAny(), action)
}

func (r Resource) orAny() string {
	if r.ARN == "" {
		return "*"
	}
	return r.ARN
}

// account is the owner that an ARN names, or "".
func (r Resource) account() string {
	f := strings.SplitN(r.ARN, ":", 6)
	if len(f) < 6 {
		return ""
	}
	return f[4]
}

func matchesAny(patterns []string, s string, foldCase bool) bool {
	for _, p := range patterns {
		if matches(p, s, foldCase) {
			return true
		}
	}
	return false
}

// matches compares with * (any run of characters, also "/" and ":") and ? (any
// one). It goes back to the last * only, so its time is bounded by the product
// of the lengths.
func matches(pattern, s string, foldCase bool) bool {
	p, i := 0, 0
	star, resume := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || sameByte(pattern[p], s[i], foldCase)):
			p++
			i++
		case star >= 0:
			resume++
			p, i = star+1, resume
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

func sameByte(a, b byte, foldCase bool) bool {
	return a == b || foldCase && lower(a) == lower(b)
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}
