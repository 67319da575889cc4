package yamlfile

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

const bom = "\ufeff"

// breaks are the line breaks the parser counts: YAML 1.1 takes NEL, LS and PS
// for breaks too.
var breaks = []string{"\r\n", "\n", "\r", "\u0085", "\u2028", "\u2029"}

// breakAt returns the line break that src begins with, or "".
func breakAt(src []byte) string {
	for _, b := range breaks {
		if bytes.HasPrefix(src, []byte(b)) {
			return b
		}
	}
	return ""
}

// offset turns a parser's line and column into a byte offset. Both begin at 1;
// columns count characters, and a byte order mark counts for nothing.
func offset(src []byte, line, column int) int {
	pos := 0
	if bytes.HasPrefix(src, []byte(bom)) {
		pos = len(bom)
	}
	for line > 1 && pos < len(src) {
		if b := breakAt(src[pos:]); b != "" {
			pos += len(b)
			line--
			continue
		}
		pos += runeLen(src[pos:])
	}
	for ; column > 1 && pos < len(src); column-- {
		pos += runeLen(src[pos:])
	}
	return pos
}

func runeLen(src []byte) int {
	_, n := utf8.DecodeRune(src)
	return n
}

// lineEnd returns where the line of pos ends, before its break, and the break
// a new line should have: that of this line, else that of the first line.
func lineEnd(src []byte, pos int) (end int, newline string) {
	for end = pos; end < len(src); end += runeLen(src[end:]) {
		if b := breakAt(src[end:]); b != "" {
			return end, plainBreak(b)
		}
	}
	if i := bytes.IndexAny(src, "\r\n"); i >= 0 {
		return end, breakAt(src[i:])
	}
	return end, "\n"
}

// plainBreak replaces the Unicode breaks, which YAML 1.2 does not know.
func plainBreak(b string) string {
	if strings.Trim(b, "\r\n") != "" {
		return "\n"
	}
	return b
}

// spellings returns the ways to write a value, the nicest first: in the style
// of the old value if that can hold it, else with the least quoting.
func (v Value) spellings(style yaml.Style) []string {
	switch {
	case style&yaml.DoubleQuotedStyle != 0:
		return []string{doubleQuoted(v.text)}
	case style&yaml.SingleQuotedStyle != 0:
		return quotings(v.text)
	case v.number || plainText(v.text):
		return append([]string{v.text}, quotings(v.text)...)
	default:
		return quotings(v.text)
	}
}

func quotings(s string) []string {
	if strings.ContainsFunc(s, unprintable) {
		return []string{doubleQuoted(s)}
	}
	return []string{"'" + strings.ReplaceAll(s, "'", "''") + "'", doubleQuoted(s)}
}

// unprintable is a character that a single-quoted scalar cannot hold: breaks
// would be folded, and control characters are refused. The byte order mark
// and the other format characters are invisible to the reader.
func unprintable(r rune) bool {
	return r == utf8.RuneError || !unicode.IsPrint(r)
}

// doubleQuoted writes s with JSON's and YAML's common escapes.
func doubleQuoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r > 0xffff && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08X`, r)
		case unprintable(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// plain is text that no YAML parser takes for anything but a string, in block
// and in flow style; see reserved for the exceptions.
var plain = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*$`)

// reserved are the words that YAML 1.1 or 1.2 reads as null or a boolean.
var reserved = []string{"null", "true", "false", "yes", "no", "on", "off", "y", "n"}

func plainText(s string) bool {
	return plain.MatchString(s) && !slices.Contains(reserved, strings.ToLower(s))
}
