package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// naive evaluates policies a second time, slowly, word for word after the IAM guide
// ("Policy evaluation logic", "Condition operators", "Conditions with multiple context
// keys or values", "Policy variables"), from the JSON itself. It shares nothing with
// the evaluator but the types of a question.
type naive struct {
	request *Request
	keys    map[string][]string // :: name in lower case → values
	old     bool                // the policy's version has no variables
}

type naivePolicy struct {
	Version   string
	Statement []naiveStatement
}

type naiveStatement struct {
	Effect                  string
	Action, NotAction       []string
	Resource, NotResource   []string
	Principal, NotPrincipal any
	Condition               map[string]map[string][]string
}

func (n *naive) decide(text string) Effect {
	var p naivePolicy
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		panic(err)
	}
	n.old = p.Version != "2012-10-17"
	found := map[Effect]bool{}
	for _, s := range p.Statement {
		found[n.effect(s)] = true
	}
	for _, e := range []Effect{Deny, Allow, AllowAccount} {
		if found[e] {
			return e
		}
	}
	return None
}

func (n *naive) effect(s naiveStatement) Effect {
	if !n.actionFits(s) || !n.resourceFits(s) {
		return None
	}
	for operator, keys := range s.Condition {
		for key, values := range keys {
			if !n.holds(operator, strings.ToLower(key), values) {
				return None
			}
		}
	}
	return n.forPrincipal(s)
}

func (n *naive) actionFits(s naiveStatement) bool {
	for _, a := range append(s.Action, s.NotAction...) {
		if like(strings.ToLower(a), strings.ToLower(n.request.Action)) {
			return s.NotAction == nil
		}
	}
	return s.NotAction != nil
}

func (n *naive) resourceFits(s naiveStatement) bool {
	known := true
	for _, r := range append(s.Resource, s.NotResource...) {
		text, ok := n.substitute(r, true)
		known = known && ok
		if ok && like(text, n.request.Resource) {
			return s.NotResource == nil
		}
	}
	return s.NotResource != nil && (known || s.Effect == "Deny")
}

func (n *naive) forPrincipal(s naiveStatement) Effect {
	effect := map[string]Effect{"Allow": Allow, "Deny": Deny}[s.Effect]
	switch {
	case s.NotPrincipal != nil:
		itself, account := n.named(s.NotPrincipal)
		if itself || account && effect == Allow {
			return None
		}
		return effect
	case s.Principal != nil:
		itself, account := n.named(s.Principal)
		if itself || account && effect == Deny {
			return effect
		}
		if account {
			return AllowAccount
		}
		return None
	}
	return effect
}

// named tells whether an element names the principal itself, or its account.
func (n *naive) named(element any) (itself, account bool) {
	if element == "*" {
		return true, true
	}
	who := n.request.Principal
	for _, name := range element.(map[string]any)["AWS"].([]any) {
		switch name {
		case "*", who.ARN, strings.Replace(strings.Replace(strings.TrimSuffix(who.ARN, "/one"), ":sts:", ":iam:", 1), "assumed-role", "role", 1):
			itself = true
		case who.Account, "arn:aws:iam::" + who.Account + ":root":
			account = true
			itself = itself || strings.HasSuffix(who.ARN, ":root")
		}
	}
	return itself, account
}

func (n *naive) holds(operator, key string, values []string) bool {
	given := n.keys[key]
	if operator == "Null" {
		return fmt.Sprint(len(given) == 0) == values[0]
	}
	set, operator, isSet := cutSet(operator)
	operator, ifExists := strings.CutSuffix(operator, "IfExists")
	if len(given) == 0 && ifExists {
		return true
	}
	if isSet {
		given = without(given, "")
	}
	positive, negated := positiveOf(operator)
	one := func(value string) bool { // OR of the policy's values; under a negated operator NOR
		for _, v := range values {
			if n.compare(positive, v, value) {
				return !negated
			}
		}
		return negated
	}
	fits := 0
	for _, value := range given {
		if one(value) {
			fits++
		}
	}
	switch {
	case set == "ForAllValues", !isSet && negated:
		return fits == len(given)
	}
	return fits > 0
}

func cutSet(operator string) (set, rest string, found bool) {
	if !strings.Contains(operator, ":") {
		return "", operator, false
	}
	return strings.Cut(operator, ":")
}

func without(values []string, unwanted string) (rest []string) {
	for _, v := range values {
		if v != unwanted {
			rest = append(rest, v)
		}
	}
	return rest
}

func positiveOf(operator string) (positive string, negated bool) {
	if operator == "NotIpAddress" {
		return "IpAddress", true
	}
	positive = strings.Replace(operator, "Not", "", 1)
	return positive, positive != operator
}

// compare is one operator between a value of the policy and one of the request.
func (n *naive) compare(operator, policy, given string) bool {
	switch operator {
	case "StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals", "ArnLike":
		wild := operator != "StringEquals" && operator != "StringEqualsIgnoreCase"
		text, ok := n.substitute(policy, wild)
		return ok && compareText(operator, text, given)
	case "Bool":
		return strings.EqualFold(policy, given)
	case "IpAddress":
		prefix, err := netip.ParsePrefix(policy)
		addr, err2 := netip.ParseAddr(given)
		return err == nil && err2 == nil && prefix.Contains(addr)
	}
	if rest, ok := strings.CutPrefix(operator, "Date"); ok {
		a, err := time.Parse(time.RFC3339, policy)
		b, err2 := time.Parse(time.RFC3339, given)
		return err == nil && err2 == nil && ordered(rest, b.Compare(a))
	}
	a, ok := new(big.Float).SetString(policy)
	b, ok2 := new(big.Float).SetString(given)
	return ok && ok2 && ordered(strings.TrimPrefix(operator, "Numeric"), b.Cmp(a))
}

func compareText(operator, text, given string) bool {
	switch operator {
	case "StringEquals":
		return plain(text) == given
	case "StringEqualsIgnoreCase":
		return strings.EqualFold(plain(text), given)
	case "StringLike":
		return like(text, given)
	}
	want, got := strings.SplitN(text, ":", 6), strings.SplitN(given, ":", 6)
	if len(got) < 6 || len(want) < 6 {
		return text == "*" && len(got) == 6
	}
	for i := range want {
		if !like(want[i], got[i]) {
			return false
		}
	}
	return true
}

func ordered(relation string, sign int) bool {
	return map[string]bool{"Equals": sign == 0, "LessThan": sign < 0, "LessThanEquals": sign <= 0, "GreaterThan": sign > 0, "GreaterThanEquals": sign >= 0}[relation]
}

// A backslash before a character of a pattern makes it stand for itself.
func literally(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(s)
}

func plain(s string) string { return strings.NewReplacer(`\\`, `\`, `\*`, `*`, `\?`, `?`).Replace(s) }

// substitute replaces variables; ok is false if one has no value.
func (n *naive) substitute(s string, wild bool) (text string, ok bool) {
	fixed := literally
	if wild {
		fixed = func(s string) string { return strings.ReplaceAll(s, `\`, `\\`) }
	}
	for !n.old {
		before, after, found := strings.Cut(s, "${")
		if !found {
			break
		}
		name, rest, _ := strings.Cut(after, "}")
		value, ok := n.variable(name)
		if !ok {
			return "", false
		}
		text += fixed(before) + literally(value)
		s = rest
	}
	return text + fixed(s), true
}

func (n *naive) variable(name string) (value string, ok bool) {
	if name == "*" || name == "?" || name == "$" {
		return name, true
	}
	name, otherwise, hasDefault := strings.Cut(name, ", ")
	switch given := n.keys[strings.ToLower(name)]; len(given) {
	case 1:
		return given[0], true
	case 0:
		return strings.Trim(otherwise, "'"), hasDefault
	}
	return "", false
}

// like matches a pattern by trying every length for an asterisk.
func like(pattern, s string) bool {
	p, r := []rune(pattern), []rune(s)
	switch {
	case len(p) == 0:
		return len(r) == 0
	case p[0] == '*':
		for i := range len(r) + 1 {
			if like(string(p[1:]), string(r[i:])) {
				return true
			}
		}
		return false
	case len(r) == 0:
		return false
	case p[0] == '?':
		return like(string(p[1:]), string(r[1:]))
	case p[0] == '\\':
		p = p[1:]
	}
	return p[0] == r[0] && like(string(p[1:]), string(r[1:]))
}

var (
	naiveTexts   = []string{"a", "A", "ab", "b*", "*", "?", "a?", "*b", "", "é", "${aws:username}", "${test:two}x", "x${test:none, 'ab'}", "${test:none}", "${*}", "a${?}", "${$}"}
	naiveARNs    = []string{"*", "arn:aws:sns:*:*:a*", "arn:aws:sns:::ab", "arn:aws:sns:::${aws:username}", "arn:aws:sns:?:1:${test:none}", "arn:aws:sns:::a:b"}
	naiveNumbers = []string{"1", "2", "-1.5", "1.0"}
	naiveDates   = []string{"2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2027-01-01T00:00:00Z"}
	naiveNets    = []string{"10.0.0.0/8", "10.1.2.3/32", "::/0", "2001:db8::/32"}
	naiveGiven   = map[string][]string{
		"String": {"a", "A", "ab", "b*", "", "é", "abx", "xab", "*", "a?", "$", "x"}, "Arn": {"arn:aws:sns:::ab", "arn:aws:sns:x:1:a:b", "x", "arn:aws:sns:::a:b", "arn:aws:s3:::ab"},
		"Numeric": {"1", "2.0", "-1.5", "x", ""}, "Date": append([]string{"x"}, naiveDates...),
		"Bool": {"true", "false", "True", "x"}, "Ip": {"10.1.2.3", "10.1.2.4", "2001:db8::1", "x", "::1"},
	}
	naiveValues = map[string][]string{"String": naiveTexts, "Arn": naiveARNs, "Numeric": naiveNumbers, "Date": naiveDates, "Bool": {"true", "false"}, "Ip": naiveNets}
)

// naiveFamilies are the operators by what they compare.
var naiveFamilies = map[string][]string{
	"String":  {"StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike"},
	"Arn":     {"ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"},
	"Numeric": {"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals"},
	"Date":    {"DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals"},
	"Bool":    {"Bool"},
	"Ip":      {"IpAddress", "NotIpAddress"},
}

func naiveConditions(t *rapid.T) map[string]map[string][]string {
	conditions := map[string]map[string][]string{}
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		family := rapid.SampledFrom([]string{"String", "Arn", "Numeric", "Date", "Bool", "Ip", "Null"}).Draw(t, "family")
		if family == "Null" {
			of := rapid.SampledFrom([]string{"String", "Ip"}).Draw(t, "of")
			conditions["Null"] = map[string][]string{"Test:" + of: {rapid.SampledFrom([]string{"true", "false"}).Draw(t, "null")}}
			continue
		}
		operator := rapid.SampledFrom([]string{"", "", "ForAnyValue:", "ForAllValues:"}).Draw(t, "set") +
			rapid.SampledFrom(naiveFamilies[family]).Draw(t, "operator") + rapid.SampledFrom([]string{"", "", "IfExists"}).Draw(t, "if")
		conditions[operator] = map[string][]string{"test:" + strings.ToUpper(family): rapid.SliceOfN(rapid.SampledFrom(naiveValues[family]), 1, 3).Draw(t, "values")}
	}
	return conditions
}

func naiveDocument(t *rapid.T, ofResource bool) string {
	either := func(s map[string]any, element string, value any) {
		s[rapid.SampledFrom([]string{"", "", "Not"}).Draw(t, "not")+element] = value
	}
	var statements []any
	for range rapid.IntRange(1, 4).Draw(t, "statements") {
		s := map[string]any{"Effect": rapid.SampledFrom([]string{"Allow", "Deny"}).Draw(t, "effect"), "Condition": naiveConditions(t)}
		either(s, "Action", rapid.SliceOfN(rapid.SampledFrom([]string{"*", "sns:*", "SNS:Get?", "sns:*t*", "s3:Get"}), 1, 2).Draw(t, "actions"))
		either(s, "Resource", rapid.SliceOfN(rapid.SampledFrom(append([]string{"arn:aws:s3:::x", "arn:aws:sns:*b"}, naiveARNs...)), 1, 2).Draw(t, "resources"))
		if ofResource {
			either(s, "Principal", rapid.SampledFrom([]any{"*", names("*"), names("111122223333"), names("arn:aws:iam::111122223333:root"), names("arn:aws:iam::111122223333:user/app"),
				names("444455556666", "arn:aws:iam::111122223333:role/r"), names("arn:aws:sts::111122223333:assumed-role/r/one", "arn:aws:iam::444455556666:user/app")}).Draw(t, "who"))
		}
		statements = append(statements, s)
	}
	text, err := json.Marshal(map[string]any{"Version": rapid.SampledFrom([]string{"2012-10-17", "2012-10-17", "2008-10-17"}).Draw(t, "version"), "Statement": statements})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func names(aws ...string) any { return map[string]any{"AWS": aws} }

func naiveRequest(t *rapid.T) (*Request, map[string][]string) {
	keys := map[string][]string{"test:two": {"a", "b"}}
	if rapid.Bool().Draw(t, "has a name") {
		keys["aws:username"] = []string{rapid.SampledFrom([]string{"ab", "a", "*", ""}).Draw(t, "name")}
	}
	for _, family := range slices.Sorted(maps.Keys(naiveGiven)) {
		if values := rapid.SliceOfN(rapid.SampledFrom(naiveGiven[family]), 0, 2).Draw(t, family); len(values) > 0 {
			keys["test:"+strings.ToLower(family)] = values
		}
	}
	r := asking(keys)
	r.Action = rapid.SampledFrom([]string{"sns:Get", "sns:GetX", "SNS:get", "s3:Get"}).Draw(t, "action")
	r.Resource = rapid.SampledFrom([]string{"*", "arn:aws:sns:::ab", "arn:aws:sns:x:1:a", "arn:aws:sns:::*", "arn:aws:s3:::x"}).Draw(t, "resource")
	r.Principal = rapid.SampledFrom([]Principal{
		{ARN: "arn:aws:iam::111122223333:user/app", Account: "111122223333"}, {ARN: "arn:aws:iam::111122223333:root", Account: "111122223333"},
		{ARN: "arn:aws:sts::111122223333:assumed-role/r/one", Account: "111122223333"}, {ARN: "arn:aws:iam::444455556666:user/app", Account: "444455556666"},
	}).Draw(t, "principal")
	return r, keys
}

// Two evaluators that have nothing in common say the same.
func TestNaiveEvaluatorAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ofResource := rapid.Bool().Draw(t, "of a resource")
		parse := ParseIdentity
		if ofResource {
			parse = ParseResource
		}
		text := naiveDocument(t, ofResource)
		d, err := parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		for range 5 {
			r, keys := naiveRequest(t)
			n := &naive{request: r, keys: keys}
			if got, want := d.Decide(r), n.decide(text); got != want {
				t.Fatalf("Decide = %v, naively %v\n%s\n%+v %v", got, want, text, r, keys)
			}
		}
	})
}
