package mysql

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseGrant(t *testing.T) {
	for _, tc := range []struct {
		line string
		want []right
	}{
		{"GRANT USAGE ON *.* TO `u`@`%`", nil},
		{"GRANT USAGE ON `d`.* TO `u`@`%` WITH GRANT OPTION", []right{{privilege: grantOption, on: "`d`.*"}}},
		{"GRANT SELECT, CREATE TEMPORARY TABLES ON `d\\_%`.* TO `u`@`%`",
			[]right{{privilege: "SELECT", on: "`d\\_%`.*"}, {privilege: "CREATE TEMPORARY TABLES", on: "`d\\_%`.*"}}},
		{"GRANT SELECT (`a`, `b,c`), DELETE ON `d`.`t` TO `u`@`%` WITH GRANT OPTION", []right{
			{privilege: grantOption, on: "`d`.`t`"}, {privilege: "SELECT", column: "`a`", on: "`d`.`t`"},
			{privilege: "SELECT", column: "`b,c`", on: "`d`.`t`"}, {privilege: "DELETE", on: "`d`.`t`"}}},
		{"GRANT BACKUP_ADMIN,ROLE_ADMIN ON *.* TO `u`@`%` WITH GRANT OPTION",
			[]right{{privilege: "BACKUP_ADMIN", on: "*.*", option: true}, {privilege: "ROLE_ADMIN", on: "*.*", option: true}}},
		{"GRANT EXECUTE ON PROCEDURE `d`.`p TO q` TO `u`@`%`", []right{{privilege: "EXECUTE", on: "PROCEDURE `d`.`p TO q`"}}},
		{"GRANT PROXY ON ``@`` TO `u`@`%` WITH GRANT OPTION", []right{{privilege: "PROXY", on: "``@``", option: true}}},
		{"GRANT `r`@`%`,`s`@`%` TO `u`@`%` WITH ADMIN OPTION", []right{{privilege: "`r`@`%`", option: true}, {privilege: "`s`@`%`", option: true}}},
		{"GRANT `r` TO `u`@`%`", []right{{privilege: "`r`"}}},
		{"REVOKE INSERT ON `mysql`.* FROM `u`@`%`", []right{{privilege: "INSERT", on: "`mysql`.*", revoked: true}}},
		{"REVOKE  ON `mysql`.* FROM `u`@`%`", nil},
		{"SET DEFAULT ROLE `r` FOR `u`@`%`", []right{{privilege: defaultRole, on: "`r`"}}},
		{"GRANT SELECT ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*B6' REQUIRE ISSUER 'x'' WITH GRANT OPTION' SUBJECT '/CN=o\\'b' WITH MAX_USER_CONNECTIONS 7",
			[]right{{privilege: "SELECT", on: "*.*"}}},
		{"GRANT SELECT ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*B6' WITH GRANT OPTION MAX_USER_CONNECTIONS 7",
			[]right{{privilege: grantOption, on: "*.*"}, {privilege: "SELECT", on: "*.*"}}},
	} {
		got, err := parseGrant(tc.line)
		if err != nil {
			t.Errorf("%s: %v", tc.line, err)
		}
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(right{})); diff != "" {
			t.Errorf("%s: %s", tc.line, diff)
		}
	}
}

func TestParseGrantRefuses(t *testing.T) {
	for _, line := range []string{
		"", "GRANT", "SELECT 1", "GRANT SELECT ON *.*", "GRANT SELECT ON TO `u`@`%`", "GRANT ON *.* TO `u`@`%`", "GRANT SELECT (`a` ON `d`.`t` TO `u`@`%`",
		"GRANT SELECT () ON `d`.`t` TO `u`@`%`", "GRANT `r TO `u`@`%`", "GRANT r TO `u`@`%`", "GRANT SELECT, , DELETE ON *.* TO `u`@`%`", "SET DEFAULT ROLE FOR `u`@`%`",
	} {
		if rights, err := parseGrant(line); err == nil {
			t.Errorf("%q: %v", line, rights)
		}
	}
}

// FuzzParseGrant: what is read, is read again from the statement that grants it.
func FuzzParseGrant(f *testing.F) {
	for _, line := range []string{
		"GRANT SELECT (`a`, `b`), DELETE ON `d`.`t` TO `u`@`%` WITH GRANT OPTION", "REVOKE INSERT ON `mysql`.* FROM `u`@`%`",
		"GRANT BACKUP_ADMIN,ROLE_ADMIN ON *.* TO `u`@`%` WITH GRANT OPTION", "GRANT `r`@`%`,`s`@`%` TO `u`@`%` WITH ADMIN OPTION",
		"GRANT PROXY ON ``@`` TO `u`@`%`", "GRANT USAGE ON *.* TO 'u'@'%'", "SET DEFAULT ROLE `r` FOR `u`@`%`",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		rights, err := parseGrant(line)
		if err != nil {
			return
		}
		for _, r := range rights {
			again, err := parseGrant(statementOf(r).statement(account{"u`", "%"}))
			if err != nil || !slices.Contains(again, r) {
				t.Errorf("%q: %+v reads as %+v, %v", line, r, again, err)
			}
		}
	})
}

func statementOf(r right) change {
	switch {
	case r.privilege == defaultRole:
		return change{before: "SET DEFAULT ROLE " + r.on + " FOR "}
	case r.revoked:
		return revokes([]right{r})[0]
	}
	return grants([]right{r})[0]
}

// TestLevel plays the changes of random rights against a model of a server.
func TestLevel(t *testing.T) {
	one := rapid.Custom(func(t *rapid.T) right {
		return rapid.SampledFrom([]right{
			{privilege: "SELECT", on: "*.*"}, {privilege: "INSERT", on: "*.*"}, {privilege: grantOption, on: "*.*"},
			{privilege: "SELECT", on: "`d`.*"}, {privilege: "SELECT", column: "`a`", on: "`d`.`t`"}, {privilege: "ROLE_ADMIN", on: "*.*"},
			{privilege: "ROLE_ADMIN", on: "*.*", option: true}, {privilege: "`r`@`%`"}, {privilege: "`r`@`%`", option: true},
			{privilege: "INSERT", on: "`d`.*", revoked: true},
		}).Draw(t, "right")
	})
	rapid.Check(t, func(t *rapid.T) {
		have, want := model(rapid.SliceOf(one).Draw(t, "have")), model(rapid.SliceOf(one).Draw(t, "want"))
		start := slices.Clone(have)
		for _, step := range level(have, want) {
			have = play(have, step)
			for _, r := range start {
				if slices.Contains(want, r) && !r.revoked && !slices.ContainsFunc(have, func(h right) bool { return h.base() == r.base() }) {
					t.Fatalf("%s takes away %v, which shall stay", step.before, r)
				}
			}
		}
		if !slices.Equal(sorted(want), sorted(have)) {
			t.Errorf("the rights are %v, want %v", have, want)
		}
	})
}

// model keeps one of each right: the one that can be passed on, if both are
// there.
func model(rights []right) (kept []right) {
	for _, r := range rights {
		if r.option || !slices.Contains(rights, withOwnOption(r)) {
			kept = append(kept, r)
		}
	}
	return sorted(kept)
}

// play runs a statement as the servers do.
func play(have []right, step change) []right {
	line := step.statement(account{"u", "%"})
	rights, err := parseGrant(line)
	if err != nil {
		panic(line)
	}
	for _, r := range rights {
		restricted := right{privilege: r.privilege, on: r.on, revoked: true}
		switch taken := strings.HasPrefix(line, "REVOKE"); {
		case taken && r.privilege == "INSERT" && r.on == "`d`.*":
			have = append(have, restricted)
		case taken:
			r.revoked = false
			have = slices.DeleteFunc(have, func(h right) bool { return h.base() == r })
		case slices.Contains(have, restricted):
			have = slices.DeleteFunc(have, func(h right) bool { return h == restricted })
		default:
			have = append(slices.DeleteFunc(have, func(h right) bool { return h.base() == r.base() }), r)
		}
	}
	return have
}
