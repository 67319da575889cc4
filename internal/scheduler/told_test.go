package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/scheduler"
)

// A step is told what those before it have answered, as long as each succeeds at
// once; functions that tell nothing are told nothing.
func TestStepsAreToldWhatThoseBeforeAnswered(t *testing.T) {
	for _, tc := range []struct {
		name  string
		tells bool
		fails string // the step that fails the first time
		want  []string
	}{
		{"OK", true, "", []string{"createSecret false ", "setSecret true ", "testSecret false ", "finishSecret false DualPassword"}},
		{"AnotherFunction", false, "", []string{"createSecret false ", "setSecret false ", "testSecret false ", "finishSecret false "}},
		{"SetAgain", true, "setSecret", []string{"createSecret false ", "setSecret true ", "setSecret false ", "testSecret false ", "finishSecret false DualPassword"}},
		{"TestAgain", true, "testSecret", []string{"createSecret false ", "setSecret true ", "testSecret false ", "testSecret false ", "finishSecret false "}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			scripted(t, func(t *testing.T, h *house) {
				var seen []string
				h.act = func(e event) (string, error) {
					seen = append(seen, fmt.Sprint(e.Step, " ", e.Created, " ", e.Strategy))
					if e.Step == tc.fails {
						tc.fails = ""
						return "", errors.New("once")
					}
					if !tc.tells {
						return "", nil
					}
					answer := map[string]string{"createSecret": `{"created":true}`, "setSecret": `{"strategy":"DualPassword"}`}[e.Step]
					if answer == "" {
						return "", nil
					}
					return answer, h.play(context.Background(), e)
				}
				h.configure(scheduler.Rule{Days: 30}, h.start("second"))
				h.during(func() { time.Sleep(time.Minute); synctest.Wait() })
				want(t, "told", fmt.Sprint(tc.want), fmt.Sprint(seen))
			})
		})
	}
}
