package rotation

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// line is a session that answers, or is gone.
type line struct{ gone, closed bool }

func (l *line) SetPassword(context.Context, string, string) error { return nil }

func (l *line) Close() error {
	l.closed = true
	return nil
}

func (l *line) Probe(context.Context) error {
	if l.gone {
		return errors.New("gone")
	}
	return nil
}

func TestAdminsCloseWhatNobodyUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var admins Admins
		login := Login{Host: "db", Username: "admin", Password: "Some_1aA"}
		idle, used, gone := &line{}, &line{}, &line{gone: true}
		for _, s := range []*line{idle, used, gone} {
			admins.put(login, s, time.Now())
		}
		if s, _ := admins.take(t.Context(), login.withPassword("Next_1aA")); s != nil {
			t.Errorf("another password got the session %v", s)
		}
		if s, _ := admins.take(t.Context(), login); s != used || !gone.closed {
			t.Errorf("got the session %v; the one that is gone was closed: %v", s, gone.closed)
		}
		time.Sleep(idleAdmin + time.Millisecond)
		synctest.Wait()
		if !idle.closed || used.closed {
			t.Errorf("after %s the idle session was closed: %v, the one at work: %v", idleAdmin, idle.closed, used.closed)
		}
		administrator{used, login, time.Now(), &admins}.done(errors.New("a statement failed"))
		if s, _ := admins.take(t.Context(), login); s != nil || !used.closed {
			t.Errorf("after a failure the session was closed: %v", used.closed)
		}
	})
}

// A session that is used again and again stays open, but not for ever: the server's name
// may mean another one by then.
func TestAdminsKeepWhatIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var admins Admins
		login, used := Login{Host: "db"}, &line{}
		admins.put(login, used, time.Now())
		for begin := time.Now(); time.Since(begin) <= oldestAdmin; {
			time.Sleep(idleAdmin * 3 / 4)
			s, since := admins.take(t.Context(), login)
			if s != used || !since.Equal(begin) {
				t.Fatalf("after %s the session is %v, open since %v", time.Since(begin), s, since)
			}
			admins.put(login, used, since)
		}
		if !used.closed {
			t.Errorf("the session is open after %s", oldestAdmin)
		}
	})
}

func TestAdminsKeepNothingOnceClosed(t *testing.T) {
	var admins Admins
	login := Login{Host: "db"}
	idle, used := &line{}, &line{}
	admins.put(login, idle, time.Now())
	admins.Close()
	administrator{used, login, time.Now(), &admins}.done(nil)
	if s, _ := admins.take(t.Context(), login); !idle.closed || !used.closed || s != nil {
		t.Errorf("the idle session is closed: %v, the one that came later: %v", idle.closed, used.closed)
	}
}

// slow is a session of a server that has stopped answering.
type slow struct {
	line
	closing, let chan struct{}
}

func (s *slow) Close() error {
	close(s.closing)
	<-s.let
	return nil
}

func TestAdminsWaitForNoSessionThatIsClosed(t *testing.T) {
	var admins Admins
	hung := &slow{closing: make(chan struct{}), let: make(chan struct{})}
	defer close(hung.let)
	login := Login{Host: "hung"}
	admins.put(login, hung, time.Now())
	go admins.drop(login, admins.idle[login][0])
	<-hung.closing
	done := make(chan struct{})
	go func() {
		defer close(done)
		admins.put(Login{Host: "db"}, &line{}, time.Now())
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("the sessions of another server wait")
	}
}

// values is a Secrets that knows what secrets hold.
type values struct {
	Secrets
	of map[string]string // :: secret and label → value
}

func (v values) GetSecretValue(_ context.Context, in *secretsmanager.GetSecretValueInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	text, ok := v.of[*in.SecretId+" "+*in.VersionStage]
	if !ok {
		return nil, &types.ResourceNotFoundException{}
	}
	return &secretsmanager.GetSecretValueOutput{SecretString: &text}, nil
}

// broken is an engine whose sessions panic.
type broken struct{ made *line }

func (b broken) Connect(context.Context, Login) (Session, error) { return panicking{b.made}, nil }

type panicking struct{ *line }

func (panicking) SetPassword(context.Context, string, string) error { panic("a defect") }

// Nobody knows in what state a session is after a panic.
func TestAdminsKeepNoSessionThatPanicked(t *testing.T) {
	session, admins := &line{}, &Admins{}
	const account = `{"engine":"mysql","host":"db","username":"u","rotationStrategy":"SingleUser","masterarn":"admin","password":`
	f := &Function{Engine: broken{session}, Admins: admins, Secrets: values{of: map[string]string{
		"s AWSCURRENT": account + `"Some_1aA"}`, "s AWSPENDING": account + `"Next_1aA"}`,
		"admin AWSCURRENT": `{"username":"root","password":"Root_1aA"}`}}}
	func() {
		defer func() { _ = recover() }()
		_, err := f.set(t.Context(), Event{SecretID: "s", ClientRequestToken: "2", Created: true}, staging{})
		t.Errorf("there was no panic: %v", err)
	}()
	if len(admins.idle) > 0 || !session.closed {
		t.Errorf("%d sessions are kept", len(admins.idle))
	}
}
