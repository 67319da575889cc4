package mysql

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/keyturn/keyturn/rotation"
)

var (
	_ rotation.UserCopier    = (*mariadb)(nil)
	_ rotation.CopyExplainer = (*mariadb)(nil)
	_ rotation.RightsReader  = (*mariadb)(nil)
)

// CopyUser implements rotation.UserCopier.
func (m *mariadb) CopyUser(ctx context.Context, from rotation.Login, to string) error {
	return m.copyUser(ctx, m, hostsOfMaria, from.Username, to)
}

// ExplainCopy implements rotation.CopyExplainer.
func (m *mariadb) ExplainCopy(ctx context.Context, from rotation.Login, to string) ([]string, error) {
	return m.explainCopy(ctx, m, hostsOfMaria, from.Username, to)
}

func (m *mariadb) setCopies(ctx context.Context, rows []row, password string) error {
	var all []identity
	for _, r := range rows {
		all = append(all, identity{r.account, by(strings.Split(r.plugin, orPlugin), password)})
	}
	return m.identify(ctx, all...)
}

// Rights implements rotation.RightsReader.
func (m *mariadb) Rights(ctx context.Context, user string) ([]string, error) {
	return m.userRights(ctx, m, user)
}

// The table mysql.global_priv is there from MariaDB 10.4 on; mysql.user is a
// view of it without locking and lifetime, and with 999999.999999 for a longer
// statement time.
const optionsOfMaria = `SELECT u.host, ssl_type, ssl_cipher, x509_issuer, x509_subject,
	max_questions, max_updates, max_connections, max_user_connections,
	CAST(COALESCE(JSON_VALUE(p.Priv, '$.max_statement_time'), 0) AS DECIMAL(20, 6)),
	COALESCE(JSON_VALUE(p.Priv, '$.account_locked'), 'false') IN ('true', '1'),
	COALESCE(JSON_VALUE(p.Priv, '$.password_lifetime'), -1)
	FROM mysql.user u JOIN mysql.global_priv p ON p.host = u.host AND p.user = u.user
	WHERE u.user = ? AND u.is_role <> 'Y' ORDER BY u.host`

func (m *mariadb) read(ctx context.Context, user string) ([]row, error) {
	found, err := m.QueryContext(ctx, optionsOfMaria, user)
	if err != nil {
		return nil, m.statementError(ctx, err, nil)
	}
	defer found.Close()
	var all []row
	for found.Next() {
		r := row{account: account{user: user}}
		var kind, cipher, issuer, subject, seconds string
		var limits [4]int64
		var locked bool
		var lifetime int
		if err := found.Scan(&r.host, &kind, &cipher, &issuer, &subject, &limits[0], &limits[1], &limits[2], &limits[3],
			&seconds, &locked, &lifetime); err != nil {
			return nil, m.statementError(ctx, err, nil)
		}
		if seconds == "0.000000" {
			seconds = "0"
		}
		lock := "N"
		if locked {
			lock = "Y"
		}
		r.options = options{requirement(kind, cipher, issuer, subject), append(limitClauses(limits), "MAX_STATEMENT_TIME "+seconds),
			[]string{"ACCOUNT " + lockWord(lock), "PASSWORD EXPIRE " + lifetimeWord(lifetime)}}
		all = append(all, r)
	}
	if err := found.Err(); err != nil {
		return nil, m.statementError(ctx, err, nil)
	}
	return all, m.readPlugins(ctx, all)
}

func lifetimeWord(days int) string {
	switch {
	case days < 0:
		return "DEFAULT"
	case days == 0:
		return "NEVER"
	}
	return fmt.Sprintf("INTERVAL %d DAY", days)
}

// readPlugins reads by what the rows log in.
func (m *mariadb) readPlugins(ctx context.Context, all []row) error {
	for i := range all {
		list, err := m.alternatives(ctx, all[i].account)
		if err != nil {
			return err
		}
		all[i].plugin = strings.Join(pluginsOf(list), orPlugin)
	}
	return nil
}

const orPlugin = " OR "

func (m *mariadb) make(ctx context.Context, a account, like row) error {
	return m.create(ctx, unknown(a, like))
}

func (m *mariadb) suit(ctx context.Context, have, want row) error {
	return m.identify(ctx, unknown(have.account, want))
}

// unknown is an account with the plugins of a row and a password that is forgotten
// at once. It is of the kind that rules for passwords want.
func unknown(a account, like row) identity {
	return identity{a, by(strings.Split(like.plugin, orPlugin), "aA1_"+rand.Text())}
}

// setDefaultRoles sets the one that MariaDB knows. SHOW GRANTS has told it.
func (m *mariadb) setDefaultRoles(ctx context.Context, a account, roles []string) error {
	role := "NONE"
	if len(roles) > 0 {
		role = roles[0]
	}
	err := m.exec(ctx, "SET DEFAULT ROLE "+role+" FOR "+a.quoted())
	return m.needs(err, "setting the default role of "+a.String(), "UPDATE ON mysql.*")
}
