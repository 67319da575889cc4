package sqldb

import (
	"context"
	"database/sql"
	"sync"
)

// statements keeps every text that was run prepared: SQLite takes longer to read
// a text than to find a row. The texts are constants of this program, so their
// number is bounded. A nil *statements prepares nothing.
type statements struct {
	db *sql.DB

	mu     sync.RWMutex
	ready  map[string]*sql.Stmt // :: text → statement; nil: it is wanted, or cannot be prepared
	wanted []string             // run once and not prepared yet
}

func newStatements(db *sql.DB) *statements {
	return &statements{db: db, ready: map[string]*sql.Stmt{}}
}

// find returns the prepared statement of a text. There is none at the first
// time: preparing takes a connection of its own, and the writer's only one is
// held by the transaction that asks.
func (s *statements) find(text string) *sql.Stmt {
	if s == nil {
		return nil
	}
	s.mu.RLock()
	stmt, known := s.ready[text]
	s.mu.RUnlock()
	if !known {
		s.want(text)
	}
	return stmt
}

func (s *statements) want(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.ready[text]; !known {
		s.ready[text] = nil
		s.wanted = append(s.wanted, text)
	}
}

// prepare prepares what is wanted; call it when no transaction is held. A text
// that cannot be prepared goes on being run as it is, and tells its error then.
func (s *statements) prepare(ctx context.Context) {
	s.mu.RLock()
	idle := len(s.wanted) == 0
	s.mu.RUnlock()
	if idle {
		return
	}
	s.mu.Lock()
	texts := s.wanted
	s.wanted = nil
	s.mu.Unlock()
	for _, text := range texts {
		stmt, err := s.db.PrepareContext(context.WithoutCancel(ctx), text) //nolint:sqlclosecheck // it is kept
		if err != nil {
			continue
		}
		s.mu.Lock()
		s.ready[text] = stmt // lives as long as the database
		s.mu.Unlock()
	}
}
