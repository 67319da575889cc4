package rotation

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
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
			admins.put(login, s)
		}
		if s := admins.take(t.Context(), login.withPassword("Next_1aA")); s != nil {
			t.Errorf("another password got the session %v", s)
		}
		if s := admins.take(t.Context(), login); s != used || !gone.closed {
			t.Errorf("got the session %v; the one that is gone was closed: %v", s, gone.closed)
		}
		time.Sleep(idleAdmin + time.Millisecond)
		synctest.Wait()
		if !idle.closed || used.closed {
			t.Errorf("after %s the idle session was closed: %v, the one at work: %v", idleAdmin, idle.closed, used.closed)
		}
		administrator{used, login, &admins}.done(errors.New("a statement failed"))
		if s := admins.take(t.Context(), login); s != nil || !used.closed {
			t.Errorf("after a failure the session was closed: %v", used.closed)
		}
	})
}
