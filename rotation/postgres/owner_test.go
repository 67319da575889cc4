package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/rotation"
)

func TestSettingValues(t *testing.T) {
	for _, tc := range []struct{ name, value, want string }{
		{"search_path", `"$user", public`, `E'$user', E'public'`},
		{"search_path", `"a,""b", c`, `E'a,"b', E'c'`},
		{"search_path", `x;DROP`, `E'x;DROP'`},
		{"search_path", ``, `''`},
		{"work_mem", `4MB`, `E'4MB'`},
		{"my.text", `it's \ "so", x`, `E'it''s \\ "so", x'`},
	} {
		if got := (setting{name: tc.name, value: tc.value}).values(); got != tc.want {
			t.Errorf("%s = %s: %s, want %s", tc.name, tc.value, got, tc.want)
		}
	}
}

// FuzzSplitNames: what is split, quoted and put together is split the same.
func FuzzSplitNames(f *testing.F) {
	for _, list := range []string{`"$user", public`, `a,b`, `"a""b","c,d"`, ``, `"`, `,`} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		names := splitNames(list)
		var parts []string
		for _, name := range names {
			parts = append(parts, quotedFully(name))
		}
		if again := splitNames(strings.Join(parts, ", ")); !slices.Equal(names, again) {
			t.Errorf("%q: %q, then %q", list, names, again)
		}
	})
}

func quotedFully(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func TestVersions(t *testing.T) {
	for text, want := range map[string]int{"15.18 (Debian 15.18-0+deb12u1)": 15, "16beta1": 16, "18.0": 18} {
		if got := serverVersion(text); got != want {
			t.Errorf("%s: %d", text, got)
		}
	}
}

// TestPasswordThatCannotBeGivenAgain: a rotation to another new password would meet the
// same one of AWSCURRENT.
func TestPasswordThatCannotBeGivenAgain(t *testing.T) {
	_, err := new(session).standFor(role{name: "app"}, "app_owner", "pass-é")
	if rotation.ClassOf(err) != rotation.ClassPolicy || errors.Is(err, rotation.ErrRejected) {
		t.Errorf("error %v of class %q", err, rotation.ClassOf(err))
	}
	if text := fmt.Sprint(err); strings.Contains(text, "pass-") || !strings.Contains(text, "SingleUser") {
		t.Errorf("error %v", err)
	}
}
