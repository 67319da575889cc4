package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/rotation"
)

const hiddenPassword = rotation.Redacted

// Explain implements rotation.Explainer.
func (m *mysql) Explain(ctx context.Context, user, strategy string) (rotation.Explanation, error) {
	x, grants, err := m.survey(ctx, "MySQL", user)
	if err != nil {
		return x, err
	}
	if strategy == rotation.StrategyDualPassword && !atLeast(m.version, 8, 0, 14) {
		x.Impossible = "MySQL " + m.version + ", two passwords need 8.0.14"
	}
	if user == m.self.user {
		m.explainOwn(&x, grants, strategy)
		x.Untouched, err = m.untouched(ctx, hostsOf)
		return x, err
	}
	rows, err := m.accounts(ctx, user, hostsOf)
	if err != nil {
		return x, x.Refuse(err)
	}
	if err := m.admitted(ctx, &x, user); err != nil {
		return x, err
	}
	x.Lacks = append(x.Lacks, grants.lacking(m.self, "CREATE USER")...)
	x.Statements = otherStatements(rows, strategy)
	return x, nil
}

func (m *mysql) explainOwn(x *rotation.Explanation, grants privileges, strategy string) {
	if strategy == rotation.StrategyDualPassword {
		retaining := "ALTER USER USER() IDENTIFIED BY " + hiddenPassword + " REPLACE " + hiddenPassword + " RETAIN CURRENT PASSWORD"
		x.Lacks = append(x.Lacks, grants.lacking(m.self, "APPLICATION_PASSWORD_ADMIN")...)
		x.Statements = []rotation.Statement{
			{Step: rotation.StepSet, Text: retaining},
			{Step: rotation.StepRetire, Text: retaining}, // see dropSurely
			{Step: rotation.StepRetire, Text: "ALTER USER USER() DISCARD OLD PASSWORD"},
		}
		return
	}
	x.Statements = []rotation.Statement{{Step: rotation.StepSet, Text: "ALTER USER USER() IDENTIFIED BY " + hiddenPassword}}
}

// otherStatements are those for the rows of another user, each for all of them.
func otherStatements(rows []account, strategy string) []rotation.Statement {
	if strategy != rotation.StrategyDualPassword {
		return []rotation.Statement{{Step: rotation.StepSet, Text: alterUser(rows, "IDENTIFIED BY "+hiddenPassword)}}
	}
	return []rotation.Statement{
		{Step: rotation.StepSet, Text: alterUser(rows, "IDENTIFIED BY "+hiddenPassword+" RETAIN CURRENT PASSWORD")},
		{Step: rotation.StepRetire, Text: alterUser(rows, "DISCARD OLD PASSWORD")},
	}
}

// alterUser is a statement that says the same of each row.
func alterUser(rows []account, clause string) string {
	var clauses []string
	for _, a := range rows {
		clauses = append(clauses, a.String()+" "+clause)
	}
	return "ALTER USER " + strings.Join(clauses, ", ")
}

// Explain implements rotation.Explainer.
func (m *mariadb) Explain(ctx context.Context, user, strategy string) (rotation.Explanation, error) {
	x, grants, err := m.survey(ctx, "MariaDB", user)
	if err != nil {
		return x, err
	}
	dual := strategy == rotation.StrategyDualPassword
	if dual && !atLeast(m.version, 10, 4, 0) {
		x.Impossible = "MariaDB " + m.version + ", two passwords need 10.4"
	}
	if dual && m.keepsHistory(ctx) {
		x.Impossible = "the plugin password_reuse_check, which refuses the password that would stay"
	}
	if dual || user != m.self.user {
		x.Lacks = append(x.Lacks, grants.lacking(m.self, "CREATE USER")...)
	}
	rows, err := m.accounts(ctx, user, hostsOfMaria)
	if err != nil {
		return x, x.Refuse(err)
	}
	if err := m.admitted(ctx, &x, user); err != nil {
		return x, err
	}
	if user == m.self.user {
		if x.Untouched, err = m.untouched(ctx, hostsOfMaria); err != nil {
			return x, err
		}
	}
	if dual {
		err = m.explainTwo(ctx, &x, rows)
		return x, err
	}
	set, err := m.notes(func() error { return m.setRows(ctx, rows, "") })
	x.Statements = during(rotation.StepSet, set)
	err = x.Refuse(err)
	return x, err
}

func (m *mariadb) explainTwo(ctx context.Context, x *rotation.Explanation, rows []account) error {
	for _, a := range rows {
		if err := x.Refuse(m.mayHaveTwo(ctx, a)); err != nil {
			return err
		}
	}
	set, err := m.notes(func() error { return m.addTo(ctx, rows, "", "") })
	if err != nil {
		return err
	}
	retire, err := m.notes(func() error { return m.identify(ctx, alone(rows, "")...) })
	x.Statements = slices.Concat(during(rotation.StepSet, set), during(rotation.StepRetire, retire))
	return err
}

// during is the statements of a step.
func during(step string, texts []string) (all []rotation.Statement) {
	for _, text := range texts {
		all = append(all, rotation.Statement{Step: step, Text: text})
	}
	return all
}

// survey finds what does not depend on the strategy.
func (c *conn) survey(ctx context.Context, product, user string) (x rotation.Explanation, grants privileges, err error) {
	x.Server = product + " " + c.version
	var readOnly bool
	if err := c.QueryRowContext(ctx, "SELECT "+readsOnly).Scan(&readOnly); err != nil {
		return x, "", c.statementError(ctx, err, nil)
	}
	if grants, err = c.privileges(ctx); err != nil {
		return x, "", err
	}
	if readOnly {
		x.Obstacles = append(x.Obstacles, "the server is read-only, as a replica or reader is: name the writer's endpoint as host")
	}
	if user != c.self.user && !grants.has("PROCESS") {
		x.Hidden = fmt.Sprintf("the sessions of %s cannot be seen without GRANT PROCESS ON *.* TO %s", user, c.self)
	}
	x.Sessions, err = c.sessions(ctx, user)
	return x, grants, err
}

// privileges is the session's grants on *.*, those of its active roles among
// them, as SHOW GRANTS lists them.
type privileges string

var everywhere = regexp.MustCompile(`(?i)^GRANT (.*) ON \*\.\* TO `)

func (c *conn) privileges(ctx context.Context) (privileges, error) {
	var roles sql.NullString
	err := c.QueryRowContext(ctx, "SELECT CURRENT_ROLE()").Scan(&roles)
	if err != nil { // MySQL 5.7 has no roles
		roles.Valid = false
	}
	statement := "SHOW GRANTS"
	if roles.Valid && strings.Contains(roles.String, "@") { // MariaDB shows the grants of roles by itself
		statement = "SHOW GRANTS FOR CURRENT_USER() USING " + roles.String
	}
	rows, err := c.QueryContext(ctx, statement)
	if err != nil {
		return "", c.statementError(ctx, err, nil)
	}
	defer rows.Close()
	all := ","
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return "", c.statementError(ctx, err, nil)
		}
		if m := everywhere.FindStringSubmatch(line); m != nil {
			all += strings.ToUpper(strings.ReplaceAll(m[1], ", ", ",")) + ","
		}
	}
	return privileges(all), c.statementError(ctx, rows.Err(), nil)
}

func (p privileges) has(privilege string) bool {
	return strings.Contains(string(p), ","+privilege+",") || strings.Contains(string(p), ",ALL PRIVILEGES,")
}

// lacking returns the GRANT for a privilege that the account does not have.
func (p privileges) lacking(a account, privilege string) []string {
	if p.has(privilege) {
		return nil
	}
	return []string{fmt.Sprintf("GRANT %s ON *.* TO %s", privilege, a)}
}

// sessions lists the connections of a user besides this one. The column Info
// is left alone: it may hold a statement with a password.
func (c *conn) sessions(ctx context.Context, user string) ([]rotation.OpenSession, error) {
	var own string
	if err := c.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&own); err != nil {
		return nil, c.statementError(ctx, err, nil)
	}
	rows, err := c.QueryContext(ctx, "SHOW PROCESSLIST")
	if err != nil {
		return nil, c.statementError(ctx, err, nil)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, c.statementError(ctx, err, nil)
	}
	var all []rotation.OpenSession
	for rows.Next() {
		row, err := scanRow(rows, columns)
		if err != nil {
			return nil, c.statementError(ctx, err, nil)
		}
		if row["User"] != user || row["Id"] == own {
			continue
		}
		seconds, _ := strconv.ParseInt(row["Time"], 10, 64)
		all = append(all, rotation.OpenSession{ID: row["Id"], From: row["Host"], State: row["Command"], Seconds: seconds})
	}
	return all, c.statementError(ctx, rows.Err(), nil)
}

// scanRow reads a row whose columns differ from product to product.
func scanRow(rows *sql.Rows, columns []string) (map[string]string, error) {
	values := make([]sql.NullString, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	row := map[string]string{}
	for i, name := range columns {
		row[name] = values[i].String
	}
	return row, nil
}

var versionNumbers = regexp.MustCompile(`^(\d+)\.(\d+)\.(\d+)`)

// atLeast compares the numbers with which a version begins. One that cannot be
// read is taken for a new one.
func atLeast(version string, want ...int) bool {
	m := versionNumbers.FindStringSubmatch(version)
	if m == nil {
		return true
	}
	for i, w := range want {
		if n, _ := strconv.Atoi(m[i+1]); n != w {
			return n > w
		}
	}
	return true
}
