package rotationtest

import (
	"context"
	"reflect"
	"slices"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// teller runs the steps of a version as a scheduler does that hands on what the
// steps before have answered.
type teller struct {
	w        *world
	next     rotation.Event
	strategy string // that of setSecret
}

func (w *world) teller(token string) *teller {
	return &teller{w: w, next: rotation.Event{SecretID: secretID, ClientRequestToken: token}}
}

func (t *teller) step(step string) (rotation.Result, error) {
	t.next.Step = step
	if step == rotation.StepFinish {
		t.next.Strategy = t.strategy
	}
	r, err := t.w.f.Handle(t.w.t.Context(), t.next)
	t.next.Created = r.Created
	if step == rotation.StepSet {
		t.strategy = r.Strategy
	}
	return r, err
}

// listening notes which passwords are tried.
type listening struct {
	rotation.Engine
	tried []string
}

func (l *listening) Connect(ctx context.Context, login rotation.Login) (rotation.Session, error) {
	l.tried = append(l.tried, login.Password)
	return l.Engine.Connect(ctx, login)
}

// TestToldRotationLogsInTwice: with AWSCURRENT, to change it, and with the new
// password, to test it; and it answers as one that was told nothing.
func TestToldRotationLogsInTwice(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		for _, kind := range []accountKind{plain, privileged} {
			w := newWorld(t, p, kind)
			l := &listening{Engine: w.direct}
			w.f.Engine = l
			w.store.begin(secretID, "version-1")
			told := w.teller("version-1")
			var results []rotation.Result
			for _, step := range rotationSteps {
				r, err := told.step(step)
				if err != nil {
					t.Fatalf("%s: %v", step, err)
				}
				results = append(results, untimed(r))
			}
			w.f.Engine = w.direct
			if want := []string{w.first.Password, w.login("AWSCURRENT").Password}; !slices.Equal(l.tried, want) {
				t.Errorf("%s: %d logins, want one with the old and one with the new password", expected(p, kind), len(l.tried))
			}
			set, finish := w.rotate("version-2")
			if want := []rotation.Result{{}, untimed(set), {}, untimed(finish)}; !reflect.DeepEqual(results, want) {
				t.Errorf("answered %+v, want %+v", results, want)
			}
		}
	})
}

// TestToldWrongly: the event says that the pending password is new, but an
// earlier attempt has made the change.
func TestToldWrongly(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		for _, kind := range []accountKind{plain, privileged} {
			w := newWorld(t, p, kind)
			w.store.begin(secretID, "version-1")
			w.must("version-1", rotation.StepCreate)
			w.must("version-1", rotation.StepSet)
			told := w.teller("version-1")
			told.next.Created = true
			r, err := told.step(rotation.StepSet)
			if err != nil || r.Strategy != "" && r.Strategy != expected(p, kind) {
				t.Errorf("setSecret again answered %+v, %v", r, err)
			}
			w.want("pending", true, w.login("AWSPENDING").Password)
			w.must("version-1", rotation.StepTest)
			w.must("version-1", rotation.StepFinish)
			w.must("version-1", rotation.StepRetire)
			w.want("new", true, w.login("AWSCURRENT").Password)
			w.want("old", false, w.first.Password)
		}
	})
}

// TestToldAlternatingUsers do not try the other user, who has no such password.
func TestToldAlternatingUsers(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newTurns(t, p)
		l := &listening{Engine: w.direct}
		w.f.Engine = l
		w.store.begin(secretID, "version-1")
		told := w.teller("version-1")
		for _, step := range rotationSteps {
			if _, err := told.step(step); err != nil {
				t.Fatalf("%s: %v", step, err)
			}
		}
		next := w.login("AWSCURRENT").Password
		if want := []string{w.admin.Password, next}; !slices.Equal(l.tried, want) {
			t.Errorf("%d logins, want the administrator's and one with the new password", len(l.tried))
		}
	})
}
