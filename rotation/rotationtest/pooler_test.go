package rotationtest

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
	"github.com/keyturn/keyturn/rotation/postgres"
)

// pooled answers a login as a pooler does: with another process id than that of the server
// process (BackendKeyData). It returns the port.
func (w *world) pooled() int {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go w.lend(client)
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port
}

func (w *world) lend(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", (&net.TCPAddr{IP: net.ParseIP(w.admin.Host), Port: w.admin.Port}).String())
	if err != nil {
		return
	}
	defer server.Close()
	go func() { _, _ = server.(*net.TCPConn).ReadFrom(client) }()
	buf := make([]byte, 1<<16)
	for {
		n, err := server.Read(buf)
		if i := bytes.Index(buf[:n], []byte("K\x00\x00\x00\x0c")); i >= 0 && i+9 <= n {
			copy(buf[i+5:], "\x00\x00\x00\x01")
		}
		if _, failed := client.Write(buf[:n]); failed != nil || err != nil {
			return
		}
	}
}

// TestPlanTellsOfAPooler: one that has a list of passwords of its own refuses what a
// rotation has set, and nobody can log in by AWSCURRENT.
func TestPlanTellsOfAPooler(t *testing.T) {
	w := newWorld(t, dbserver.Postgres, plain)
	for port, want := range map[int]bool{w.admin.Port: false, w.pooled(): true} {
		l := w.first
		l.Port = port
		s, err := postgres.Engine{}.Connect(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		x, err := s.(rotation.Explainer).Explain(t.Context(), l.Username, rotation.StrategySingleUser)
		if err != nil || strings.Contains(x.Server+x.Untouched, "pooler") != want {
			t.Errorf("port %d: %+v, %v", port, x, err)
		}
		w.check(s.Close())
	}
}
