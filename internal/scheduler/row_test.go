package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// A lease that was long enough for the step before need not be for the next one.
func TestEachStepHasALease(t *testing.T) {
	const stepTime = 30 * time.Second
	for _, takes := range []time.Duration{time.Millisecond, 14 * time.Second, 16 * time.Second, 29 * time.Second} {
		scripted(t, func(t *testing.T, h *house) {
			h.ctx = func(ctx context.Context, e event) {
				var until int64
				h.write(func(tx *sqldb.Tx) error {
					return tx.QueryRow(ctx, `SELECT lease_until FROM rotations`).Scan(&until)
				})
				if left := time.Until(time.UnixMilli(until)); left <= stepTime {
					t.Errorf("steps of %s: %s begins with a lease of %s", takes, e.Step, left)
				}
				time.Sleep(takes)
			}
			h.configure(scheduler.Rule{Days: 30}, h.start("second"))
			h.during(func() { time.Sleep(5 * takes); synctest.Wait() })
			want(t, "steps", fourSteps, h.taken())
		})
	}
}

// A row that waits for its host is let go when it is saved for another reason, also
// where the moment at which it is due stays the same.
func TestQueuedRowIsSaved(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{Days: 30}, nil)
		var due, wake, queued *int64
		read := func() {
			h.write(func(tx *sqldb.Tx) error {
				return tx.QueryRow(t.Context(), `SELECT due_at, wake_at, queued_at FROM rotations`).Scan(&due, &wake, &queued)
			})
		}
		h.exec(`UPDATE rotations SET queue = 'q', queued_at = wake_at, wake_at = NULL`)
		h.configure(scheduler.Rule{Days: 30}, nil)
		if read(); wake == nil || *wake != *due || queued != nil {
			t.Errorf("due at %v, wakes at %v, queued at %v", due, wake, queued)
		}
	})
}

// Records of a folder from before they were found by their row.
func TestRecordsOfAnOlderFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	older := sqldb.Schema{Name: scheduler.Schema.Name, Steps: scheduler.Schema.Steps[:5]}
	old, err := sqldb.Open(t.Context(), path, time.Now, older)
	if err != nil {
		t.Fatal(err)
	}
	err = old.Write(t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO rotation_runs (id, arn, version_id, kind, step, attempt, started_at, ended_at, outcome,
				error_class, error, strategy, changed_at_micros, exposure_micros)
			VALUES ('2', 'a', 'v', 'rotation', 'setSecret', 1, 7, NULL, 'running', '', '', '', NULL, NULL),
				('1', 'a', 'v', 'rotation', 'setSecret', 1, 5, 6, 'failed', 'tcp', 'no way', 'SingleUser', 8, 9),
				('3', 'b', 'w', 'retirement', 'retireSecret', 2, 1, 2, 'succeeded', '', '', '', NULL, NULL)`)
		return err
	})
	if err := errors.Join(err, old.Close()); err != nil {
		t.Fatal(err)
	}
	db, err := sqldb.Open(t.Context(), path, time.Now, scheduler.Schema)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	h := &house{t: t, db: db, arn: "a", Scheduler: scheduler.New(scheduler.Config{DB: db})}
	want(t, "records", []string{"setSecret 1 failed tcp", "setSecret 1 interrupted"}, h.runs())
	h.write(func(tx *sqldb.Tx) error {
		runs, err := h.Runs(t.Context(), tx, "a", 2)
		if err == nil {
			first := runs[1]
			want(t, "the first", "v rotation 5 6 no way SingleUser 9", fmt.Sprint(first.VersionID, " ", first.Kind, " ", first.Started.UnixMilli(), " ",
				first.Ended.UnixMilli(), " ", first.Error, " ", first.Strategy, " ", *first.ExposureMicros))
		}
		return err
	})
	h.arn = "b"
	want(t, "records of the other", []string{"retireSecret 2 succeeded"}, h.runs())
}
