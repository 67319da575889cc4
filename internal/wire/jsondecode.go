package wire

import (
	"reflect"
	"sync"
)

// decodePlain reads the requests that are made most: an object of plain strings,
// each a member of the struct in, such as {"SecretId":"db"}. It reports false for
// whatever else, which is then to be decoded properly; in may then be half full.
//
// Plain are printable ASCII characters but for the backslash: they need no
// decoding, and nothing in them can be invalid.
func decodePlain(body []byte, in any) bool {
	v := reflect.ValueOf(in).Elem()
	members := plainMembers(v.Type())
	p := plainText{rest: body}
	if !p.take('{') {
		return false
	}
	for first := true; ; first = false {
		if p.take('}') {
			return (first || p.closed) && len(p.space()) == 0
		}
		if !first && !p.comma {
			return false
		}
		i, known := members[string(p.text())]
		if !known || !p.take(':') {
			return false
		}
		value := p.text()
		if value == nil || !v.Field(i).IsNil() { // twice
			return false
		}
		text := string(value)
		v.Field(i).Set(reflect.ValueOf(&text))
		p.comma = p.take(',')
		p.closed = !p.comma
	}
}

// plainText is what is left of a text, and whether a comma or none came last.
type plainText struct {
	rest          []byte
	comma, closed bool
}

// space skips white space and returns what follows.
func (p *plainText) space() []byte {
	for len(p.rest) > 0 && (p.rest[0] == ' ' || p.rest[0] == '\n' || p.rest[0] == '\t' || p.rest[0] == '\r') {
		p.rest = p.rest[1:]
	}
	return p.rest
}

func (p *plainText) take(c byte) bool {
	if len(p.space()) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// text takes a plain string; nil is none.
func (p *plainText) text() []byte {
	if !p.take('"') {
		return nil
	}
	for i, c := range p.rest {
		switch {
		case c == '"':
			text := p.rest[:i:i]
			p.rest = p.rest[i+1:]
			return text
		case c < ' ' || c >= 0x7f || c == '\\':
			return nil
		}
	}
	return nil
}

var plainTypes sync.Map // :: reflect.Type → map[string]int, the fields of type *string

func plainMembers(t reflect.Type) map[string]int {
	if known, ok := plainTypes.Load(t); ok {
		return known.(map[string]int)
	}
	members := map[string]int{}
	for i := range fields(t) {
		if f := t.Field(i); f.IsExported() && !f.Anonymous && f.Tag == "" && f.Type == reflect.TypeFor[*string]() {
			members[f.Name] = i
		}
	}
	plainTypes.Store(t, members)
	return members
}

func fields(t reflect.Type) int {
	if t.Kind() != reflect.Struct {
		return 0
	}
	return t.NumField()
}
