package rotationtest

import (
	"context"
	"errors"
	"testing"
	"time"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// The near-atomic change of PostgreSQL: BEGIN, ALTER ROLE, move AWSCURRENT,
// COMMIT, all in setSecret.

// promotion is Secrets Manager with a disturbance around the move of AWSCURRENT.
type promotion struct {
	rotation.Secrets
	before func(ctx context.Context) error // fails the call before it does anything
	after  func() error                    // loses the answer of a call that did
	blind  bool                            // nor can anybody look
}

func (p *promotion) UpdateSecretVersionStage(ctx context.Context, in *sm.UpdateSecretVersionStageInput, o ...func(*sm.Options)) (*sm.UpdateSecretVersionStageOutput, error) {
	if before := p.before; before != nil {
		p.before = nil
		if err := before(ctx); err != nil {
			return nil, err
		}
	}
	out, err := p.Secrets.UpdateSecretVersionStage(ctx, in, o...)
	if after := p.after; after != nil && err == nil {
		p.after = nil
		return nil, after()
	}
	return out, err
}

func (p *promotion) DescribeSecret(ctx context.Context, in *sm.DescribeSecretInput, o ...func(*sm.Options)) (*sm.DescribeSecretOutput, error) {
	if p.blind && p.before == nil && p.after == nil {
		return nil, errLost
	}
	return p.Secrets.DescribeSecret(ctx, in, o...)
}

var errLost = errors.New("the connection to Secrets Manager was lost")

// disturbed is a PostgreSQL secret that is about to be set.
func disturbed(t *testing.T) (*world, *promotion) {
	w := newWorld(t, dbserver.Postgres, plain)
	p := &promotion{Secrets: w.f.Secrets}
	w.f.Secrets = p
	w.store.begin(secretID, "version-1")
	w.must("version-1", rotation.StepCreate)
	return w, p
}

// holds checks which version is AWSCURRENT and that its password logs in.
func (w *world) holds(version string) {
	w.t.Helper()
	if got := w.store.secrets[secretID].holder("AWSCURRENT"); got != version {
		w.t.Errorf("AWSCURRENT is on %s, want %s", got, version)
	}
	w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
}

func TestAtomicChangeIsDoneInSetSecret(t *testing.T) {
	for _, admin := range []bool{false, true} {
		w, _ := disturbed(t)
		if admin {
			w.addAdmin(w.admin.User, w.admin.Password)
		}
		begin := time.Now()
		r := w.must("version-1", rotation.StepSet)
		took := time.Since(begin)
		w.holds("version-1")
		w.want("AWSPREVIOUS", false, w.first.Password)
		if r.Strategy != rotation.StrategySingleUser || r.ExposureMicros == nil || *r.ExposureMicros > took.Microseconds() || r.PromotedAtMicros > r.ChangedAtMicros {
			t.Errorf("setSecret answered %+v", r)
		}
		w.must("version-1", rotation.StepTest)
		w.must("version-1", rotation.StepFinish)
		w.holds("version-1")
	}
}

func TestAtomicPromotionRefused(t *testing.T) {
	w, p := disturbed(t)
	p.before = func(context.Context) error { return errLost }
	w.refused("version-1", rotation.StepSet, rotation.ClassAPI)
	w.holds("version-0")
	w.want("AWSPENDING", false, w.login("AWSPENDING").Password)
	w.must("version-1", rotation.StepSet)
	w.holds("version-1")
}

// TestAtomicPromotionHangs: the change is given up, and its lock with it.
func TestAtomicPromotionHangs(t *testing.T) {
	w, p := disturbed(t)
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	p.before = func(ctx context.Context) error {
		giveUp()
		<-ctx.Done()
		return ctx.Err()
	}
	_, err := w.f.Handle(ctx, rotation.Event{Step: rotation.StepSet, SecretID: secretID, ClientRequestToken: "version-1"})
	checkClass(t, "a promotion that hangs", err, rotation.ClassAPI)
	w.holds("version-0")
	w.sql("ALTER ROLE %s CONNECTION LIMIT 9", w.first.Username)
}

// TestAtomicAnswerOfPromotionLost: it has moved, so the change must go on.
func TestAtomicAnswerOfPromotionLost(t *testing.T) {
	w, p := disturbed(t)
	p.after = func() error { return errLost }
	w.must("version-1", rotation.StepSet)
	w.holds("version-1")
}

// TestAtomicPromotionInDoubt: nobody can look whether it moved. It did, so
// AWSCURRENT is refused until the next attempt, which says how long that was.
func TestAtomicPromotionInDoubt(t *testing.T) {
	w, p := disturbed(t)
	p.after, p.blind = func() error { return errLost }, true
	w.refused("version-1", rotation.StepSet, rotation.ClassAPI)
	p.blind = false
	w.want("AWSCURRENT", false, w.login("AWSCURRENT").Password)
	w.want("AWSPREVIOUS", true, w.first.Password)
	w.refused("version-1", rotation.StepTest, rotation.ClassAuth) // which leads back to setSecret
	r := w.must("version-1", rotation.StepSet)
	w.holds("version-1")
	if r.ExposureMicros == nil || *r.ExposureMicros == 0 || r.ChangedAtMicros-r.PromotedAtMicros != *r.ExposureMicros {
		t.Errorf("setSecret answered %+v", r)
	}
	w.must("version-1", rotation.StepTest)
}

// TestAtomicHealsByTheNextRotation: AWS may give up the rotation that was cut
// short, and begin another one.
func TestAtomicHealsByTheNextRotation(t *testing.T) {
	for _, admin := range []bool{false, true} {
		w, p := disturbed(t)
		if admin {
			w.addAdmin(w.admin.User, w.admin.Password)
		}
		p.after, p.blind = func() error { return errLost }, true
		w.refused("version-1", rotation.StepSet, rotation.ClassAPI)
		p.blind = false
		w.rotate("version-2")
		w.holds("version-2")
		w.want("older ones", false, w.first.Password, w.login("AWSPREVIOUS").Password)
	}
}

// endSessions ends the account's sessions, and waits until they are gone.
func (w *world) endSessions() {
	w.t.Helper()
	w.sql(`DO $$ BEGIN
		PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '%[1]s';
		WHILE EXISTS (SELECT 1 FROM pg_stat_activity WHERE usename = '%[1]s') LOOP
			PERFORM pg_sleep(0.005), pg_stat_clear_snapshot();
		END LOOP;
	END $$`, w.first.Username)
}

// TestAtomicCommitFails: the server ends the connection before COMMIT, so the
// change is not there and AWSCURRENT goes back.
func TestAtomicCommitFails(t *testing.T) {
	w, p := disturbed(t)
	p.before = func(context.Context) error {
		w.endSessions()
		return nil
	}
	_, err := w.step("version-1", rotation.StepSet)
	if err == nil {
		t.Fatal("setSecret succeeded without its COMMIT")
	}
	w.holds("version-0")
	w.want("AWSPENDING", false, w.login("AWSPENDING").Password)
	for _, step := range rotationSteps {
		w.must("version-1", step)
	}
	w.holds("version-1")
}

// TestAtomicCommitInDoubt: nor can anybody log in to look. The labels stay, and
// the next attempt heals.
func TestAtomicCommitInDoubt(t *testing.T) {
	w, p := disturbed(t)
	network := &doubtful{w.direct, ""}
	w.f.Engine = network
	p.before = func(context.Context) error {
		network.password = w.login("AWSPENDING").Password
		w.endSessions()
		return nil
	}
	if _, err := w.step("version-1", rotation.StepSet); err == nil {
		t.Fatal("setSecret succeeded without its COMMIT")
	}
	w.want("AWSPREVIOUS", true, w.login("AWSPREVIOUS").Password)
	w.refused("version-1", rotation.StepSet, rotation.ClassTCP)
	w.f.Engine = w.direct
	w.must("version-1", rotation.StepSet)
	w.holds("version-1")
}

// TestAtomicPromotedAndNobodyIsLetIn: somebody has set a third password.
func TestAtomicPromotedAndNobodyIsLetIn(t *testing.T) {
	w, _ := disturbed(t)
	w.must("version-1", rotation.StepSet)
	w.changeBehind("Other_1aA")
	w.refused("version-1", rotation.StepSet, rotation.ClassAuth, "masterarn")
	w.addAdmin(w.admin.User, w.admin.Password)
	w.must("version-1", rotation.StepSet)
	w.holds("version-1")
}

// TestAtomicCompletesAPlainChange: a function without near-atomic changes has
// set the password, and its successor finds it.
func TestAtomicCompletesAPlainChange(t *testing.T) {
	w, _ := disturbed(t)
	w.changeBehind(w.login("AWSPENDING").Password)
	if r := w.must("version-1", rotation.StepSet); r.PromotedAtMicros == 0 || r.ExposureMicros != nil {
		t.Errorf("setSecret answered %+v", r)
	}
	w.holds("version-1")
}

// TestAtomicDoesNotWaitForAnotherChange for ever.
func TestAtomicDoesNotWaitForAnotherChange(t *testing.T) {
	w, _ := disturbed(t)
	other, ok := w.session(w.first.Password).(rotation.Transactional)
	if !ok {
		t.Fatal("the session has no transactions")
	}
	tx, err := other.BeginPassword(t.Context(), w.first.Username, "Other_1aA")
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err = w.f.Handle(ctx, rotation.Event{Step: rotation.StepSet, SecretID: secretID, ClientRequestToken: "version-1"})
	checkClass(t, "a change that waits", err, rotation.ClassTimeout)
	w.holds("version-0")
}

// TestExposureOfSingleUser is told in two halves where the strategy takes two
// steps.
func TestExposureOfSingleUser(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		set, finish := w.rotate("version-1")
		if set.ChangedAtMicros == 0 || finish.PromotedAtMicros <= set.ChangedAtMicros || set.ExposureMicros != nil || finish.ExposureMicros != nil {
			t.Errorf("setSecret answered %+v, finishSecret %+v", set, finish)
		}
		w = newWorld(t, p, privileged)
		if set, _ = w.rotate("version-1"); set.ChangedAtMicros != 0 {
			t.Errorf("setSecret of %s answered %+v", set.Strategy, set)
		}
	})
}
