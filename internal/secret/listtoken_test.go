package secret

import (
	"errors"
	"testing"
)

// Any token is an error or a position, and a position's token is that token.
func FuzzListToken(f *testing.F) {
	p := Page{At: Place{"000000000000", "us-east-1"}, Filters: []Filter{{Name, []string{"a"}}}}
	versions := VersionPage{ARN: "arn:aws:secretsmanager:us-east-1:000000000000:secret:n-AbCdEf"}
	f.Add(p.token(position{at: 1767225600000, arn: versions.ARN}))
	f.Add(versions.token(&Version{ID: "00000000-0000-0000-0000-000000000001"}))
	f.Add("")
	f.Add("MnwxfDJ8Mw")
	f.Fuzz(func(t *testing.T, token string) {
		p, versions := p, versions
		p.Token, versions.Token = token, token
		after, err := p.start()
		if token != "" && err == nil && p.token(after) != token {
			t.Errorf("%q is %+v, whose token is another", token, after)
		}
		if err != nil && !errors.Is(err, ErrInvalidNextToken) {
			t.Errorf("%q: %v", token, err)
		}
		last, err := versions.start()
		if token != "" && err == nil && versions.token(last) != token {
			t.Errorf("%q is %+v, whose token is another", token, last)
		}
		if err != nil && !errors.Is(err, ErrInvalidNextToken) {
			t.Errorf("%q: %v", token, err)
		}
	})
}

// Every position comes back from its token, in its own list only.
func FuzzListPosition(f *testing.F) {
	f.Add(int64(1767225600000), "arn:aws:secretsmanager:us-east-1:000000000000:secret:n|n-AbCdEf", "name", true)
	f.Fuzz(func(t *testing.T, at int64, arn, value string, descending bool) {
		p := Page{At: Place{"000000000000", "us-east-1"}, Filters: []Filter{{Name, []string{value}}}, Descending: descending}
		want := position{at: at, arn: ARN(arn)}
		p.Token, p.Limit = p.token(want), 7
		if got, err := p.start(); err != nil || got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
		for name, other := range map[string]func(*Page){
			"region":  func(p *Page) { p.At.Region = "eu-west-1" },
			"order":   func(p *Page) { p.By = ByName },
			"way":     func(p *Page) { p.Descending = !p.Descending },
			"deleted": func(p *Page) { p.WithDeleted = true },
			"filter":  func(p *Page) { p.Filters = nil },
		} {
			p := p
			other(&p)
			if _, err := p.start(); !errors.Is(err, ErrInvalidNextToken) {
				t.Errorf("a token was taken for a list with another %s", name)
			}
		}
	})
}
