package scheduler

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// DefaultPerHost is how many rotations may be at work on one database host at a
// time, if nothing else is configured: each has one or two connections open.
const DefaultPerHost = 4

// Hosts tells where rotations work. It is safe for concurrent use.
type Hosts interface {
	// Host returns the database host that the secret's current value names, and
	// the empty text if it names none, or if that cannot be told.
	Host(ctx context.Context, arn secret.ARN) string
}

// queues keeps the ceiling on rotations of one database host. Rows that find no
// room wait in a queue, which is a column of theirs, so that they are in nobody's
// way; whoever leaves the host lets the next one out.
//
// A host's name is part of a sealed value. The queue therefore has the name of a
// keyed hash, under a key that lives as long as the process: queues do not
// outlive it either.
type queues struct {
	hosts   Hosts
	ceiling int
	key     []byte

	open struct {
		sync.Mutex
		byHost map[string]*queue // :: hash of a host → its state, while there is any
		moving int               // workers that are on their way to a host, or from one
	}
}

type queue struct {
	working int // workers at the host
	waiting int // rows in the queue, at most: others may have taken some out
}

func newQueues(hosts Hosts, ceiling int) *queues {
	if ceiling == 0 {
		ceiling = DefaultPerHost
	}
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // it never fails
	q := &queues{hosts: hosts, ceiling: ceiling, key: key}
	q.open.byHost = map[string]*queue{}
	return q
}

// of returns the name of the queue for a secret's host; empty: there is none.
func (q *queues) of(ctx context.Context, arn secret.ARN) string {
	if q.hosts == nil {
		return ""
	}
	host := q.hosts.Host(ctx, arn)
	if host == "" {
		return ""
	}
	mac := hmac.New(sha256.New, q.key)
	_, _ = mac.Write([]byte(host)) // a hash never fails
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// begin notes a worker, of whom nobody knows yet to which host it goes; end that
// it is done. Both come from dispatch.
func (q *queues) begin() { q.move(1) }
func (q *queues) end()   { q.move(-1) }

func (q *queues) move(n int) {
	q.open.Lock()
	defer q.open.Unlock()
	q.open.moving += n
}

// enter reports whether the host has room for one more, and gives it to the
// caller.
func (q *queues) enter(host string) bool {
	q.open.Lock()
	defer q.open.Unlock()
	if host != "" {
		at := q.at(host)
		if at.working >= q.ceiling {
			return false
		}
		at.working++
	}
	q.open.moving--
	return true
}

// leave gives the room back, and reports whether somebody may wait for it.
func (q *queues) leave(host string) bool {
	q.open.Lock()
	defer q.open.Unlock()
	q.open.moving++
	if host == "" {
		return false
	}
	at := q.at(host)
	at.working--
	q.forget(host)
	return at.waiting > 0
}

// queued notes a row that waits, and reports whether it need not: room may have
// come free while it was written down.
func (q *queues) queued(host string) bool {
	q.open.Lock()
	defer q.open.Unlock()
	at := q.at(host)
	at.waiting++
	return at.working < q.ceiling
}

// waiting is how many rows may be in the queue.
func (q *queues) waiting(host string) int {
	q.open.Lock()
	defer q.open.Unlock()
	return q.at(host).waiting
}

// less notes that n rows have left the queue.
func (q *queues) less(host string, n int) {
	q.open.Lock()
	defer q.open.Unlock()
	at := q.at(host)
	at.waiting = max(0, at.waiting-n)
	q.forget(host)
}

// stranded returns the hosts that have room and rows that wait for it, unless a
// worker may be on its way there. It is called when no row is due, so those that
// were let out do not come: they were taken back, or their values name another
// host, or cannot be read.
func (q *queues) stranded() (hosts []string) {
	q.open.Lock()
	defer q.open.Unlock()
	if q.open.moving > 0 {
		return nil
	}
	for host, at := range q.open.byHost {
		if at.waiting > 0 && at.working < q.ceiling {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func (q *queues) at(host string) *queue {
	at, ok := q.open.byHost[host]
	if !ok {
		at = &queue{}
		q.open.byHost[host] = at
	}
	return at
}

func (q *queues) forget(host string) {
	if at := q.open.byHost[host]; at.working == 0 && at.waiting == 0 {
		delete(q.open.byHost, host)
	}
}

// enqueue makes a row wait for room at its host. A row that is saved for another
// reason leaves the queue by that and is looked at anew.
func (s *Scheduler) enqueue(ctx context.Context, arn secret.ARN, host string) error {
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE rotations SET queue = $2, queued_at = wake_at, wake_at = NULL
			WHERE arn = $1 AND wake_at <= $3`, arn, host, sqldb.Millis(tx.Now))
		return err
	})
	if err != nil {
		return fmt.Errorf("making a rotation wait for its host: %w", err)
	}
	if s.hosts.queued(host) {
		return s.dequeue(ctx, host)
	}
	return nil
}

// dequeue lets the row out that waits longest. It is due from now on, behind
// those that became due at other hosts meanwhile.
func (s *Scheduler) dequeue(ctx context.Context, host string) error {
	seen := s.hosts.waiting(host)
	found := false
	err := s.db.Write(ctx, func(tx *sqldb.Tx) (err error) {
		found, err = letOut(ctx, tx, host)
		return err
	})
	if err != nil {
		return fmt.Errorf("letting a rotation go to its host: %w", err)
	}
	if found {
		seen = 1
	}
	s.hosts.less(host, seen)
	return nil
}

// dequeueStranded lets a row out wherever none comes to a host with room, and
// reports whether there was any. While the pace holds rows up they may still come.
func (s *Scheduler) dequeueStranded(ctx context.Context) (found bool, err error) {
	hosts := s.hosts.stranded()
	if len(hosts) == 0 || s.pace.holds(s.now()) {
		return false, nil
	}
	for _, host := range hosts {
		if err := s.dequeue(ctx, host); err != nil {
			return false, err
		}
	}
	return true, nil
}

func letOut(ctx context.Context, tx *sqldb.Tx, host string) (found bool, err error) {
	var arn secret.ARN
	err = tx.QueryRow(ctx, `SELECT arn FROM rotations WHERE queue = $1 AND queued_at IS NOT NULL
		ORDER BY queued_at LIMIT 1`, host).Scan(&arn)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, `UPDATE rotations SET wake_at = $2, queue = '', queued_at = NULL WHERE arn = $1`,
		arn, sqldb.Millis(tx.Now))
	return true, err
}

// dissolveQueues makes everything due that waited when the server ended.
func dissolveQueues(ctx context.Context, tx *sqldb.Tx) error {
	_, err := tx.Exec(ctx, `UPDATE rotations SET wake_at = queued_at, queue = '', queued_at = NULL WHERE queued_at IS NOT NULL`)
	if err != nil {
		return fmt.Errorf("dissolving the queues of hosts: %w", err)
	}
	return nil
}
