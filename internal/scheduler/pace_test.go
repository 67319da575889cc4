package scheduler_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/scheduler"
)

func TestBacklogBeginsOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouseWith(t, func(c *scheduler.Config) { c.PerSecond = 10 })
		defer h.db.Close()
		h.crowd("a", 100)
		begun := map[string]time.Duration{} // :: secret → since it fell due
		due := time.Now()
		h.ctx = func(_ context.Context, e event) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if _, again := begun[e.SecretId]; !again {
				begun[e.SecretId] = time.Since(due)
			}
		}
		h.act = func(event) (string, error) { return "{}", nil } // finishSecret promotes nothing: an attempt is enough
		count := func() int {
			h.mu.Lock()
			defer h.mu.Unlock()
			return len(begun)
		}
		h.dueNow()
		h.during(func() {
			time.Sleep(5*time.Second + time.Millisecond)
			synctest.Wait()
			want(t, "begun in five seconds", 51, count())
			h.configure(scheduler.Rule{Days: 30}, h.start("by-hand"))
			synctest.Wait()
			want(t, "begun with the one asked for", 52, count())
			time.Sleep(5 * time.Second)
			synctest.Wait()
		})
		want(t, "the one asked for began", 5*time.Second+time.Millisecond, begun[string(h.arn)])
		want(t, "begun in ten seconds", 101, len(begun))
	})
}

// A clock that is set back must not hold up what is due by it.
func TestBacklogGoesOnAfterTheClockIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouseWith(t, func(c *scheduler.Config) { c.PerSecond = 1 })
		defer h.db.Close()
		h.crowd("a", 10)
		h.act = func(event) (string, error) { return "{}", nil }
		var back atomic.Int64
		h.jump = func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }
		h.exec(`UPDATE rotations SET due_at = 0, wake_at = 0`)
		h.during(func() {
			time.Sleep(3*time.Second + time.Millisecond)
			synctest.Wait()
			back.Store(int64(time.Hour))
			h.taken()
			h.Poke()
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if n := len(h.taken()) / len("createSecret setSecret testSecret finishSecret "); n < 3 {
				t.Errorf("%d rotations in the three seconds after the clock was set back", n)
			}
		})
	})
}
