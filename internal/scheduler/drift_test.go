package scheduler_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// driftHouse is a house whose function proves what live says of each label.
type driftHouse struct {
	*house
	live sync.Map // :: staging label → outcome, for the workers read it
}

const day = 24 * time.Hour

func newDriftHouse(t *testing.T) *driftHouse {
	h := &driftHouse{house: newHouse(t)}
	h.say("live", "refused")
	h.Scheduler = scheduler.New(scheduler.Config{DB: h.db, Vault: h.vault, Functions: h, Audit: h, Now: h.now, Log: slog.New(slog.DiscardHandler),
		Drift: scheduler.Drift{Every: day, Proves: func(f string) bool { return f == "f" }}})
	h.act = func(e event) (string, error) {
		if e.Step != "proveSecret" {
			return "", nil
		}
		return h.logins(), nil
	}
	return h
}

// say sets what the logins of AWSCURRENT and AWSPREVIOUS show.
func (h *driftHouse) say(current, previous string) {
	h.live.Store(secret.Current, current)
	h.live.Store(secret.Previous, previous)
}

func drifting(t *testing.T, story func(t *testing.T, h *driftHouse)) {
	synctest.Test(t, func(t *testing.T) {
		h := newDriftHouse(t)
		story(t, h)
		if err := h.db.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (h *driftHouse) logins() string {
	_, holders := h.state()
	var all []scheduler.Login
	for label, version := range holders {
		if outcome, ok := h.live.Load(label); ok && version != "" {
			all = append(all, scheduler.Login{VersionID: version, Stages: []string{label}, Username: "app", Outcome: outcome.(string), At: h.now()})
		}
	}
	text, _ := json.Marshal(map[string]any{"logins": all})
	return string(text)
}

// events are the names of the events of drift since the last call.
func (h *driftHouse) events() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, e := range h.noted {
		if strings.Contains(e.Name, "Drift") {
			all = append(all, e.Name)
		}
	}
	h.noted = nil
	return strings.Join(all, " ")
}

var yearly = scheduler.Rule{Days: 365}

func TestDriftIsCheckedOnceADay(t *testing.T) {
	drifting(t, func(t *testing.T, h *driftHouse) {
		h.configure(yearly, nil)
		first := *h.standing().CheckAt
		h.during(func() {
			time.Sleep(7*day - time.Second)
			synctest.Wait()
		})
		want(t, "steps", strings.TrimSpace(strings.Repeat("proveSecret ", 7)), h.taken())
		st := h.standing()
		want(t, "next check", first.Add(7*day), *st.CheckAt)
		want(t, "source", scheduler.SourceCheck, st.Source)
		want(t, "drift", 0, len(st.Drift))
		want(t, "events", "", h.events())
		want(t, "records", 0, len(h.runs()))
	})
}

func TestDriftIsFoundAndEnds(t *testing.T) {
	drifting(t, func(t *testing.T, h *driftHouse) {
		h.configure(yearly, h.start("22222222-2222-2222-2222-222222222222"))
		h.during(func() {
			wait(day)
			want(t, "drift at first", "[]", fmt.Sprint(h.standing().Drift))
			h.live.Store(secret.Previous, "live")
			wait(day)
			want(t, "a forgotten password", "[previous_live]", fmt.Sprint(h.standing().Drift))
			h.live.Store(secret.Current, "unknown")
			wait(day)
			want(t, "while the server is down", "[previous_live]", fmt.Sprint(h.standing().Drift))
			h.say("refused", "refused")
			wait(day)
			want(t, "another password", "[current_refused]", fmt.Sprint(h.standing().Drift))
			h.live.Store(secret.Current, "live")
			wait(2 * day)
			want(t, "after it was mended", "[]", fmt.Sprint(h.standing().Drift))
		})
		want(t, "events", "RotationDriftDetected RotationDriftDetected RotationDriftEnded", h.events())
	})
}

func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestDriftBacksOff: a password that is known to be refused is tried after two
// days, four, eight, and every eight days from then on.
func TestDriftBacksOff(t *testing.T) {
	drifting(t, func(t *testing.T, h *driftHouse) {
		h.live.Store(secret.Current, "refused")
		h.configure(yearly, nil)
		h.during(func() { wait((1 + 2 + 4 + 8 + 8) * day) })
		want(t, "checks", 5, strings.Count(h.taken(), "proveSecret"))
	})
}

// TestDriftRestsDuringARotation: a rotation that waits for its next attempt is
// under way, and so is one that begins while a canary login runs.
func TestDriftRestsDuringARotation(t *testing.T) {
	drifting(t, func(t *testing.T, h *driftHouse) {
		prove := h.act
		h.act = func(e event) (string, error) {
			if e.Step == "setSecret" {
				return "", &scheduler.FunctionError{Type: "tcp", Message: "down"}
			}
			return prove(e)
		}
		h.configure(yearly, h.start("22222222-2222-2222-2222-222222222222"))
		h.during(func() { wait(3 * day) })
		want(t, "checks", 0, strings.Count(h.taken(), "proveSecret"))
	})
}

// TestDriftIsFoundWhileARetirementFails, which may be the reason that it does.
func TestDriftIsFoundWhileARetirementFails(t *testing.T) {
	drifting(t, func(t *testing.T, h *driftHouse) {
		prove := h.act
		h.act = func(e event) (string, error) {
			switch e.Step {
			case "finishSecret":
				return `{"strategy":"DualPassword","retireAfterSeconds":3600}`, h.play(t.Context(), e)
			case "retireSecret":
				return "", &scheduler.FunctionError{Type: "auth", Message: "refused"}
			}
			return prove(e)
		}
		h.live.Store(secret.Current, "refused")
		h.configure(yearly, h.start("22222222-2222-2222-2222-222222222222"))
		h.during(func() { wait(2 * day) })
		st := h.standing()
		want(t, "drift", "[current_refused]", fmt.Sprint(st.Drift))
		want(t, "the older password", true, st.RetireAt != nil && st.RetireVersion == "22222222-2222-2222-2222-222222222222")
	})
}

// TestOldPasswordAfterARollBack: AWSCURRENT has the older password then, and retireSecret
// does not end it. A value that is stored later changes nothing about the older one.
func TestOldPasswordAfterARollBack(t *testing.T) {
	const second = secret.VersionID("22222222-2222-2222-2222-222222222222")
	drifting(t, func(t *testing.T, h *driftHouse) {
		prove := h.act
		h.act = func(e event) (string, error) {
			if e.Step == "finishSecret" {
				return `{"strategy":"DualPassword","retireAfterSeconds":86400}`, h.play(t.Context(), e)
			}
			return prove(e)
		}
		move := func(from, to secret.VersionID) {
			h.write(func(tx *sqldb.Tx) error {
				return h.vault.MoveLabel(t.Context(), tx, h.arn, secret.Current, from, to)
			})
		}
		h.configure(yearly, nil)
		h.during(func() {
			wait(time.Minute)
			h.write(h.start(second))
			h.Poke()
			wait(time.Minute)
			_, holders := h.state()
			first := holders[secret.Previous]
			want(t, "an end", true, h.standing().RetireAt != nil)
			move(second, first)
			want(t, "an end of AWSCURRENT", true, h.standing().RetireAt == nil)
			move(first, second)
			want(t, "an end", true, h.standing().RetireAt != nil)
			edited := h.seal("edited", "two")
			h.write(func(tx *sqldb.Tx) error {
				_, _, err := h.vault.Put(t.Context(), tx, edited, nil)
				return err
			})
			want(t, "an end after an edit", true, h.standing().RetireAt != nil)
		})
	})
}

func TestRotationWaitsForACanaryLogin(t *testing.T) {
	drifting(t, func(t *testing.T, h *driftHouse) {
		prove := h.act
		h.act = func(e event) (string, error) {
			if e.Step == "proveSecret" {
				time.Sleep(20 * time.Second)
			}
			return prove(e)
		}
		h.configure(yearly, nil)
		h.during(func() {
			wait(time.Until(*h.standing().CheckAt) + time.Second)
			h.configure(yearly, h.start("22222222-2222-2222-2222-222222222222"))
			wait(time.Second)
			want(t, "while it runs", "proveSecret", h.taken())
			wait(20 * time.Second)
			want(t, "after it", "createSecret setSecret testSecret finishSecret", h.taken())
		})
		want(t, "a verdict", true, h.standing().Proof != nil)
	})
}

func TestDriftCheckOfTheTag(t *testing.T) {
	drifting(t, func(t *testing.T, h *driftHouse) {
		h.configure(yearly, nil)
		h.tag("off")
		h.during(func() {
			wait(5 * day)
			want(t, "off", "", h.taken())
			h.tag("6h")
			wait(day)
			want(t, "6h", 4, strings.Count(h.taken(), "proveSecret"))
		})
	})
}

func (h *driftHouse) tag(value string) {
	h.t.Helper()
	h.write(func(tx *sqldb.Tx) error {
		if err := h.vault.Tag(context.Background(), tx, h.arn, []secret.Tag{{Key: scheduler.DriftCheckTag, Value: value}}); err != nil {
			return err
		}
		return h.PlanCheck(context.Background(), tx, h.arn)
	})
}

// TestDriftOfOtherFunctions: they do not know proveSecret.
func TestDriftOfOtherFunctions(t *testing.T) {
	drifting(t, func(t *testing.T, h *driftHouse) {
		h.write(func(tx *sqldb.Tx) error {
			return h.Configure(context.Background(), tx, h.arn, scheduler.Settings{Function: "theirs", Rule: &yearly})
		})
		h.during(func() { wait(5 * day) })
		want(t, "steps", "", h.taken())
	})
}

// TestMissedChecksAreSpread: a server that was off does not log in everywhere
// at once, and a crash in the middle of a check does not repeat it.
func TestMissedChecksAreSpread(t *testing.T) {
	drifting(t, func(t *testing.T, h *driftHouse) {
		h.configure(yearly, nil)
		time.Sleep(30 * day)
		h.during(func() {
			synctest.Wait()
			want(t, "at the start", "", h.taken())
			wait(day)
			want(t, "within a day", "proveSecret", h.taken())
		})
	})
}

func TestDriftSurvivesTheSecret(t *testing.T) {
	drifting(t, func(t *testing.T, h *driftHouse) {
		h.configure(yearly, nil)
		h.during(func() {
			h.write(func(tx *sqldb.Tx) error { return h.Suspend(context.Background(), tx, h.arn) })
			wait(3 * day)
			want(t, "suspended", "", h.taken())
			h.write(func(tx *sqldb.Tx) error { return h.Resume(context.Background(), tx, h.arn) })
			wait(day)
			want(t, "resumed", "proveSecret", h.taken())
			h.write(func(tx *sqldb.Tx) error { return h.Forget(context.Background(), tx, h.arn) })
			wait(3 * day)
			want(t, "gone", "", h.taken())
		})
	})
}

func TestParseCheckInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"off": 0, "6h": 6 * time.Hour, "7d": 7 * day, "90m": 90 * time.Minute,
		"": -1, "0": -1, "0d": -1, "-1d": -1, "30s": -1, "d": -1, "daily": -1, "9999999999d": -1,
	} {
		got, err := scheduler.ParseCheckInterval(text)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// TestChecksOfAnOlderFolder: secrets that rotated before there were checks get
// theirs, spread over the first interval.
func TestChecksOfAnOlderFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	older := sqldb.Schema{Name: scheduler.Schema.Name, Steps: scheduler.Schema.Steps[:1]}
	old, err := sqldb.Open(t.Context(), path, time.Now, older)
	if err != nil {
		t.Fatal(err)
	}
	err = old.Write(t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO rotations (arn, enabled, function, days, expression, duration, counted_days, suspended, strategy,
			retire_token, kind, token, step, attempt, refused, try_at, lease_until, epoch)
			VALUES ('a', 1, 'f', 30, '', '', 0, 0, '', '', '', '', '', 0, 0, 0, 0, 0)`)
		return err
	})
	if err := errors.Join(err, old.Close()); err != nil {
		t.Fatal(err)
	}
	db, err := sqldb.Open(t.Context(), path, time.Now, secret.Schema, scheduler.Schema)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	h := &house{t: t, db: db, vault: secret.NewVault(db, nil), arn: "a"}
	s := scheduler.New(scheduler.Config{DB: db, Vault: h.vault, Functions: h, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Drift: scheduler.Drift{Every: day, Proves: func(string) bool { return true }}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	for planned := false; !planned; {
		h.write(func(tx *sqldb.Tx) error {
			st, err := s.Standing(ctx, tx, "a")
			planned = err == nil && st.CheckAt.After(time.Now())
			return err
		})
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
