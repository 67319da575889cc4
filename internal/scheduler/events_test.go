package scheduler_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Record implements audit.Recorder.
func (h *house) Record(e *audit.Event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.noted = append(h.noted, *e)
	return nil
}

// events tells what was recorded as "name version code".
func (h *house) events() (all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.noted {
		if e.Type != audit.ServiceEvent || e.Resource != string(h.arn) || e.Account != "000000000000" || e.Region != "us-east-1" || e.Time.IsZero() {
			h.t.Errorf("event %+v", e)
		}
		all = append(all, strings.TrimSpace(e.Name+" "+e.VersionID+" "+e.ErrorCode))
	}
	h.noted = nil
	return all
}

func TestEventsOfRotations(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		refuse := true
		h.act = func(e event) (string, error) {
			if e.Step == "setSecret" && refuse {
				refuse = false
				return "", &scheduler.FunctionError{Type: "tcp", Message: "connection refused"}
			}
			return "", nil
		}
		h.configure(scheduler.Rule{Days: 30}, h.start("second"))
		h.during(func() { time.Sleep(time.Minute); synctest.Wait() })
		h.mu.Lock()
		want(t, "text of the failure", "setSecret: connection refused", h.noted[1].ErrorText)
		h.mu.Unlock()
		want(t, "events", []string{"RotationStarted second", "RotationFailed second tcp", "RotationSucceeded second"}, h.events())
	})
}

func TestEventsOfAbandonedRotations(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{Days: 30}, h.start("second"))
		h.write(func(tx *sqldb.Tx) error {
			_, err := h.Cancel(context.Background(), tx, h.arn)
			return err
		})
		want(t, "events", []string{"RotationStarted second", "RotationAbandoned second abandoned"}, h.events())
	})
}

// Once AWSCURRENT has moved, a new rotation may take the place of one that has not come
// to its end.
func TestEventsOfReplacedRotations(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.act = func(e event) (string, error) {
			switch {
			case e.Step == "setSecret" && e.ClientRequestToken == "second":
				e.Step = "finishSecret" // near-atomic
				if err := h.play(context.Background(), e); err != nil {
					return "", err
				}
				h.write(h.start("third"))
				return "{}", nil
			case e.Step == "finishSecret":
				return "{}", h.play(context.Background(), e)
			}
			return "", nil
		}
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() { synctest.Wait() })
		want(t, "events", []string{"RotationStarted second", "RotationAbandoned second abandoned", "RotationStarted third", "RotationSucceeded third"}, h.events())
		want(t, "records", []string{"createSecret 1 succeeded", "setSecret 1 abandoned"}, h.runs()[:2])
	})
}

// An old password has ended when its function does not ask to be called again.
func TestEventsOfRetirements(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		answers := []func() (string, error){
			func() (string, error) {
				return "", &scheduler.FunctionError{Type: "tcp", Message: "connection refused"}
			},
			func() (string, error) { return `{"retireAfterSeconds":60}`, nil },
			func() (string, error) { return "", nil },
		}
		h.act = func(e event) (string, error) {
			switch e.Step {
			case "finishSecret":
				return `{"retireAfterSeconds":1}`, h.play(context.Background(), e)
			case "retireSecret":
				answer := answers[0]
				answers = answers[1:]
				return answer()
			}
			return "", nil
		}
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() { time.Sleep(time.Hour); synctest.Wait() })
		want(t, "events", []string{"RotationStarted second", "RotationSucceeded second", "RetirementFailed second tcp", "RetirementSucceeded second"}, h.events())
	})
}

func TestEventsOfTests(t *testing.T) {
	for name, tc := range map[string]struct {
		act  func(event) (string, error)
		want string
	}{
		"OK":     {nil, "TestRotationSucceeded copy"},
		"Failed": {func(event) (string, error) { return "", &scheduler.FunctionError{Type: "auth", Message: "no"} }, "TestRotationFailed copy auth"},
	} {
		t.Run(name, func(t *testing.T) {
			scripted(t, func(t *testing.T, h *house) {
				copied := h.seal("copy", "one")
				h.act = tc.act
				h.configure(scheduler.Rule{Days: 3}, func(tx *sqldb.Tx) error { return h.StartTest(context.Background(), tx, copied) })
				h.during(func() { synctest.Wait() })
				want(t, "events", []string{"TestRotationStarted copy", tc.want}, h.events())
			})
		})
	}
}

// What was rolled back has not happened.
func TestNoEventOfWhatDidNotHappen(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		failure := errors.New("no")
		err := h.db.Write(context.Background(), func(tx *sqldb.Tx) error {
			if err := h.Configure(context.Background(), tx, h.arn, scheduler.Settings{Function: "f"}); err != nil {
				return err
			}
			return errors.Join(h.Start(context.Background(), tx, h.arn, secret.VersionID("second")), failure)
		})
		if !errors.Is(err, failure) {
			t.Error(err)
		}
		if all := h.events(); all != nil {
			t.Errorf("events %v", all)
		}
	})
}
