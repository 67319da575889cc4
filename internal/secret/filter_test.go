package secret

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFilterWords(t *testing.T) {
	for _, tc := range []struct{ text, wanted string }{
		{"one and two", "one|and|two"},
		{"COMPANYthings", "compan|ythings"},
		{"SecretOne", "secret|one"},
		{"Thirdsecret", "thirdsecret"},
		{"my/secret/value", "my|secret|value"},
		{"my/secret+value", "my/secret+value"}, // two separators: one word
		{"db.host is us-east-1", "db|host|is|us|east|1"},
		{"token2go", "token|2|go"},
		{"/", ""},
		{"--", ""},
		{"", ""},
	} {
		if got := strings.Join(splitWords(tc.text), "|"); got != tc.wanted {
			t.Errorf("%q is %s, want %s", tc.text, got, tc.wanted)
		}
	}
}

func TestFilterMatches(t *testing.T) {
	s := &Secret{Name: "prod/SecretOne", Description: "one and two", PrimaryRegion: "us-east-1", OwningService: "rds",
		Tags: []Tag{{"Team", "Data"}, {"stage", "prod"}}}
	bare := &Secret{Name: "bare"}
	for _, tc := range []struct {
		key          FilterKey
		values       string // separated by |
		secret, bare bool
	}{
		{Name, "prod/", true, false},
		{Name, "Prod/", false, false},
		{Name, "Secret", false, false}, // not at the beginning
		{Name, "x|bare|y", false, true},
		{Name, "!prod", false, true},
		{Name, "!prod|prod", true, true}, // values are alternatives
		{Name, "prod/SecretOne bare", false, false},
		{Description, "o t", true, false},
		{Description, "TWO", true, false},
		{Description, "ne", false, false},
		{Description, "one|nothing", true, false},
		{Description, "one three", false, false},
		{Description, "/", false, false},
		{Description, "!a", false, true},
		{Description, "!c", true, true},
		{TagKey, "Te", true, false},
		{TagKey, "te", false, false},
		{TagKey, "!Te", false, true},
		{TagValue, "Da", true, false},
		{TagValue, "Team", false, false},
		{PrimaryRegion, "us-", true, false},
		{PrimaryRegion, "!us-", false, true},
		{PrimaryRegion, "eu-", false, false},
		{OwningService, "rd", true, false},
		{OwningService, "RDS", false, false},
		{All, "sec", true, false},
		{All, "ret", false, false},
		{All, "data", true, false},
		{All, "stage", true, false},
		{All, "bare", false, true},
		{All, "one data", false, false}, // words of two fields
		{All, "one data|two", true, false},
		{All, "!data", false, true},
	} {
		f := Filter{Key: tc.key, Values: strings.Split(tc.values, "|")}
		if got := f.matches(s); got != tc.secret {
			t.Errorf("%s %q matches the secret: %v", tc.key, tc.values, got)
		}
		if got := f.matches(bare); got != tc.bare {
			t.Errorf("%s %q matches the bare one: %v", tc.key, tc.values, got)
		}
	}
}

var boundaries = []*regexp.Regexp{
	regexp.MustCompile(`(\p{Ll})(\p{Lu})`), regexp.MustCompile(`(\p{Lu})(\p{Lu}\p{Ll})`),
	regexp.MustCompile(`(\p{L})(\p{Nd})`), regexp.MustCompile(`(\p{Nd})(\p{L})`),
}

// slowWords is splitWords by rewriting the text until nothing changes.
func slowWords(text string) (words []string) {
	for _, part := range strings.Fields(text) {
		found := regexp.MustCompile(`[/\-_+=.@]`).FindAllString(part, -1)
		slices.Sort(found)
		if len(slices.Compact(found)) > 1 {
			words = append(words, strings.ToLower(part))
			continue
		}
		for before := ""; before != part; {
			before = part
			for _, b := range boundaries {
				part = b.ReplaceAllString(part, "$1\x00$2")
			}
		}
		for _, w := range regexp.MustCompile(`[/\-_+=.@\x00]+`).Split(part, -1) {
			if w != "" {
				words = append(words, strings.ToLower(w))
			}
		}
	}
	return words
}

// A filter on words agrees with a slow and plain way to say the same.
func FuzzFilterWords(f *testing.F) {
	for _, s := range []string{"one and two", "COMPANYthings", "my/secret+value a-b", "aB1C2dEF", "ÄÖüÑ x"} {
		f.Add(s, "o t")
		f.Add("x", s)
	}
	f.Fuzz(func(t *testing.T, text, wanted string) {
		if !utf8.ValidString(text) || !utf8.ValidString(wanted) || strings.Contains(text+wanted, "\x00") {
			return
		}
		wanted = strings.TrimLeft(wanted, "!")
		if got, want := splitWords(text), slowWords(text); !slices.Equal(got, want) {
			t.Fatalf("%q is %q, want %q", text, got, want)
		}
		want := len(slowWords(wanted)) > 0
		for _, w := range slowWords(wanted) {
			begins := false
			for _, have := range slowWords(text) {
				begins = begins || strings.HasPrefix(have, w)
			}
			want = want && begins
		}
		secret := &Secret{Name: "n", Description: text}
		if got := (Filter{Key: Description, Values: []string{wanted}}).matches(secret); got != want {
			t.Fatalf("%q in %q: %v", wanted, text, got)
		}
		if (Filter{Key: Description, Values: []string{"!" + wanted}}).matches(secret) == (Filter{Key: Description, Values: []string{wanted}}).matches(secret) {
			t.Fatalf("%q and its negation agree", wanted)
		}
	})
}
