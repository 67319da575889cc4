package policy

import (
	"strings"
	"unicode/utf8"
)

// The wildcards of a compiled pattern. No byte of a UTF-8 text has these values,
// so an asterisk that stands for itself, ${*}, is told from a wildcard.
const (
	anyRun = '\xff' // *, any run of characters, also "/" and ":"
	anyOne = '\xfe' // ?, any one character
)

// Match reports whether s matches a pattern: * stands for any run of characters,
// slashes and colons among them, ? for any one. It regards case.
func Match(pattern, s string) bool {
	return matches(withWildcards(strings.ToValidUTF8(pattern, "\uFFFD")), s, false)
}

var wildcards = strings.NewReplacer("*", "\xff", "?", "\xfe")

func withWildcards(s string) string { return wildcards.Replace(s) }

// pattern is a string of a policy, compiled.
type pattern struct {
	text  string // all of it, if there are no variables
	fixed int    // how many bytes of text come before its first wildcard
	parts []part // nil: there are no variables
}

// part is a piece of a pattern: a text or, if key is not empty, a variable.
type part struct {
	text     string
	key      string // in lower case
	fallback *string
}

// newPattern compiles s. Without wildcards, * and ? stand for themselves; without
// variables, ${ does.
func newPattern(s string, hasWildcards, hasVariables bool) (pattern, error) {
	var parts []part
	var text strings.Builder
	for hasVariables {
		before, after, found := strings.Cut(s, "${")
		if !found {
			break
		}
		text.WriteString(compileText(before, hasWildcards))
		variable, rest, err := cutVariable(after)
		if err != nil {
			return pattern{}, err
		}
		s = rest
		if variable.key == "" {
			text.WriteString(variable.text)
			continue
		}
		parts = append(parts, part{text: text.String()}, variable)
		text.Reset()
	}
	text.WriteString(compileText(s, hasWildcards))
	if parts != nil {
		return pattern{parts: append(parts, part{text: text.String()})}, nil
	}
	return literal(text.String()), nil
}

// literal returns the pattern of a text whose wildcards are compiled.
func literal(text string) pattern {
	p := pattern{text: text}
	for p.fixed < len(text) && text[p.fixed] < anyOne {
		p.fixed++
	}
	return p
}

func compileText(s string, hasWildcards bool) string {
	if hasWildcards {
		return withWildcards(s)
	}
	return s
}

// cutVariable reads what follows "${": a key, a key with a default in single
// quotes, or one of the characters that stand for themselves.
//
// Rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
func cutVariable(s string) (v part, rest string, err error) {
	if len(s) > 1 && s[1] == '}' && strings.IndexByte("*?$", s[0]) >= 0 {
		return part{text: s[:1]}, s[2:], nil
	}
	end := strings.IndexAny(s, ",}")
	if end < 0 {
		return v, "", syntaxError("a policy variable has no end")
	}
	v.key = strings.ToLower(strings.TrimSpace(s[:end]))
	if v.key == "" || strings.ContainsAny(v.key, "${'*?") {
		return v, "", syntaxError("a policy variable has no valid name")
	}
	if s[end] == '}' {
		return v, s[end+1:], nil
	}
	fallback, rest, ok := cutQuoted(strings.TrimLeft(s[end+1:], " "))
	rest, closed := strings.CutPrefix(strings.TrimLeft(rest, " "), "}")
	if !ok || !closed {
		return v, "", syntaxError("the default of a policy variable is not in single quotes")
	}
	v.fallback = &fallback
	return v, rest, nil
}

func cutQuoted(s string) (quoted, rest string, ok bool) {
	s, opened := strings.CutPrefix(s, "'")
	quoted, rest, closed := strings.Cut(s, "'")
	return quoted, rest, opened && closed
}

// resolve returns the pattern's text with the request's values for variables;
// ok is false if one has none. Characters of a value stand for themselves.
func (p *pattern) resolve(r *Request) (text string, ok bool) {
	if p.parts == nil {
		return p.text, true
	}
	var buf [256]byte
	out := buf[:0]
	for i := range p.parts {
		value, ok := p.parts[i].value(r)
		if !ok {
			return "", false
		}
		out = append(out, value...)
	}
	return string(out), true
}

// value is that of a single-valued key; others cannot be variables. A value that
// is no UTF-8 could hold our wildcards.
func (v *part) value(r *Request) (value string, ok bool) {
	if v.key == "" {
		return v.text, true
	}
	values := r.values(v.key)
	switch {
	case len(values) == 1:
		return values[0], utf8.ValidString(values[0])
	case len(values) == 0 && v.fallback != nil:
		return *v.fallback, true
	}
	return "", false
}

// values returns the values of a key, none if the request does not have it.
func (r *Request) values(key string) []string {
	if r.Keys == nil {
		return nil
	}
	values, ok := r.Keys(key)
	if !ok {
		return nil
	}
	return values
}

// match compares s with the pattern; known is false if a variable has no value.
func (p *pattern) match(r *Request, s string) (matched, known bool) {
	if p.parts == nil {
		return p.matchText(s), true
	}
	text, ok := p.resolve(r)
	return ok && matches(text, s, false), ok
}

// matchText is match for a pattern without variables.
func (p *pattern) matchText(s string) bool {
	if len(s) < p.fixed || s[:p.fixed] != p.text[:p.fixed] {
		return false
	}
	return matches(p.text[p.fixed:], s[p.fixed:], false)
}

// matches compares s with a compiled text, or s in lower case if fold is set. It
// goes back to the last * only, so its time is bounded by the product of the
// lengths.
func matches(text, s string, fold bool) bool {
	t, i := 0, 0
	star, resume := -1, 0
	for i < len(s) {
		switch {
		case t < len(text) && text[t] == anyRun:
			star, resume = t, i
			t++
			if t == len(text) {
				return true
			}
		case t < len(text) && text[t] == anyOne:
			t++
			i += width(s[i:])
		case t < len(text) && (text[t] == s[i] || fold && text[t] == lower(s[i])):
			t++
			i++
		case star >= 0:
			resume += width(s[resume:])
			t, i = star+1, resume
		default:
			return false
		}
	}
	for t < len(text) && text[t] == anyRun {
		t++
	}
	return t == len(text)
}

// width is the length of the first character of s, in bytes.
func width(s string) int {
	if s[0] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s)
	return n
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

// actions is an Action element, compiled from lower case: IAM compares actions
// without regard to case.
type actions []string

func (a actions) match(action string) bool {
	for _, text := range a {
		if matches(text, action, true) {
			return true
		}
	}
	return false
}
