package policy

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// documentElement is a policy as it is written.
type documentElement struct {
	Version   *string    `json:"Version"`
	ID        *string    `json:"Id"`
	Statement statements `json:"Statement"`
}

type statementElement struct {
	Sid          string                        `json:"Sid"`
	Effect       string                        `json:"Effect"`
	Principal    *principalElement             `json:"Principal"`
	NotPrincipal *principalElement             `json:"NotPrincipal"`
	Action       texts                         `json:"Action"`
	NotAction    texts                         `json:"NotAction"`
	Resource     texts                         `json:"Resource"`
	NotResource  texts                         `json:"NotResource"`
	Condition    map[string]map[string]scalars `json:"Condition"`
}

// principalElement is "*" or an object.
type principalElement struct {
	everyone bool
	byType   struct {
		AWS           texts `json:"AWS"`
		Service       texts `json:"Service"`
		Federated     texts `json:"Federated"`
		CanonicalUser texts `json:"CanonicalUser"`
	}
}

type (
	statements []statementElement // one, or a list
	texts      []string           // one, or a list
	scalars    []string           // one, or a list, of texts, numbers and booleans
)

func syntaxError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSyntax, fmt.Sprintf(format, args...))
}

func wrap(kind error, name string) error { return fmt.Errorf("%w: %q", kind, name) }

// parse reads and compiles a policy. All syntax is looked at before principals.
func parse(text string, ofResource bool) (*Document, error) {
	e, err := read(text)
	if err != nil {
		return nil, err
	}
	if err := e.check(ofResource); err != nil {
		return nil, err
	}
	d := &Document{statements: make([]statement, len(e.Statement))}
	variables := e.Version != nil && *e.Version == "2012-10-17"
	for i := range e.Statement {
		if err := e.Statement[i].compile(&d.statements[i], variables); err != nil {
			return nil, err
		}
	}
	for i := range e.Statement {
		if err := e.Statement[i].compilePrincipals(&d.statements[i]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// read reads the JSON. It refuses unknown and repeated members, what follows the
// policy, and null, which would pass for an absent member.
func read(text string) (*documentElement, error) {
	for d := jsontext.NewDecoder(strings.NewReader(text)); ; {
		token, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || token.Kind() == 'n' {
			return nil, syntaxError("the policy is not valid JSON")
		}
	}
	var e documentElement
	if err := json.Unmarshal([]byte(text), &e, json.RejectUnknownMembers(true)); err != nil {
		return nil, syntaxError("%v", err)
	}
	return &e, nil
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (s *statements) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '[' {
		return json.UnmarshalDecode(d, (*[]statementElement)(s))
	}
	*s = make(statements, 1)
	return json.UnmarshalDecode(d, &(*s)[0])
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (t *texts) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '[' {
		return json.UnmarshalDecode(d, (*[]string)(t))
	}
	*t = make(texts, 1)
	return json.UnmarshalDecode(d, &(*t)[0])
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (s *scalars) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*s = scalars{}
	if d.PeekKind() != '[' {
		return s.readOne(d)
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != ']' {
		if err := s.readOne(d); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

func (s *scalars) readOne(d *jsontext.Decoder) error {
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	switch token.Kind() {
	case '"', '0', 't', 'f':
		*s = append(*s, token.String())
		return nil
	}
	return errors.New("a condition's value is neither a string, a number nor a boolean")
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (p *principalElement) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '{' {
		return json.UnmarshalDecode(d, &p.byType)
	}
	var all string
	if err := json.UnmarshalDecode(d, &all); err != nil {
		return err
	}
	if all != "*" {
		return errors.New("a principal is neither * nor an object")
	}
	p.everyone = true
	return nil
}

func (p *principalElement) isEmpty() bool {
	t := &p.byType
	return !p.everyone && len(t.AWS)+len(t.Service)+len(t.Federated)+len(t.CanonicalUser) == 0
}

// check looks at what the elements say of each other.
func (e *documentElement) check(ofResource bool) error {
	switch {
	case e.Version != nil && *e.Version != "2008-10-17" && *e.Version != "2012-10-17":
		return syntaxError("there is no version %q", *e.Version)
	case e.ID != nil && !ofResource:
		return syntaxError("an identity policy has no Id")
	case len(e.Statement) == 0:
		return syntaxError("there is no statement")
	}
	known := map[string]bool{"": true} // an empty Sid may be repeated
	for i := range e.Statement {
		s := &e.Statement[i]
		if known[s.Sid] && s.Sid != "" {
			return syntaxError("there are two statements %q", s.Sid)
		}
		known[s.Sid] = true
		if err := s.check(ofResource); err != nil {
			return err
		}
	}
	return nil
}

// Sids of identity policies are letters and digits. In Secrets Manager they have
// no spaces, by its guide.
var (
	identitySid = regexp.MustCompile(`^[A-Za-z0-9]*$`)
	resourceSid = regexp.MustCompile(`^\S*$`)
)

func (s *statementElement) check(ofResource bool) error {
	hasPrincipal := s.Principal != nil || s.NotPrincipal != nil
	switch {
	case !ofResource && !identitySid.MatchString(s.Sid), !resourceSid.MatchString(s.Sid):
		return syntaxError("%q is no Sid", s.Sid)
	case s.Effect != "Allow" && s.Effect != "Deny":
		return syntaxError("%q is no effect", s.Effect)
	case hasPrincipal && !ofResource:
		return syntaxError("an identity policy has no principal")
	case ofResource && (s.Principal != nil) == (s.NotPrincipal != nil):
		return syntaxError("a statement needs either Principal or NotPrincipal")
	case s.Principal != nil && s.Principal.isEmpty(), s.NotPrincipal != nil && s.NotPrincipal.isEmpty():
		return syntaxError("a principal names nobody")
	case (s.Action != nil) == (s.NotAction != nil), len(s.Action)+len(s.NotAction) == 0:
		return syntaxError("a statement needs either Action or NotAction")
	case (s.Resource != nil) == (s.NotResource != nil), len(s.Resource)+len(s.NotResource) == 0:
		return syntaxError("a statement needs either Resource or NotResource")
	}
	return nil
}

// compile fills in all of c but its principals.
func (s *statementElement) compile(c *statement, variables bool) error {
	c.deny, c.notAction, c.notResource = s.Effect == "Deny", s.NotAction != nil, s.NotResource != nil
	for _, action := range slices.Concat(s.Action, s.NotAction) {
		if !actionPattern.MatchString(action) {
			return syntaxError("%q is no action", action)
		}
		c.actions = append(c.actions, withWildcards(strings.ToLower(action)))
	}
	for _, resource := range slices.Concat(s.Resource, s.NotResource) {
		p, err := newResource(resource, variables)
		if err != nil {
			return err
		}
		c.resources = append(c.resources, p)
	}
	for _, operator := range slices.Sorted(maps.Keys(s.Condition)) {
		for _, key := range slices.Sorted(maps.Keys(s.Condition[operator])) {
			condition, err := newCondition(operator, key, s.Condition[operator][key], variables)
			if err != nil {
				return err
			}
			c.conditions = append(c.conditions, condition)
		}
	}
	return nil
}

var actionPattern = regexp.MustCompile(`^(\*|[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+)$`)

// newResource compiles "*" or an ARN, which may have variables in its sixth part.
func newResource(s string, variables bool) (pattern, error) {
	if s != "*" && !strings.HasPrefix(s, "arn:") {
		return pattern{}, syntaxError("%q is neither * nor an ARN", s)
	}
	p, err := newPattern(s, true, variables)
	if err == nil && p.parts != nil && strings.Count(p.parts[0].text, ":") < 5 {
		return p, syntaxError("%q has a variable before its resource part", s)
	}
	return p, err
}

func (s *statementElement) compilePrincipals(c *statement) (err error) {
	switch {
	case s.Principal != nil:
		c.principals, err = newPrincipals(s.Principal)
	case s.NotPrincipal != nil:
		c.principals, err = newPrincipals(s.NotPrincipal)
		c.notPrincipal = true
	}
	return err
}
