package keyturn_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
)

// Eight workers log in with whatever GetSecretValue says, each time over a new
// connection, while the password rotates. With two passwords, or two users that
// take turns, nobody is ever refused; with one the number is told, nobody is
// refused but while a rotation changes the password, and the record says for how
// long that was.
//
// One rotation follows the other here. On a machine that is so busy that a worker
// gets no turn for a whole rotation and a part of the next, its value is that
// before the last but one: this is told apart.
func TestLoginsUnderRotation(t *testing.T) {
	rotations := times(t, "KEYTURN_ROTATIONS", 8)
	for _, a := range everyStrategy(t) {
		t.Run(a.String(), func(t *testing.T) {
			l := underLoad(t, newWorld(t, keyturntest.NewServer(t).Config, a), rotations)
			t.Logf("%d rotations, %d logins, %d failed", len(l.exposures), l.logins.Load(), len(l.refused))
			if n := len(l.exposures); n > 0 {
				slices.Sort(l.exposures)
				t.Logf("recorded exposure: median %d µs, worst %d µs; refused in a row, seen from outside: %d µs at most",
					l.exposures[n/2], l.exposures[n-1], l.longest().Microseconds())
			}
			failed := slices.DeleteFunc(slices.Clone(l.refused), l.late)
			if len(failed) < len(l.refused) {
				t.Logf("%d logins came when a whole rotation and a part of another had passed since the value was read", len(l.refused)-len(failed))
			}
			if len(failed) > 0 && a.strategy != rotation.StrategySingleUser {
				t.Errorf("%d logins failed, the first with: %v", len(failed), failed[0].err)
			}
			if l.logins.Load() == 0 {
				t.Error("nobody logged in")
			}
			l.checkRefused(t)
		})
	}
}

// load is what eight workers and the records have seen.
type load struct {
	logins    atomic.Int64
	exposures []int64  // microseconds, of each rotation
	changes   []window // from the beginning of setSecret to the end of finishSecret
	mu        sync.Mutex
	refused   []refusal
}

type window struct{ from, to time.Time }

// refusal is a login that failed.
type refusal struct {
	window
	since time.Time // the first one in a row of the same worker
	err   error
}

func underLoad(t *testing.T, w *world, rotations int) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{}
	var crew sync.WaitGroup
	for range 8 {
		crew.Go(func() { l.work(ctx, w) })
	}
	for range rotations {
		if err := l.rotate(ctx, w); err != nil {
			t.Error(err)
			break
		}
	}
	cancel()
	crew.Wait()
	return l
}

// work logs in until ctx ends.
func (l *load) work(ctx context.Context, w *world) {
	var since time.Time
	for ctx.Err() == nil {
		begin := time.Now()
		err := w.login(context.WithoutCancel(ctx))
		if err == nil {
			l.logins.Add(1)
			since = time.Time{}
			continue
		}
		if since.IsZero() {
			since = begin
		}
		l.mu.Lock()
		l.refused = append(l.refused, refusal{window{begin, time.Now()}, since, err})
		l.mu.Unlock()
	}
}

// late tells whether one rotation ended, and another one began to change the
// password, while a worker read its value and logged in with it.
func (l *load) late(r refusal) bool {
	for i, c := range l.changes {
		if c.to.After(r.from) { // the first that ended, if it did
			return i+1 < len(l.changes) && l.changes[i+1].from.Before(r.to)
		}
	}
	return false
}

// rotate rotates once and notes what was recorded.
func (l *load) rotate(ctx context.Context, w *world) error {
	version, err := w.rotate(ctx)
	if err != nil {
		return err
	}
	wait, done := context.WithTimeout(ctx, 5*time.Minute)
	defer done()
	runs, err := w.recorded(wait, version)
	if err != nil {
		return err
	}
	change := window{to: *runs[0].Ended}
	for _, r := range runs {
		if r.Step == rotation.StepSet {
			change.from = r.Started
		}
		if r.ExposureMicros != nil {
			l.exposures = append(l.exposures, *r.ExposureMicros)
		}
	}
	l.changes = append(l.changes, change)
	return nil
}

// longest is the longest time for which one worker was refused.
func (l *load) longest() (d time.Duration) {
	for _, r := range l.refused {
		d = max(d, r.to.Sub(r.since))
	}
	return d
}

// checkRefused looks whether each refusal falls into a change, and whether each
// change has its exposure. Records are kept in milliseconds.
func (l *load) checkRefused(t *testing.T) {
	t.Helper()
	for _, r := range l.refused {
		if !slices.ContainsFunc(l.changes, func(c window) bool { return r.from.Before(c.to.Add(time.Millisecond)) && r.to.After(c.from) }) {
			t.Fatalf("a login failed outside of a change: %v", r.err)
		}
	}
	if len(l.exposures) != len(l.changes) {
		t.Errorf("%d of %d rotations have a recorded exposure", len(l.exposures), len(l.changes))
	}
}

// The window of a near-atomic rotation is shorter than the steps around it.
func TestExposureOfPostgresIsACommit(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t).Config, newAccount(t, dbserver.Postgres, rotation.StrategySingleUser))
	for range 5 {
		version, err := w.rotate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		runs, err := w.recorded(t.Context(), version)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range runs {
			switch measured := r.ExposureMicros != nil; {
			case measured != (r.Step == rotation.StepSet):
				t.Errorf("exposure of %s: %v", r.Step, r.ExposureMicros)
			case measured && *r.ExposureMicros > r.Ended.Sub(r.Started).Microseconds()+1000:
				t.Errorf("the exposure is %d µs, longer than setSecret", *r.ExposureMicros)
			case measured:
				t.Logf("exposure %d µs", *r.ExposureMicros)
			}
		}
	}
}
