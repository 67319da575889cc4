package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
)

// ReadFile runs fn in a transaction of the database at path, which another
// process may have open. The database is not changed.
func ReadFile(ctx context.Context, path string, fn func(*Tx) error) (err error) {
	handle := sql.OpenDB(dsn{"file:" + url.PathEscape(path) + "?mode=rw", []string{"busy_timeout(10000)", "query_only(1)"}})
	defer func() { err = errors.Join(err, handle.Close()) }()
	sessions, err := openSessions(ctx, handle, 1)
	if err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	defer func() { err = errors.Join(err, closeSessions(sessions)) }()
	s := <-sessions
	defer func() { sessions <- s }()
	if err := s.run("BEGIN"); err != nil {
		return fmt.Errorf("beginning to read: %w", err)
	}
	defer func() { err = errors.Join(err, s.rollback()) }()
	return fn(&Tx{session: s})
}
