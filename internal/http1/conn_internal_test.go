package http1

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Connections stay open for minutes; the values that went over one do not stay in
// its memory as long.
func TestConnectionKeepsNoValue(t *testing.T) {
	for _, size := range []int{30, 2000, 20_000} {
		c := echoed(t, size)
		left := append(bytes.Clone(c.in[:]), c.answer.all[:cap(c.answer.all)]...)
		if bytes.Contains(left, []byte("vvvv")) {
			t.Errorf("a value of %d bytes is still there", size)
		}
	}
}

// echoed is a connection over which a value went to a handler and back, and which
// then waited for another request.
func echoed(t *testing.T, size int) *conn {
	t.Helper()
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	l := &Listener{ctx: t.Context(), conns: map[*conn]struct{}{},
		Config: Config{MaxBody: 1 << 20, Takes: func(*http.Request) bool { return true }, Log: slog.New(slog.DiscardHandler), Handler: echo}}
	ours, theirs := net.Pipe()
	c := newConn(l, ours)
	served := make(chan struct{})
	go func() {
		defer close(served)
		c.serve()
	}()
	head := strings.Replace(usualHead, "Content-Length: 2", "Content-Length: "+strconv.Itoa(size), 1)
	if _, err := io.WriteString(theirs, head+strings.Repeat("v", size)); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(theirs), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if n, err := io.Copy(io.Discard, answer.Body); err != nil || n != int64(size) {
		t.Fatalf("%d bytes came back, %v", n, err)
	}
	_ = theirs.Close()
	<-served
	return c
}
