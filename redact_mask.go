package keyturn

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// window is how many characters of a value in a row, in bytes, are taken for a
// part of it: messages quote it cut short, or with others in between.
const window = 4

// mask replaces the values in a message, and whatever holds a window of one, plain,
// with escapes of any usual sort, or in base64.
func mask(message string, values []string) string {
	parts := partsOf(values)
	hidden := make([]bool, len(message))
	for _, r := range readings(message) {
		r.hide(parts, hidden)
	}
	var b strings.Builder
	for i := range len(message) {
		if !hidden[i] {
			b.WriteByte(message[i])
		} else if i == 0 || !hidden[i-1] {
			b.WriteString("[redacted]")
		}
	}
	return strings.ToValidUTF8(b.String(), "")
}

// partsOf returns all windows of values; one that is shorter is a part as a whole.
func partsOf(values []string) map[string]bool {
	parts := map[string]bool{}
	for _, v := range values {
		cut(parts, v, min(window, len(v)))
		for _, form := range inBase64(v, inJSON(v)) {
			cut(parts, form, window)
		}
	}
	return parts
}

func cut(parts map[string]bool, text string, size int) {
	for i := 0; size > 0 && i+size <= len(text); i++ {
		parts[text[i:i+size]] = true
	}
}

func inJSON(v string) string {
	text, err := json.Marshal(v)
	if err != nil {
		return v
	}
	return string(text[1 : len(text)-1])
}

// inBase64 returns the characters that stand for texts in the base64 of any longer
// text that holds them: they may begin at each of the three bytes of a group, and what
// shares a character with what is around them is left out.
func inBase64(texts ...string) (forms []string) {
	for _, text := range texts {
		for before := range 3 {
			data := append(make([]byte, before), text...)
			first, behind := (before*8+5)/6, len(data)*8/6
			for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				forms = append(forms, alphabet.EncodeToString(data)[first:max(first, behind)])
			}
		}
	}
	return forms
}

// reading is a message as it is read by whoever takes escapes for what they mean.
type reading struct {
	text     string
	from, to []int // :: byte of text → where it begins and ends in the message
}

// hide marks in the message every place where a part is.
func (r reading) hide(parts map[string]bool, hidden []bool) {
	for i := range len(r.text) {
		for size := 1; size <= window && i+size <= len(r.text); size++ {
			if !parts[r.text[i:i+size]] {
				continue
			}
			for j := r.from[i]; j < r.to[i+size-1]; j++ {
				hidden[j] = true
			}
		}
	}
}

// readings returns the message as it is, and as it reads without the escapes of one
// sort, or of two, one around the other.
func readings(message string) []reading {
	plain := reading{text: message}
	for i := range len(message) {
		plain.from, plain.to = append(plain.from, i), append(plain.to, i+1)
	}
	all := []reading{plain}
	for begin, level := 0, 0; level < 2; level++ {
		outer := all[begin:]
		begin = len(all)
		for _, r := range outer {
			all = append(all, r.unescaped()...)
		}
	}
	return all
}

// unescaped returns what a reading becomes without the escapes of each sort.
func (r reading) unescaped() (all []reading) {
	for _, escape := range []func(string) (string, int){backslash, percent, form, entity, apostrophes, quotes} {
		if inner := r.without(escape); inner.text != r.text {
			all = append(all, inner)
		}
	}
	return all
}

// without replaces escapes. escape returns what the one at the beginning of a text
// means, and its length, or 0 if there is none.
func (r reading) without(escape func(text string) (meaning string, length int)) (inner reading) {
	var b strings.Builder
	for i := 0; i < len(r.text); {
		meaning, n := escape(r.text[i:])
		if n == 0 {
			meaning, n = r.text[i:i+1], 1
		}
		b.WriteString(meaning)
		for range len(meaning) {
			inner.from, inner.to = append(inner.from, r.from[i]), append(inner.to, r.to[i+n-1])
		}
		i += n
	}
	inner.text = b.String()
	return inner
}

// named are the escapes of one letter that JSON and most languages share.
var named = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", 'b': "\b", 'f': "\f"}

func backslash(text string) (meaning string, length int) {
	if len(text) < 2 || text[0] != '\\' {
		return "", 0
	}
	switch text[1] {
	case 'x':
		if meaning, ok := octet(text, 2); ok {
			return meaning, 4
		}
	case 'u':
		return codePoint(text)
	case 'U':
		if n, ok := hexadecimal(text, 2, 8); ok {
			return string(n), 10
		}
	}
	if meaning, ok := named[text[1]]; ok {
		return meaning, 2
	}
	return text[1:2], 2
}

// codePoint reads \uXXXX, or two that are surrogates of one character.
func codePoint(text string) (meaning string, length int) {
	n, ok := hexadecimal(text, 2, 4)
	if !ok {
		return text[1:2], 2
	}
	if low, ok := hexadecimal(text, 8, 4); ok && text[6:8] == `\u` {
		if r := utf16.DecodeRune(n, low); r != utf8.RuneError {
			return string(r), 12
		}
	}
	return string(n), 6
}

// form is percent in the query of a URL, and what HTML's forms send.
func form(text string) (meaning string, length int) {
	if text[0] == '+' {
		return " ", 1
	}
	return percent(text)
}

// percent is that of URLs.
func percent(text string) (meaning string, length int) {
	if meaning, ok := octet(text, 1); ok && text[0] == '%' {
		return meaning, 3
	}
	return "", 0
}

// entity is one of HTML and XML, such as &quot; or &#39;.
func entity(text string) (meaning string, length int) {
	const longest = 10
	end := strings.IndexByte(text[:min(longest, len(text))], ';')
	if text[0] != '&' || end < 0 {
		return "", 0
	}
	return html.UnescapeString(text[:end+1]), end + 1
}

// apostrophes and quotes are doubled between two of themselves, in SQL.
func apostrophes(text string) (meaning string, length int) { return doubled(text, "''") }

func quotes(text string) (meaning string, length int) { return doubled(text, `""`) }

func doubled(text, two string) (meaning string, length int) {
	if !strings.HasPrefix(text, two) {
		return "", 0
	}
	return two[:1], 2
}

// hexadecimal reads so many digits, eight at most, at a place.
func hexadecimal(text string, at, digits int) (n rune, ok bool) {
	if len(text) < at+digits {
		return 0, false
	}
	read, err := strconv.ParseUint(text[at:at+digits], 16, 31)
	return rune(read), err == nil
}

// octet is two hexadecimal digits.
func octet(text string, at int) (meaning string, ok bool) {
	n, ok := hexadecimal(text, at, 2)
	return string([]byte{byte(n)}), ok //nolint:gosec // 8 bits
}
