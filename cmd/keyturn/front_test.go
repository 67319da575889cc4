package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturntest"
)

// quickLimits are usualLimits at the pace of a test, whose own clients must keep
// within them on a machine that is busy with other tests.
var quickLimits = frontLimits{
	header: time.Second, read: 2 * time.Second, write: 2 * time.Second, idle: time.Second,
	connections: 20, uploads: 2, uploadWait: 100 * time.Millisecond,
}

// openFront serves a keyturn as serve does, and returns its address.
func openFront(t *testing.T, limits frontLimits) string {
	t.Helper()
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = keyturn.InMemory })
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveFront(t, s, bounded(fewBytes{listener}, limits.connections), limits)
	return listener.Addr().String()
}

// serveFront serves on a listener until the test ends.
func serveFront(t *testing.T, s *keyturntest.Server, l net.Listener, limits frontLimits) {
	t.Helper()
	front := newFront(s.Server, limits, slog.New(slog.DiscardHandler))
	quick := s.Listen(l, front)
	ended := make(chan error, 1)
	go func() { ended <- front.Serve(quick) }()
	t.Cleanup(func() {
		if err := errors.Join(front.Close(), quick.Shutdown(context.Background())); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// fewBytes gives its connections small buffers: whoever does not read holds the
// server up after a few answers, however slow it is, not after megabytes.
type fewBytes struct{ net.Listener }

// Accept implements net.Listener.
func (l fewBytes) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return conn, err
}

// patience is how long a test waits for what must happen much sooner.
const patience = time.Minute

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// drip writes byte by byte until the server hangs up.
func drip(conn net.Conn, text string) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := range len(text) {
		if _, err := conn.Write([]byte{text[i]}); err != nil {
			return
		}
		<-tick.C
	}
}

// wantHungUp reads until the server has closed the connection, and returns what
// it said before.
func wantHungUp(t *testing.T, conn net.Conn) string {
	t.Helper()
	said, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the server holds the connection; it said %.200q", said)
	}
	return string(said)
}

func wantAnswer(t *testing.T, conn net.Conn, status int) {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != status {
		t.Errorf("answered %s, want %d", response.Status, status)
	}
}

func wantServed(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/livez", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	response, err := http.DefaultClient.Do(r)
	if err != nil { // on a busy machine this client may be too slow itself, once
		response, err = http.DefaultClient.Do(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("answered %s", response.Status)
	}
}

const getValueHead = "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: secretsmanager.GetSecretValue\r\n"

// Clients that hold what they have are hung up on; meanwhile others are served.
func TestSlowClientsAreHungUpOn(t *testing.T) {
	t.Parallel()
	addr := openFront(t, quickLimits)
	for _, client := range []struct{ name, says, drips string }{
		{"Silent", "", ""},
		{"HeaderByByte", "", "GET /" + strings.Repeat("x", 10_000)},
		{"HeaderLineByByte", getValueHead, strings.Repeat("A: b\r\n", 2_000)},
		{"BodyByByte", getValueHead + "Content-Length: 1048576\r\n\r\n", strings.Repeat(" ", 10_000)},
		{"ChunkByByte", getValueHead + "Transfer-Encoding: chunked\r\n\r\n", strings.Repeat("1\r\n \r\n", 2_000)},
		{"NoBody", getValueHead + "Content-Length: 10\r\n\r\n", ""},
		{"NothingAfterAnAnswer", "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n", ""},
	} {
		t.Run(client.name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, addr)
			if _, err := io.WriteString(conn, client.says); err != nil {
				t.Fatal(err)
			}
			var dripping sync.WaitGroup
			dripping.Go(func() { drip(conn, client.drips) })
			wantServed(t, addr)
			if said := wantHungUp(t, conn); strings.HasPrefix(said, "HTTP/1.1 5") {
				t.Errorf("answered %.100q", said)
			}
			_ = conn.Close()
			dripping.Wait()
		})
	}
}

// A client that asks and asks, and reads none of the answers.
func TestClientThatNeverReadsIsHungUpOn(t *testing.T) {
	t.Parallel()
	addr := openFront(t, quickLimits)
	conn := dial(t, addr)
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	request := []byte(strings.Repeat("GET /livez HTTP/1.1\r\nHost: h\r\n\r\n", 1_000))
	for range 10_000 {
		if _, err := conn.Write(request); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the server waits for the client")
		} else if err != nil {
			wantServed(t, addr)
			return
		}
	}
	t.Fatal("the server holds all answers")
}

func TestConnectionsBeyondTheLimitWait(t *testing.T) {
	t.Parallel()
	limits := usualLimits
	limits.connections = 2
	addr := openFront(t, limits)
	first, second, third := dial(t, addr), dial(t, addr), dial(t, addr)
	const request = "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, conn := range []net.Conn{first, second} { // now they are accepted
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		wantAnswer(t, conn, http.StatusOK)
	}
	if _, err := io.WriteString(third, request); err != nil {
		t.Fatal(err)
	}
	if err := third.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := third.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v: the limit is not kept", n, err)
	}
	_ = first.Close()
	if err := third.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, third, http.StatusOK)
}

// Large requests that stand still take the places of large ones only, and not
// for ever.
func TestLargeRequestsHavePlacesOfTheirOwn(t *testing.T) {
	t.Parallel()
	addr := openFront(t, quickLimits)
	large := fmt.Sprintf("%sContent-Length: %d\r\n\r\n", getValueHead, smallBody+1)
	var holders []net.Conn
	for range quickLimits.uploads {
		conn := dial(t, addr)
		if _, err := io.WriteString(conn, large); err != nil {
			t.Fatal(err)
		}
		holders = append(holders, conn)
	}
	wantServed(t, addr)
	for _, conn := range holders {
		wantHungUp(t, conn)
	}
	conn := dial(t, addr)
	if _, err := io.WriteString(conn, large+strings.Repeat(" ", smallBody+1)); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, conn, http.StatusBadRequest) // it has no signature
}

func TestLargeRequestsBeyondTheirPlacesAreSentAway(t *testing.T) {
	t.Parallel()
	arrived, leave := make(chan struct{}), make(chan struct{})
	u := &uploads{places: make(chan struct{}, 1), wait: 10 * time.Millisecond, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-leave
	})}
	send := func() int {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat(" ", smallBody+1)))
		w := httptest.NewRecorder()
		u.ServeHTTP(w, r)
		return w.Code
	}
	first := make(chan int)
	go func() { first <- send() }()
	<-arrived
	if status := send(); status != http.StatusServiceUnavailable {
		t.Errorf("answered %d", status)
	}
	close(leave)
	if status := <-first; status != http.StatusOK {
		t.Errorf("the first was answered %d", status)
	}
}

// A client that keeps the rest of its request to itself is cut off when the server ends,
// and makes no failure of that.
func TestStalledRequestAtTheEnd(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	server, err := keyturn.Open(t.Context(), keyturn.Config{Data: keyturn.InMemory, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limits := usualLimits
	limits.drain, limits.end = 100*time.Millisecond, 100*time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveUntil(ctx, server, listener, limits, log) }()
	conn := dial(t, listener.Addr().String())
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: keyturn\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
	wantAnswer(t, conn, http.StatusBadRequest) // and then the server waits for the body
	stop()
	if err := errors.Join(<-ended, server.Close()); err != nil {
		t.Error(err)
	}
	wantHungUp(t, conn)
}
