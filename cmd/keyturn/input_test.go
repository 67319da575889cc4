package main

import (
	"strings"
	"testing"
)

// TestTrimmedValues: the limit is that of the value, not of what is read.
func TestTrimmedValues(t *testing.T) {
	longest := strings.Repeat("x", maxValue)
	for _, tc := range []struct {
		name, in string
		trim     bool
		want     string
		refused  bool
	}{
		{"longest", longest, false, longest, false},
		{"longest and a newline", longest + "\n", false, "", true},
		{"longest and a newline, trimmed", longest + "\n", true, longest, false},
		{"longest and CRLF, trimmed", longest + "\r\n", true, longest, false},
		{"too long, trimmed", longest + "x\n", true, "", true},
		{"newlines in the middle, trimmed", longest + "\r\n" + longest, true, "", true},
		{"two newlines, trimmed", "x\n\n", true, "x\n", false},
		{"CR alone, trimmed", "x\r", true, "x\r", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := &app{stdin: strings.NewReader(tc.in), stderr: &strings.Builder{}}
			v, err := a.readValue(t.Context(), valueFlags{trimNewline: tc.trim})
			if (err != nil) != tc.refused || string(v.data) != tc.want {
				t.Errorf("%d bytes, %v", len(v.data), err)
			}
		})
	}
}
