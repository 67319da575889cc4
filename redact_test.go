package keyturn

import (
	"encoding/base64"
	"html"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMask(t *testing.T) {
	const value = `{"engine": "mysql", "host": "db.example.com", "username": "app", "password": "YSx|X1'I4XPhwDd.)", "pin": 83641907, "tries": 12, "rate": 0.15e7, "more": {"keys": ["k-123456"]}}`
	for message, want := range map[string]string{
		"no such table": "no such table",
		"Access denied for user 'app'@'db.example.com'":                "Access denied for user 'app'@'db.example.com'",
		"near 'PASSWORD('YSx|X1'I4XPhwDd.)')' at line 1":               "near 'PASSWORD('[redacted]')' at line 1",
		`near 'PASSWORD('YSx|X1\'I4XPhwDd.)')' at line 1`:              `near 'PASSWORD('[redacted]')' at line 1`,
		"near 'PASSWORD('YSx|X1'":                                      "near 'PASSWORD('[redacted]",
		"the key k-123456 is not known":                                "the key [redacted] is not known",
		"YSx|X1'I4XPhwDd.)":                                            "[redacted]",
		"Authorization: Basic YXBwOllTeHxYMSdJNFhQaHdEZC4p is refused": "Authorization: Basic YXBwOl[redacted] is refused",
		"http://db/?password=YSx%7cX1%27I4XPhwDd.%29&user=app":         "http://db/?password=[redacted]&user=app",
		`{"error": "near \\"YSx|X1\\u0027I4XPhwDd.)\\""}`:              `{"error": "near \\"[redacted]\\""}`,
		"PASSWORD 'YSx|X1''I4XPhwDd.)'":                                "PASSWORD '[redacted]'",
		"<p>YSx|X1&#39;I4XPhwDd.)</p>":                                 "<p>[redacted]</p>",
		"the pin 83641907 is wrong, 12 are left, 0.15e7":               "the pin [redacted] is wrong, 12 are left, [redacted]",
	} {
		if got := mask(message, sensitive(value)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if got := mask("it is hunter2", sensitive(`{"password":"hunter2","password":"other"}`)); strings.Contains(got, "unter") {
		t.Errorf("the first of two members of one name: %s", got)
	}
	if got := mask("it is hunter2", sensitive("hunter2")); got != "it is [redacted]" {
		t.Errorf("a value that is no JSON: %s", got)
	}
}

// No message shows four characters of a value in a row.
func TestMaskHidesParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`[a-f'\\]{1,12}`).Draw(t, "value")
		cut := rapid.IntRange(0, len(value)).Draw(t, "cut")
		message := rapid.StringMatching(`[a-f' ]{0,8}`).Draw(t, "before") + value[:cut] + rapid.StringMatching(`[a-f' ]{0,8}`).Draw(t, "after") + value
		got := strings.ReplaceAll(mask(message, []string{value}), "[redacted]", "|")
		for i := 0; i+window <= len(value); i++ {
			if strings.Contains(got, value[i:i+window]) {
				t.Errorf("%q shows %q of %q", got, value[i:i+window], value)
			}
		}
	})
}

// No encoding that functions and databases use shows a value, alone or around another.
func TestMaskHidesEncodedValues(t *testing.T) {
	encodings := map[string]func(string) string{
		"plain": func(s string) string { return s },
		"query": url.QueryEscape, "path": url.PathEscape, "HTML": html.EscapeString,
		"Go": func(s string) string {
			return strings.TrimSuffix(strings.TrimPrefix(strconv.QuoteToASCII(s), `"`), `"`)
		},
		"JSON": inJSON, "SQL": func(s string) string { return strings.ReplaceAll(s, "'", "''") },
	}
	names := slices.Sorted(maps.Keys(encodings))
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`[a-z'"\\&%+<é😀 ]{4,12}`).Draw(t, "value")
		inner, outer := rapid.SampledFrom(names).Draw(t, "inner"), rapid.SampledFrom(names).Draw(t, "outer")
		encoded := encodings[outer](encodings[inner](value))
		got := mask("1234#"+encoded+"#5678", []string{value})
		rest := strings.TrimSuffix(strings.TrimPrefix(got, "1234#"), "#5678")
		if rest != "[redacted]" {
			t.Errorf("%q as %s in %s shows %q of %q", value, inner, outer, rest, encoded)
		}
	})
}

// The base64 of a value, or of a text that holds one, shows at most the characters that
// it shares with its neighbours.
func TestMaskHidesBase64(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringN(6, 40, -1).Draw(t, "value")
		before := rapid.StringMatching(`[ -~]{0,4}`).Draw(t, "before")
		alphabet := rapid.SampledFrom([]*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding}).Draw(t, "alphabet")
		encoded := alphabet.EncodeToString([]byte(before + value))
		got := mask(encoded, []string{value})
		kept := strings.TrimRight(strings.ReplaceAll(got, "[redacted]", ""), "=")
		if most := (len(before)*8+5)/6 + 1; len(kept) > most || got == encoded {
			t.Errorf("%q behind %q: %s shows %s", value, before, encoded, got)
		}
	})
}
