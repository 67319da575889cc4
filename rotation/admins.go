package rotation

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Admins keeps sessions of administrators (masterarn) open for a moment, so that
// rotations that come one after another need not log in for each. A session is
// one's alone while it is at work, and is closed after a failure. The zero value
// is ready for use; it is safe for concurrent use.
type Admins struct {
	mu     sync.Mutex
	idle   map[Login][]*idleSession
	closed bool
}

// idleSession is a session without work, until end closes it.
type idleSession struct {
	Session
	since time.Time // it is open
	end   *time.Timer
}

const (
	// idleAdmin is how long a session stays open without work.
	idleAdmin = 2 * time.Second
	// oldestAdmin is how old a session gets that is used: after a failover the server's
	// name means another one, and the old one may still take changes. As with
	// idleAdmin it is the machine's time that counts: connections know no other clock.
	oldestAdmin = 10 * time.Second
)

// Prober is the ability of some sessions to tell whether the server still answers.
// Other sessions are not kept.
type Prober interface {
	Probe(ctx context.Context) error
}

// take returns a session that answers, or nil, and since when it is open.
func (a *Admins) take(ctx context.Context, l Login) (Session, time.Time) {
	for s := a.pop(l); s != nil; s = a.pop(l) {
		if s.Session.(Prober).Probe(ctx) == nil {
			return s.Session, s.since
		}
		_ = s.Close()
	}
	return nil, time.Time{}
}

func (a *Admins) pop(l Login) *idleSession {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	all := a.idle[l]
	if len(all) == 0 {
		return nil
	}
	last := all[len(all)-1]
	last.end.Stop()
	a.set(l, all[:len(all)-1])
	return last
}

// put keeps a session that is open since then, if it can be.
func (a *Admins) put(l Login, s Session, since time.Time) {
	if _, can := s.(Prober); a == nil || !can || time.Since(since) > oldestAdmin || !a.keep(l, s, since) {
		_ = s.Close()
	}
}

func (a *Admins) keep(l Login, s Session, since time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	idle := &idleSession{Session: s, since: since}
	idle.end = time.AfterFunc(idleAdmin, func() { a.drop(l, idle) })
	a.set(l, append(a.idle[l], idle))
	return true
}

// Close closes the sessions that are not at work. From now on none is kept.
func (a *Admins) Close() {
	a.mu.Lock()
	idle := a.idle
	a.idle, a.closed = nil, true
	a.mu.Unlock()
	for _, all := range idle {
		for _, s := range all {
			s.end.Stop()
			_ = s.Close()
		}
	}
}

// drop closes a session that is not at work.
func (a *Admins) drop(l Login, s *idleSession) {
	if a.remove(l, s) {
		_ = s.Close() // which may take a while
	}
}

func (a *Admins) remove(l Login, s *idleSession) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.Index(a.idle[l], s)
	if i < 0 {
		return false
	}
	a.set(l, slices.Delete(slices.Clone(a.idle[l]), i, i+1))
	return true
}

func (a *Admins) set(l Login, all []*idleSession) {
	if a.idle == nil {
		a.idle = map[Login][]*idleSession{}
	}
	if a.idle[l] = all; len(all) == 0 {
		delete(a.idle, l)
	}
}

// administrator is a session by the secret masterarn.
type administrator struct {
	Session
	login  Login
	since  time.Time // the session is open
	shared *Admins
}

// done gives the session back; after a failure nobody knows in what state it is.
func (a administrator) done(err error) {
	if err != nil {
		_ = a.Close()
		return
	}
	a.shared.put(a.login, a.Session, a.since)
}

// errUnfinished is the end of what panicked.
var errUnfinished = errors.New("it did not come to its end")

// lend has the session do something, and gives it back.
func (a administrator) lend(act func() error) error {
	err := errUnfinished
	defer func() { a.done(err) }()
	err = act()
	return err
}

// asAdmin is connectAdmin for a session that others may use afterwards: done gives
// it back.
func (f *Function) asAdmin(ctx context.Context, cur document) (administrator, error) {
	login, err := f.adminLogin(ctx, cur)
	if err != nil {
		return administrator{}, err
	}
	session, since := f.Admins.take(ctx, login)
	if session == nil {
		since = time.Now()
		session, err = f.connectAs(ctx, login)
	}
	return administrator{session, login, since, f.Admins}, err
}

// connectAdmin logs in by the secret masterarn.
func (f *Function) connectAdmin(ctx context.Context, cur document) (Session, error) {
	login, err := f.adminLogin(ctx, cur)
	if err != nil {
		return nil, err
	}
	return f.connectAs(ctx, login)
}

// adminLogin reads the secret masterarn. It must belong to the same server: a
// password set elsewhere would help nobody.
func (f *Function) adminLogin(ctx context.Context, cur document) (Login, error) {
	d, err := f.read(ctx, cur.masterARN, "", current)
	if err != nil {
		return Login{}, explain("asking for the secret of masterarn", err)
	}
	// A secret that RDS manages holds username and password alone.
	admin := cur.login
	admin.Username, admin.Password = d.login.Username, d.login.Password
	if d.login.Database != "" {
		admin.Database = d.login.Database
	}
	if d.login.Host != "" && d.login.Host != admin.Host || d.login.Port != 0 && d.login.Port != admin.Port {
		return Login{}, Errorf(ClassSecret, "the secret of masterarn belongs to another server than this secret: host and port must be equal")
	}
	return admin, nil
}

func (f *Function) connectAs(ctx context.Context, admin Login) (Session, error) {
	session, err := f.connect(ctx, admin)
	if err != nil {
		return nil, explain("logging in as the administrator of masterarn", err)
	}
	return session, nil
}
