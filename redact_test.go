package keyturn

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMask(t *testing.T) {
	const value = `{"engine": "mysql", "host": "db.example.com", "username": "app", "password": "YSx|X1'I4XPhwDd.)", "pin": 4711008, "port": 3306, "retries": 3, "more": {"keys": ["k-123456", 0.15e7]}}`
	for message, want := range map[string]string{
		"no such table": "no such table",
		"Access denied for user 'app'@'db.example.com'":        "Access denied for user 'app'@'db.example.com'",
		"near 'PASSWORD('YSx|X1'I4XPhwDd.)')' at line 1":       "near 'PASSWORD('[redacted]')' at line 1",
		`near 'PASSWORD('YSx|X1\'I4XPhwDd.)')' at line 1`:      `near 'PASSWORD('[redacted]\[redacted]')' at line 1`,
		"near 'PASSWORD('YSx|X1'":                              "near 'PASSWORD('[redacted]",
		"the key k-123456 is not known":                        "the key [redacted] is not known",
		"incorrect integer value 4711008, 0.15e7 at port 3306": "incorrect integer value [redacted], [redacted] at port 3306",
		"YSx|X1'I4XPhwDd.)":                                    "[redacted]",
	} {
		if got := mask(message, sensitive(value)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
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
