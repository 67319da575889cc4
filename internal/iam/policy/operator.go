package policy

import (
	"encoding/base64"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// operator is a kind of comparison.
type operator struct {
	negated bool
	compile func(value string, variables bool) (operand, error)
}

// operand is one value of a policy's condition, ready to be compared.
type operand interface {
	// match compares it with a value of the request. One with a variable that has
	// no value matches nothing.
	match(r *Request, value string) bool
}

// operators is every condition operator but Null.
//
// Rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
var operators = map[string]operator{
	"StringEquals":              {false, compileExact},
	"StringNotEquals":           {true, compileExact},
	"StringEqualsIgnoreCase":    {false, compileFolded},
	"StringNotEqualsIgnoreCase": {true, compileFolded},
	"StringLike":                {false, compileLike},
	"StringNotLike":             {true, compileLike},
	"ArnEquals":                 {false, compileARN},
	"ArnLike":                   {false, compileARN},
	"ArnNotEquals":              {true, compileARN},
	"ArnNotLike":                {true, compileARN},
	"NumericEquals":             {false, compileNumber(equal)},
	"NumericNotEquals":          {true, compileNumber(equal)},
	"NumericLessThan":           {false, compileNumber(less)},
	"NumericLessThanEquals":     {false, compileNumber(lessOrEqual)},
	"NumericGreaterThan":        {false, compileNumber(greater)},
	"NumericGreaterThanEquals":  {false, compileNumber(greaterOrEqual)},
	"DateEquals":                {false, compileDate(equal)},
	"DateNotEquals":             {true, compileDate(equal)},
	"DateLessThan":              {false, compileDate(less)},
	"DateLessThanEquals":        {false, compileDate(lessOrEqual)},
	"DateGreaterThan":           {false, compileDate(greater)},
	"DateGreaterThanEquals":     {false, compileDate(greaterOrEqual)},
	"Bool":                      {false, compileBool},
	"BinaryEquals":              {false, compileBinary},
	"IpAddress":                 {false, compileIP},
	"NotIpAddress":              {true, compileIP},
}

// stringOperand is a text with variables and, for StringLike, wildcards.
type stringOperand struct{ pattern }

func (o stringOperand) match(r *Request, value string) bool {
	matched, _ := o.pattern.match(r, value)
	return matched
}

func compileExact(value string, variables bool) (operand, error) {
	p, err := newPattern(value, false, variables)
	return stringOperand{p}, err
}

func compileLike(value string, variables bool) (operand, error) {
	p, err := newPattern(value, true, variables)
	return stringOperand{p}, err
}

// foldedOperand is a text that is compared without regard to case.
type foldedOperand struct{ pattern }

func (o foldedOperand) match(r *Request, value string) bool {
	text, ok := o.resolve(r)
	return ok && strings.EqualFold(text, value)
}

func compileFolded(value string, variables bool) (operand, error) {
	p, err := newPattern(value, false, variables)
	return foldedOperand{p}, err
}

// arnOperand is an ARN whose six parts may have wildcards; a wildcard does not
// reach beyond its part. A lone * stands for every ARN.
type arnOperand struct{ pattern }

func (o arnOperand) match(r *Request, value string) bool {
	text, ok := o.resolve(r)
	return ok && matchARN(text, value)
}

func compileARN(value string, variables bool) (operand, error) {
	p, err := newPattern(value, true, variables)
	return arnOperand{p}, err
}

func matchARN(text, arn string) bool {
	everyARN := text == "\xff"
	for range 5 {
		var want, part string
		var more, ok bool
		want, text, more = strings.Cut(text, ":")
		part, arn, ok = strings.Cut(arn, ":")
		if !ok || !everyARN && (!more || !matches(want, part, false)) {
			return false
		}
	}
	return everyARN || matches(text, arn, false)
}

// order is what a comparison demands of the sign of "request's value - policy's".
type order func(sign int) bool

func equal(sign int) bool          { return sign == 0 }
func less(sign int) bool           { return sign < 0 }
func lessOrEqual(sign int) bool    { return sign <= 0 }
func greater(sign int) bool        { return sign > 0 }
func greaterOrEqual(sign int) bool { return sign >= 0 }

// numberOperand is an integer or decimal number.
type numberOperand struct {
	order order
	limit *big.Rat
}

func (o numberOperand) match(_ *Request, value string) bool {
	n, ok := parseNumber(value)
	return ok && o.order(n.Cmp(o.limit))
}

func compileNumber(order order) func(string, bool) (operand, error) {
	return func(value string, _ bool) (operand, error) {
		n, ok := parseNumber(value)
		if !ok {
			return nil, syntaxError("%q is no number", value)
		}
		return numberOperand{order, n}, nil
	}
}

// maxDigits bounds what one number may cost.
const maxDigits = 64

// parseNumber takes no exponents, which would make short texts of long numbers.
func parseNumber(s string) (*big.Rat, bool) {
	if len(s) > maxDigits || strings.Trim(s, "+-.0123456789") != "" {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

// dateOperand is a moment.
type dateOperand struct {
	order order
	limit time.Time
}

func (o dateOperand) match(_ *Request, value string) bool {
	at, ok := parseDate(value)
	return ok && o.order(at.Compare(o.limit))
}

func compileDate(order order) func(string, bool) (operand, error) {
	return func(value string, _ bool) (operand, error) {
		at, ok := parseDate(value)
		if !ok {
			return nil, syntaxError("%q is no date", value)
		}
		return dateOperand{order, at}, nil
	}
}

// dateLayouts are the forms of ISO 8601 that W3C lists, and the compact one that
// signatures use.
var dateLayouts = [...]string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateOnly, "2006-01", "2006", "20060102T150405Z"}

// parseDate also takes seconds since 1970; four digits are a year.
func parseDate(s string) (time.Time, bool) {
	if len(s) != 4 && strings.Trim(s, "0123456789") == "" {
		seconds, err := strconv.ParseInt(s, 10, 64)
		return time.Unix(seconds, 0), err == nil
	}
	for _, layout := range dateLayouts {
		if at, err := time.Parse(layout, s); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// boolOperand is true or false.
type boolOperand bool

func (o boolOperand) match(_ *Request, value string) bool {
	b, ok := parseBool(value)
	return ok && b == bool(o)
}

func compileBool(value string, _ bool) (operand, error) {
	b, ok := parseBool(value)
	if !ok {
		return nil, syntaxError("%q is neither true nor false", value)
	}
	return boolOperand(b), nil
}

func parseBool(s string) (value, ok bool) {
	return strings.EqualFold(s, "true"), strings.EqualFold(s, "true") || strings.EqualFold(s, "false")
}

// binaryOperand is bytes; in a policy they stand in base64.
type binaryOperand string

func (o binaryOperand) match(_ *Request, value string) bool {
	return value == string(o)
}

func compileBinary(value string, _ bool) (operand, error) {
	b, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return nil, syntaxError("%q is not base64", value)
	}
	return binaryOperand(b), nil
}

// ipOperand is a range of addresses.
type ipOperand netip.Prefix

func (o ipOperand) match(_ *Request, value string) bool {
	addr, err := netip.ParseAddr(value)
	return err == nil && netip.Prefix(o).Contains(addr.Unmap().WithZone(""))
}

func compileIP(value string, _ bool) (operand, error) {
	prefix, err := netip.ParsePrefix(value)
	switch {
	case err == nil && prefix.Addr().Is4In6() && prefix.Bits() < 96:
		return nil, syntaxError("%q is wider than the IPv4 addresses that it maps", value)
	case err == nil && prefix.Addr().Is4In6(): // callers' addresses are compared as IPv4
		return ipOperand(netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96).Masked()), nil
	case err == nil:
		return ipOperand(prefix.Masked()), nil
	}
	addr, err := netip.ParseAddr(value)
	if err != nil || addr.Zone() != "" {
		return nil, syntaxError("%q is neither an IP address nor a range of them", value)
	}
	addr = addr.Unmap()
	return ipOperand(netip.PrefixFrom(addr, addr.BitLen())), nil
}
