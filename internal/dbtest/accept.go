package dbtest

import (
	"net"
	"sync"
	"testing"
)

// Accept listens on a port of its own and has serve handle each connection, one beside
// the other, until the test ends. Then it calls end, which is to end those that are
// open, and waits for them.
func Accept(t testing.TB, end func(), serve func(net.Conn)) *net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); end(); open.Wait() })
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { serve(c) })
		}
	})
	return l.Addr().(*net.TCPAddr)
}
