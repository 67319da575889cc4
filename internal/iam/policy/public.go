package policy

import (
	"net/netip"
	"slices"
	"strings"
)

// fixedKeys are the condition keys whose fixed values narrow an Allow for
// everybody to somebody.
var fixedKeys = []string{"aws:principalaccount", "aws:principalarn", "aws:principalorgid", "aws:sourceaccount",
	"aws:sourcearn", "aws:sourceowner", "aws:sourcevpc", "aws:sourcevpce", "aws:userid"}

// fixingOperators compare with values that can be fixed.
var fixingOperators = []string{"StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals", "ArnLike"}

// IsPublic reports whether a resource policy grants broad access: an Allow for
// everybody without a condition that narrows it to fixed accounts, sources,
// principals or addresses. What a Deny takes away again is not counted.
//
// Rules: https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html,
// to which the guide of Secrets Manager refers.
func (d *Document) IsPublic() bool {
	return slices.ContainsFunc(d.statements, func(s statement) bool { return s.isPublic() })
}

func (s *statement) isPublic() bool {
	if s.deny || s.principals == nil || !s.notPrincipal && !s.principals.everyone && !s.principals.strangers {
		return false
	}
	return !slices.ContainsFunc(s.conditions, func(c condition) bool { return c.narrows() })
}

// narrows reports whether the condition holds for fixed values only. One that a
// missing key meets narrows nothing.
func (c *condition) narrows() bool {
	if c.null != nil || c.ifExists || c.set == forAllValues {
		return false
	}
	if c.key == "aws:sourceip" {
		return c.operator == "IpAddress" && !slices.ContainsFunc(c.operands, isBroad)
	}
	return slices.Contains(fixedKeys, c.key) && slices.Contains(fixingOperators, c.operator) &&
		!slices.ContainsFunc(c.operands, isVariable)
}

// isBroad reports whether a range of addresses is broader than /8, or /32 for IPv6.
func isBroad(o operand) bool {
	prefix := netip.Prefix(o.(ipOperand))
	if prefix.Addr().Is4() {
		return prefix.Bits() < 8
	}
	return prefix.Bits() < 32
}

// isVariable reports whether a value has wildcards, in whatever operator, or
// variables.
func isVariable(o operand) bool {
	var p pattern
	switch o := o.(type) {
	case stringOperand:
		p = o.pattern
	case foldedOperand:
		p = o.pattern
	case arnOperand:
		p = o.pattern
	}
	return p.parts != nil || strings.ContainsAny(p.text, "*?") || p.fixed < len(p.text)
}
