package policy

import "strings"

// condition is one key under one operator of a Condition element, compiled.
//
// Rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-logic-multiple-context-keys-or-values.html
type condition struct {
	key      string // in lower case
	operator string // without set operator and IfExists
	set      setOperator
	ifExists bool
	negated  bool
	operands []operand
	null     *nullCheck // the operator is Null; nothing else counts then
}

// nullCheck says which states of a key Null accepts.
type nullCheck struct{ absent, present bool }

// setOperator says how the values of a multivalued key count.
type setOperator int

const (
	noSet setOperator = iota
	forAnyValue
	forAllValues
)

// newCondition compiles operator and key with the values of the policy.
func newCondition(operator, key string, values []string, variables bool) (condition, error) {
	c := condition{key: strings.ToLower(key), operator: operator}
	if prefix, name, ok := strings.Cut(c.key, ":"); !ok || prefix == "" || name == "" || strings.ContainsAny(c.key, "*?$") {
		return c, syntaxError("%q is no condition key", key)
	}
	if rest, ok := strings.CutPrefix(c.operator, "ForAnyValue:"); ok {
		c.operator, c.set = rest, forAnyValue
	} else if rest, ok := strings.CutPrefix(c.operator, "ForAllValues:"); ok {
		c.operator, c.set = rest, forAllValues
	}
	c.operator, c.ifExists = strings.CutSuffix(c.operator, "IfExists")
	if c.operator == "Null" {
		return c.setNull(values)
	}
	o, ok := operators[c.operator]
	if !ok {
		return c, syntaxError("%q is no condition operator", operator)
	}
	c.negated = o.negated
	for _, value := range values {
		compiled, err := o.compile(value, variables)
		if err != nil {
			return c, err
		}
		c.operands = append(c.operands, compiled)
	}
	return c, nil
}

// setNull compiles the values of Null, which takes neither IfExists nor a set
// operator.
func (c condition) setNull(values []string) (condition, error) {
	if c.ifExists || c.set != noSet {
		return c, syntaxError("Null takes neither IfExists nor a set operator")
	}
	c.null = new(nullCheck)
	for _, value := range values {
		absent, ok := parseBool(value)
		if !ok {
			return c, syntaxError("%q is neither true nor false", value)
		}
		c.null.absent = c.null.absent || absent
		c.null.present = c.null.present || !absent
	}
	return c, nil
}

// holds reports whether the request meets the condition. A key that it does not
// have meets IfExists, negated operators and ForAllValues, and nothing else.
//
// A key without a set operator should have one value. Should it have several, one
// of them must match; under a negated operator, none may.
func (c *condition) holds(r *Request) bool {
	values := r.values(c.key)
	switch {
	case c.null != nil && len(values) == 0:
		return c.null.absent
	case c.null != nil:
		return c.null.present
	case len(values) == 0 && c.ifExists:
		return true
	}
	every := c.set == forAllValues || c.set == noSet && c.negated
	for _, value := range values {
		if c.set != noSet && value == "" {
			continue // AWS: an empty string is an empty set
		}
		if c.meets(r, value) != every {
			return !every
		}
	}
	return every
}

// meets compares one value of the request with those of the policy. Several of
// these are OR-ed, under a negated operator NOR-ed: nothing is equal to a variable
// without a value, so a negated operator matches it.
//
// Rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-no-value
func (c *condition) meets(r *Request, value string) bool {
	for _, o := range c.operands {
		if o.match(r, value) {
			return !c.negated
		}
	}
	return c.negated
}
