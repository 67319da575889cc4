package http1

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// The states of a connection.
const (
	waiting int32 = iota // for a request
	working              // on one
	ended                // it is being closed
)

// maxHead is how many bytes the head of a usual request has at the most.
const maxHead = 4 << 10

// conn is a connection with all that its requests need, one after the other.
type conn struct {
	net.Conn
	secure    secure // the same connection, if it is one over TLS
	listener  *Listener
	state     atomic.Int32
	fresh     bool      // nothing was awaited yet
	idleTill  time.Time // the deadline of reads; zero: another one was set
	writeTill time.Time // the deadline of writes; zero: none was set

	in       [maxHead]byte
	from, to int // in[from:to] was read and not used yet

	request *http.Request
	url     url.URL
	head    head
	body    body
	answer  response
}

func newConn(l *Listener, c net.Conn) *conn {
	s := &conn{Conn: c, listener: l, fresh: true}
	s.secure, _ = c.(secure)
	r := &http.Request{Method: http.MethodPost, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RequestURI: "/", RemoteAddr: c.RemoteAddr().String()}
	s.request = r.WithContext(l.ctx)
	s.request.Header = http.Header{}
	s.answer.header = http.Header{}
	s.body.conn = s
	return s
}

// serve answers requests until one is not usual, the client hangs up, or the
// Listener is closed.
func (c *conn) serve() {
	defer c.listener.forget(c)
	for {
		text, ok := c.readHead()
		if text == nil {
			c.leave(ok)
			return
		}
		if !c.take(text) {
			c.handOver()
			return
		}
		if !c.respond() || !c.again() {
			_ = c.Close()
			return
		}
	}
}

// leave ends a connection that has no usual head to read: it hung up, or it is
// for net/http.
func (c *conn) leave(alive bool) {
	if alive {
		c.handOver()
		return
	}
	_ = c.Close()
}

// again makes ready for the next request, unless the Listener is closed.
func (c *conn) again() bool {
	c.state.Store(waiting)
	return !c.listener.closed.Load()
}

// handOver gives the connection away, with what was read of it.
func (c *conn) handOver() {
	if !c.state.CompareAndSwap(waiting, ended) {
		return // it was closed meanwhile
	}
	_ = c.SetDeadline(time.Time{})
	given := &handed{Conn: c.Conn, before: bytes.Clone(c.in[c.from:c.to])}
	if c.secure != nil {
		c.listener.pass(handedSecure{given, c.secure})
		return
	}
	c.listener.pass(given)
}

var endOfHead = []byte("\r\n\r\n")

// readHead returns the next request's head with the line that ends it. nil, true
// is a head that is too long; nil, false a connection that has ended.
func (c *conn) readHead() ([]byte, bool) {
	c.rewind()
	hurried := false // the head's own deadline was set
	for seen := c.from; ; {
		if i := bytes.Index(c.in[seen:c.to], endOfHead); i >= 0 {
			return c.in[c.from : seen+i+len(endOfHead)], true
		}
		if c.to == len(c.in) {
			return nil, true
		}
		seen = max(c.from, c.to-len(endOfHead)+1)
		if !c.await(&hurried) {
			return nil, false
		}
		n, err := c.Read(c.in[c.to:])
		if c.to += n; err != nil || c.speaksTLS() {
			return nil, false
		}
	}
}

// speaksTLS tells whether the client begins a TLS handshake (RFC 8446, 5.1), and answers
// it as http.Server does the opposite mistake: else both would wait.
func (c *conn) speaksTLS() bool {
	const handshake = 22
	if c.in[c.from] != handshake {
		return false
	}
	_ = c.SetWriteDeadline(after(time.Now(), c.listener.Header))
	_, _ = io.WriteString(c, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n")
	return true
}

// rewind moves what was read beyond the last request to the front, and leaves
// nothing of that one.
func (c *conn) rewind() {
	end := c.to
	c.to = copy(c.in[:], c.in[c.from:c.to])
	c.from = 0
	clear(c.in[c.to:end])
}

// await sets the deadline of the next read of a head: a request that has begun
// must go on, before that the connection may be idle, unless it is new.
func (c *conn) await(hurried *bool) bool {
	now := time.Now()
	switch {
	case c.to > c.from && !*hurried:
		*hurried, c.idleTill = true, time.Time{}
		return c.SetReadDeadline(after(now, c.listener.Header)) == nil
	case c.fresh:
		c.fresh = false
		return c.SetReadDeadline(after(now, c.listener.Header)) == nil
	case c.to == c.from && c.idleTill.Sub(now) <= c.listener.Idle/2:
		c.idleTill = now.Add(c.listener.Idle)
		return c.SetReadDeadline(after(now, c.listener.Idle)) == nil
	}
	return true
}

// after is the deadline a while from now; a while of zero has none.
func after(now time.Time, d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return now.Add(d)
}

// take makes a head the connection's request, if it is usual, and moves on
// behind it.
func (c *conn) take(text []byte) bool {
	if !c.head.parse(text) || c.head.length > c.listener.MaxBody {
		return false
	}
	r := c.request
	c.head.fill(r)
	c.url = url.URL{Path: "/"}
	r.URL = &c.url
	r.Body, r.Form, r.PostForm, r.MultipartForm, r.Trailer = &c.body, nil, nil, nil, nil
	if c.secure != nil && r.TLS == nil {
		state := c.secure.ConnectionState()
		r.TLS = &state
	}
	if !c.listener.Takes(r) || !c.state.CompareAndSwap(waiting, working) {
		return false
	}
	c.body.left, c.body.slow = c.head.length, false
	c.from += len(text)
	return true
}

// respond has the request answered, and tells whether the connection can be used
// again.
func (c *conn) respond() bool {
	c.answer.begin()
	if !c.handle() {
		return false
	}
	_, err := io.Copy(io.Discard, &c.body) // what the handler did not want
	c.answer.last = err != nil || c.listener.closed.Load()
	now := time.Now()
	if !c.hurryAnswer(now) {
		return false
	}
	_, err = c.Write(c.answer.text(now))
	c.answer.wipe()
	return err == nil && !c.answer.last
}

// hurryAnswer sets the deadline of an answer, unless the one before it left enough.
func (c *conn) hurryAnswer(now time.Time) bool {
	if c.listener.Write == 0 || c.writeTill.Sub(now) > c.listener.Write/2 {
		return true
	}
	c.writeTill = now.Add(c.listener.Write)
	return c.SetWriteDeadline(c.writeTill) == nil
}

// handle runs the handler; it is false after a panic, of which the value is not
// logged: it may hold a secret.
func (c *conn) handle() (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			c.listener.Log.Error("panic in a handler", "panic", fmt.Sprintf("%T", p))
		}
	}()
	c.listener.Handler.ServeHTTP(&c.answer, c.request)
	return true
}

// body is what follows a head.
type body struct {
	conn *conn
	left int
	slow bool // the deadline of its arrival was set
}

// Close implements io.Closer.
func (b *body) Close() error { return nil }

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.conn.more(p[:min(len(p), b.left)], &b.slow)
	b.left -= n
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// more takes from what was read with the head, and then from the connection.
func (c *conn) more(p []byte, slow *bool) (int, error) {
	if c.from < c.to {
		n := copy(p, c.in[c.from:c.to])
		c.from += n
		return n, nil
	}
	if !*slow {
		*slow, c.idleTill = true, time.Time{}
		if err := c.SetReadDeadline(after(time.Now(), c.listener.Read)); err != nil {
			return 0, err
		}
	}
	return c.Read(p)
}

// secure is what a connection over TLS has, such as *tls.Conn; net/http knows one by
// it.
type secure interface{ ConnectionState() tls.ConnectionState }

// handedSecure is a handed that is one over TLS.
type handedSecure struct {
	*handed
	secure
}

// handed is a connection of which something was read before.
type handed struct {
	net.Conn
	before []byte
}

// Read implements net.Conn.
func (h *handed) Read(p []byte) (int, error) {
	if len(h.before) == 0 {
		return h.Conn.Read(p)
	}
	n := copy(p, h.before)
	h.before = h.before[n:]
	return n, nil
}
