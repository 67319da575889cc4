package rotation

import (
	"io"
	"net"
	"sync/atomic"
	"time"
)

// Goodbye is a connection for engines whose server counts those of an account. Its
// Close, after Wait, waits until the server has closed its end, and so counts it no
// longer: who logs in next needs no second connection.
type Goodbye struct {
	net.Conn
	wait atomic.Bool
}

// goodbyeTime bounds the wait for a server that does not close its end.
const goodbyeTime = time.Second

// Wait says that the session's last message is what Close sends, or was sent.
func (g *Goodbye) Wait() { g.wait.Store(true) }

// Close ends the connection.
func (g *Goodbye) Close() error {
	if g.wait.Swap(false) {
		late := time.AfterFunc(goodbyeTime, func() { _ = g.Conn.Close() })
		_, _ = io.Copy(io.Discard, g.Conn)
		late.Stop()
	}
	return g.Conn.Close()
}
