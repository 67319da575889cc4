package scheduler_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/sqldb"
)

func (h *house) watch(limit int) (all []scheduler.Watched) {
	h.t.Helper()
	h.write(func(tx *sqldb.Tx) (err error) {
		all, err = h.Watch(context.Background(), tx, limit)
		return err
	})
	return all
}

func TestWatch(t *testing.T) {
	drifting(t, func(t *testing.T, h *driftHouse) {
		want(t, "without a rule", 0, len(h.watch(10)))
		h.configure(scheduler.Rule{Days: 30}, nil)
		w := h.watch(10)
		if len(w) != 1 || w[0].ARN != h.arn || w[0].Next == nil || w[0].Overdue || w[0].LastRotated != nil {
			t.Fatalf("watched %+v", w)
		}
		time.Sleep(32 * day) // nobody was there
		want(t, "overdue", true, h.watch(10)[0].Overdue)
		h.live.Store("AWSCURRENT", "refused")
		h.during(func() { wait(2 * day) })
		w = h.watch(10)
		want(t, "overdue after it", false, w[0].Overdue)
		want(t, "drift", "[current_refused]", fmt.Sprint(w[0].Drift))
		h.write(func(tx *sqldb.Tx) error { return h.Suspend(context.Background(), tx, h.arn) })
		want(t, "suspended", 0, len(h.watch(10)))
	})
}

// counter is a meter that writes down what it is told.
type counter struct {
	said      []string
	took, out time.Duration
}

func (c *counter) StepEnded(step, class string, took time.Duration) {
	c.said = append(c.said, strings.TrimSpace(fmt.Sprint(step, " ", took, " ", class)))
}
func (c *counter) RotationEnded(_, strategy, result string) {
	c.said = append(c.said, strategy+" "+result)
}
func (c *counter) RotationTook(d time.Duration) { c.took = d }
func (c *counter) Exposed(d time.Duration)      { c.out = d }

func TestMeter(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		c, fails := &counter{}, 1
		h.Scheduler = scheduler.New(scheduler.Config{DB: h.db, Vault: h.vault, Functions: h, Now: h.now, Meter: c})
		h.act = func(e event) (string, error) {
			if e.Step != "setSecret" {
				return "", nil
			}
			time.Sleep(3 * time.Second)
			if fails--; fails == 0 {
				return "", &scheduler.FunctionError{Type: "tcp", Message: "down"}
			}
			return `{"strategy":"SingleUser","exposureMicros":1500}`, nil
		}
		h.configure(scheduler.Rule{Days: 30}, h.start("second"))
		h.during(func() {
			time.Sleep(time.Minute)
			synctest.Wait()
		})
		want(t, "told", []string{"createSecret 0s", "setSecret 3s tcp", " failure", "setSecret 3s",
			"testSecret 0s", "finishSecret 0s", "SingleUser success"}, c.said)
		want(t, "took", 7*time.Second, c.took)
		want(t, "exposed", 1500*time.Microsecond, c.out)
	})
}

// failures is a meter that writes down whose rotations failed.
type failures struct {
	counter
	functions []string
}

func (f *failures) RotationEnded(function, _, result string) {
	f.functions = append(f.functions, function+" "+result)
}

func TestMeterKnowsTheFunctionOfARotationThatCannotBegin(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		f := &failures{}
		h.Scheduler = scheduler.New(scheduler.Config{DB: h.db, Vault: h.vault, Functions: h, Now: h.now, Meter: f})
		h.fill()
		h.write(func(tx *sqldb.Tx) error {
			return h.Configure(context.Background(), tx, h.arn, scheduler.Settings{
				Function: "arn:aws:lambda:us-east-1:000000000000:function:rotate", Rule: &scheduler.Rule{Expr: "rate(4 hours)"}})
		})
		h.during(func() {
			time.Sleep(8 * time.Hour)
			synctest.Wait()
		})
		want(t, "counted first", "rotate failure", f.functions[0])
	})
}

// TestWatchIsBounded: a limit bounds the work only if both orders come from an
// index.
func TestWatchIsBounded(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.write(func(tx *sqldb.Tx) error {
			rows, err := tx.Query(context.Background(), "EXPLAIN QUERY PLAN "+scheduler.WatchedText, 10)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var id, parent, unused int
				var detail string
				if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
					return err
				}
				if strings.Contains(detail, "TEMP B-TREE") || strings.HasPrefix(detail, "SCAN r") && !strings.Contains(detail, "USING INDEX") {
					t.Errorf("the plan has %s", detail)
				}
			}
			return rows.Err()
		})
	})
}
