package postgres

import (
	"context"
	"fmt"
	"strings"
)

// sessionSettings are what a session needs, whatever role and database are set to: time for
// what it asks, and names that mean the server's own. With a search_path that another
// role may create in, a function of that role would run with an administrator's rights
// ("Writing SECURITY DEFINER Functions Safely", CVE-2018-1058).
var sessionSettings = []struct{ name, value string }{
	{"search_path", "pg_catalog"},
	{"statement_timeout", "0"},
	{"lock_timeout", "10s"},
	{"idle_in_transaction_session_timeout", "60s"},
	{"transaction_timeout", "0"},  // from 17 on
	{"idle_session_timeout", "0"}, // from 14 on
}

// notDeferred keeps a first query from waiting for the end of a change that looks, by
// this very session, whether a password works: serializable, read-only and deferrable
// transactions do, to which a database may be set (SET TRANSACTION in the manual).
const notDeferred = "SET TRANSACTION NOT DEFERRABLE; "

// settle is a session's first query. A pooler lends its connections to others, who
// would inherit what is set for a session, so there nothing is: the server process is
// then another one than that of the login. What changes a password is bounded by
// SET LOCAL all the same; a step has an end of its own, which ends its statements.
func (s *session) settle(ctx context.Context) error {
	var rows []string
	for _, each := range sessionSettings {
		rows = append(rows, fmt.Sprintf("('%s', '%s')", each.name, each.value))
	}
	return s.exec(ctx, notDeferred+fmt.Sprintf(`SELECT pg_catalog.set_config(name, value, false) FROM (VALUES %s) own (name, value)
		WHERE pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) %d AND pg_catalog.current_setting(name, true) IS NOT NULL`,
		strings.Join(rows, ", "), s.conn.PgConn().PID()))
}
