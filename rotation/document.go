package rotation

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// document is a secret's value: a JSON object in the form that Secrets
// Manager's rotation templates define. It is edited by splicing bytes, because
// a secret may hold keys, numbers and spacing that a decoder would not keep.
type document struct {
	text      []byte
	login     Login
	strategy  string // rotationStrategy; "" if absent
	masterARN string // masterarn: the secret of an administrator
	spans     map[string]span
}

// span is where a member's value stands in the text.
type span struct{ start, end int }

// String keeps the value out of logs.
func (d document) String() string { return d.login.String() }

// GoString keeps %#v from printing the value.
func (d document) GoString() string { return d.login.GoString() }

// Format keeps every other verb from printing the value.
func (d document) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, d.String()) }

// ParseLogin reads the login from a secret's value. Its errors never quote the
// value.
func ParseLogin(secretString string) (Login, error) {
	d, err := parseDocument(secretString)
	return d.login, err
}

// parseDocument reads a secret's value. Its errors never quote the value.
func parseDocument(secretString string) (document, error) {
	d := document{text: []byte(secretString)}
	if err := d.scan(); err != nil {
		return document{}, &Error{Class: ClassSecret, Err: err}
	}
	if err := d.read(); err != nil {
		return document{}, &Error{Class: ClassSecret, Err: err}
	}
	return d, nil
}

var errNotAnObject = errors.New("the SecretString is not one JSON object with unique keys")

// scan finds where each member's value stands.
func (d *document) scan() error {
	dec := jsontext.NewDecoder(bytes.NewReader(d.text))
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return errNotAnObject
	}
	d.spans = map[string]span{}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return errNotAnObject
		}
		key := name.String() // the token dies with the next read
		value, err := dec.ReadValue()
		if err != nil {
			return errNotAnObject
		}
		end := int(dec.InputOffset())
		d.spans[key] = span{end - len(value), end}
	}
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '}' {
		return errNotAnObject
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return errNotAnObject
	}
	return nil
}

// read fills the fields from the members.
func (d *document) read() error {
	for _, member := range []struct {
		key  string
		into *string
	}{
		{"engine", &d.login.Engine}, {"host", &d.login.Host}, {"username", &d.login.Username},
		{"password", &d.login.Password}, {"dbname", &d.login.Database},
		{"masterarn", &d.masterARN}, {"rotationStrategy", &d.strategy},
		{"tlsServerName", &d.login.TLSServerName}, {"tlsCA", &d.login.TLSCA},
	} {
		if err := d.readString(member.key, member.into); err != nil {
			return err
		}
	}
	if err := d.readPort(); err != nil {
		return err
	}
	if err := d.readTLS(); err != nil {
		return err
	}
	return d.readStrategy()
}

// readString leaves the target as it is if the member is absent or null.
func (d *document) readString(key string, into *string) error {
	value := d.value(key)
	switch value.Kind() {
	case jsontext.KindInvalid, jsontext.KindNull:
		return nil
	case jsontext.KindString:
		s, err := jsontext.AppendUnquote(nil, value)
		if err != nil {
			return fmt.Errorf("the key %s of the secret is not a valid string", key)
		}
		*into = string(s)
		return nil
	}
	return fmt.Errorf("the key %s of the secret must be a string", key)
}

// readPort takes 3306 and "3306", as the templates do.
func (d *document) readPort() error {
	text := strings.Trim(string(d.value("port")), `"`)
	if text == "" || text == "null" {
		return nil
	}
	port, err := strconv.ParseFloat(text, 64)
	if err != nil || port != math.Trunc(port) || port < 1 || port > math.MaxUint16 {
		return errors.New("the key port of the secret must be a number from 1 to 65535")
	}
	d.login.Port = int(port)
	return nil
}

func (d *document) readTLS() error {
	switch text := strings.ToLower(strings.Trim(string(d.value("ssl")), `"`)); text {
	case "", "null":
		d.login.TLS = TLSAuto
	case "true":
		d.login.TLS = TLSVerify
	case "false":
		d.login.TLS = TLSOff
	default:
		return errors.New("the key ssl of the secret must be true or false")
	}
	return nil
}

func (d *document) readStrategy() error {
	if d.strategy == "" {
		return nil
	}
	if err := CheckStrategy(d.strategy); err != nil {
		return fmt.Errorf("the key rotationStrategy of the secret: %w", err)
	}
	return nil
}

// value returns a member's raw value, nil if it is absent.
func (d *document) value(key string) jsontext.Value {
	s, ok := d.spans[key]
	if !ok {
		return nil
	}
	return jsontext.Value(d.text[s.start:s.end])
}

// with returns the text with the string value of one member replaced. Every
// other byte stays as it is.
func (d document) with(key, value string) (string, error) {
	s, ok := d.spans[key]
	if !ok {
		return "", Errorf(ClassSecret, "the secret has no key %s", key)
	}
	quoted, err := jsontext.AppendQuote(nil, value)
	if err != nil {
		return "", Errorf(ClassSecret, "the new value of the key %s is not valid UTF-8", key)
	}
	return string(d.text[:s.start]) + string(quoted) + string(d.text[s.end:]), nil
}

// usable tells what a login must have before it can be rotated.
func (d document) usable() error {
	var missing []string
	for _, member := range []struct{ key, value string }{
		{"engine", d.login.Engine}, {"host", d.login.Host},
		{"username", d.login.Username}, {"password", d.login.Password},
	} {
		if member.value == "" {
			missing = append(missing, member.key)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return Errorf(ClassSecret, "the secret needs the keys engine, host, username and password; missing: %s", strings.Join(missing, ", "))
}
