// Package yamlfile changes single values of a YAML file and nothing else.
//
// A YAML library that loads a file and writes it back changes it even without
// an edit: it wraps lines, moves comments, renames null. So the text is kept
// as bytes. The parser says where a value stands, the bytes there are
// replaced, the result is parsed again, and it counts only when that one value
// differs. What cannot be replaced safely (block scalars, anchors, aliases,
// merge keys) is refused with the line and a way out.
package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Error is a YAML file that cannot be used or changed. It never holds a value
// of the file.
type Error struct {
	Path    string // the file, as the caller named it
	Line    int    // 1 is the first line; 0 means the file as a whole
	Key     string // the key path, such as "secretsmanager.name"; may be empty
	Problem string // what is wrong
	Fix     string // what to do about it; may be empty
}

// Error returns "path:line: key: problem; fix".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Path)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Problem)
	if e.Fix != "" {
		b.WriteString("; " + e.Fix)
	}
	return b.String()
}

// Doc is the text of a YAML file whose root is a mapping.
type Doc struct {
	path string
	src  []byte
	root *yaml.Node // the root mapping
}

// Parse reads a YAML text. path is used in errors only. The text must be
// UTF-8 and hold one document, a mapping; anything else is an *Error.
func Parse(path string, src []byte) (*Doc, error) {
	d := &Doc{path: path, src: src}
	if !utf8.Valid(src) {
		return nil, d.problem(0, "", "is not UTF-8 text", "save it as UTF-8")
	}
	loader, err := yaml.NewLoader(bytes.NewReader(src))
	if err != nil {
		return nil, fmt.Errorf("opening a YAML parser: %w", err)
	}
	var doc, second yaml.Node
	if err := loader.Load(&doc); err != nil {
		return nil, d.syntax(err)
	}
	if err := loader.Load(&second); !errors.Is(err, io.EOF) {
		return nil, d.more(second.Line, err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, d.problem(doc.Line, "", "is not a mapping of keys to values", `write "key: value" lines`)
	}
	d.root = doc.Content[0]
	return d, nil
}

// Bytes returns the text as it stands now.
func (d *Doc) Bytes() []byte { return d.src }

// Lookup returns the node at the path of keys, and nil when there is none. An
// alias is followed. It fails with an *Error where the path leads through
// something that is no mapping, or where a key stands twice.
func (d *Doc) Lookup(path ...string) (*yaml.Node, error) {
	node := d.root
	for i := range path {
		node = resolved(node)
		if isNull(node) {
			return nil, nil
		}
		if node.Kind != yaml.MappingNode {
			return nil, d.problem(node.Line, dotted(path[:i]), "is not a mapping of keys to values", "write its keys on indented lines below it")
		}
		entry, err := d.entry(node, path[:i+1])
		if err != nil || entry.value == nil {
			return nil, err
		}
		node = entry.value
	}
	return resolved(node), nil
}

// entry is one key of a mapping with its value.
type entry struct{ key, value *yaml.Node }

// entry returns the entry of the mapping that the last key of path names.
func (d *Doc) entry(mapping *yaml.Node, path []string) (entry, error) {
	var found entry
	name := path[len(path)-1]
	for _, e := range entries(mapping) {
		if e.key.Kind != yaml.ScalarNode || e.key.Value != name || e.key.ShortTag() != strTag {
			continue
		}
		if found.key != nil {
			return entry{}, d.problem(e.key.Line, dotted(path), fmt.Sprintf("stands twice, also on line %d", found.key.Line), "remove one of them")
		}
		found = e
	}
	return found, nil
}

func entries(mapping *yaml.Node) []entry {
	list := make([]entry, 0, len(mapping.Content)/2)
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		list = append(list, entry{mapping.Content[i], mapping.Content[i+1]})
	}
	return list
}

// Keys returns the text keys of the mapping at path with their lines; none
// when there is no such mapping.
func (d *Doc) Keys(path ...string) (map[string]int, error) {
	node, err := d.Lookup(path...)
	if err != nil || node == nil || node.Kind != yaml.MappingNode {
		return nil, err
	}
	lines := map[string]int{}
	for _, e := range entries(node) {
		if e.key.Kind == yaml.ScalarNode {
			lines[e.key.Value] = e.key.Line
		}
	}
	return lines, nil
}

func resolved(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

const (
	strTag   = "!!str"
	intTag   = "!!int"
	nullTag  = "!!null"
	mergeTag = "!!merge"
)

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == nullTag
}

func dotted(path []string) string { return strings.Join(path, ".") }

func (d *Doc) problem(line int, key, problem, fix string) *Error {
	return &Error{Path: d.path, Line: line, Key: key, Problem: problem, Fix: fix}
}

// syntax renders a parser's error. An empty file ends at once.
func (d *Doc) syntax(err error) error {
	if errors.Is(err, io.EOF) {
		return d.problem(0, "", "is empty", `write "key: value" lines`)
	}
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		return d.problem(e.Mark.Line, "", "is not valid YAML: "+e.Message, "")
	}
	return d.problem(0, "", "is not valid YAML", "")
}

// more refuses a text that goes on after its first document.
func (d *Doc) more(line int, err error) error {
	if err != nil {
		return d.syntax(err)
	}
	return d.problem(line, "", "holds more than one YAML document", "keep one document in the file")
}
