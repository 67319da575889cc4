package iam

import (
	"errors"
	"regexp"
	"testing"
	"time"
)

var uniqueID = regexp.MustCompile(`^AIDA[A-Z2-7]{17}$`)

func TestUser(t *testing.T) {
	p := User("111122223333", "app")
	if p.ARN != "arn:aws:iam::111122223333:user/app" || p.Account != "111122223333" || !uniqueID.MatchString(p.UserID) || len(p.Policies) > 0 {
		t.Errorf("%+v", p)
	}
	if again := User("111122223333", "app"); again.UserID != p.UserID {
		t.Error("the same user has another UserID")
	}
	for _, other := range []Principal{User("111122223333", "app2"), User("444455556666", "app")} {
		if other.UserID == p.UserID {
			t.Errorf("%s has the UserID of %s", other.ARN, p.ARN)
		}
	}
}

// A credential works until the moment at which it expires.
func TestCredentialExpires(t *testing.T) {
	const vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
	for _, tc := range []struct {
		name    string
		expires time.Time
		want    error
	}{
		{"Never", time.Time{}, nil},
		{"Later", suiteTime.Add(time.Nanosecond), nil},
		{"Now", suiteTime, ErrExpiredToken},
		{"LongAgo", suiteTime.Add(-time.Hour), ErrExpiredToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			keys := suiteKeys
			keys.Expires = tc.expires
			_, err := verify(suiteRequest("GET", "/", "", vanilla, "host;x-amz-date"), nil, suiteTime, keys)
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}
