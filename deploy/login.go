package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// login is the JSON value of a database secret: its members in their order,
// those that deploy does not know included. It prints as [redacted].
type login struct {
	members []member
}

type member struct {
	name string
	raw  json.RawMessage
}

// order is that of a secret's value; dbname is optional.
var order = []string{"username", "password", "engine", "host", "port", "dbname", "dbClusterIdentifier"}

// String returns [redacted].
func (login) String() string { return redacted }

// GoString returns [redacted].
func (login) GoString() string { return redacted }

var errNotLogin = errors.New("the value is not a JSON object")

// parseLogin reads a secret's value. Its errors do not repeat the value.
func parseLogin(text string) (login, error) {
	var l login
	dec := json.NewDecoder(strings.NewReader(text))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return login{}, errNotLogin
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return login{}, errNotLogin
		}
		m := member{name: fmt.Sprint(name)}
		if err := dec.Decode(&m.raw); err != nil {
			return login{}, errNotLogin
		}
		l.members = append(l.members, m)
	}
	if _, err := dec.Token(); err != nil || dec.More() {
		return login{}, errNotLogin
	}
	return l, nil
}

// encode writes the value as one line of JSON.
func (l login) encode() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, m := range l.members {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(quote(m.name))
		b.WriteByte(':')
		b.Write(m.raw)
	}
	b.WriteByte('}')
	return b.String()
}

// quote writes a JSON string; < and & stay readable.
func quote(s string) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes, a buffer always takes it
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// text returns a member that is a string or a number as text, "" otherwise.
func (l login) text(name string) string {
	i := l.index(name)
	if i < 0 {
		return ""
	}
	raw := string(l.members[i].raw)
	var s string
	if json.Unmarshal([]byte(raw), &s) == nil {
		return s
	}
	if _, err := strconv.ParseFloat(raw, 64); err == nil {
		return raw
	}
	return ""
}

func (l login) username() string { return l.text("username") }
func (l login) password() string { return l.text("password") }
func (l login) host() string     { return l.text("host") }

// port returns the port; 0 when there is none.
func (l login) port() int {
	n, _ := strconv.ParseUint(l.text("port"), 10, 16) // no number: no port
	return int(n)
}

func (l login) index(name string) int {
	return slices.IndexFunc(l.members, func(m member) bool { return m.name == name })
}

// with returns the value with a member set: in its old place, else at its
// place in the usual order.
func (l login) with(name string, raw json.RawMessage) login {
	members := slices.Clone(l.members)
	if i := l.index(name); i >= 0 {
		members[i].raw = raw
		return login{members}
	}
	at := len(members)
	for before := slices.Index(order, name) - 1; before >= 0; before-- {
		if i := l.index(order[before]); i >= 0 {
			at = i + 1
			break
		}
	}
	return login{slices.Insert(members, at, member{name, raw})}
}

func (l login) withText(name, value string) login { return l.with(name, quote(value)) }

func (l login) without(name string) login {
	return login{slices.DeleteFunc(slices.Clone(l.members), func(m member) bool { return m.name == name })}
}

// withMissing sets a member only when it is missing or empty.
func (l login) withMissing(name string, raw json.RawMessage) login {
	if l.text(name) != "" {
		return l
	}
	return l.with(name, raw)
}
