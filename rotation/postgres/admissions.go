package postgres

import (
	"context"
	"sync"

	"github.com/keyturn/keyturn/rotation"
)

// Admissions remembers which roles servers were ready to let in by the password that
// ALTER ROLE sets, so that not each change by an administrator costs a connection that
// asks. The zero value is ready for use; it is safe for concurrent use.
type Admissions struct {
	mu    sync.Mutex
	rules map[rotation.Login]string
}

// maxAdmissions bounds the memory that they take, with a "tlsCA" a few KB each.
const maxAdmissions = 1000

// holds tells whether a server has let a role in by the rules that are in force.
func (a *Admissions) holds(l rotation.Login, rules string) bool {
	if a == nil || rules == "" {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rules[l] == rules
}

func (a *Admissions) note(l rotation.Login, rules string) {
	if a == nil || rules == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rules == nil || len(a.rules) >= maxAdmissions {
		a.rules = map[rotation.Login]string{}
	}
	a.rules[l] = rules
}

// rulesFor is another text whenever a server may ask a role for something else than
// before: when it read pg_hba.conf, from where it sees this machine, and the roles of
// which the role is a member, for which the file may have lines ("The pg_hba.conf
// File" in the manual; on RDS, rds_iam decides too). It is empty where that does not
// tell: a server on Windows reads the file for each connection, and a pooler, whose
// sessions are another process than the one that let them in, asks by rules of its own.
const rulesFor = `
	WITH RECURSIVE granted (id) AS (
		SELECT oid FROM pg_roles WHERE rolname = $1
		UNION SELECT m.roleid FROM pg_auth_members m JOIN granted ON m.member = granted.id)
	SELECT CASE WHEN pg_backend_pid() = $2 AND current_setting('dynamic_shared_memory_type') <> 'windows'
		THEN pg_catalog.concat_ws(' ', extract(epoch FROM pg_conf_load_time()), inet_client_addr(),
			(SELECT string_agg(id::text, ' ' ORDER BY id) FROM granted))
		ELSE '' END`

// rules must be asked for before the server is asked how it lets a role in: they may
// change meanwhile.
func (s *session) rules(ctx context.Context, user string) (rules string, err error) {
	if s.admissions == nil {
		return "", nil
	}
	err = s.conn.QueryRow(ctx, rulesFor, user, int64(s.conn.PgConn().PID())).Scan(&rules)
	return rules, statementError(ctx, err)
}
