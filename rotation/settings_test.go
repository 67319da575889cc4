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
