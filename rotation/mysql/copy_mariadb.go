package mysql

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/keyturn/keyturn/rotation"
)

var (
	_ rotation.UserCopier   = (*mariadb)(nil)
	_ rotation.RightsReader = (*mariadb)(nil)
)

// CopyUser implements rotation.UserCopier.
func (m *mariadb) CopyUser(ctx context.Context, from rotation.Login, to string) error {
	return m.copyUser(ctx, m, from.Username, to)
}

// Rights implements rotation.RightsReader.
func (m *mariadb) Rights(ctx context.Context, user string) ([]string, error) {
	return m.userRights(ctx, m, user)
}

// The table mysql.global_priv is there from MariaDB 10.4 on; mysql.user is a
// view of it without locking and lifetime.
const optionsOfMaria = `SELECT u.host, ssl_type, ssl_cipher, x509_issuer, x509_subject,
	max_questions, max_updates, max_connections, max_user_connections, max_statement_time,
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
		r := row{account: account{user: user}, plugin: native}
		var kind, cipher, issuer, subject, seconds string
		var limits [4]uint64
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
	return all, m.statementError(ctx, found.Err(), nil)
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

// make uses a password that is forgotten at once. Accounts with other plugins than
// mysql_native_password are refused, as in hashes.
func (m *mariadb) make(ctx context.Context, a account, like row) error {
	if _, err := m.hashes(ctx, like.account); err != nil {
		return err
	}
	return m.create(ctx, a, "aA1_"+rand.Text()) // as rules for passwords want it
}

// suit has nothing to do: the plugin is always the same.
func (m *mariadb) suit(context.Context, row, row) error { return nil }

// setDefaultRoles sets the one that MariaDB knows. SHOW GRANTS has told it.
func (m *mariadb) setDefaultRoles(ctx context.Context, a account, roles []string) error {
	role := "NONE"
	if len(roles) > 0 {
		role = roles[0]
	}
	return m.exec(ctx, "SET DEFAULT ROLE "+role+" FOR "+a.quoted())
}
