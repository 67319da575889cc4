// Package http1 answers the usual requests of a server over HTTP/1.1 with less
// work than net/http, to which it leaves every connection on which anything
// else is asked.
//
// Usual is what the SDKs send: "POST / HTTP/1.1", a few headers of which none
// comes twice, a Content-Length. What is taken is taken as http.ReadRequest
// would take it; a fuzz test holds the two together. Whatever is in doubt is
// net/http's to judge, from the first byte on.
package http1

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what a Listener answers itself, and how long it waits.
type Config struct {
	// Handler answers. It must not change a request's header, nor use it or the
	// request once it has returned. The request's context ends with the Listener, not when
	// the client hangs up. Needed.
	Handler http.Handler
	// Takes tells by its head alone whether a request is for Handler. Needed.
	Takes func(*http.Request) bool
	// MaxBody is how many bytes of a body Handler gets at the most.
	MaxBody int
	// Header, Read and Write are as in http.Server; zero means no bound. A
	// connection may wait for a request as long as Idle, an answer may take as long
	// as Write, and half of it at least.
	Header, Read, Write, Idle time.Duration
	// Log gets what goes wrong; nil means slog.Default().
	Log *slog.Logger
}

// Listener serves the connections that another one accepts; what it does not
// answer itself is to be accepted from it. It is a net.Listener.
type Listener struct {
	Config
	listener net.Listener
	others   chan net.Conn // for Accept
	ctx      context.Context
	cancel   context.CancelFunc
	failed   chan struct{} // closed when err is set
	err      error         // why there are no more connections
	serving  sync.WaitGroup

	closed  atomic.Bool
	closing chan struct{} // is closed when closed becomes true
	mu      sync.Mutex
	conns   map[*conn]struct{}
}

// Listen serves what l accepts, until Close.
func Listen(l net.Listener, c Config) *Listener {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	s := &Listener{Config: c, listener: l, others: make(chan net.Conn), failed: make(chan struct{}), closing: make(chan struct{}), conns: map[*conn]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.serving.Go(s.acceptAll)
	return s
}

// Accept implements net.Listener. It returns a connection with all that came
// over it since the last request that was answered.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.others:
		return c, nil
	case <-l.failed:
		return nil, l.err
	}
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.listener.Addr() }

// Close implements net.Listener: no connection is accepted any more, and those
// that wait for a request end. Requests that are under way are answered.
func (l *Listener) Close() error {
	err := l.listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed.Swap(true) {
		close(l.closing)
	}
	for c := range l.conns {
		if c.state.CompareAndSwap(waiting, ended) {
			_ = c.Close()
		}
	}
	return err
}

// Shutdown closes the Listener and waits for the requests that are under way.
// When ctx ends before they do, it ends their connections and returns its error.
func (l *Listener) Shutdown(ctx context.Context) error {
	err := l.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	done := make(chan struct{})
	go func() {
		l.serving.Wait()
		close(done)
	}()
	defer l.cancel()
	select {
	case <-done:
		return err
	case <-ctx.Done():
		l.cutOff()
		return ctx.Err()
	}
}

func (l *Listener) cutOff() {
	l.cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Close()
	}
}

// The bounds of the pause after an error of Accept that may pass, such as too
// many open files; http.Server has the same.
const (
	shortestPause = 5 * time.Millisecond
	longestPause  = time.Second
)

func (l *Listener) acceptAll() {
	pause := shortestPause
	for {
		c, err := l.listener.Accept()
		switch {
		case err == nil:
			pause = shortestPause
			l.open(c)
		case passes(err) && !l.closed.Load():
			l.Log.Warn("accepting a connection", "error", err)
			l.rest(pause)
			pause = min(2*pause, longestPause)
		default:
			l.err = err
			close(l.failed)
			return
		}
	}
}

// rest waits, but not longer than until Close.
func (l *Listener) rest(d time.Duration) {
	select {
	case <-time.After(d):
	case <-l.closing:
	}
}

// passes tells whether an error of Accept may be gone after a while.
func passes(err error) bool {
	temporary, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && temporary.Temporary()
}

func (l *Listener) open(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		_ = c.Close()
		return
	}
	served := newConn(l, c)
	l.conns[served] = struct{}{}
	l.serving.Go(served.serve)
}

// forget ends the Listener's part in a connection.
func (l *Listener) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// pass gives a connection to whoever accepts.
func (l *Listener) pass(c net.Conn) {
	select {
	case l.others <- c:
	case <-l.failed:
		_ = c.Close()
	}
}
