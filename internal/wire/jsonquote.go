package wire

import (
	"encoding/binary"

	"github.com/go-json-experiment/json/jsontext"
)

// appendQuoted is jsontext.AppendQuote, which looks at each byte: most strings, and
// the longest of them, stand in JSON as they are.
func appendQuoted(dst []byte, s string) ([]byte, error) {
	if !isPlain(s) {
		return jsontext.AppendQuote(dst, s)
	}
	return append(append(append(dst, '"'), s...), '"'), nil
}

// isPlain tells whether s consists of ASCII characters that nothing is to be done
// about in JSON.
func isPlain(s string) bool {
	const word = 8
	for ; len(s) >= word; s = s[word:] {
		if !plainWord(binary.LittleEndian.Uint64([]byte(s))) {
			return false
		}
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// plainWord is isPlain for eight bytes at once: the highest bit of a byte is free in
// ASCII, and is set here in what is no plain byte. A borrow between bytes comes only
// from such a byte.
func plainWord(w uint64) bool {
	const each = 0x0101010101010101
	quote, backslash := w^'"'*each, w^'\\'*each
	odd := w | (w-' '*each)&^w | (quote-each)&^quote | (backslash-each)&^backslash
	return odd&(0x80*each) == 0
}
