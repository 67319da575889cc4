package secret

import (
	"slices"
	"strings"
	"unicode"
)

// Filter is one filter of ListSecrets: a secret matches when one of the values
// does. A value that begins with ! matches what the rest of it does not.
type Filter struct {
	Key    FilterKey
	Values []string
}

// FilterKey says what a Filter looks at.
type FilterKey string

// The keys of filters. Names, tags, services and regions are compared by their
// beginnings and with regard to case, the others by words and without.
const (
	Description   FilterKey = "description"
	Name          FilterKey = "name"
	TagKey        FilterKey = "tag-key"
	TagValue      FilterKey = "tag-value"
	PrimaryRegion FilterKey = "primary-region"
	OwningService FilterKey = "owning-service"
	All           FilterKey = "all"
)

// FilterKeys is all of them, in the order of AWS's model.
var FilterKeys = []FilterKey{Description, Name, TagKey, TagValue, PrimaryRegion, OwningService, All}

func negated(value string) bool { return strings.HasPrefix(value, "!") }

func (f Filter) matches(s *Secret) bool { return f.any(f.fields(s)...) }

// fields returns the texts of a secret that the filter looks at.
func (f Filter) fields(s *Secret) (all []string) {
	switch f.Key {
	case Description:
		return []string{s.Description}
	case Name:
		return []string{s.Name}
	case PrimaryRegion:
		return set(s.PrimaryRegion)
	case OwningService:
		return set(s.OwningService)
	case All:
		all = []string{s.Name, s.Description}
	}
	for _, t := range s.Tags {
		if f.Key != TagValue {
			all = append(all, t.Key)
		}
		if f.Key != TagKey {
			all = append(all, t.Value)
		}
	}
	return all
}

// set is nothing for a field that is not set: no prefix, however short, is in it.
func set(field string) []string {
	if field == "" {
		return nil
	}
	return []string{field}
}

// any reports whether one of the values matches one of the fields, or, negated,
// none of them.
func (f Filter) any(fields ...string) bool {
	return slices.ContainsFunc(f.Values, func(value string) bool {
		wanted := strings.TrimPrefix(value, "!")
		matches := f.matcher(wanted)
		return slices.ContainsFunc(fields, matches) != negated(value)
	})
}

func (f Filter) matcher(wanted string) func(field string) bool {
	if f.Key != Description && f.Key != All {
		return func(field string) bool { return strings.HasPrefix(field, wanted) }
	}
	words := splitWords(wanted)
	return func(field string) bool { return len(words) > 0 && haveWords(field, words) }
}

// haveWords reports whether every word begins some word of the text.
func haveWords(text string, words []string) bool {
	in := splitWords(text)
	for _, w := range words {
		if !slices.ContainsFunc(in, func(s string) bool { return strings.HasPrefix(s, w) }) {
			return false
		}
	}
	return true
}

const separators = "/-_+=.@"

// splitWords returns the words of a text in lower case. They are parted by
// spaces, by a separator, and where small letters are followed by a capital or
// letters by digits. A part between spaces that mixes two separators is one
// word, as AWS was seen to do.
func splitWords(text string) (words []string) {
	for _, part := range strings.Fields(text) {
		sep := strings.IndexAny(part, separators)
		if sep < 0 {
			words = append(words, splitCase(part)...)
			continue
		}
		alone := part[sep : sep+1]
		if strings.ContainsAny(strings.ReplaceAll(part, alone, ""), separators) {
			words = append(words, strings.ToLower(part))
			continue
		}
		for piece := range strings.SplitSeq(part, alone) {
			words = append(words, splitCase(piece)...)
		}
	}
	return words
}

// splitCase parts mySecretABCThing2 into my, secret, abc, thing and 2.
func splitCase(text string) (words []string) {
	runes := []rune(text)
	from := 0
	for i := 1; i < len(runes); i++ {
		if beginsWord(runes, i) {
			words = append(words, strings.ToLower(string(runes[from:i])))
			from = i
		}
	}
	if from < len(runes) {
		words = append(words, strings.ToLower(string(runes[from:])))
	}
	return words
}

// beginsWord reports whether a word begins at i, which is not 0.
func beginsWord(text []rune, i int) bool {
	before, here := text[i-1], text[i]
	if unicode.IsDigit(before) != unicode.IsDigit(here) {
		return unicode.IsLetter(before) || unicode.IsLetter(here)
	}
	if !unicode.IsUpper(here) {
		return false
	}
	// The last capital of several begins the word of the small letters after it.
	return unicode.IsLower(before) ||
		unicode.IsUpper(before) && i+1 < len(text) && unicode.IsLower(text[i+1])
}
