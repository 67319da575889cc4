package yamlfile

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Value is a scalar to be written. It may be a secret, so it prints as
// [redacted].
type Value struct {
	text   string
	number bool
}

// Text is a string. It is written so that every YAML parser reads a string.
func Text(s string) Value { return Value{text: s} }

// Number is a whole number.
func Number(n int64) Value { return Value{text: strconv.FormatInt(n, 10), number: true} }

// String returns [redacted].
func (Value) String() string { return "[redacted]" }

// GoString returns [redacted].
func (Value) GoString() string { return "[redacted]" }

// Set makes the value at the path of keys v, and tells whether the text
// changed. The quoting of an old value is kept where v allows it. A missing
// last key is added to its mapping; the mappings above must exist. When Set
// fails the text is as before, and the error is an *Error.
func (d *Doc) Set(v Value, path ...string) (bool, error) {
	mapping, err := d.mapping(path[:len(path)-1])
	if err != nil {
		return false, err
	}
	old, err := d.entry(mapping, path)
	if err != nil {
		return false, err
	}
	if old.value != nil && v.is(old.value) {
		return false, nil
	}
	var edits []splice
	if old.value == nil {
		edits = d.addition(mapping, path, v)
	} else {
		edits, err = d.replacement(old.value, path, v)
	}
	if err != nil {
		return false, err
	}
	return true, d.try(edits, path, v)
}

// is tells whether a node already says v, also to parsers that take types
// from the text.
func (v Value) is(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode || n.Value != v.text {
		return false
	}
	return n.ShortTag() == strTag || v.number && n.ShortTag() == intTag
}

// mapping walks to the mapping at path, which an edit must be able to touch
// without changing anything elsewhere.
func (d *Doc) mapping(path []string) (*yaml.Node, error) {
	node := d.root
	for i := 0; ; i++ {
		if err := d.editable(node, path[:i]); err != nil {
			return nil, err
		}
		if i == len(path) {
			return node, nil
		}
		e, err := d.entry(node, path[:i+1])
		if err != nil {
			return nil, err
		}
		if e.value == nil {
			return nil, d.problem(node.Line, dotted(path[:i+1]), "is missing", "add it")
		}
		node = e.value
	}
}

func (d *Doc) editable(n *yaml.Node, path []string) error {
	key := dotted(path)
	switch {
	case n.Kind == yaml.AliasNode:
		return d.problem(n.Line, key, "is an alias of another place", "write its keys out here")
	case n.Kind != yaml.MappingNode:
		return d.problem(n.Line, key, "is not a mapping of keys to values", "write its keys on indented lines below it")
	case n.Anchor != "":
		return d.problem(n.Line, key, "has an anchor, so a change here may change other places", "remove the anchor &"+n.Anchor)
	case n.Style&yaml.TaggedStyle != 0:
		return d.problem(n.Line, key, "has an explicit tag", "remove the tag "+n.Tag)
	}
	for _, e := range entries(n) {
		if e.key.ShortTag() == mergeTag {
			return d.problem(e.key.Line, key, "has a merge key (<<)", "write the merged keys out here")
		}
	}
	return nil
}

// splice is one possible edit: the bytes from start to end become text.
type splice struct {
	start, end int
	text       string
}

// replacement returns the ways to write v in place of an old scalar, the
// nicest first.
func (d *Doc) replacement(old *yaml.Node, path []string, v Value) ([]splice, error) {
	start, end, err := d.extent(old, path)
	if err != nil {
		return nil, err
	}
	lead := ""
	if start == end && start > 0 && d.src[start-1] == ':' {
		lead = " "
	}
	var edits []splice
	for _, text := range v.spellings(old.Style) {
		edits = append(edits, splice{start, end, lead + text})
	}
	return edits, nil
}

// extent returns where the bytes of a scalar begin and end.
func (d *Doc) extent(n *yaml.Node, path []string) (start, end int, err error) {
	fix := "write it as a plain or quoted value on one line"
	refuse := func(problem string) (int, int, error) {
		return 0, 0, d.problem(n.Line, dotted(path), problem, fix)
	}
	switch {
	case n.Kind == yaml.AliasNode:
		return refuse("is an alias of another place")
	case n.Kind != yaml.ScalarNode:
		return refuse("is a list or a mapping, not a single value")
	case n.Anchor != "":
		return refuse("has an anchor, so a change here may change other places")
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return refuse("is a block scalar (| or >)")
	case n.Style&yaml.TaggedStyle != 0:
		return refuse("has an explicit tag")
	}
	start = offset(d.src, n.Line, n.Column)
	end = scalarEnd(d.src, start, n)
	if end < 0 {
		return refuse("is written in a way that cannot be replaced safely")
	}
	return start, end, nil
}

// scalarEnd returns where the scalar that begins at start ends, and -1 when
// the bytes there are not the scalar on its own.
func scalarEnd(src []byte, start int, n *yaml.Node) int {
	rest := src[start:]
	switch {
	case n.Style&yaml.SingleQuotedStyle != 0:
		return quotedEnd(rest, start, '\'')
	case n.Style&yaml.DoubleQuotedStyle != 0:
		return quotedEnd(rest, start, '"')
	case bytes.HasPrefix(rest, []byte(n.Value)): // a plain scalar of one line reads as it is written
		return start + len(n.Value)
	default:
		return -1
	}
}

func quotedEnd(rest []byte, start int, quote byte) int {
	if len(rest) == 0 || rest[0] != quote {
		return -1
	}
	for i := 1; i < len(rest); i++ {
		switch {
		case rest[i] == '\\' && quote == '"':
			i++
		case rest[i] == quote && quote == '\'' && i+1 < len(rest) && rest[i+1] == quote:
			i++
		case rest[i] == quote:
			return start + i + 1
		}
	}
	return -1
}

// addition returns the ways to add a key to a mapping: after its last simple
// entry, else before its first.
func (d *Doc) addition(mapping *yaml.Node, path []string, v Value) []splice {
	at := d.afterLast(mapping, path)
	if mapping.Style&yaml.FlowStyle == 0 {
		at = append(at, d.beforeFirst(mapping))
	} else {
		at = append(at, d.afterBrace(mapping))
	}
	var edits []splice
	for _, a := range at {
		for _, text := range v.spellings(0) {
			edits = append(edits, splice{a.pos, a.pos, a.before + path[len(path)-1] + ": " + text + a.after})
		}
	}
	return edits
}

// place is where a new entry can stand, and what must surround it.
type place struct {
	pos           int
	before, after string
}

func (d *Doc) afterLast(mapping *yaml.Node, path []string) []place {
	flow := mapping.Style&yaml.FlowStyle != 0
	list := entries(mapping)
	for _, e := range slices.Backward(list) {
		if flow && isNull(e.value) && e.value.Value == "" {
			continue // the parser points behind the blanks, or at a key without a colon
		}
		_, end, err := d.extent(e.value, path)
		switch {
		case err != nil:
			continue
		case flow:
			return []place{{pos: end, before: ", "}}
		default:
			eol, newline := lineEnd(d.src, end)
			return []place{{pos: eol, before: newline + indent(list[0])}}
		}
	}
	return nil
}

// indent returns the blanks before the keys of a block mapping. A complex key
// ("? k") stands behind its mark; the parse that follows an edit catches it.
func indent(first entry) string { return strings.Repeat(" ", first.key.Column-1) }

func (d *Doc) beforeFirst(mapping *yaml.Node) place {
	first := entries(mapping)[0]
	pos := offset(d.src, first.key.Line, first.key.Column)
	_, newline := lineEnd(d.src, pos)
	return place{pos: pos, after: newline + indent(first)}
}

func (d *Doc) afterBrace(mapping *yaml.Node) place {
	p := place{pos: offset(d.src, mapping.Line, mapping.Column) + 1}
	if len(mapping.Content) > 0 {
		p.after = ", "
	}
	return p
}

// try takes the first edit that changes the value at path to v and nothing
// else.
func (d *Doc) try(edits []splice, path []string, v Value) error {
	for _, e := range edits {
		src := slices.Concat(d.src[:e.start], []byte(e.text), d.src[e.end:])
		next, err := Parse(d.path, src)
		if err == nil && onlyDiffers(d.root, next.root, path, v) {
			*d = *next
			return nil
		}
	}
	return d.problem(d.root.Line, dotted(path), "cannot be written without changing something else", fmt.Sprintf("add %q by hand as a plain or quoted value on a line of its own", path[len(path)-1]))
}
