package sqldb

import (
	"context"
	"errors"
	"fmt"
	"net/url"
)

// ReadFile runs fn in a transaction of the database at path, which another
// process may have open. The database is not changed.
func ReadFile(_ context.Context, path string, fn func(*Tx) error) (err error) {
	e, err := dsn{"file:" + url.PathEscape(path) + "?mode=rw", []string{"busy_timeout(10000)", "query_only(1)"}}.open()
	if err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	defer func() { err = errors.Join(err, e.close()) }()
	s := &session{e}
	if err := s.run("BEGIN"); err != nil {
		return fmt.Errorf("beginning to read: %w", err)
	}
	defer func() { err = errors.Join(err, s.rollback()) }()
	return fn(&Tx{session: s})
}
