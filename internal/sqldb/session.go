package sqldb

import (
	"errors"
	"fmt"
	"time"
)

// session is one connection with every text that it ran prepared: SQLite takes
// longer to read a text than to find a row. The texts are constants of this
// program, so their number is bounded. One transaction has it at a time.
type session struct{ engine *engine }

// openSessions opens so many connections.
func openSessions(d dsn, n int) (chan *session, error) {
	all := make(chan *session, n)
	for range n {
		e, err := d.open()
		if err != nil {
			close(all)
			return nil, errors.Join(fmt.Errorf("opening the database: %w", err), closeAll(all))
		}
		all <- &session{e}
	}
	return all, nil
}

func closeAll(all <-chan *session) (err error) {
	for s := range all {
		err = errors.Join(err, s.engine.close())
	}
	return err
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
	if err := s.run("ROLLBACK"); err != nil && s.engine.inTransaction() {
		return fmt.Errorf("rolling back: %w", err)
	}
	return nil
}

// closeSessions waits for those that are in use.
func closeSessions(all, lately chan *session) error {
	var errs []error
	for range cap(all) {
		select {
		case s := <-all:
			errs = append(errs, s.engine.close())
		case s := <-lately:
			errs = append(errs, s.engine.close())
		case <-time.After(closeWait):
			errs = append(errs, errors.New("closing the database: a reader does not end"))
		}
	}
	return errors.Join(errs...)
}
