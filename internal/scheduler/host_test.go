package scheduler_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// crowd makes n more secrets that rotate every 30 days, named prefix-0 and so on.
func (h *house) crowd(prefix string, n int) {
	h.t.Helper()
	h.write(func(tx *sqldb.Tx) error {
		for i := range n {
			name := fmt.Sprintf("%s-%d", prefix, i)
			arn := secret.NewARN(h.arn.Place(), name)
			if _, err := h.vault.Create(context.Background(), tx, secret.New{ARN: arn, Name: name}, nil); err != nil {
				return err
			}
			if err := h.Configure(context.Background(), tx, arn, scheduler.Settings{Function: "f", Rule: &scheduler.Rule{Days: 30}}); err != nil {
				return err
			}
		}
		return nil
	})
}

// dueNow makes every scheduled rotation due.
func (h *house) dueNow() {
	h.exec(fmt.Sprintf(`UPDATE rotations SET due_at = %[1]d, wake_at = %[1]d`, time.Now().UnixMilli()))
	h.Poke()
}

// byName is hosts that are named by the beginning of a secret's name.
type byName struct{}

func (byName) Host(_ context.Context, arn secret.ARN) string { return arn.Name()[:1] }

// atOnce counts how many steps run for secrets of each host.
type atOnce struct {
	now, most, done [2]atomic.Int64
}

func (a *atOnce) step(e event) {
	host := int(secret.ARN(e.SecretId).Name()[0] - 'a')
	n := a.now[host].Add(1)
	for {
		most := a.most[host].Load()
		if n <= most || a.most[host].CompareAndSwap(most, n) {
			break
		}
	}
	time.Sleep([]time.Duration{10 * time.Second, 10 * time.Millisecond}[host]) // a is slow
	a.now[host].Add(-1)
	a.done[host].Add(1)
}

func TestBurstAtOneHostKeepsItsCeilingAndStallsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouseWith(t, func(c *scheduler.Config) { c.Hosts, c.PerHost, c.PerSecond = byName{}, 3, -1 })
		defer h.db.Close()
		h.crowd("a", 40)
		h.crowd("b", 10)
		var seen atOnce
		h.ctx = func(_ context.Context, e event) { seen.step(e) }
		h.act = func(event) (string, error) { return "{}", nil } // finishSecret promotes nothing: an attempt is enough
		h.dueNow()
		h.during(func() {
			time.Sleep(5 * time.Second)
			if n := seen.done[1].Load(); n < 10*4 {
				t.Errorf("%d of 40 steps at the fast host while the other one is slow", n)
			}
			time.Sleep(40 * 40 / 3 * time.Second)
			synctest.Wait()
		})
		if n := seen.done[0].Load(); n < 40*4 {
			t.Errorf("%d of 160 steps at the slow host", n)
		}
		want(t, "most at once", [2]int64{3, 3}, [2]int64{seen.most[0].Load(), seen.most[1].Load()})
	})
}

func TestWaitingForAHostSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouseWith(t, func(c *scheduler.Config) { c.Hosts, c.PerHost = byName{}, 1 })
		defer h.db.Close()
		h.crowd("a", 5)
		block := true
		h.ctx = func(ctx context.Context, e event) {
			if block {
				<-ctx.Done()
			}
		}
		h.act = func(event) (string, error) { return "{}", nil }
		h.dueNow()
		h.during(func() { synctest.Wait() })
		block = false
		h.taken()
		h.during(func() { time.Sleep(time.Minute); synctest.Wait() })
		begun := map[string]bool{}
		h.write(func(tx *sqldb.Tx) error {
			rows, err := tx.Query(context.Background(), `SELECT arn FROM rotation_runs WHERE step = 'finishSecret'`)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var arn string
				if err := rows.Scan(&arn); err != nil {
					return err
				}
				begun[arn] = true
			}
			return rows.Err()
		})
		want(t, "secrets that came to finishSecret", 5, len(begun))
	})
}

// The clock is read once for each transaction.
func TestNothingDueNothingAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		defer h.db.Close()
		h.crowd("a", 100)
		var readings atomic.Int64
		h.jump = func() time.Time {
			readings.Add(1)
			return time.Now()
		}
		h.during(func() {
			synctest.Wait()
			before := readings.Load()
			time.Sleep(7 * 24 * time.Hour)
			synctest.Wait()
			// A sleep is cut into hours, for machines that are suspended.
			if n := readings.Load() - before; n > 2*7*24+2 {
				t.Errorf("%d readings of the clock in a week without work", n)
			}
		})
	})
}

// hostOf is hosts as a function tells them.
type hostOf func(secret.ARN) string

func (f hostOf) Host(_ context.Context, arn secret.ARN) string { return f(arn) }

// A row that leaves the queue of a host and then does not work there, since its
// value names another host by now or cannot be read, leaves nobody behind.
func TestQueueOfAHostGoesOnWithoutTheRowLetOut(t *testing.T) {
	for _, now := range []string{"", "other"} {
		t.Run(now, func(t *testing.T) { checkQueueGoesOn(t, now) })
	}
}

func checkQueueGoesOn(t *testing.T, now string) {
	synctest.Test(t, func(t *testing.T) {
		var moved atomic.Bool
		host := hostOf(func(secret.ARN) string {
			if moved.Load() {
				return now
			}
			return "one"
		})
		h := newHouseWith(t, func(c *scheduler.Config) { c.Hosts, c.PerHost, c.PerSecond = host, 1, -1 })
		defer h.db.Close()
		h.crowd("a", 5)
		h.ctx = func(context.Context, event) { time.Sleep(time.Second) }
		h.act = func(event) (string, error) { return "{}", nil }
		h.dueNow()
		h.during(func() {
			synctest.Wait() // four of them are in the queue
			moved.Store(true)
			time.Sleep(time.Minute)
			synctest.Wait()
		})
		want(t, "steps createSecret", 5, strings.Count(h.taken(), "createSecret"))
	})
}
