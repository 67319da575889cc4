package rdsapi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/sqldb"
)

const (
	// afterTrouble is the pause after a failure of the server's own database,
	// and the first one after a server that could not be started.
	afterTrouble = time.Second
	longestPause = time.Minute
	// farewell is how long servers may take to stop at the end of Run.
	farewell = 20 * time.Second
)

// Run brings back the servers of the instances there are, carries creations and
// deletions through, starts crashed servers again, and stops all servers when
// ctx ends. It returns when they have stopped.
func (s *Service) Run(ctx context.Context) error {
	// Servers may run as another user, who must pass through the folder.
	if err := os.MkdirAll(s.config.Dir, 0o711); err != nil { //nolint:gosec // see above
		return fmt.Errorf("making the folder of the database servers: %w", err)
	}
	var crew sync.WaitGroup
	defer crew.Wait()
	for ctx.Err() == nil {
		pause := time.Duration(-1)
		if err := s.dispatch(ctx, &crew); err != nil && ctx.Err() == nil {
			s.config.Log.Error("looking after databases", "error", err)
			pause = afterTrouble
		}
		sleep(ctx, pause, s.poke)
	}
	return nil
}

// sleep waits for a poke, or for pause to pass if it is not negative.
func sleep(ctx context.Context, pause time.Duration, poke <-chan struct{}) {
	var over <-chan time.Time
	if pause >= 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
	case <-poke:
	case <-over:
	}
}

// dispatch settles clusters and sees that each database with an instance has a
// tender.
func (s *Service) dispatch(ctx context.Context, crew *sync.WaitGroup) error {
	var owners []string
	err := s.config.DB.Write(ctx, func(tx *sqldb.Tx) (err error) {
		if err := settleClusters(ctx, tx); err != nil {
			return err
		}
		owners, err = ownersWithInstances(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	s.active.Lock()
	defer s.active.Unlock()
	for _, owner := range owners {
		if s.active.tenders[owner] != nil {
			continue
		}
		t := &tender{service: s, owner: owner, poke: make(chan struct{}, 1)}
		s.active.tenders[owner] = t
		crew.Go(func() { t.run(ctx) })
	}
	return nil
}

// settleClusters: a cluster without instances needs nothing to be available,
// and nothing to be gone.
func settleClusters(ctx context.Context, tx *sqldb.Tx) error {
	if _, err := tx.Exec(ctx, `UPDATE db_clusters SET status = $1 WHERE status = $2`, available, creating); err != nil {
		return err
	}
	list, err := allClusters(ctx, tx, "")
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.status != deleting {
			continue
		}
		members, err := instances(ctx, tx, c.arn, "")
		if err != nil {
			return err
		}
		if len(members) > 0 {
			continue
		}
		if err := deleteClusterRow(ctx, tx, c.arn); err != nil {
			return err
		}
	}
	return nil
}

func ownersWithInstances(ctx context.Context, tx *sqldb.Tx) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT DISTINCT owner FROM db_instances`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var owners []string
	for rows.Next() {
		var owner string
		if err := rows.Scan(&owner); err != nil {
			return nil, err
		}
		owners = append(owners, owner)
	}
	return owners, rows.Err()
}

// wake makes Run, and the tender of a database, look again.
func (s *Service) wake(owner string) {
	s.active.Lock()
	t := s.active.tenders[owner]
	s.active.Unlock()
	if t != nil {
		poke(t.poke)
	}
	poke(s.poke)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is waiting already
	}
}

// serverOf returns the running server of a database, or nil.
func (s *Service) serverOf(owner string) *dbserver.Server {
	s.active.Lock()
	defer s.active.Unlock()
	t := s.active.tenders[owner]
	if t == nil {
		return nil
	}
	return t.server
}

// tender looks after one database as long as it has instances.
type tender struct {
	service *Service
	owner   string
	poke    chan struct{}
	server  *dbserver.Server // running; guarded by Service.active

	host  host // nil: not up
	pause time.Duration
}

func (t *tender) run(ctx context.Context) {
	defer t.leave()
	defer t.stop(ctx)
	for ctx.Err() == nil {
		gone, err := t.step(ctx)
		if gone {
			return
		}
		if err != nil && ctx.Err() == nil {
			t.service.config.Log.Error("looking after a database", "owner", t.owner, "error", err)
		}
		t.rest(ctx, err)
	}
}

// leave lets Run start another tender if there is an instance again by now.
func (t *tender) leave() {
	s := t.service
	s.active.Lock()
	delete(s.active.tenders, t.owner)
	s.active.Unlock()
	poke(s.poke)
}

// step brings the database to where its instances want it.
func (t *tender) step(ctx context.Context) (gone bool, err error) {
	var alive, leaving []*instanceRow
	err = t.service.config.DB.Read(ctx, func(tx *sqldb.Tx) error {
		alive, leaving = nil, nil
		list, err := instances(ctx, tx, t.owner, "")
		for _, i := range list {
			if i.status == deleting {
				leaving = append(leaving, i)
			} else {
				alive = append(alive, i)
			}
		}
		return err
	})
	if err != nil {
		return false, err
	}
	if len(alive) == 0 {
		return t.end(ctx)
	}
	if err := t.forget(ctx, leaving); err != nil {
		return false, err
	}
	return false, t.bringUp(ctx, alive)
}

// bringUp starts the server if it does not run, and shows the instances as
// available.
func (t *tender) bringUp(ctx context.Context, alive []*instanceRow) error {
	if t.host == nil {
		if err := t.start(ctx); err != nil {
			return err
		}
	}
	for _, i := range alive {
		if i.status != available {
			return t.markAvailable(ctx)
		}
	}
	return nil
}

func (t *tender) start(ctx context.Context) error {
	h, err := t.service.hostOf(ctx, t.owner)
	if err == nil {
		err = h.Start(ctx)
	}
	if errors.Is(err, dbserver.ErrPortTaken) {
		h, err = t.elsewhere(ctx, h, err)
	}
	if err != nil {
		return t.markFailed(ctx, h, err)
	}
	t.host, t.pause = h, 0
	if p, ours := h.(*processHost); ours {
		t.service.active.Lock()
		t.server = p.Server
		t.service.active.Unlock()
	}
	return t.markAvailable(ctx)
}

// markAvailable also forgets the master password: it has served, and after a
// rotation it would be a wrong one.
func (t *tender) markAvailable(ctx context.Context) error {
	return t.service.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		if err := setMaster(ctx, tx, t.owner, ""); err != nil {
			return err
		}
		return setStatus(ctx, tx, t.owner, available, "")
	})
}

// markFailed returns cause. An interrupted start is no failure: it goes on
// after the restart.
func (t *tender) markFailed(ctx context.Context, h host, cause error) error {
	if ctx.Err() != nil {
		return cause
	}
	err := t.service.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		return setStatus(ctx, tx, t.owner, statusOf(cause, h), reasonOf(cause))
	})
	return errors.Join(cause, err)
}

// forget removes instances that share the server with others.
func (t *tender) forget(ctx context.Context, leaving []*instanceRow) error {
	if len(leaving) == 0 {
		return nil
	}
	return t.service.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		for _, i := range leaving {
			if _, err := tx.Exec(ctx, `DELETE FROM db_instances WHERE arn = $1`, i.arn); err != nil {
				return err
			}
		}
		return nil
	})
}

// end removes the data and then the rows, so that a crash between the two is
// made good by doing both again.
func (t *tender) end(ctx context.Context) (gone bool, err error) {
	h := t.host
	if h == nil {
		if h, err = t.service.hostOf(ctx, t.owner); err != nil {
			return false, err
		}
	}
	if err := h.Stop(ctx); err != nil {
		return false, err
	}
	t.down()
	if err := h.Remove(); err != nil {
		return false, err
	}
	return t.removeRows(ctx)
}

// removeRows leaves the database's row to a cluster, which may get an instance
// again. Somebody may have added one meanwhile: then nothing is gone.
func (t *tender) removeRows(ctx context.Context) (gone bool, err error) {
	err = t.service.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM db_instances WHERE owner = $1 AND status = $2`, t.owner, deleting); err != nil {
			return err
		}
		left, err := instances(ctx, tx, t.owner, "")
		if err != nil {
			return err
		}
		gone = len(left) == 0
		_, err = tx.Exec(ctx, `DELETE FROM databases WHERE owner = $1
			AND NOT EXISTS (SELECT 1 FROM db_clusters WHERE arn = $1)`, t.owner)
		return err
	})
	return gone, err
}

// rest waits until there is something to do: a request, the server's end, or
// after a failure the time of the next try.
func (t *tender) rest(ctx context.Context, failure error) {
	pause := time.Duration(-1)
	if failure != nil {
		t.pause = min(max(2*t.pause, afterTrouble), longestPause)
		pause = t.pause
	}
	var done <-chan struct{}
	if t.host != nil {
		done = t.host.Done()
	}
	var over <-chan time.Time
	if pause >= 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
	case <-t.poke:
	case <-over:
	case <-done:
		t.service.config.Log.Warn("a database server ended by itself and is started again", "owner", t.owner)
		t.down()
	}
}

func (t *tender) down() {
	t.host = nil
	t.service.active.Lock()
	t.server = nil
	t.service.active.Unlock()
}

// stop ends the server with Run.
func (t *tender) stop(ctx context.Context) {
	if t.host == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := t.host.Stop(ctx); err != nil {
		t.service.config.Log.Error("stopping a database server", "owner", t.owner, "error", err)
	}
	t.down()
}
