package rotation

import (
	"testing"
	"time"
)

func TestParseGrace(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1s": time.Second, "90m": 90 * time.Minute, "6h": 6 * time.Hour, "2d": 48 * time.Hour, "1d12h": 36 * time.Hour, "365d": 365 * 24 * time.Hour,
	} {
		if got, err := ParseGrace(text); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0s", "-6h", "1d-6h", "d", "soon", "366d", "365d1s", "99999d", "1.5d", "6"} {
		if got, err := ParseGrace(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestPasswordRules(t *testing.T) {
	for _, text := range []string{"7", "129", "-8", "many", "12.5", ""} {
		if n, err := ParsePasswordLength(text); err == nil {
			t.Errorf("the length %q: %d", text, n)
		}
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for characters, fits := range map[string]bool{"": true, "._": true, letters[:48]: true, letters[:49]: false, letters: false} {
		if err := CheckPasswordExclude(characters); (err == nil) != fits {
			t.Errorf("without %q: %v", characters, err)
		}
	}
}
