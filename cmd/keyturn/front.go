package main

import (
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// frontLimits bound what strangers may take of the server: nobody is known
// before a request has been read.
type frontLimits struct {
	header, read, write, idle time.Duration // as in http.Server
	// connections may be open at once; more wait until one is closed.
	connections int
	// uploads are requests with more than smallBody bytes, or nobody knows how
	// many. So many may be under way at once; more wait for a place as long as
	// uploadWait, and are then sent away to try again.
	uploads    int
	uploadWait time.Duration
	// After SIGTERM requests may take as long as drain, and then have as long as end to
	// come to an end.
	drain, end time.Duration
}

// usualLimits leave room for an invocation of 6 MiB at 2 Mbit/s, and for the code
// of a function, 67 MiB, at 20 Mbit/s. All connections together cannot hold more
// than connections times smallBody, uploads times largeBody and packages times 67
// MiB of memory.
var usualLimits = frontLimits{
	header: 10 * time.Second, read: 30 * time.Second, write: 2 * time.Minute, idle: 2 * time.Minute,
	connections: 4096, uploads: 32, uploadWait: 5 * time.Second,
	drain: 20 * time.Second, end: 2 * time.Second,
}

// smallBody is, in bytes, what a request may bring without taking an upload's
// place: only the largest secrets need more. Above largeBody it is the code of a
// function, and takes one of few places.
const (
	smallBody = 64 << 10
	largeBody = 7 << 20
	packages  = 2
)

func newFront(handler http.Handler, limits frontLimits, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           &uploads{Handler: handler, places: make(chan struct{}, limits.uploads), packages: make(chan struct{}, packages), wait: limits.uploadWait},
		ReadHeaderTimeout: limits.header,
		ReadTimeout:       limits.read,
		WriteTimeout:      limits.write,
		IdleTimeout:       limits.idle,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// uploads lets few large requests through at once.
type uploads struct {
	http.Handler
	places   chan struct{}
	packages chan struct{} // places of requests that are larger, or do not say how large they are
	wait     time.Duration
}

// ServeHTTP implements http.Handler.
func (u *uploads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if 0 <= r.ContentLength && r.ContentLength <= smallBody {
		u.Handler.ServeHTTP(w, r)
		return
	}
	places := u.places
	if r.ContentLength < 0 || r.ContentLength > largeBody {
		places = u.packages
	}
	timer := time.NewTimer(u.wait)
	defer timer.Stop()
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
		u.Handler.ServeHTTP(w, r)
	case <-timer.C:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many large requests at once", http.StatusServiceUnavailable)
	}
}

// boundedListener accepts no connection while as many as it has places are open.
type boundedListener struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once
}

func bounded(l net.Listener, connections int) *boundedListener {
	return &boundedListener{Listener: l, places: make(chan struct{}, connections), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &boundedConn{Conn: conn, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

// Close implements net.Listener.
func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type boundedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
