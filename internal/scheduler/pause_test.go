package scheduler_test

import (
	"context"
	"errors"
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

// failing makes one step fail with a class.
func (h *house) failing(step, class string) {
	h.act = func(e event) (string, error) {
		if e.Step == step {
			return "", &scheduler.FunctionError{Type: class, Message: "no"}
		}
		return "", nil
	}
}

// What somebody has to mend is not tried again and again: each try may be a
// refused login, and accounts get locked.
func TestWhatSomebodyMustMendWaits(t *testing.T) {
	for _, class := range []string{"privilege", "auth", "policy"} {
		scripted(t, func(t *testing.T, h *house) {
			h.failing("setSecret", class)
			h.configure(scheduler.Rule{}, h.start("second"))
			h.during(func() {
				time.Sleep(59 * time.Minute)
				synctest.Wait()
				want(t, class, "createSecret setSecret", h.taken())
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				want(t, class+" after an hour", "setSecret", h.taken())

				// RotateSecret ends the pause, with another token or the same.
				for _, token := range []secret.VersionID{"third", "second"} {
					err := h.db.Write(context.Background(), func(tx *sqldb.Tx) error { return h.Start(context.Background(), tx, h.arn, token) })
					want(t, "another token is refused", token == "third", err != nil)
					h.write(func(tx *sqldb.Tx) error { return h.Retry(context.Background(), tx, h.arn) })
					h.Poke()
					synctest.Wait()
					want(t, class+" after RotateSecret", "setSecret", h.taken())
				}
			})
		})
	}
}

// The same token alone makes a rotation that waits try at once.
func TestStartWithTheSameTokenEndsThePause(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.failing("setSecret", "privilege")
		h.startedTwice(t, "setSecret")
	})
}

// startedTwice starts a rotation that comes to a stop, and asks for it with the same token
// once more.
func (h *house) startedTwice(t *testing.T, steps string) {
	t.Helper()
	h.configure(scheduler.Rule{}, h.start("second"))
	h.during(func() {
		synctest.Wait()
		h.taken()
		h.write(h.start("second"))
		h.Poke()
		synctest.Wait()
		want(t, "steps", steps, h.taken())
	})
}

// So does it once AWSCURRENT has moved, but the rotation has not come to its end: who lost
// the answer of RotateSecret asks again with the same token.
func TestStartWithTheSameTokenAfterThePromotion(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		failed := false
		h.act = func(e event) (string, error) {
			if e.Step != "finishSecret" || failed {
				return "", nil
			}
			failed = true
			return "", errors.Join(h.play(t.Context(), e), &scheduler.FunctionError{Type: "tcp", Message: "connection refused"})
		}
		h.startedTwice(t, "finishSecret")
	})
}

// A rejected password leads to a new version, for a version keeps its value:
// soon at first, hourly later.
func TestRejectedPasswordLeadsToANewOne(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		var tokens, told []string
		refuse := 5
		h.act = func(e event) (string, error) {
			switch e.Step {
			case "createSecret":
				told = append(told, fmt.Sprint(e.Rejections))
			case "setSecret":
				tokens = append(tokens, e.ClientRequestToken)
				if refuse--; refuse >= 0 {
					return "", &scheduler.FunctionError{Type: "rejected", Message: "too short"}
				}
			}
			return "", nil
		}
		h.configure(scheduler.Rule{Days: 30}, h.start("second"))
		h.during(func() {
			time.Sleep(30 * time.Minute)
			synctest.Wait()
			want(t, "tries within minutes", 4, len(tokens))
			st, holders := h.state()
			want(t, "AWSCURRENT", "first", holders[secret.Current])
			want(t, "next", "createSecret 1", fmt.Sprint(st.Pending.Name, " ", st.Pending.Attempt))
			want(t, "records", "setSecret 1 failed policy", h.runs()[1])
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			_, holders = h.state()
			want(t, "AWSCURRENT", secret.VersionID(tokens[len(tokens)-1]), holders[secret.Current])
		})
		want(t, "rejections that createSecret was told", "0 1 2 3 4 5", strings.Join(told, " "))
		seen := map[string]bool{}
		for _, token := range tokens {
			seen[token] = true
		}
		want(t, "versions", 6, len(seen))

		told = nil
		h.during(func() { time.Sleep(31 * 24 * time.Hour); synctest.Wait() })
		want(t, "told in the next rotation", "0", strings.Join(told, " "))
	})
}

// Records are in the order of their ids, which hold the time: a clock that was
// set back puts new ones behind old ones.
func TestRejectionAfterTheClockWasSetBack(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() { synctest.Wait() })
		h.exec(`UPDATE rotation_runs SET id = 'f' || id`)
		h.taken()
		h.failing("setSecret", "rejected")
		h.configure(scheduler.Rule{}, h.start("third"))
		h.during(func() { time.Sleep(500 * time.Millisecond); synctest.Wait() })
		want(t, "steps", "createSecret setSecret", h.taken())
		st, _ := h.state()
		want(t, "next", "createSecret 1", fmt.Sprint(st.Pending.Name, " ", st.Pending.Attempt))
	})
}

// An attempt that was planned by a clock hours ahead is made when the scheduler looks
// next, at most an hour after the clock was set right; or when the server starts.
func TestRetryAfterTheClockWasSetBack(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		var ahead atomic.Int64
		ahead.Store(int64(8 * time.Hour))
		h.jump = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		h.failing("setSecret", "tcp")
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() {
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			h.act = nil // the database is back
			ahead.Store(0)
			time.Sleep(time.Hour)
			synctest.Wait()
		})
		_, holders := h.state()
		want(t, "AWSCURRENT", "second", holders[secret.Current])
	})
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{}, h.start("second"))
		h.exec(`UPDATE rotations SET try_at = try_at + 8*3600*1000, wake_at = wake_at + 8*3600*1000`)
		h.during(func() { synctest.Wait() })
		_, holders := h.state()
		want(t, "AWSCURRENT after a start", "second", holders[secret.Current])
	})
}
