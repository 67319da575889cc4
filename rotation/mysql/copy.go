package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/rotation"
)

// A user is copied row by row: for each user@host of the one there is a row of
// the other. What a row holds is read from the server, compared, and only what
// differs is changed, so a row that is in use never loses what it shall keep.
// The passwords are no part of it.

// product is what the two products do in their own words.
type product interface {
	// read returns the rows of a user.
	read(ctx context.Context, user string) ([]row, error)
	// make adds a row with a password that nobody knows.
	make(ctx context.Context, a account, like row) error
	// suit changes the authentication plugin of a row, if the other's differs.
	suit(ctx context.Context, have, want row) error
	// setDefaultRoles replaces them.
	setDefaultRoles(ctx context.Context, a account, roles []string) error
	// setCopies sets a new password for all rows of a user.
	setCopies(ctx context.Context, rows []row, password string) error
}

// row is what mysql.user and SHOW GRANTS say about one user@host.
type row struct {
	account
	plugin  string
	options options
	rights  []right
}

// options are the clauses of ALTER USER that limit an account.
type options struct {
	require string
	limits  []string // behind WITH
	rules   []string // of passwords and locking
}

func (o options) String() string {
	return strings.Join(slices.Concat([]string{"REQUIRE " + o.require, "WITH"}, o.limits, o.rules), " ")
}

// lines are the clauses that say more than the default does.
func (o options) lines() (lines []string) {
	if o.require != "NONE" {
		lines = append(lines, "REQUIRE "+o.require)
	}
	for _, clause := range slices.Concat(o.limits, o.rules) {
		if !strings.HasSuffix(clause, " 0") && !strings.HasSuffix(clause, " DEFAULT") && clause != "ACCOUNT UNLOCK" {
			lines = append(lines, clause)
		}
	}
	return lines
}

// anew is the row a as it would be made for r.
func (r row) anew(a account) *row {
	made := &row{account: a, plugin: r.plugin}
	if r.options.lines() == nil {
		made.options = r.options
	}
	return made
}

// attempts bounds how often a row is read and levelled: some grants show an
// effect on others.
const attempts = 4

// copyUser is CopyUser for both products; hosts asks for the rows of a user.
func (c *conn) copyUser(ctx context.Context, p product, hosts, from, to string) error {
	if _, err := c.accounts(ctx, from, hosts); err != nil {
		return err
	}
	if err := c.writable(); err != nil {
		return err
	}
	unlock, err := c.lock(ctx, to)
	if err != nil {
		return err
	}
	defer unlock()
	want, err := c.readRows(ctx, p, from)
	if err != nil {
		return err
	}
	for _, w := range want {
		if err := c.makeRow(ctx, p, w, account{to, w.host}); err != nil {
			return err
		}
	}
	return c.dropRows(ctx, p, want, to)
}

// explainCopy is ExplainCopy for both products.
func (c *conn) explainCopy(ctx context.Context, p product, hosts, from, to string) ([]string, error) {
	return c.notes(func() error {
		if err := c.copyUser(ctx, p, hosts, from, to); err != nil {
			return err
		}
		rows, err := c.readRows(ctx, p, from)
		if err != nil {
			return err
		}
		for i := range rows {
			rows[i].user = to
		}
		return p.setCopies(ctx, rows, "")
	})
}

// notes has an act note the statements that it would send.
func (c *conn) notes(act func() error) (noted []string, err error) {
	c.noted = &noted
	defer func() { c.noted = nil }()
	err = act()
	return noted, err
}

// told is a statement as a plan shows it: with the names of accounts, which stand beside
// an @, and without passwords.
func told(statement string, args []any) string {
	if len(args) == 0 {
		return statement
	}
	parts := strings.Split(statement, "?")
	text := parts[0]
	for i, arg := range args {
		shown := rotation.Redacted
		if strings.HasPrefix(parts[i+1], "@") || strings.HasSuffix(parts[i], "@") {
			shown = literal(fmt.Sprint(arg))
		}
		text += shown + parts[i+1]
	}
	return text
}

// readRows reads under a known SQL mode, on which the quoting depends.
func (c *conn) readRows(ctx context.Context, p product, user string) ([]row, error) {
	_, maria := p.(*mariadb)
	mode := "''"
	if maria {
		mode = "'NO_AUTO_CREATE_USER'" // a GRANT must not make a user
	}
	if err := c.execOnce(ctx, "SET SESSION sql_mode = "+mode+", sql_quote_show_create = 1", nil); err != nil {
		return nil, err
	}
	all, err := p.read(ctx, user)
	if err != nil {
		return nil, c.needs(err, "reading the accounts of "+user, "SELECT ON mysql.*")
	}
	for i := range all {
		own, err := c.showGrants(ctx, all[i].account)
		if err != nil {
			return nil, err
		}
		all[i].rights = sorted(append(all[i].rights, own...))
		if maria {
			all[i].rights = withoutDangling(all[i].rights)
		}
	}
	return all, nil
}

// withoutDangling leaves out a default role that is granted no more: MariaDB
// keeps telling it.
func withoutDangling(rights []right) []right {
	return slices.DeleteFunc(rights, func(r right) bool {
		return r.privilege == defaultRole && !slices.ContainsFunc(rights, func(role right) bool { return role.on == "" && role.privilege == r.on })
	})
}

func (c *conn) showGrants(ctx context.Context, a account) ([]right, error) {
	lines, err := c.strings(ctx, "SHOW GRANTS FOR "+a.quoted())
	if err != nil {
		return nil, c.needs(err, "reading the grants of "+a.String(), "SELECT ON mysql.*")
	}
	var all []right
	for _, line := range lines {
		rights, err := parseGrant(line)
		if err != nil {
			return nil, rotation.Errorf(rotation.ClassDatabase, "reading the grants of %s: %w", a, err)
		}
		all = append(all, rights...)
	}
	return all, nil
}

// strings runs a query whose first column is text.
func (c *conn) strings(ctx context.Context, query string, args ...any) ([]string, error) {
	found, err := c.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, c.statementError(ctx, err, nil)
	}
	defer found.Close()
	var all []string
	for found.Next() {
		var text string
		if err := found.Scan(&text); err != nil {
			return nil, c.statementError(ctx, err, nil)
		}
		all = append(all, text)
	}
	return all, c.statementError(ctx, found.Err(), nil)
}

// makeRow makes the row a the equal of want.
func (c *conn) makeRow(ctx context.Context, p product, want row, a account) error {
	for range attempts {
		have, err := c.readRow(ctx, p, a)
		if err != nil {
			return err
		}
		if have == nil {
			if err := c.needs(p.make(ctx, a, want), "creating the user "+a.String(), "CREATE USER"); err != nil {
				return err
			}
			if c.noted == nil {
				continue
			}
			have = want.anew(a)
		}
		equal, err := c.levelRow(ctx, p, *have, want)
		if equal || err != nil || c.noted != nil {
			return err
		}
	}
	return rotation.Errorf(rotation.ClassDatabase, "the rights of %s could not be made equal to those of %s: compare SHOW GRANTS of both", a, want.account)
}

// readRow returns nil if there is no such row.
func (c *conn) readRow(ctx context.Context, p product, a account) (*row, error) {
	all, err := c.readRows(ctx, p, a.user)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(each row) bool { return each.host == a.host })
	if i < 0 {
		return nil, nil
	}
	return &all[i], nil
}

// levelRow changes what differs, and tells whether nothing did.
func (c *conn) levelRow(ctx context.Context, p product, have, want row) (equal bool, err error) {
	equal = true
	if have.plugin != want.plugin {
		equal = false
		if err := c.needs(p.suit(ctx, have, want), "changing the plugin of "+have.String(), "CREATE USER"); err != nil {
			return false, err
		}
	}
	if have.options.String() != want.options.String() {
		equal = false
		err := c.exec(ctx, "ALTER USER "+have.quoted()+" "+want.options.String())
		if err := c.needs(err, "changing the limits of "+have.String(), "CREATE USER"); err != nil {
			return false, err
		}
	}
	for _, step := range level(have.rights, want.rights) {
		done, err := c.carryOut(ctx, step, have.account)
		if err != nil {
			return false, c.needsToPass(err, step)
		}
		equal = equal && !done
	}
	roles := defaultRoles(want.rights)
	if slices.Equal(defaultRoles(have.rights), roles) {
		return equal, nil
	}
	return false, p.setDefaultRoles(ctx, have.account, roles)
}

// carryOut tells whether a change was made: the servers keep the rights on what is
// dropped, but give none on it, except on a table, together with CREATE. That is taken
// back when the row is levelled again. And they leave a role that everybody has.
func (c *conn) carryOut(ctx context.Context, step change, a account) (done bool, err error) {
	err = c.exec(ctx, step.statement(a))
	if isServer(err, errNoTable) && c.exec(ctx, step.withCreate().statement(a)) == nil {
		return true, nil
	}
	if isServer(err, errNoRoutineGrant) {
		return true, nil // MariaDB from 11.3 on takes SHOW CREATE ROUTINE with the others
	}
	if slices.ContainsFunc([]uint16{errNoDatabase, errNoTable, errUnknownColumn, errNoRoutine, errMandatoryRole}, func(n uint16) bool { return isServer(err, n) }) {
		return false, nil
	}
	return true, err
}

// needsToPass names what the administrator must hold to give or take a right.
func (c *conn) needsToPass(err error, step change) error {
	if rotation.ClassOf(err) != rotation.ClassPrivilege {
		return fmt.Errorf("%s…: %w", step.before, err)
	}
	grant, option, _ := strings.Cut(step.grant, " WITH ")
	return rotation.Errorf(rotation.ClassPrivilege, "copying the rights needs a privilege that can be passed on: GRANT %s TO %s WITH %s",
		grant, c.self, option)
}

func defaultRoles(rights []right) (roles []string) {
	for _, r := range rights {
		if r.privilege == defaultRole {
			roles = append(roles, r.on)
		}
	}
	return roles
}

// dropRows drops the rows of a user at hosts where the other has none: from
// there, it may log in no more.
func (c *conn) dropRows(ctx context.Context, p product, keep []row, user string) error {
	have, err := p.read(ctx, user)
	if err != nil {
		return err
	}
	for _, h := range have {
		if slices.ContainsFunc(keep, func(k row) bool { return k.host == h.host }) {
			continue
		}
		err := c.exec(ctx, "DROP USER "+h.quoted())
		if err := c.needs(err, "dropping the user "+h.String(), "CREATE USER"); err != nil {
			return err
		}
	}
	return nil
}

// userRights is Rights for both products.
func (c *conn) userRights(ctx context.Context, p product, user string) ([]string, error) {
	all, err := c.readRows(ctx, p, user)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, each := range all {
		at := "at '" + each.host + "': "
		lines = append(lines, at+"may log in by "+each.plugin)
		for _, clause := range each.options.lines() {
			lines = append(lines, at+clause)
		}
		for _, own := range each.rights {
			lines = append(lines, at+own.String())
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// requirement is the clause behind REQUIRE, from the columns of mysql.user.
func requirement(kind, cipher, issuer, subject string) string {
	switch kind {
	case "":
		return "NONE"
	case "ANY":
		return "SSL"
	case "X509":
		return "X509"
	}
	var parts []string
	for _, p := range [][2]string{{"SUBJECT", subject}, {"ISSUER", issuer}, {"CIPHER", cipher}} {
		if p[1] != "" {
			parts = append(parts, p[0]+" "+literal(p[1]))
		}
	}
	return strings.Join(parts, " AND ")
}

// literal quotes a text under the SQL modes that readRows sets.
func literal(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}

// quoted is the account as names in backticks, for statements that are put
// together here: names that SHOW GRANTS has quoted may hold question marks,
// which the driver would take for parameters.
func (a account) quoted() string {
	quote := func(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }
	return quote(a.user) + "@" + quote(a.host)
}
