package scheduler_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// house is a scheduler with a real database in memory, and a rotation function
// that does what the test says.
type house struct {
	*scheduler.Scheduler
	t     *testing.T
	db    *sqldb.DB
	vault *secret.Vault
	arn   secret.ARN

	mu    sync.Mutex
	steps []string                           // what was invoked
	act   func(e event) (string, error)      // answers instead of the default
	ctx   func(ctx context.Context, e event) // sees each invocation's context
	jump  func() time.Time                   // another clock than time.Now
	noted []audit.Event
}

func (h *house) now() time.Time {
	if h.jump != nil {
		return h.jump()
	}
	return time.Now()
}

type event struct {
	Step, SecretId, ClientRequestToken string
	Rejections                         int64
	Created                            bool
	Strategy                           string
}

func newHouse(t *testing.T) *house { return newHouseWith(t, func(*scheduler.Config) {}) }

func newHouseWith(t *testing.T, change func(*scheduler.Config)) *house {
	key, err := envelope.NewLocal()
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t}
	if h.db, err = sqldb.Open(t.Context(), ":memory:", h.now, secret.Schema, scheduler.Schema); err != nil {
		t.Fatal(err)
	}
	h.vault = secret.NewVault(h.db, envelope.NewKeyring(key))
	config := scheduler.Config{DB: h.db, Vault: h.vault, Functions: h, Audit: h, Now: h.now, Log: slog.New(slog.DiscardHandler)}
	change(&config)
	h.Scheduler = scheduler.New(config)
	h.arn = secret.NewARN(secret.Place{Account: "000000000000", Region: "us-east-1"}, "s")
	first := h.seal("first", "one")
	h.write(func(tx *sqldb.Tx) error {
		return create(t.Context(), h, tx, secret.New{ARN: h.arn, Name: "s"}, first)
	})
	return h
}

func create(ctx context.Context, h *house, tx *sqldb.Tx, n secret.New, v *secret.Version) error {
	_, err := h.vault.Create(ctx, tx, n, v)
	return err
}

func (h *house) seal(id secret.VersionID, text string) *secret.Version {
	v, err := h.vault.Seal(context.Background(), secret.Slot{ARN: h.arn, ID: id}, secret.Value{Text: &text})
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

func (h *house) write(do func(*sqldb.Tx) error) {
	h.t.Helper()
	if err := h.db.Write(context.Background(), do); err != nil {
		h.t.Fatal(err)
	}
}

// Invoke is the rotation function: createSecret stores a value, finishSecret
// moves AWSCURRENT.
func (h *house) Invoke(ctx context.Context, function string, payload []byte) ([]byte, error) {
	var e event
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.steps = append(h.steps, e.Step)
	act, see := h.act, h.ctx
	h.mu.Unlock()
	if see != nil {
		see(ctx, e)
	}
	if act != nil {
		if answer, err := act(e); answer != "" || err != nil {
			return []byte(answer), err
		}
	}
	return nil, h.play(ctx, e)
}

func (h *house) play(ctx context.Context, e event) error {
	token := secret.VersionID(e.ClientRequestToken)
	switch e.Step {
	case "createSecret":
		v := h.seal(token, "two")
		return h.db.Write(ctx, func(tx *sqldb.Tx) error {
			_, _, err := h.vault.Put(ctx, tx, v, []string{secret.Pending})
			if taken := new(secret.TakenError); errors.As(err, &taken) {
				return nil
			}
			return err
		})
	case "finishSecret":
		return h.db.Write(ctx, func(tx *sqldb.Tx) error {
			from, err := h.vault.Holder(ctx, tx, h.arn, secret.Current)
			if err != nil {
				return err
			}
			return h.vault.MoveLabel(ctx, tx, h.arn, secret.Current, from, token)
		})
	}
	return nil
}

func (h *house) configure(rule scheduler.Rule, begin func(*sqldb.Tx) error) {
	h.t.Helper()
	h.write(func(tx *sqldb.Tx) error {
		err := h.Configure(context.Background(), tx, h.arn, scheduler.Settings{Function: "f", Rule: &rule})
		if err != nil || begin == nil {
			return err
		}
		return begin(tx)
	})
	h.Poke()
}

func (h *house) start(token secret.VersionID) func(*sqldb.Tx) error {
	return func(tx *sqldb.Tx) error { return h.Start(context.Background(), tx, h.arn, token) }
}

// during runs the scheduler while do runs.
func (h *house) during(do func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- h.Run(ctx) }()
	do()
	cancel()
	if err := <-ended; err != nil {
		h.t.Error(err)
	}
}

func (h *house) taken() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := strings.Join(h.steps, " ")
	h.steps = nil
	return s
}

func (h *house) state() (st *scheduler.State, holders map[string]secret.VersionID) {
	h.t.Helper()
	holders = map[string]secret.VersionID{}
	h.write(func(tx *sqldb.Tx) (err error) {
		for _, l := range []string{secret.Current, secret.Pending, secret.Previous} {
			if holders[l], err = h.vault.Holder(context.Background(), tx, h.arn, l); err != nil {
				return err
			}
		}
		st, err = h.State(context.Background(), tx, h.arn)
		return err
	})
	return st, holders
}

// runs tells the records, oldest first, as "step attempt outcome class".
func (h *house) runs() (all []string) {
	h.t.Helper()
	h.write(func(tx *sqldb.Tx) error {
		runs, err := h.Runs(context.Background(), tx, h.arn, 1000)
		all = nil
		for _, r := range runs {
			all = append([]string{strings.TrimSpace(fmt.Sprintf("%s %d %s %s", r.Step, r.Attempt, r.Outcome, r.ErrorClass))}, all...)
		}
		return err
	})
	return all
}

// dropPending takes AWSPENDING from a version, as UpdateSecretVersionStage does.
func (h *house) dropPending(from secret.VersionID) {
	h.write(func(tx *sqldb.Tx) error {
		if err := h.vault.MoveLabel(context.Background(), tx, h.arn, secret.Pending, from, ""); err != nil {
			return err
		}
		return h.PendingMoved(context.Background(), tx, h.arn)
	})
}

func want[T any](t *testing.T, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

const fourSteps = "createSecret setSecret testSecret finishSecret"

func scripted(t *testing.T, story func(t *testing.T, h *house)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		story(t, h)
		if err := h.db.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestRotatesAtOnceAndThenOnItsDays(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{Days: 30}, h.start("second"))
		h.during(func() {
			synctest.Wait()
			want(t, "steps", fourSteps, h.taken())
			st, holders := h.state()
			want(t, "labels", map[string]secret.VersionID{secret.Current: "second", secret.Pending: "second", secret.Previous: "first"}, holders)
			if st.LastRotated == nil || st.DueBy == nil || st.DueBy.Sub(*st.LastRotated) > 31*24*time.Hour {
				t.Errorf("state %+v", st)
			}
			time.Sleep(29 * 24 * time.Hour)
			want(t, "steps before the 30th day", "", h.taken())
			time.Sleep(2 * 24 * time.Hour)
			synctest.Wait()
			want(t, "steps after it", fourSteps, h.taken())
		})
	})
}

func TestAYearOfMonths(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{Days: 30}, nil)
		h.during(func() {
			time.Sleep(365 * 24 * time.Hour)
			synctest.Wait()
		})
		want(t, "rotations in a year", 12, strings.Count(h.taken(), fourSteps))
	})
}

func TestRetriesLaterAndLaterFromTheStepThatFailed(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.act = func(e event) (string, error) {
			if e.Step == "setSecret" {
				return "", &scheduler.FunctionError{Type: "tcp", Message: "connection refused"}
			}
			return "", nil
		}
		h.configure(scheduler.Rule{Days: 30}, h.start("second"))
		h.during(func() {
			time.Sleep(8 * time.Second) // attempts at 0, 1, 3, 7 s
			synctest.Wait()
			want(t, "steps", "createSecret setSecret setSecret setSecret setSecret", h.taken())
			st, holders := h.state()
			want(t, "AWSCURRENT", "first", holders[secret.Current])
			want(t, "next", "setSecret 5", fmt.Sprint(st.Pending.Name, " ", st.Pending.Attempt))
			h.mu.Lock()
			h.act = nil
			h.mu.Unlock()
			time.Sleep(10 * time.Second)
			synctest.Wait()
		})
		want(t, "records", []string{"createSecret 1 succeeded", "setSecret 1 failed tcp", "setSecret 2 failed tcp", "setSecret 3 failed tcp",
			"setSecret 4 failed tcp", "setSecret 5 succeeded", "testSecret 1 succeeded", "finishSecret 1 succeeded"}, h.runs())
	})
}

func TestRefusedTestGoesBackToSet(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		refuse := true
		h.act = func(e event) (string, error) {
			if e.Step == "testSecret" && refuse {
				refuse = false
				return "", &scheduler.FunctionError{Type: "auth", Message: "access denied"}
			}
			return "", nil
		}
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() { time.Sleep(time.Minute); synctest.Wait() })
		want(t, "steps", "createSecret setSecret testSecret setSecret testSecret finishSecret", h.taken())
	})
}

func TestFinishThatPromotesNothingIsAFailure(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.act = func(e event) (string, error) {
			if e.Step == "finishSecret" {
				return "{}", nil
			}
			return "", nil
		}
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() { synctest.Wait() })
		all := h.runs()
		want(t, "last record", "finishSecret 1 failed api", all[len(all)-1])
	})
}

// A function may take AWSPENDING away after it has moved AWSCURRENT: the rotation has
// succeeded all the same, by a further attempt where the step failed after that.
func TestFinishMayTakeAWSPENDINGAway(t *testing.T) {
	for attempts := range 2 {
		scripted(t, func(t *testing.T, h *house) {
			failures := attempts
			h.act = func(e event) (string, error) {
				_, holders := h.state()
				if e.Step != "finishSecret" {
					return "", nil
				}
				if holders[secret.Current] == "second" {
					return "{}", nil
				}
				if err := h.play(context.Background(), e); err != nil {
					return "", err
				}
				h.dropPending("second")
				if failures > 0 {
					failures--
					return "", &scheduler.FunctionError{Type: "function", Message: "no"}
				}
				return "{}", nil
			}
			h.configure(scheduler.Rule{Days: 30}, h.start("second"))
			h.during(func() { time.Sleep(time.Minute) })
			all := h.runs()
			want(t, "last record", fmt.Sprintf("finishSecret %d succeeded", attempts+1), all[len(all)-1])
			st, holders := h.state()
			want(t, "labels", map[string]secret.VersionID{secret.Current: "second", secret.Pending: "", secret.Previous: "first"}, holders)
			if st.LastRotated == nil {
				t.Error("there is no date of a last rotation")
			}
		})
	}
}

func TestStopInTheMiddleIsNoFailure(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.ctx = func(ctx context.Context, e event) {
			if e.Step == "setSecret" {
				<-ctx.Done()
			}
		}
		h.act = func(e event) (string, error) {
			if e.Step == "setSecret" {
				return "", context.Canceled
			}
			return "", nil
		}
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() { synctest.Wait() })
		want(t, "records", []string{"createSecret 1 succeeded", "setSecret 1 interrupted"}, h.runs())
		h.act, h.ctx = nil, nil
		h.taken()
		h.during(func() { synctest.Wait() })
		want(t, "steps after the restart", "setSecret testSecret finishSecret", h.taken())
	})
}

func TestFunctionThatHangsIsCutOff(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.ctx = func(ctx context.Context, e event) {
			if e.Step == "createSecret" {
				<-ctx.Done()
			}
		}
		h.act = func(event) (string, error) { return "", context.DeadlineExceeded }
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() { time.Sleep(30 * time.Second); synctest.Wait() })
		want(t, "first record", "createSecret 1 failed timeout", h.runs()[0])
	})
}

func TestNewValueAbandonsARotation(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		hold := make(chan struct{})
		h.ctx = func(_ context.Context, e event) {
			if e.Step == "setSecret" {
				<-hold
			}
		}
		h.configure(scheduler.Rule{Days: 10}, h.start("second"))
		h.during(func() {
			synctest.Wait()
			manual := h.seal("manual", "by hand")
			h.write(func(tx *sqldb.Tx) error {
				if _, _, err := h.vault.Put(context.Background(), tx, manual, nil); err != nil {
					return err
				}
				return h.ValueChanged(context.Background(), tx, h.arn)
			})
			close(hold)
			synctest.Wait()
			want(t, "steps", "createSecret setSecret", h.taken())
			_, holders := h.state()
			want(t, "labels", map[string]secret.VersionID{secret.Current: "manual", secret.Previous: "first", secret.Pending: ""}, holders)
			want(t, "records", []string{"createSecret 1 succeeded", "setSecret 1 abandoned"}, h.runs())
			time.Sleep(11 * 24 * time.Hour) // the manual value counts as a rotation
			synctest.Wait()
			want(t, "steps on the next date", fourSteps, h.taken())
		})
	})
}

func TestOneRotationAtATime(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{}, h.start("second"))
		for token, wanted := range map[secret.VersionID]error{"second": nil, "third": scheduler.ErrIncomplete} {
			err := h.db.Write(context.Background(), h.start(token))
			if !errors.Is(err, wanted) {
				t.Errorf("starting %s again: %v", token, err)
			}
		}
		h.during(func() { synctest.Wait() })
		want(t, "steps", fourSteps, h.taken())
		if err := h.db.Write(context.Background(), h.start("first")); !errors.Is(err, secret.ErrExists) {
			t.Errorf("starting with a token in use: %v", err)
		}
	})
}

// After AWSCURRENT was moved back by hand, AWSPENDING is on a version of which no
// rotation is under way. RotateSecret says that it "will be reattempted".
func TestRetryTakesUpWhatIsUnfinished(t *testing.T) {
	for _, cancelled := range []bool{false, true} {
		scripted(t, func(t *testing.T, h *house) {
			h.configure(scheduler.Rule{Days: 30}, h.start("second"))
			h.during(func() {
				synctest.Wait()
				h.write(func(tx *sqldb.Tx) error {
					return h.vault.MoveLabel(context.Background(), tx, h.arn, secret.Current, "second", "first")
				})
				if cancelled {
					h.write(func(tx *sqldb.Tx) error { _, err := h.Cancel(context.Background(), tx, h.arn); return err })
				}
				h.taken()
				h.write(func(tx *sqldb.Tx) error { return h.Retry(context.Background(), tx, h.arn) })
				h.Poke()
				synctest.Wait()
				steps, current := fourSteps, secret.VersionID("second")
				if cancelled {
					steps, current = "", "first"
				}
				want(t, "steps", steps, h.taken())
				_, holders := h.state()
				want(t, "AWSCURRENT", current, holders[secret.Current])
			})
		})
	}
}

func TestTestRunsOnACopyThatGoesAgain(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		copied := h.seal("copy", "one")
		h.act = func(e event) (string, error) {
			_, holders := h.state()
			want(t, "AWSPENDING during the test", "copy", holders[secret.Pending])
			return "", nil
		}
		h.configure(scheduler.Rule{Days: 3}, func(tx *sqldb.Tx) error { return h.StartTest(context.Background(), tx, copied) })
		h.during(func() { synctest.Wait() })
		want(t, "steps", "testSecret", h.taken())
		st, holders := h.state()
		want(t, "labels", map[string]secret.VersionID{secret.Current: "first", secret.Pending: "", secret.Previous: ""}, holders)
		if st.LastRotated != nil || st.DueBy == nil {
			t.Errorf("state %+v", st)
		}
	})
}

func TestCancelLeavesAWSPENDINGAndTheOperatorEndsIt(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.act = func(e event) (string, error) { return "", &scheduler.FunctionError{Type: "auth", Message: "no"} }
		h.configure(scheduler.Rule{Days: 30}, h.start("second"))
		h.during(func() {
			synctest.Wait()
			h.write(func(tx *sqldb.Tx) error {
				pending, err := h.Cancel(context.Background(), tx, h.arn)
				want(t, "pending version", "second", pending)
				return err
			})
			h.taken()
			time.Sleep(100 * 24 * time.Hour)
			want(t, "steps", "", h.taken())
			st, holders := h.state()
			want(t, "AWSPENDING", "second", holders[secret.Pending])
			if st.Enabled || st.DueBy != nil || st.Function != "f" {
				t.Errorf("state %+v", st)
			}
		})
		if err := h.db.Write(context.Background(), h.start("third")); !errors.Is(err, scheduler.ErrIncomplete) {
			t.Errorf("got %v", err)
		}
		h.write(func(tx *sqldb.Tx) error {
			if err := h.vault.MoveLabel(context.Background(), tx, h.arn, secret.Pending, "second", ""); err != nil {
				return err
			}
			return h.PendingMoved(context.Background(), tx, h.arn)
		})
		h.write(h.start("third"))
	})
}

func TestOldPasswordIsRetiredAfterItsGrace(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.act = func(e event) (string, error) {
			if e.Step == "finishSecret" {
				return `{"strategy":"DualPassword","retireAfterSeconds":86400}`, h.play(context.Background(), e)
			}
			return "", nil
		}
		h.configure(scheduler.Rule{Days: 30}, h.start("second"))
		h.during(func() {
			time.Sleep(23 * time.Hour)
			synctest.Wait()
			want(t, "steps", fourSteps, h.taken())
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			want(t, "steps after a day", "retireSecret", h.taken())
			st, _ := h.state()
			want(t, "strategy", "DualPassword", st.Strategy)
			want(t, "next", "createSecret", st.Pending.Name)
		})
	})
}

// A rotation that begins while an old password is being retired waits for that.
func TestRotationWaitsForARetirement(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		hold := make(chan struct{})
		h.ctx = func(_ context.Context, e event) {
			if e.Step == "retireSecret" {
				<-hold
			}
		}
		h.act = func(e event) (string, error) {
			if e.Step == "finishSecret" {
				return `{"retireAfterSeconds":1}`, h.play(context.Background(), e)
			}
			return "", nil
		}
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() {
			time.Sleep(2 * time.Second)
			synctest.Wait()
			want(t, "steps", fourSteps+" retireSecret", h.taken())
			h.write(h.start("third"))
			h.Poke()
			synctest.Wait()
			want(t, "steps during the retirement", "", h.taken())
			close(hold)
			time.Sleep(time.Millisecond)
			synctest.Wait()
			want(t, "steps after it", fourSteps, h.taken())
		})
	})
}

func TestDeletedSecretRests(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		ctx := context.Background()
		h.configure(scheduler.Rule{Days: 5}, nil)
		h.write(func(tx *sqldb.Tx) error { return h.Suspend(ctx, tx, h.arn) })
		h.during(func() {
			time.Sleep(20 * 24 * time.Hour)
			want(t, "steps", "", h.taken())
			h.write(func(tx *sqldb.Tx) error { return h.Resume(ctx, tx, h.arn) })
			h.Poke()
			synctest.Wait()
			want(t, "steps after it was restored", fourSteps, h.taken())
			h.write(func(tx *sqldb.Tx) error { return h.Forget(ctx, tx, h.arn) })
			want(t, "records of a purged secret", nil, h.runs())
		})
	})
}

// A rotation that cannot begin stops no other, and says why.
// fill leaves no room for another version of the secret.
func (h *house) fill() {
	for i := range 99 {
		id := secret.VersionID(fmt.Sprintf("labelled-%d", i))
		v := h.seal(id, "x")
		h.write(func(tx *sqldb.Tx) error {
			_, _, err := h.vault.Put(context.Background(), tx, v, []string{string(id)})
			return err
		})
	}
}

func TestRotationThatCannotBeginLetsOthersPass(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.fill()
		h.configure(scheduler.Rule{Expr: "rate(4 hours)"}, nil)
		full := h.arn
		h.arn = secret.NewARN(secret.Place{Account: "000000000000", Region: "us-east-1"}, "other")
		first := h.seal("first", "one")
		h.write(func(tx *sqldb.Tx) error {
			return create(context.Background(), h, tx, secret.New{ARN: h.arn, Name: "other"}, first)
		})
		h.configure(scheduler.Rule{Expr: "rate(6 hours)"}, nil)
		h.during(func() {
			time.Sleep(8 * time.Hour)
			synctest.Wait()
		})
		want(t, "steps of the other", fourSteps, h.taken())
		h.arn = full
		want(t, "record of the one", "createSecret 1 failed api", h.runs()[0])
	})
}

// When the database cannot be written for a while, the step runs again once the
// lease ends.
func TestStepWhoseEndWasNotWrittenRunsAgain(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		broken := true
		h.act = func(e event) (string, error) {
			if e.Step == "setSecret" && broken {
				broken = false
				h.exec(`CREATE TRIGGER full BEFORE UPDATE ON rotation_runs BEGIN SELECT RAISE(FAIL, 'no room'); END`)
			}
			return "", nil
		}
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() {
			time.Sleep(10 * time.Second)
			h.exec(`DROP TRIGGER full`)
			want(t, "steps", "createSecret setSecret", h.taken())
			time.Sleep(time.Minute)
			synctest.Wait()
			want(t, "steps after the lease", "setSecret testSecret finishSecret", h.taken())
		})
	})
}

func (h *house) exec(statement string) {
	h.write(func(tx *sqldb.Tx) error {
		_, err := tx.Exec(context.Background(), statement)
		return err
	})
}

func TestTestThatIsAlwaysRefusedBacksOff(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.act = func(e event) (string, error) {
			if e.Step == "testSecret" {
				return "", &scheduler.FunctionError{Type: "auth", Message: "locked"}
			}
			return "", nil
		}
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() { time.Sleep(time.Hour); synctest.Wait() })
		if n := strings.Count(h.taken(), "setSecret"); n > 20 {
			t.Errorf("%d setSecrets in an hour", n)
		}
	})
}

func TestFailingRetirementBlocksNoRotation(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.act = func(e event) (string, error) {
			switch e.Step {
			case "finishSecret":
				return `{"retireAfterSeconds":3600}`, h.play(context.Background(), e)
			case "retireSecret":
				return "", &scheduler.FunctionError{Type: "privilege", Message: "no"}
			}
			return "", nil
		}
		h.configure(scheduler.Rule{Days: 1}, h.start("second"))
		h.during(func() { time.Sleep(5 * 24 * time.Hour); synctest.Wait() })
		if n := strings.Count(h.taken(), "createSecret"); n < 4 {
			t.Errorf("%d rotations in five days", n)
		}
	})
}

func TestRefusedTestRunIsOver(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		copied := h.seal("copy", "one")
		h.act = func(e event) (string, error) {
			if e.ClientRequestToken == "copy" {
				return "", &scheduler.FunctionError{Type: "auth", Message: "no"}
			}
			return "", nil
		}
		h.configure(scheduler.Rule{Days: 3}, func(tx *sqldb.Tx) error { return h.StartTest(context.Background(), tx, copied) })
		h.during(func() {
			synctest.Wait()
			_, holders := h.state()
			want(t, "AWSPENDING", "", holders[secret.Pending])
			want(t, "records", []string{"testSecret 1 failed auth"}, h.runs())
			h.taken()
			time.Sleep(4 * 24 * time.Hour)
			synctest.Wait()
			want(t, "steps on the next date", fourSteps, h.taken())
		})
	})
}

// A rule that comes back, or becomes shorter, does not rotate at once.
func TestRuleThatLeadsIntoThePast(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{Days: 30}, h.start("second"))
		h.during(func() {
			synctest.Wait()
			h.taken()
			time.Sleep(20 * 24 * time.Hour)
			h.configure(scheduler.Rule{Days: 2}, nil)
			time.Sleep(time.Hour)
			want(t, "steps", "", h.taken())
			st, _ := h.state()
			if in := time.Until(*st.DueBy); in < 24*time.Hour || in > 4*24*time.Hour {
				t.Errorf("the next rotation is due within %s", in)
			}
		})
	})
}

// A clock that jumps ends a lease but not the worker: nobody else begins.
func TestClockJumpsDuringAStep(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		var ahead time.Duration
		h.jump = func() time.Time { return time.Now().Add(ahead) }
		hold, at := make(chan struct{}), 0
		h.ctx = func(_ context.Context, e event) {
			if e.Step == "setSecret" {
				at++
				<-hold
			}
		}
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() {
			synctest.Wait()
			ahead = time.Hour
			h.Poke()
			synctest.Wait()
			want(t, "workers at setSecret", 1, at)
			close(hold)
			synctest.Wait()
		})
		want(t, "steps", fourSteps, h.taken())
	})
}

func TestOperatorEndsAStuckScheduledRotation(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.act = func(event) (string, error) { return "", &scheduler.FunctionError{Type: "auth", Message: "no"} }
		h.configure(scheduler.Rule{Days: 1}, nil)
		h.during(func() {
			time.Sleep(3 * 24 * time.Hour)
			_, holders := h.state()
			h.dropPending(holders[secret.Pending])
			h.Poke()
			synctest.Wait()
			_, holders = h.state()
			want(t, "AWSPENDING", "", holders[secret.Pending])
		})
	})
}

func TestStartIsRepeatable(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() { synctest.Wait() })
		h.write(h.start("second")) // the answer was lost, and the rotation is over
		h.write(h.start("third"))
		h.write(func(tx *sqldb.Tx) error {
			_, err := h.Cancel(context.Background(), tx, h.arn)
			return err
		})
		h.taken()
		h.write(h.start("third")) // a cancelled rotation, taken up again
		h.during(func() { synctest.Wait() })
		want(t, "steps", fourSteps, h.taken())
	})
}

func TestCancelledRetirementComesBack(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		fail := true
		h.act = func(e event) (string, error) {
			switch {
			case e.Step == "finishSecret":
				return `{"retireAfterSeconds":60}`, h.play(context.Background(), e)
			case e.Step == "retireSecret" && fail:
				return "", &scheduler.FunctionError{Type: "tcp", Message: "no"}
			}
			return "", nil
		}
		h.configure(scheduler.Rule{Days: 30}, h.start("second"))
		h.during(func() {
			time.Sleep(2 * time.Minute)
			h.write(func(tx *sqldb.Tx) error {
				_, err := h.Cancel(context.Background(), tx, h.arn)
				return err
			})
			h.mu.Lock()
			fail = false
			h.steps = nil
			h.mu.Unlock()
			h.Poke()
			time.Sleep(time.Hour)
			synctest.Wait()
			want(t, "steps after CancelRotateSecret", "retireSecret", h.taken())
		})
	})
}

func TestRecordsAreBounded(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.act = func(event) (string, error) { return "", &scheduler.FunctionError{Type: "tcp", Message: "no"} }
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() {
			time.Sleep(time.Minute)
			h.exec(`INSERT INTO rotation_runs (id, arn, version_id, kind, step, attempt, started_at, outcome, error_class, error, strategy)
				WITH RECURSIVE older(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM older WHERE n < 1200)
				SELECT printf('0-%04d', n), arn, version_id, kind, step, attempt, started_at, outcome, error_class, error, strategy
				FROM older, (SELECT * FROM rotation_runs LIMIT 1)`)
			time.Sleep(time.Hour)
		})
		var n int
		h.write(func(tx *sqldb.Tx) error {
			return tx.QueryRow(context.Background(), `SELECT COUNT(*) FROM rotation_runs`).Scan(&n)
		})
		if n < 1000 || n > 1001 {
			t.Errorf("%d records", n)
		}
	})
}

// A rotation that is asked for in the moment in which a worker ends the one
// before begins at once.
func TestRotationsFollowOneAnother(t *testing.T) {
	h := newHouse(t)
	h.configure(scheduler.Rule{}, nil)
	h.during(func() {
		for i := range 200 {
			token := secret.VersionID(fmt.Sprintf("token-%d", i))
			h.write(h.start(token))
			h.Poke()
			for begin := time.Now(); ; {
				if _, holders := h.state(); holders[secret.Current] == token {
					break
				}
				if time.Since(begin) > 30*time.Second { // less than a lease
					t.Fatalf("rotation %d does not end", i)
				}
			}
		}
	})
	if err := h.db.Close(); err != nil {
		t.Error(err)
	}
}
