package wire

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/keyturn/keyturn/internal/fault"
)

// ErrValidation is a value outside the bounds that the API's model sets.
var ErrValidation = fault.Kind{Code: "ValidationException", Status: http.StatusBadRequest}

// Violations collects what AWS's front end would object to, in its words. The
// zero value is ready. Paths are written as AWS does: secretId,
// filters.1.member.key.
//
// Methods that take a pointer accept nil: an absent member breaks no bound.
type Violations struct{ texts []string }

// Required objects to a member that is not set.
func (v *Violations) Required(path string, set bool) {
	if !set {
		v.add("Value null at '%s' failed to satisfy constraint: Member must not be null", path)
	}
}

// Length objects to a string of fewer than least or more than most characters.
func (v *Violations) Length(path string, value *string, least, most int) {
	if value != nil {
		v.length("Value '"+*value+"' at", path, utf8.RuneCountInString(*value), least, most)
	}
}

// SensitiveLength is Length without showing the value, of which only the length n
// is given: bytes of a secret or blob, characters of any other text. Call it only if
// the member is set.
func (v *Violations) SensitiveLength(path string, n, least, most int) {
	v.length("Value at", path, n, least, most)
}

// Count objects to a list of fewer than least or more than most items, if it is
// set. The items are not shown.
func (v *Violations) Count(path string, set bool, n, least, most int) {
	if set {
		v.length("Value at", path, n, least, most)
	}
}

// Member is the path of the list item with index i, counted from 0: AWS writes
// tags.1.member for the first of tags.
func Member(path string, i int) string { return path + "." + strconv.Itoa(i+1) + ".member" }

func (v *Violations) length(lead, path string, n, least, most int) {
	switch {
	case n < least:
		v.add("%s '%s' failed to satisfy constraint: Member must have length greater than or equal to %d", lead, path, least)
	case n > most:
		v.add("%s '%s' failed to satisfy constraint: Member must have length less than or equal to %d", lead, path, most)
	}
}

// Range objects to a number below least or above most.
func (v *Violations) Range(path string, value *int64, least, most int64) {
	switch {
	case value == nil:
	case *value < least:
		v.add("Value '%d' at '%s' failed to satisfy constraint: Member must have value greater than or equal to %d", *value, path, least)
	case *value > most:
		v.add("Value '%d' at '%s' failed to satisfy constraint: Member must have value less than or equal to %d", *value, path, most)
	}
}

// Pattern is a regular expression of an API's model. A value must match it from
// end to end, whether the model says so or not.
type Pattern struct {
	model string
	re    *regexp.Regexp
}

// NewPattern takes it as the model writes it, for so it is shown. It panics if that
// is none.
func NewPattern(model string) Pattern {
	return Pattern{model, regexp.MustCompile("^(?:" + model + ")$")}
}

// Match reports whether the whole of s is as the pattern says.
func (p Pattern) Match(s string) bool { return p.re.MatchString(s) }

// Pattern objects to a string that p does not match.
func (v *Violations) Pattern(path string, value *string, p Pattern) {
	if value != nil && !p.Match(*value) {
		v.pattern("Value '"+*value+"' at", path, p)
	}
}

// SensitivePattern is Pattern without showing the value.
func (v *Violations) SensitivePattern(path string, value *string, p Pattern) {
	if value != nil && !p.Match(*value) {
		v.pattern("Value at", path, p)
	}
}

func (v *Violations) pattern(lead, path string, p Pattern) {
	v.add("%s '%s' failed to satisfy constraint: Member must satisfy regular expression pattern: %s", lead, path, p.model)
}

// Enum objects to a value that is none of allowed. An empty value is absent.
func (v *Violations) Enum(path, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		v.add("Value '%s' at '%s' failed to satisfy constraint: Member must satisfy enum value set: [%s]", value, path, strings.Join(allowed, ", "))
	}
}

func (v *Violations) add(format string, args ...any) {
	v.texts = append(v.texts, fmt.Sprintf(format, args...))
}

// Err returns all objections as one ErrValidation, or nil if there are none.
func (v *Violations) Err() error {
	switch n := len(v.texts); n {
	case 0:
		return nil
	case 1:
		return ErrValidation.Errorf("1 validation error detected: %s", v.texts[0])
	default:
		return ErrValidation.Errorf("%d validation errors detected: %s", n, strings.Join(v.texts, "; "))
	}
}
