package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"
)

// parse fails the test when src is no mapping.
func parse(t testing.TB, src string) *Doc {
	t.Helper()
	d, err := Parse("config.yml", []byte(src))
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return d
}

// edits are files with an edit and what must come of it.
var edits = []struct {
	name, src, path string
	value           Value
	want            string
}{
	{"plain", "s:\n  p: old # c\n  q: 1\n", "s.p", Text("new"), "s:\n  p: new # c\n  q: 1\n"},
	{"plain to quoted", "s:\n  p: old\n", "s.p", Text("a: b #c"), "s:\n  p: 'a: b #c'\n"},
	{"single quotes kept", "s:\n  p: 'o''d'   # c\n", "s.p", Text("it's"), "s:\n  p: 'it''s'   # c\n"},
	{"double quotes kept", "s:\n  p: \"o\\\"d\"\n", "s.p", Text(`a"\b`), "s:\n  p: \"a\\\"\\\\b\"\n"},
	{"single quotes cannot hold a tab", "s: {p: 'x'}\n", "s.p", Text("a\tb"), "s: {p: \"a\\u0009b\"}\n"},
	{"line breaks", "s: {p: 'x'}\n", "s.p", Text("a\nb\r\u2028"), "s: {p: \"a\\u000Ab\\u000D\\u2028\"}\n"},
	{"byte order mark and emoji in a value", "s:\n  p: x\n", "s.p", Text("\ufeff😀é"), "s:\n  p: \"\\uFEFF😀é\"\n"},
	{"unassigned astral character", "s:\n  p: x\n", "s.p", Text("\U000e0001"), "s:\n  p: \"\\U000E0001\"\n"},
	{"empty value", "s:\n  p:\n  q: 1\n", "s.p", Text("v"), "s:\n  p: v\n  q: 1\n"},
	{"empty value with comment", "s:\n  p: # c\n", "s.p", Text("v"), "s:\n  p: v # c\n"},
	{"empty value at the end", "s:\n  p:", "s.p", Text("v"), "s:\n  p: v"},
	{"null and tilde", "s: {p: null, q: ~}\n", "s.q", Text("v"), "s: {p: null, q: v}\n"},
	{"empty flow value", "s: {p: , q: 1}\n", "s.p", Text("v"), "s: {p: v, q: 1}\n"},
	{"empty text", "s:\n  p: x\n", "s.p", Text(""), "s:\n  p: ''\n"},
	{"words that are no strings", "s:\n  p: x\n", "s.p", Text("No"), "s:\n  p: 'No'\n"},
	{"digits", "s:\n  p: x\n", "s.p", Text("0123"), "s:\n  p: '0123'\n"},
	{"a number that was meant as text", "s:\n  p: 1234\n", "s.p", Text("1234"), "s:\n  p: '1234'\n"},
	{"number", "s:\n  p: 3306\n", "s.p", Number(5432), "s:\n  p: 5432\n"},
	{"quoted number stays quoted", "s:\n  p: \"3306\"\n", "s.p", Number(5432), "s:\n  p: \"5432\"\n"},
	{"equal number in quotes", "s:\n  p: '3306'\n", "s.p", Number(3306), "s:\n  p: '3306'\n"},
	{"characters before the value", "ü😀:\n  'é': x\n", "ü😀.é", Text("w"), "ü😀:\n  'é': w\n"},
	{"byte order mark", "\ufeffs: {p: x}\n", "s.p", Text("w"), "\ufeffs: {p: w}\n"},
	{"windows line endings", "s:\r\n  p: x\r\n  q: y\r\n", "s.p", Text("z"), "s:\r\n  p: z\r\n  q: y\r\n"},
	{"old mac line endings", "s:\r  p: x\r", "s.p", Text("z"), "s:\r  p: z\r"},
	{"unicode line breaks", "a: 1\u2028b: 2\u0085s:\n  p: x\n", "s.p", Text("w"), "a: 1\u2028b: 2\u0085s:\n  p: w\n"},
	{"several lines in quotes", "s:\n  p: \"a\n    b\" # c\n  q: 1\n", "s.p", Text("z"), "s:\n  p: \"z\" # c\n  q: 1\n"},
	{"tabs around", "s:\n  p:\tx\t# c\n", "s.p", Text("w"), "s:\n  p:\tw\t# c\n"},
	{"document marks", "---\ns: {p: x}\n...\n", "s.p", Text("w"), "---\ns: {p: w}\n...\n"},
	{"root key", "# top\np: x", "p", Text("w"), "# top\np: w"},
	{"same key elsewhere", "p: 1\nt: {p: 2}\ns: {p: 3}\n", "s.p", Number(4), "p: 1\nt: {p: 2}\ns: {p: 4}\n"},
	{"colon in a plain value", "s:\n  p: a:b\n", "s.p", Text("c"), "s:\n  p: c\n"},
	{"hash in a plain value", "s:\n  p: a#b\n", "s.p", Text("c"), "s:\n  p: c\n"},
	{"json", "{\"s\":{\"p\":\"x\"}}", "s.p", Text("w"), "{\"s\":{\"p\":\"w\"}}"},
	{"complex key", "s:\n  ? p\n  : x\n", "s.p", Text("w"), "s:\n  ? p\n  : w\n"},
	{"nothing after a tagged neighbour", "s:\n  t: !!str 5\n  p: x\n", "s.p", Text("w"), "s:\n  t: !!str 5\n  p: w\n"},
	{"anchor elsewhere", "b: &b {x: 1}\ns: {p: x}\nc: *b\n", "s.p", Text("w"), "b: &b {x: 1}\ns: {p: w}\nc: *b\n"},

	{"add to a block", "s:\n  a: 1 # one\n  b: 2 # two\n\n# next\nt: 1\n", "s.p", Text("v"), "s:\n  a: 1 # one\n  b: 2 # two\n  p: v\n\n# next\nt: 1\n"},
	{"add at the end without a line break", "s:\n    a: 1", "s.p", Text("v"), "s:\n    a: 1\n    p: v"},
	{"add with windows line endings", "s:\r\n  a: 1\r\n", "s.p", Text("v"), "s:\r\n  a: 1\r\n  p: v\r\n"},
	{"add with windows line endings at the end", "s:\r\n  a: 1", "s.p", Text("v"), "s:\r\n  a: 1\r\n  p: v"},
	{"add with unicode line breaks", "s:\u2028  a: 1\u2028", "s.p", Text("v"), "s:\u2028  a: 1\n  p: v\u2028"},
	{"add after an empty value", "s:\n  a:\nt: 1\n", "s.p", Text("v"), "s:\n  a:\n  p: v\nt: 1\n"},
	{"add between a scalar and a list", "s:\n  a: 1\n  l:\n  - x\n", "s.p", Text("v"), "s:\n  a: 1\n  p: v\n  l:\n  - x\n"},
	{"add before a block scalar", "s:\n  a: |\n    x\n\n", "s.p", Text("v"), "s:\n  p: v\n  a: |\n    x\n\n"},
	{"add before an alias", "b: &b 1\ns:\n  a: *b\n", "s.p", Text("v"), "b: &b 1\ns:\n  p: v\n  a: *b\n"},
	{"add before several plain lines", "s:\n  a: x\n    y\n", "s.p", Text("v"), "s:\n  p: v\n  a: x\n    y\n"},
	{"add after several quoted lines", "s:\n  a: 'x\n    y' # c\n", "s.p", Text("v"), "s:\n  a: 'x\n    y' # c\n  p: v\n"},
	{"add to the root", "\ufeffa: 1\n", "p", Text("v"), "\ufeffa: 1\np: v\n"},
	{"add to a flow mapping", "s: {a: 1, b: 'x, y' } # c\n", "s.p", Text("v"), "s: {a: 1, b: 'x, y', p: v } # c\n"},
	{"add to an empty flow mapping", "s: {}\n", "s.p", Text("v"), "s: {p: v}\n"},
	{"add to a flow mapping of lists", "s: {a: [1], }\n", "s.p", Text("v"), "s: {p: v, a: [1], }\n"},
	{"add to a flow mapping with a last comma", "s: {a: 1,}\n", "s.p", Text("v"), "s: {a: 1, p: v,}\n"},
	{"add to a flow mapping with bare keys", "s: {a, b}\n", "s.p", Text("v"), "s: {p: v, a, b}\n"},
	{"add to a flow mapping on lines", "s: {\n  a: 1, # one\n  b: 2 # two\n}\n", "s.p", Text("v"), "s: {\n  a: 1, # one\n  b: 2, p: v # two\n}\n"},
	{"add json", `{"s":{"a":1}}`, "s.p", Text("a,b"), `{"s":{"a":1, p: 'a,b'}}`},
	{"add under a mapping in a list entry", "s:\n  a: 1\n  deep:\n    x: 1\n", "s.deep.p", Number(2), "s:\n  a: 1\n  deep:\n    x: 1\n    p: 2\n"},
	{"add quoted", "s:\n  a: 1\n", "s.p", Text("p@ss: 'w' #1"), "s:\n  a: 1\n  p: 'p@ss: ''w'' #1'\n"},
}

func TestSet(t *testing.T) {
	for _, tt := range edits {
		t.Run(tt.name, func(t *testing.T) {
			d := parse(t, tt.src)
			changed, err := d.Set(tt.value, strings.Split(tt.path, ".")...)
			if err != nil {
				t.Fatalf("Set: %v", err)
			}
			if got := string(d.Bytes()); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if changed != (tt.src != tt.want) {
				t.Errorf("changed is %v", changed)
			}
			if again, err := d.Set(tt.value, strings.Split(tt.path, ".")...); again || err != nil {
				t.Errorf("a second Set: changed %v, %v", again, err)
			}
		})
	}
}

func TestSetRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, src, path string
		line            int
		want            string
	}{
		{"literal block", "s:\n  p: |\n    x\n", "s.p", 2, "block scalar"},
		{"folded block", "s:\n  p: >-\n    x\n", "s.p", 2, "block scalar"},
		{"anchor", "s:\n  p: &x y\n", "s.p", 2, "anchor"},
		{"alias", "a: &x y\ns:\n  p: *x\n", "s.p", 3, "alias"},
		{"tag", "s:\n  p: !!str y\n", "s.p", 2, "tag"},
		{"list", "s:\n  p: [y]\n", "s.p", 2, "list"},
		{"mapping", "s:\n  p:\n    q: 1\n", "s.p", 3, "mapping"},
		{"several plain lines", "s:\n  p: x\n    y\n", "s.p", 2, "replaced safely"},
		{"merge key", "a: &x {p: 1}\ns:\n  <<: *x\n  q: 1\n", "s.p", 3, "merge key"},
		{"mapping with an anchor", "s: &x\n  p: 1\nt: *x\n", "s.p", 1, "anchor"},
		{"mapping with a tag", "s: !!map\n  p: 1\n", "s.p", 1, "tag"},
		{"aliased mapping", "a: &x {p: 1}\ns: *x\n", "s.p", 2, "alias"},
		{"no mapping", "s: 1\n", "s.p", 1, "not a mapping"},
		{"missing mapping", "t: 1\n", "s.p", 1, "is missing"},
		{"key twice", "s:\n  p: 1\n  p: 2\n", "s.p", 3, "stands twice, also on line 2"},
		{"bare flow key", "s: {p}\n", "s.p", 1, "without changing something else"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := parse(t, tt.src)
			_, err := d.Set(Text("SECRET"), strings.Split(tt.path, ".")...)
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("got %v, want an *Error", err)
			}
			if e.Line != tt.line || !strings.Contains(e.Problem, tt.want) || e.Fix == "" {
				t.Errorf("got %q, want line %d and %q", e, tt.line, tt.want)
			}
			if strings.Contains(e.Error(), "SECRET") || string(d.Bytes()) != tt.src {
				t.Errorf("the error tells the value, or the text changed: %v", e)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{"nothing", "", "is empty"},
		{"comments alone", "# x\n", "is empty"},
		{"a list", "- a\n", "not a mapping"},
		{"text", "abc\n", "not a mapping"},
		{"two documents", "a: 1\n---\nb: 1\n", "more than one"},
		{"UTF-16", "\xff\xfea\x00", "UTF-8"},
		{"broken", "a: [1\nb: 2\n", "config.yml:2: is not valid YAML"},
		{"tab indentation", "a:\n\tb: 1\n", "config.yml:2: is not valid YAML"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("config.yml", []byte(tt.src))
			if _, ok := errors.AsType[*Error](err); !ok || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	d := parse(t, "a: &x {b: 1}\nc: *x\nn:\n")
	for path, want := range map[string]string{"a.b": "1", "c.b": "1", "n.b": "", "z.b": "", "a.z": ""} {
		node, err := d.Lookup(strings.Split(path, ".")...)
		if err != nil || (node == nil) != (want == "") || node != nil && node.Value != want {
			t.Errorf("%s: %v, %v", path, node, err)
		}
	}
	if _, err := d.Lookup("a", "b", "c"); err == nil {
		t.Error("looked into a number")
	}
}

// checkOnly makes sure that after holds before but for the value at path,
// which is now want, by a way of its own: maps and bytes instead of nodes.
func checkOnly(t interface{ Fatalf(string, ...any) }, before, after []byte, path []string, want string) {
	was, is := mapOf(t, before), mapOf(t, after)
	if got := take(is, path); got != want {
		t.Fatalf("the value is %#v, want %q\n%q\n%q", got, want, before, after)
	}
	take(was, path)
	if fmt.Sprintf("%#v", was) != fmt.Sprintf("%#v", is) {
		t.Fatalf("something else changed:\n%#v\n%#v\n%q\n%q", was, is, before, after)
	}
}

func mapOf(t interface{ Fatalf(string, ...any) }, src []byte) map[string]any {
	var m map[string]any
	if err := yaml.Load(src, &m); err != nil {
		t.Fatalf("loading %q: %v", src, err)
	}
	return m
}

// take removes and returns a value.
func take(m map[string]any, path []string) any {
	for _, key := range path[:len(path)-1] {
		m, _ = m[key].(map[string]any)
	}
	last := path[len(path)-1]
	v := m[last]
	delete(m, last)
	return v
}

// TestSetKeepsTheRest writes random texts into random files.
func TestSetKeepsTheRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := drawFile(t)
		value := rapid.String().Draw(t, "value")
		d, err := Parse("config.yml", []byte(src))
		if err != nil {
			t.Fatalf("the drawn file %q does not parse: %v", src, err)
		}
		if _, err := d.Set(Text(value), "s", "p"); err != nil {
			t.Fatalf("%q in %q: %v", value, src, err)
		}
		checkOnly(t, []byte(src), d.Bytes(), []string{"s", "p"}, value)
		checkSplice(t, []byte(src), d.Bytes())
	})
}

// checkSplice makes sure that the lines around the edit are the same bytes.
func checkSplice(t *rapid.T, before, after []byte) {
	head := 0
	for head < len(before) && head < len(after) && before[head] == after[head] {
		head++
	}
	tail := 0
	for tail < len(before)-head && tail < len(after)-head && before[len(before)-1-tail] == after[len(after)-1-tail] {
		tail++
	}
	if old := before[head : len(before)-tail]; bytes.Contains(old, []byte("#")) && bytes.Contains(old, []byte("comment")) {
		t.Fatalf("a comment went lost: %q\n%q\n%q", old, before, after)
	}
}

// drawFile draws a file with the mapping s, which may have the key p.
func drawFile(t *rapid.T) string {
	newline := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "newline")
	indent := strings.Repeat(" ", rapid.IntRange(1, 6).Draw(t, "indent"))
	scalar := rapid.SampledFrom([]string{"x", "1", "null", "~", "''", "'a''b'", `"a\"b"`, "é😀", "a:b", "a#b", "true", `"x # y"`})
	comment := rapid.SampledFrom([]string{"", " # comment", "  # comment: {x}"})
	other := rapid.SampledFrom([]string{"1", "[1, {a: b}]", "{x: y}", "'q: r'", "|" + newline + indent + "  text", "&anchor v"})
	var lines []string
	for i := range rapid.IntRange(1, 3).Draw(t, "before") {
		lines = append(lines, fmt.Sprintf("b%d: ", i)+scalar.Draw(t, "scalar")+comment.Draw(t, "comment"))
	}
	var keys []string
	for i := range rapid.IntRange(1, 3).Draw(t, "keys") {
		keys = append(keys, fmt.Sprintf("k%d: ", i)+other.Draw(t, "other"))
	}
	if rapid.Bool().Draw(t, "present") {
		keys = append(keys, "p: "+scalar.Draw(t, "old")+comment.Draw(t, "comment"))
	}
	keys = rapid.Permutation(keys).Draw(t, "order")
	lines = append(lines, "s:"+comment.Draw(t, "comment"))
	for _, k := range keys {
		lines = append(lines, indent+k)
	}
	lines = append(lines, "# comment", "z: "+scalar.Draw(t, "last"))
	return rapid.SampledFrom([]string{"", bom, "---" + newline}).Draw(t, "begin") +
		strings.Join(lines, newline) + rapid.SampledFrom([]string{"", newline}).Draw(t, "end")
}

// FuzzSet gives any text to the parser and edits what it takes.
func FuzzSet(f *testing.F) {
	for _, src := range []string{"s:\n  p: x\n", "s: {p: 'x'}", "s: {}", "? s\n: p: \"x\"", "s:\n- p: 1\n", "s: {p: ,}", "\ufeffs:\r\n  q: |\r\n    x\r\n", "s: &a {p: *a}"} {
		f.Add(src, "new")
	}
	f.Fuzz(func(t *testing.T, src, value string) {
		d, err := Parse("config.yml", []byte(src))
		if err != nil || len(src) > 4096 || !strings.Contains(src, "s") {
			return
		}
		if _, err := d.Set(Text(value), "s", "p"); err != nil {
			if string(d.Bytes()) != src {
				t.Fatalf("refused and changed %q", src)
			}
			return
		}
		next, err := Parse("config.yml", d.Bytes())
		if err != nil {
			t.Fatalf("%q became %q: %v", src, d.Bytes(), err)
		}
		node, err := next.Lookup("s", "p")
		if err != nil || node == nil || node.Value != strings.ToValidUTF8(value, "\ufffd") {
			t.Fatalf("%q became %q", src, d.Bytes())
		}
	})
}
