package http1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/http1"
)

// patience is how long a test waits for what must happen much sooner.
const patience = time.Minute

// world is a Listener before an http.Server. Both answer with who they are and
// what they were told.
type world struct {
	t        *testing.T
	addr     string
	quick    *http1.Listener
	front    *http.Server
	stop     func() error
	byQuick  atomic.Int64
	handle   func(http.ResponseWriter, *http.Request) // instead of an echo
	messages lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func newWorld(t *testing.T, changes ...func(*http1.Config)) *world {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, addr: listener.Addr().String()}
	cfg := http1.Config{Takes: func(r *http.Request) bool { return r.Header.Get("X-Other") == "" }, MaxBody: 100,
		Header: patience, Read: patience, Write: patience, Idle: patience, Log: slog.New(slog.NewTextHandler(&w.messages, nil)),
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.byQuick.Add(1)
			if w.handle != nil {
				w.handle(rw, r)
				return
			}
			echo(rw, r, "quick")
		})}
	for _, change := range changes {
		change(&cfg)
	}
	w.quick = http1.Listen(listener, cfg)
	w.front = &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { echo(rw, r, "net/http") })}
	ended := make(chan error, 1)
	go func() { ended <- w.front.Serve(w.quick) }()
	w.stop = sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := errors.Join(w.front.Shutdown(ctx), w.quick.Shutdown(ctx))
		if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	})
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func echo(w http.ResponseWriter, r *http.Request, who string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
	}
	fmt.Fprintf(w, "%s: %s %s%s said %q", who, r.Method, r.Host, r.URL, body)
}

// dial opens a connection that gives up after patience.
func (w *world) dial() net.Conn {
	w.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(w.t.Context(), "tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

func (w *world) say(conn net.Conn, text string) {
	w.t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		w.t.Fatal(err)
	}
}

// wantAnswer reads one answer, and returns its headers and whether it is the last.
func (w *world) wantAnswer(in *bufio.Reader, status int, body string) (header http.Header, last bool) {
	w.t.Helper()
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if closeErr := response.Body.Close(); err != nil || closeErr != nil {
		w.t.Fatal(err, closeErr)
	}
	if response.StatusCode != status || string(text) != body {
		w.t.Errorf("answered %s %q, want %d %q", response.Status, text, status, body)
	}
	return response.Header, response.Close
}

func (w *world) wantEnd(in io.Reader) {
	w.t.Helper()
	if rest, err := io.ReadAll(in); errors.Is(err, context.DeadlineExceeded) || len(rest) > 0 {
		w.t.Errorf("instead of the end came %q, %v", rest, err)
	}
}

func post(body string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func said(who, body string) string { return fmt.Sprintf("%s: POST h/ said %q", who, body) }

func TestRequestsOfOneConnection(t *testing.T) {
	w := newWorld(t)
	conn := w.dial()
	in := bufio.NewReader(conn)
	w.say(conn, post("one"))
	w.wantAnswer(in, 200, said("quick", "one"))
	w.say(conn, post("two")+post("")+post("three")) // at once
	w.wantAnswer(in, 200, said("quick", "two"))
	w.wantAnswer(in, 200, said("quick", ""))
	header, _ := w.wantAnswer(in, 200, said("quick", "three"))
	at, err := http.ParseTime(header.Get("Date"))
	if err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("the date is %q, %v", header.Get("Date"), err)
	}
	for _, b := range []byte(post("by byte")) {
		w.say(conn, string(b))
	}
	w.wantAnswer(in, 200, said("quick", "by byte"))
}

// What the quick way is not for goes to net/http, and nothing of it is lost.
func TestTheRestIsForNetHTTP(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct{ text, want string }{
		"Get":        {"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n", `net/http: GET h/livez said ""`},
		"Chunks":     {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", said("net/http", "abc")},
		"LongBody":   {post(strings.Repeat("b", 101)), said("net/http", strings.Repeat("b", 101))},
		"LongHead":   {strings.Replace(post("a"), "\r\n\r\n", "\r\nX-Long: "+strings.Repeat("x", 5000)+"\r\n\r\n", 1), said("net/http", "a")},
		"AnotherOne": {strings.Replace(post("a"), "\r\n\r\n", "\r\nX-Other: yes\r\n\r\n", 1), said("net/http", "a")},
		"LineFeeds":  {strings.ReplaceAll(post("a"), "\r\n", "\n") + "\r\n\r\n", said("net/http", "a")},
	} {
		t.Run(name, func(t *testing.T) {
			conn := w.dial()
			in := bufio.NewReader(conn)
			w.say(conn, post("first")+c.text)
			w.wantAnswer(in, 200, said("quick", "first"))
			w.wantAnswer(in, 200, c.want)
			w.say(conn, post("last"))
			w.wantAnswer(in, 200, said("net/http", "last"))
		})
	}
}

// TestClientsThatSpeakTLS are told so, as net/http tells them in words of its own.
func TestClientsThatSpeakTLS(t *testing.T) {
	w := newWorld(t)
	client := http.Client{Timeout: patience}
	response, err := client.Post("https://"+w.addr, "", nil)
	if err == nil {
		_ = response.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		t.Errorf("the client says %v", err)
	}
}

func TestAnswersAreWrittenWhole(t *testing.T) {
	w := newWorld(t)
	large := strings.Repeat("l", 100_000)
	answers := []struct {
		status int
		body   string
		handle func(http.ResponseWriter, *http.Request)
	}{
		{200, "", func(http.ResponseWriter, *http.Request) {}},
		{404, "no", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("X-Split", "a\r\nX-Evil: b")
			rw.Header()["X Bad"] = []string{"name"}
			rw.Header().Set("Content-Length", "2")
			rw.WriteHeader(404)
			rw.WriteHeader(200)
			_, _ = rw.Write([]byte("no"))
		}},
		{200, large, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("X-Long", large[:1000])
			_, _ = io.WriteString(rw, large)
		}},
		{204, "", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(204) }},
		{200, "after", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "after") }},
	}
	var next int
	w.handle = func(rw http.ResponseWriter, r *http.Request) { answers[next].handle(rw, r) }
	conn := w.dial()
	in := bufio.NewReader(conn)
	for next = range answers {
		w.say(conn, post("unread"))
		header, _ := w.wantAnswer(in, answers[next].status, answers[next].body)
		if header.Get("X-Evil") != "" || next != 1 && header.Get("X-Split") != "" {
			t.Errorf("answer %d has the headers %v", next, header)
		}
	}
}

func TestPanicEndsItsConnectionOnly(t *testing.T) {
	w := newWorld(t)
	conn, other := w.dial(), w.dial()
	w.handle = func(rw http.ResponseWriter, r *http.Request) {
		if r.ContentLength > 0 {
			panic("Secret.Of_A-Panic")
		}
	}
	w.say(conn, post("a"))
	w.wantEnd(conn)
	w.say(other, post(""))
	w.wantAnswer(bufio.NewReader(other), 200, "")
	if text := w.messages.String(); !strings.Contains(text, "panic") || strings.Contains(text, "Secret") {
		t.Errorf("the log holds %q", text)
	}
}

// Whoever does not go on is hung up on.
func TestTimeLimits(t *testing.T) {
	const quick = 50 * time.Millisecond
	for name, c := range map[string]struct {
		limit func(*http1.Config)
		says  string
		want  int // answers before the end
	}{
		"New":  {func(c *http1.Config) { c.Header = quick }, "", 0},
		"Head": {func(c *http1.Config) { c.Header = quick }, post("")[:20], 0},
		"Next": {func(c *http1.Config) { c.Header = quick }, post("") + post("")[:20], 1},
		"Body": {func(c *http1.Config) { c.Read = quick }, post("body")[:len(post("body"))-1], 1},
		"Idle": {func(c *http1.Config) { c.Idle = quick }, post(""), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.limit)
			conn := w.dial()
			in := bufio.NewReader(conn)
			w.say(conn, c.says)
			for range c.want {
				if line, err := in.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 ") {
					t.Fatalf("got %q, %v", line, err)
				}
				_, _ = in.Discard(in.Buffered())
			}
			w.wantEnd(in)
		})
	}
}

func TestShutdown(t *testing.T) {
	w := newWorld(t)
	arrived, leave := make(chan struct{}), make(chan struct{})
	w.handle = func(rw http.ResponseWriter, r *http.Request) {
		if r.ContentLength > 0 {
			close(arrived)
			<-leave
		}
		echo(rw, r, "quick")
	}
	idle, fresh, busy := w.dial(), w.dial(), w.dial()
	w.say(idle, post(""))
	in := bufio.NewReader(idle)
	w.wantAnswer(in, 200, said("quick", ""))
	w.say(busy, post("busy"))
	<-arrived
	stopped := make(chan error)
	go func() { stopped <- w.stop() }()
	w.wantEnd(in)
	w.wantEnd(fresh)
	close(leave)
	in = bufio.NewReader(busy)
	if _, last := w.wantAnswer(in, 200, said("quick", "busy")); !last {
		t.Error("the last answer does not say that the connection closes")
	}
	w.wantEnd(in)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.addr); err == nil {
		t.Error("connections are accepted after the end")
	}
}

// A handler that does not come to an end is told to, and holds Shutdown up no
// longer than its context says.
func TestShutdownGivesUp(t *testing.T) {
	w := newWorld(t)
	arrived, left := make(chan struct{}), make(chan struct{})
	w.handle = func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(left)
	}
	w.say(w.dial(), post(""))
	<-arrived
	if err := w.front.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.quick.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-left
}

// Many clients at once, some of whom change their ways.
func TestManyConnections(t *testing.T) {
	w := newWorld(t)
	var crew sync.WaitGroup
	for i := range 20 {
		crew.Go(func() {
			conn := w.dial()
			in := bufio.NewReader(conn)
			for k := range 50 {
				body, who := fmt.Sprintf("%d/%d", i, k), "quick"
				if i%4 == 0 && k >= 25 {
					who = "net/http"
				}
				text := post(body)
				if who != "quick" {
					text = strings.Replace(text, "Host", "X-Other: yes\r\nHost", 1)
				}
				w.say(conn, text)
				w.wantAnswer(in, 200, said(who, body))
			}
		})
	}
	crew.Wait()
	if n := w.byQuick.Load(); n != 15*50+5*25 {
		t.Errorf("%d requests were answered the quick way", n)
	}
}

// busyListener has no connection to give at first, as when too many files are open.
type busyListener struct {
	net.Listener
	failures atomic.Int64
}

func (l *busyListener) Accept() (net.Conn, error) {
	if l.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func TestAcceptGoesOnAfterAFailureThatPasses(t *testing.T) {
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	busy := &busyListener{Listener: inner}
	busy.failures.Store(3)
	quick := http1.Listen(busy, http1.Config{Takes: func(*http.Request) bool { return false }, Log: slog.New(slog.DiscardHandler)})
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	accepted, err := quick.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = accepted.Close()
	busy.failures.Store(1 << 40) // and one that goes on does not hold up the end
	if err := quick.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
