package scheduler_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// exposures tells the measured exposure of each step that has one.
func (h *house) exposures() (all []string) {
	h.t.Helper()
	h.write(func(tx *sqldb.Tx) error {
		runs, err := h.Runs(context.Background(), tx, h.arn, 1000)
		all = []string{}
		for _, r := range runs {
			if r.ExposureMicros != nil {
				all = append(all, fmt.Sprintf("%s %d", r.Step, *r.ExposureMicros))
			}
		}
		return err
	})
	return all
}

func TestExposureIsRecorded(t *testing.T) {
	for _, tc := range []struct {
		what, set, finish string
		want              []string
	}{
		{"one step does both", `{"strategy":"SingleUser","changedAtMicros":2000,"promotedAtMicros":1000,"exposureMicros":1200}`, `{"strategy":"SingleUser"}`, []string{"setSecret 1200"}},
		{"two steps", `{"strategy":"SingleUser","changedAtMicros":5000}`, `{"strategy":"SingleUser","promotedAtMicros":8000}`, []string{"finishSecret 3000"}},
		{"a clock that was set back", `{"strategy":"SingleUser","changedAtMicros":5000}`, `{"strategy":"SingleUser","promotedAtMicros":4000}`, []string{"finishSecret 0"}},
		{"two passwords", `{"strategy":"DualPassword"}`, `{"strategy":"DualPassword","promotedAtMicros":8000}`, []string{"finishSecret 0"}},
		{"two passwords, nobody could look afterwards", `{"strategy":"DualPassword"}`, `{"promotedAtMicros":8000}`, []string{"finishSecret 0"}},
		{"two users", `{"strategy":"AlternatingUsers"}`, `{"strategy":"AlternatingUsers","promotedAtMicros":8000}`, []string{"finishSecret 0"}},
		{"the answer of finishSecret was lost", `{"strategy":"SingleUser","changedAtMicros":5000}`, `{"strategy":"SingleUser"}`, []string{}},
		{"another's function", ``, ``, []string{}},
	} {
		scripted(t, func(t *testing.T, h *house) {
			h.act = func(e event) (string, error) {
				switch e.Step {
				case "setSecret":
					return tc.set, nil
				case "finishSecret":
					return tc.finish, h.play(context.Background(), e)
				}
				return "", nil
			}
			h.configure(scheduler.Rule{}, h.start("second"))
			h.during(func() { synctest.Wait() })
			want(t, tc.what, tc.want, h.exposures())
		})
	}
}

// A setSecret that was cut short may have changed the password: the exposure
// counts from its beginning.
func TestExposureOfAnInterruptedChange(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		var promoted time.Time
		sets := 0
		h.act = func(e event) (string, error) {
			switch e.Step {
			case "setSecret":
				if sets++; sets == 1 {
					return "", &scheduler.FunctionError{Type: "tcp", Message: "the server closed the connection"}
				}
				return `{"strategy":"SingleUser"}`, nil
			case "finishSecret":
				promoted = time.Now()
				return fmt.Sprintf(`{"strategy":"SingleUser","promotedAtMicros":%d}`, promoted.UnixMicro()), h.play(context.Background(), e)
			}
			return "", nil
		}
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() { time.Sleep(time.Minute); synctest.Wait() })
		want(t, "exposure", []string{"finishSecret 1000000"}, h.exposures())
	})
}
