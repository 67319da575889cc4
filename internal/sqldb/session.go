package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// session is one connection with every text that it ran prepared: SQLite takes
// longer to read a text than to find a row. The texts are constants of this
// program, so their number is bounded. One transaction has it at a time.
type session struct {
	conn   *sql.Conn
	engine *engine // of conn
}

// openSessions opens so many connections.
func openSessions(ctx context.Context, handle *sql.DB, n int) (chan *session, error) {
	handle.SetMaxOpenConns(n)
	handle.SetMaxIdleConns(n)
	all := make(chan *session, n)
	for range n {
		s, err := openSession(ctx, handle)
		if err != nil {
			return nil, fmt.Errorf("opening the database: %w", err)
		}
		all <- s
	}
	return all, nil
}

func openSession(ctx context.Context, handle *sql.DB) (*session, error) {
	conn, err := handle.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn}
	return s, conn.Raw(func(c any) error {
		s.engine = c.(*engine)
		return nil
	})
}

// run runs a text without arguments or rows, such as BEGIN.
func (s *session) run(text string) error {
	_, err := s.engine.exec(text, nil)
	return err
}

func (s *session) commit() error {
	if err := s.run("COMMIT"); err != nil {
		return errors.Join(fmt.Errorf("committing: %w", err), s.rollback())
	}
	return nil
}

// rollback ends a transaction that some failures, such as a full disk, have ended
// already.
func (s *session) rollback() error {
	if err := s.run("ROLLBACK"); err != nil && s.inTransaction() {
		return fmt.Errorf("rolling back: %w", err)
	}
	return nil
}

// inTransaction: within a transaction there is no beginning of another.
func (s *session) inTransaction() bool {
	if s.run("BEGIN") != nil {
		return true
	}
	return s.run("COMMIT") != nil
}

func (s *session) close() error { return s.conn.Close() }

// closeSessions waits for those that are in use.
func closeSessions(all chan *session) error {
	var errs []error
	for range cap(all) {
		select {
		case s := <-all:
			errs = append(errs, s.close())
		case <-time.After(closeWait):
			errs = append(errs, errors.New("closing the database: a reader does not end"))
		}
	}
	return errors.Join(errs...)
}
