package mysql

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// right is one thing that an account may do, as SHOW GRANTS says it.
//
//	GRANT SELECT (`a`), DELETE ON `d`.`t` TO … WITH GRANT OPTION
//
// is three: SELECT (`a`), DELETE, and GRANT OPTION on `d`.`t`.
type right struct {
	privilege string // SELECT, BACKUP_ADMIN, PROXY, a quoted role, DEFAULT ROLE
	column    string // quoted; empty: all columns
	on        string // `d`.*, PROCEDURE `d`.`p`, *.*; empty for a role
	option    bool   // of a role, proxy or dynamic privilege: may be passed on
	revoked   bool   // a partial revoke: REVOKE … ON `d`.* beneath a global grant
}

const (
	grantOption   = "GRANT OPTION"
	allPrivileges = "ALL PRIVILEGES"
	defaultRole   = "DEFAULT ROLE"
	usage         = "USAGE" // "no privileges"
)

// String is the right without its account.
func (r right) String() string {
	text := r.privilege
	if r.column != "" {
		text += " (" + r.column + ")"
	}
	switch {
	case r.privilege == defaultRole:
		return "SET DEFAULT ROLE " + r.on
	case r.on != "":
		text += " ON " + r.on
	}
	if r.revoked {
		return "REVOKE " + text
	}
	if r.option {
		text += " WITH " + r.optionName()
	}
	return "GRANT " + text
}

func (r right) optionName() string {
	if r.on == "" {
		return "ADMIN OPTION"
	}
	return grantOption
}

// base is the right without what can be passed on.
func (r right) base() right {
	r.option = false
	return r
}

// dynamic tells whether a privilege carries a grant option of its own. The
// names of MySQL's dynamic privileges have underscores, those of its static
// ones and MariaDB's have none.
func (r right) dynamic() bool { return r.on == "*.*" && strings.Contains(r.privilege, "_") }

// token is a word, a quoted name or text, or one of ( ) , . @.
type token struct {
	text       string
	start, end int // in the line
}

func (t token) quoted() bool { return strings.ContainsAny(t.text[:1], "`\"'") }

var errGrant = errors.New("SHOW GRANTS answered with a line of unknown form")

// tokens splits a line of SHOW GRANTS.
func tokens(line string) ([]token, error) {
	var all []token
	for i := 0; i < len(line); {
		if line[i] == ' ' {
			i++
			continue
		}
		end := i + 1
		switch {
		case strings.IndexByte("`\"'", line[i]) >= 0:
			end = closing(line, i)
		case strings.IndexByte("(),.@", line[i]) < 0:
			for end < len(line) && strings.IndexByte(" `\"'(),.@", line[end]) < 0 {
				end++
			}
		}
		if end < 0 {
			return nil, errGrant
		}
		all = append(all, token{line[i:end], i, end})
		i = end
	}
	return all, nil
}

// closing returns the end of the quoted text that begins at i, -1 if it has
// none. A quote is doubled within; texts in ” may have backslashes.
func closing(line string, i int) int {
	quote := line[i]
	for i++; i < len(line); i++ {
		switch {
		case line[i] == '\\' && quote == '\'':
			i++
		case line[i] != quote:
		case i+1 < len(line) && line[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return -1
}

// parseGrant reads one line of SHOW GRANTS. The grantee is left out, and so is
// what MariaDB says there about the password.
func parseGrant(line string) ([]right, error) {
	all, err := tokens(line)
	if err != nil || len(all) == 0 {
		return nil, errGrant
	}
	switch all[0].text {
	case "GRANT":
		return parseStatement(line, all[1:], "TO")
	case "REVOKE":
		if len(all) > 1 && all[1].text == "ON" {
			return nil, nil // of GRANT OPTION alone, which readRestrictions tells
		}
		rights, err := parseStatement(line, all[1:], "FROM")
		for i := range rights {
			rights[i].revoked = true
		}
		return rights, err
	case "SET":
		return parseDefaultRole(line, all)
	}
	return nil, errGrant
}

// parseStatement reads what follows GRANT or REVOKE.
func parseStatement(line string, all []token, preposition string) ([]right, error) {
	to := index(all, preposition)
	if to <= 0 || to+1 >= len(all) {
		return nil, errGrant
	}
	on, option := index(all[:to], "ON"), hasOption(all[to:])
	if on < 0 {
		return parseRoles(line, all[:to], option)
	}
	if on == 0 || on+1 >= to {
		return nil, errGrant
	}
	object := line[all[on+1].start:all[to-1].end]
	var rights []right
	for _, item := range split(all[:on]) {
		found, err := parsePrivilege(line, item, object)
		if err != nil {
			return nil, err
		}
		rights = append(rights, found...)
	}
	return withOption(rights, object, option), nil
}

// withOption spreads WITH GRANT OPTION: it belongs to the object, but dynamic
// privileges and proxies have one each.
func withOption(rights []right, object string, option bool) []right {
	passOn := right{privilege: grantOption, on: object}
	var spread []right
	for _, r := range rights {
		own := r.dynamic() || r.privilege == "PROXY"
		r.option = own && option
		if option && !own && !slices.Contains(spread, passOn) {
			spread = append(spread, passOn)
		}
		if r.privilege != usage {
			spread = append(spread, r)
		}
	}
	return spread
}

// parsePrivilege reads SELECT or SELECT (`a`, `b`).
func parsePrivilege(line string, item []token, object string) ([]right, error) {
	open := index(item, "(")
	if open < 0 {
		open = len(item)
	}
	if open == 0 || slices.ContainsFunc(item[:open], token.quoted) {
		return nil, errGrant
	}
	r := right{privilege: line[item[0].start:item[open-1].end], on: object}
	if open == len(item) {
		return []right{r}, nil
	}
	if item[len(item)-1].text != ")" {
		return nil, errGrant
	}
	var rights []right
	for _, column := range split(item[open+1 : len(item)-1]) {
		if len(column) != 1 || !column[0].quoted() {
			return nil, errGrant
		}
		r.column = column[0].text
		rights = append(rights, r)
	}
	return rights, nil
}

// parseRoles reads `r`@`%`, or MariaDB's `r`.
func parseRoles(line string, all []token, option bool) ([]right, error) {
	var rights []right
	for _, item := range split(all) {
		if len(item) == 0 || !item[0].quoted() {
			return nil, errGrant
		}
		rights = append(rights, right{privilege: line[item[0].start:item[len(item)-1].end], option: option})
	}
	return rights, nil
}

// parseDefaultRole reads MariaDB's SET DEFAULT ROLE `r` FOR ….
func parseDefaultRole(line string, all []token) ([]right, error) {
	end := index(all, "FOR")
	if end != 4 || all[1].text != "DEFAULT" || all[2].text != "ROLE" {
		return nil, errGrant
	}
	return []right{{privilege: defaultRole, on: line[all[3].start:all[3].end]}}, nil
}

// index finds the first such token.
func index(all []token, text string) int {
	return slices.IndexFunc(all, func(t token) bool { return t.text == text })
}

// split cuts at the commas outside of brackets.
func split(all []token) (items [][]token) {
	depth, from := 0, 0
	for i, t := range all {
		switch t.text {
		case "(":
			depth++
		case ")":
			depth--
		case ",":
			if depth == 0 {
				items = append(items, all[from:i])
				from = i + 1
			}
		}
	}
	return append(items, all[from:])
}

// hasOption looks for GRANT OPTION or ADMIN OPTION behind the grantee.
func hasOption(tail []token) bool {
	for i := 1; i < len(tail); i++ {
		if tail[i].text == "OPTION" && (tail[i-1].text == "GRANT" || tail[i-1].text == "ADMIN") {
			return true
		}
	}
	return false
}

// change is a statement without its account, and what the administrator needs
// for it.
type change struct {
	before, after string // before + account + after
	grant         string
}

func (c change) statement(a account) string { return c.before + a.quoted() + c.after }

// withCreate is a GRANT that also gives CREATE.
func (c change) withCreate() change {
	c.before = strings.Replace(c.before, "GRANT ", "GRANT CREATE, ", 1)
	return c
}

// level returns the changes that turn the rights have into the rights want.
// Rights go first and come later, so that in between there are less rather
// than more. A right that is in both stays all the time, except one that may
// be passed on and shall not be.
func level(have, want []right) []change {
	var revoke, grant, restrict []right
	for _, r := range have {
		switch {
		case slices.Contains(want, r), r.privilege == defaultRole, covered(r, want):
		case r.revoked:
			grant = append(grant, right{privilege: r.privilege, column: r.column, on: r.on})
		case r.option || !slices.Contains(want, withOwnOption(r)):
			revoke = append(revoke, r)
		}
	}
	for _, r := range want {
		switch {
		case slices.Contains(have, r), r.privilege == defaultRole:
		case r.revoked:
			restrict = append(restrict, r)
		default:
			grant = append(grant, r)
		}
	}
	return slices.Concat(revokes(revoke), grants(grant), revokes(restrict))
}

// covered tells whether ALL PRIVILEGES on the same object holds a right.
func covered(r right, want []right) bool {
	return r.column == "" && r.privilege != grantOption && !r.dynamic() &&
		slices.Contains(want, right{privilege: allPrivileges, on: r.on})
}

func withOwnOption(r right) right {
	r.option = true
	return r
}

func revokes(rights []right) (all []change) {
	for _, r := range rights {
		text := r.base().String()
		_, text, _ = strings.Cut(text, " ")
		all = append(all, change{before: "REVOKE " + text + " FROM ", grant: need(r)})
	}
	return all
}

func grants(rights []right) (all []change) {
	for _, r := range rights {
		c := change{before: r.base().String() + " TO ", grant: need(r)}
		switch {
		case r.privilege == grantOption:
			c.before, c.after = "GRANT USAGE ON "+r.on+" TO ", " WITH GRANT OPTION"
		case r.option:
			c.after = " WITH " + r.optionName()
		}
		all = append(all, c)
	}
	return all
}

// need is what an administrator must hold to give or take a right.
func need(r right) string {
	if r.privilege == grantOption {
		r.privilege = usage
	}
	r.revoked, r.option = false, true
	_, text, _ := strings.Cut(r.String(), " ")
	return text
}

// sorted orders rights for people.
func sorted(rights []right) []right {
	slices.SortFunc(rights, func(a, b right) int {
		return cmp.Or(cmp.Compare(a.on, b.on), cmp.Compare(a.String(), b.String()))
	})
	return slices.Compact(rights)
}
