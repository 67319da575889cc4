package rotation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseLogin(t *testing.T) {
	for _, tc := range []struct {
		name, value string
		want        Login
	}{
		{"port as number", `{"engine":"mysql","host":"h","port":3306,"username":"u","password":"p"}`,
			Login{Engine: "mysql", Host: "h", Port: 3306, Username: "u", Password: "p"}},
		{"port as string", `{"port":"5432","ssl":true,"dbname":"d"}`, Login{Port: 5432, TLS: TLSVerify, Database: "d"}},
		{"ssl as string", `{"ssl":"False"}`, Login{TLS: TLSOff}},
		{"null members", `{"port":null,"ssl":null,"dbname":null}`, Login{}},
		{"escapes", `{"\u0070assword":"a\"\u00e9\\"}`, Login{Password: `a"é\`}},
		{"unknown members", `{"x":[{"password":"no"}],"password":"yes"}`, Login{Password: "yes"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseLogin(tc.value)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(fields(tc.want), fields(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// fields shows a login as it is, where its own printing would not.
func fields(l Login) []any {
	return []any{l.Engine, l.Host, l.Port, l.Username, l.Password, l.Database, l.TLS}
}

func TestParseLoginRefuses(t *testing.T) {
	for _, value := range []string{
		``, `hunter2`, `"hunter2"`, `["hunter2"]`, `{"password":"hunter2"`, `{"password":"hunter2"} hunter2`,
		`{"password":"a","password":"hunter2"}`, `{"password":{"hunter2":1}}`, `{"port":"hunter2"}`, `{"port":0}`,
		`{"port":65536}`, `{"port":3.5}`, `{"ssl":"hunter2"}`, `{"rotationStrategy":"hunter2"}`, "{\"password\":\"hunter2\xff\"}",
	} {
		_, err := ParseLogin(value)
		if ClassOf(err) != ClassSecret {
			t.Errorf("%q: error %v, want one of class secret", value, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error quotes the value: %v", value, err)
		}
	}
}

func TestPlaintextIsNotPrinted(t *testing.T) {
	d, err := parseDocument(`{"engine":"mysql","host":"h","username":"u","password":"hunter2"}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{d, &d, d.login, &d.login, Change{Current: d.login}, []Login{d.login}} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, "hunter2") || strings.Contains(text, "68756e74657232") {
				t.Errorf("%s of %T shows the password", verb, value)
			}
		}
	}
}

// TestWithKeepsEveryOtherByte edits objects of random members and spacing.
func TestWithKeepsEveryOtherByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.SampledFrom([]string{`{`, `{"n":1.50, `, "{\r\n\t\"ü\":\"\\u00fc\",", `{ "port" : 1e3 ,"deep":{"password":"x"} , `}).Draw(t, "before")
		after := rapid.SampledFrom([]string{`}`, "  }\n", `,"z":[1,{"a":null}]}`, " , \"\\u0000\":true }"}).Draw(t, "after")
		space := rapid.SampledFrom([]string{"", " ", "\n  "}).Draw(t, "space")
		old, password := quote(rapid.String().Draw(t, "old")), rapid.String().Draw(t, "new")
		head := before + `"password"` + space + `:` + space
		d, err := parseDocument(head + old + after)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.with("password", password)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(got, head) || !strings.HasSuffix(got, after) {
			t.Fatalf("bytes around the password have changed: %q", got)
		}
		checkPassword(t, got, password)
	})
}

func quote(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(len(s)%2 == 0)
	_ = enc.Encode(s)
	return strings.TrimSuffix(b.String(), "\n")
}

func checkPassword(t interface{ Fatalf(string, ...any) }, value, want string) {
	d, err := parseDocument(value)
	if err != nil {
		t.Fatalf("the result does not parse: %v", err)
	}
	if d.login.Password != want {
		t.Fatalf("the password is %q, want %q", d.login.Password, want)
	}
}

// FuzzWith: what parses, parses after the edit, and nothing but the password
// differs, as another JSON decoder sees it.
func FuzzWith(f *testing.F) {
	f.Add(`{"password":"a"}`, "b")
	f.Add(`{"a":[1.0,"\u00e9"],"p\u0061ssword" : "x", "b":{"password":1}}`, `"\`)
	f.Fuzz(func(t *testing.T, value, password string) {
		d, err := parseDocument(value)
		if err != nil {
			return
		}
		got, err := d.with("password", password)
		if err != nil {
			return
		}
		checkPassword(t, got, password)
		if len(got)-len(value) != len(mustQuote(t, password))-len(d.value("password")) {
			t.Fatalf("%q became %q", value, got)
		}
		if diff := cmp.Diff(members(t, value), members(t, got)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func mustQuote(t *testing.T, s string) string {
	d, err := parseDocument(`{"password":""}`)
	if err != nil {
		t.Fatal(err)
	}
	text, err := d.with("password", s)
	if err != nil {
		t.Fatal(err)
	}
	return text[len(`{"password":`) : len(text)-1]
}

// members are the raw members without the password.
func members(t *testing.T, value string) map[string]string {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(value), &raw); err != nil {
		t.Fatal(err)
	}
	delete(raw, "password")
	text := map[string]string{}
	for k, v := range raw {
		text[k] = string(v)
	}
	return text
}

// Whoever mends a value by what its error says must not be told something else each
// time; nor may an alert on the error's text.
func TestErrorsOfAValueAreTheSameEachTime(t *testing.T) {
	for range 20 {
		if _, err := ParseLogin(`{"host":1,"engine":2,"password":3}`); err.Error() != "the key engine of the secret must be a string" {
			t.Fatal(err)
		}
		d, err := parseDocument(`{"host":"db","dbname":"app"}`)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.usable(); err.Error() != "the secret needs the keys engine, host, username and password; missing: engine, username, password" {
			t.Fatal(err)
		}
	}
}
