package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/rotation"
)

var (
	_ rotation.UserCopier    = (*mysql)(nil)
	_ rotation.CopyExplainer = (*mysql)(nil)
	_ rotation.RightsReader  = (*mysql)(nil)
)

// CopyUser implements rotation.UserCopier.
func (m *mysql) CopyUser(ctx context.Context, from rotation.Login, to string) error {
	if err := m.copyUser(ctx, m, hostsOf, from.Username, to); err != nil {
		return err
	}
	return m.unblock(ctx, to)
}

// ExplainCopy implements rotation.CopyExplainer.
func (m *mysql) ExplainCopy(ctx context.Context, from rotation.Login, to string) ([]string, error) {
	return m.explainCopy(ctx, m, hostsOf, from.Username, to)
}

func (m *mysql) setCopies(ctx context.Context, rows []row, password string) error {
	var all []account
	for _, r := range rows {
		all = append(all, r.account)
	}
	return m.setRows(ctx, all, password)
}

// unblock forgets refused logins (FAILED_LOGIN_ATTEMPTS), which a new password does not;
// on MariaDB it does. No table shows them.
func (m *mysql) unblock(ctx context.Context, user string) error {
	hosts, err := m.strings(ctx, `SELECT RTRIM(host) FROM mysql.user WHERE user = ? AND account_locked = 'N'
		AND JSON_CONTAINS_PATH(User_attributes, 'one', '$.Password_locking.failed_login_attempts')`, user)
	if err != nil {
		return err
	}
	for _, host := range hosts {
		err := m.exec(ctx, "ALTER USER ?@? ACCOUNT UNLOCK", user, host)
		if err := m.needs(err, "unblocking the user "+user, "CREATE USER"); err != nil {
			return err
		}
	}
	return nil
}

// Rights implements rotation.RightsReader.
func (m *mysql) Rights(ctx context.Context, user string) ([]string, error) {
	return m.userRights(ctx, m, user)
}

// optionsOf reads columns rather than SHOW CREATE USER, which does not escape
// the quotes within REQUIRE SUBJECT. The first of the last two numbers is 0 if
// the account is never locked by failed logins, the second -1 for UNBOUNDED.
const optionsOf = `SELECT host, plugin, ssl_type, ssl_cipher, x509_issuer, x509_subject,
	max_questions, max_updates, max_connections, max_user_connections, account_locked,
	CASE WHEN password_lifetime IS NULL THEN 'DEFAULT' WHEN password_lifetime = 0 THEN 'NEVER' ELSE CONCAT('INTERVAL ', password_lifetime, ' DAY') END,
	COALESCE(password_reuse_history, 'DEFAULT'),
	COALESCE(CONCAT(password_reuse_time, ' DAY'), 'DEFAULT'),
	CASE password_require_current WHEN 'Y' THEN '' WHEN 'N' THEN ' OPTIONAL' ELSE ' DEFAULT' END,
	COALESCE(JSON_EXTRACT(User_attributes, '$.Password_locking.failed_login_attempts'), 0),
	COALESCE(JSON_EXTRACT(User_attributes, '$.Password_locking.password_lock_time_days'), 0),
	COALESCE(JSON_CONTAINS_PATH(User_attributes, 'one', '$.multi_factor_authentication'), 0)
	FROM mysql.user WHERE user = ? ORDER BY host`

func (m *mysql) read(ctx context.Context, user string) ([]row, error) {
	found, err := m.QueryContext(ctx, optionsOf, user)
	if err != nil {
		return nil, m.statementError(ctx, err, nil)
	}
	defer found.Close()
	var all []row
	for found.Next() {
		r := row{account: account{user: user}}
		var kind, cipher, issuer, subject, locked, lifetime, history, reuse, current string
		var limits [4]int64
		var failed, lockDays int
		var factors bool
		if err := found.Scan(&r.host, &r.plugin, &kind, &cipher, &issuer, &subject, &limits[0], &limits[1], &limits[2], &limits[3],
			&locked, &lifetime, &history, &reuse, &current, &failed, &lockDays, &factors); err != nil {
			return nil, m.statementError(ctx, err, nil)
		}
		if factors {
			return nil, rotation.Errorf(rotation.ClassPolicy, "the account %s needs more than a password to log in; it cannot be copied", r.account)
		}
		r.options = options{requirement(kind, cipher, issuer, subject), limitClauses(limits), []string{
			"PASSWORD EXPIRE " + lifetime, "ACCOUNT " + lockWord(locked), "PASSWORD HISTORY " + history, "PASSWORD REUSE INTERVAL " + reuse,
			"PASSWORD REQUIRE CURRENT" + current, fmt.Sprintf("FAILED_LOGIN_ATTEMPTS %d", failed), "PASSWORD_LOCK_TIME " + lockTime(lockDays)}}
		all = append(all, r)
	}
	if err := found.Err(); err != nil {
		return nil, m.statementError(ctx, err, nil)
	}
	if err := m.readDefaultRoles(ctx, all); err != nil {
		return nil, err
	}
	return all, m.readRestrictions(ctx, all)
}

func limitClauses(limits [4]int64) (clauses []string) {
	for i, name := range []string{"MAX_QUERIES_PER_HOUR", "MAX_UPDATES_PER_HOUR", "MAX_CONNECTIONS_PER_HOUR", "MAX_USER_CONNECTIONS"} {
		clauses = append(clauses, fmt.Sprintf("%s %d", name, limits[i]))
	}
	return clauses
}

func lockWord(locked string) string {
	if locked == "Y" {
		return "LOCK"
	}
	return "UNLOCK"
}

func lockTime(days int) string {
	if days < 0 {
		return "UNBOUNDED"
	}
	return fmt.Sprint(days)
}

func (m *mysql) readDefaultRoles(ctx context.Context, all []row) error {
	for i, r := range all {
		roles, err := m.strings(ctx, "SELECT CONCAT('`', REPLACE(default_role_user, '`', '``'), '`@`', REPLACE(default_role_host, '`', '``'), '`')"+
			" FROM mysql.default_roles WHERE user = ? AND host = ?", r.user, r.host)
		if err != nil {
			return err
		}
		for _, role := range roles {
			all[i].rights = append(all[i].rights, right{privilege: defaultRole, on: role})
		}
	}
	return nil
}

// readRestrictions reads the partial revokes of GRANT OPTION, which SHOW GRANTS leaves out.
func (m *mysql) readRestrictions(ctx context.Context, all []row) error {
	for i, r := range all {
		schemas, err := m.strings(ctx, "SELECT CONCAT('`', REPLACE(name, '`', '``'), '`.*') FROM mysql.user, JSON_TABLE(User_attributes, '$.Restrictions[*]'"+
			" COLUMNS (name TEXT PATH '$.Database', without JSON PATH '$.Privileges')) restrictions"+
			` WHERE User = ? AND Host = ? AND JSON_CONTAINS(without, '"GRANT"')`, r.user, r.host)
		if err != nil {
			return err
		}
		for _, schema := range schemas {
			all[i].rights = append(all[i].rights, right{privilege: grantOption, on: schema, revoked: true})
		}
	}
	return nil
}

// plugins are those of MySQL that know passwords.
var plugins = []string{"caching_sha2_password", "sha256_password", "mysql_native_password"}

func (m *mysql) make(ctx context.Context, a account, like row) error {
	return m.identifyAs(ctx, "CREATE USER IF NOT EXISTS ", a, like.plugin)
}

func (m *mysql) suit(ctx context.Context, have, want row) error {
	return m.identifyAs(ctx, "ALTER USER ", have.account, want.plugin)
}

// identifyAs leaves the password to the server, which fits its own rules.
func (m *mysql) identifyAs(ctx context.Context, verb string, a account, plugin string) error {
	if !slices.Contains(plugins, plugin) {
		return rotation.Errorf(rotation.ClassPolicy, "the account logs in by the plugin %s, which knows no passwords", plugin)
	}
	err := m.exec(ctx, verb+a.quoted()+" IDENTIFIED WITH "+literal(plugin)+" BY RANDOM PASSWORD")
	if isServer(err, errSyntax) {
		return rotation.Errorf(rotation.ClassPolicy, "MySQL %s cannot make random passwords, needed is 8.0.18", m.version)
	}
	return err
}

func (m *mysql) setDefaultRoles(ctx context.Context, a account, roles []string) error {
	list := "NONE"
	if len(roles) > 0 {
		list = strings.Join(roles, ", ")
	}
	err := m.exec(ctx, "ALTER USER "+a.quoted()+" DEFAULT ROLE "+list)
	return m.needs(err, "setting the default roles of "+a.String(), "CREATE USER")
}
