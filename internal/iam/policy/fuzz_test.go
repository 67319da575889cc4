package policy

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// canonical writes a policy in another form of the same meaning: sorted members,
// no white space, lists where one value may stand alone.
func canonical(t *testing.T, text string) string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var document map[string]any
	if err := d.Decode(&document); err != nil {
		t.Fatal(err)
	}
	document["Statement"] = listed(document["Statement"])
	for _, s := range document["Statement"].([]any) {
		statement := s.(map[string]any)
		for _, element := range []string{"Action", "NotAction", "Resource", "NotResource"} {
			if value, ok := statement[element]; ok {
				statement[element] = listed(value)
			}
		}
		operators, _ := statement["Condition"].(map[string]any)
		for _, keys := range operators {
			for key, values := range keys.(map[string]any) {
				keys.(map[string]any)[key] = listed(values)
			}
		}
	}
	out, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func listed(value any) any {
	if list, ok := value.([]any); ok {
		return list
	}
	return []any{value}
}

// probes are requests that between them have all the keys that the seeds name.
func probes() []*Request {
	var all []*Request
	for _, keys := range []map[string][]string{
		nil,
		{"aws:username": {"app"}, "aws:sourceip": {"10.0.0.1"}, "aws:currenttime": {"2026-02-03T04:05:06Z"}, "aws:tagkeys": {"a", "b"}},
		{"aws:username": {""}, "aws:sourceip": {"::1"}, "aws:currenttime": {"1"}, "aws:tagkeys": {""}, "aws:securetransport": {"false"}},
	} {
		for _, action := range []string{getValue, "s3:GetObject", ""} {
			for _, arn := range []string{secret, "*", "arn:aws:s3:::app"} {
				r := asking(keys)
				r.Action, r.Resource = action, arn
				all = append(all, r)
			}
		}
	}
	return all
}

// A policy that parses means the same in its canonical form.
func FuzzParse(f *testing.F) {
	const allow = `"Effect":"Allow","Action":["s3:*","secretsmanager:Get*"]`
	for _, seed := range []string{
		inPolicy(`{` + allow + `,"Resource":"*","Principal":"*"}`),
		inPolicy(`{` + allow + `,"NotResource":"arn:aws:s3:::${aws:username, 'x'}*","Principal":{"AWS":["111122223333"],"Service":"rds.amazonaws.com"}}`),
		inPolicy(`{"Effect":"Deny","NotAction":"s3:*","Resource":"*","NotPrincipal":{"AWS":"arn:aws:iam::111122223333:role/a/b"}}`),
		`{"Id":"x","Statement":{` + allow + `,"Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","::1"]},"Null":{"aws:TokenIssueTime":true}}}}`,
		inPolicy(`{` + allow + `,"Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2026-02"},"ForAllValues:StringNotLike":{"aws:TagKeys":["a*","?"]}}}`),
		inPolicy(`{` + allow + `,"Resource":"*","Condition":{"NumericLessThanEqualsIfExists":{"a:b":[1.5,"2"]},"ArnLike":{"aws:SourceArn":"arn:aws:*:*:*:*"}}}`),
		inPolicy(`{` + allow + `,"Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"},"BinaryEquals":{"a:b":"QQ=="}}}`),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string) (*Document, error){ParseIdentity, ParseResource} {
			d, err := parse(text)
			if err != nil {
				continue
			}
			again, err := parse(canonical(t, text))
			if err != nil {
				t.Fatalf("the canonical form does not parse: %v", err)
			}
			for _, r := range probes() {
				if a, b := d.Decide(r), again.Decide(r); a != b {
					t.Fatalf("%v and %v", a, b)
				}
			}
			if d.IsPublic() != again.IsPublic() {
				t.Fatal("IsPublic differs")
			}
		}
	})
}

// Wildcards mean what a regular expression of .* and . means.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{{"a*b?c", "axxbyc"}, {"*?é", "xé"}, {"**a", "ba"}, {"", ""}, {"a.c", "abc"}, {"*?", "\n"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(s) || len(pattern)+len(s) > 1000 {
			return
		}
		quoted := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
		want := regexp.MustCompile(`(?s)\A` + quoted + `\z`).MatchString(s)
		if got := Match(pattern, s); got != want {
			t.Fatalf("Match(%q, %q) = %v", pattern, s, got)
		}
		p := literal(withWildcards(pattern))
		if got := p.matchText(s); got != want {
			t.Fatalf("matchText(%q, %q) = %v", pattern, s, got)
		}
	})
}
