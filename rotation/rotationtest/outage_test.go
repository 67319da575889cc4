package rotationtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/rotation"
)

// outage ends a process after its n-th outside effect, in the worst way: the
// effect has happened, but its answer is lost. Effects are the writes to
// Secrets Manager and the statements that change a password or commit a change,
// which are counted on the wire. After the end nothing goes out any more, until revive.
type outage struct {
	mu    sync.Mutex
	seen  int // effects until now
	after int // the effect after which to end; 0 never
	dead  bool
	kill  func() // the database's server, before its answer is lost; nil: it lives on
	conns []net.Conn
}

var errDead = errors.New("the process has ended")

// effect counts one, and tells whether the process ends with it.
func (o *outage) effect() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen++
	if o.after != 0 && o.seen >= o.after {
		o.dead = true
	}
	return o.dead
}

func (o *outage) isDead() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dead
}

// killAfter ends the database with the n-th effect.
func (o *outage) killAfter(n int, kill func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.after, o.kill = n, kill
}

// revive starts the process again; it lives on for good.
func (o *outage) revive() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dead, o.after = false, 0
	for _, c := range o.conns {
		_ = c.Close()
	}
	o.conns = nil
}

// connections counts those since revive.
func (o *outage) connections() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.conns) / 2 // each has two ends
}

// secrets is Secrets Manager as the process sees it.
type secrets struct {
	rotation.Secrets
	outage *outage
}

func (s secrets) DescribeSecret(ctx context.Context, in *sm.DescribeSecretInput, o ...func(*sm.Options)) (*sm.DescribeSecretOutput, error) {
	if s.outage.isDead() {
		return nil, errDead
	}
	return s.Secrets.DescribeSecret(ctx, in, o...)
}

func (s secrets) PutSecretValue(ctx context.Context, in *sm.PutSecretValueInput, o ...func(*sm.Options)) (*sm.PutSecretValueOutput, error) {
	if s.outage.isDead() {
		return nil, errDead
	}
	out, err := s.Secrets.PutSecretValue(ctx, in, o...)
	if s.outage.effect() {
		return nil, errDead
	}
	return out, err
}

func (s secrets) UpdateSecretVersionStage(ctx context.Context, in *sm.UpdateSecretVersionStageInput, o ...func(*sm.Options)) (*sm.UpdateSecretVersionStageOutput, error) {
	if s.outage.isDead() {
		return nil, errDead
	}
	out, err := s.Secrets.UpdateSecretVersionStage(ctx, in, o...)
	if s.outage.effect() {
		return nil, errDead
	}
	return out, err
}

// proxy is the database as the process sees it. It returns its own address.
func (o *outage) proxy(t *testing.T, target string) string {
	t.Helper()
	return dbtest.Accept(t, o.revive, func(c net.Conn) { o.serve(c, target) }).String()
}

// serve forwards one connection.
func (o *outage) serve(client net.Conn, target string) {
	defer client.Close()
	if o.isDead() {
		return
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	o.mu.Lock()
	o.conns = append(o.conns, client, server)
	o.mu.Unlock()

	changes := make(chan struct{}, 1) // a change has gone to the server
	var answers sync.WaitGroup
	answers.Go(func() { o.answers(client, server, changes) })
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			break
		}
		if o.isDead() {
			break
		}
		if isChange(buf[:n]) {
			changes <- struct{}{}
		}
		if _, err := server.Write(buf[:n]); err != nil {
			break
		}
	}
	_ = server.Close()
	answers.Wait()
}

// answers forwards what the server says; the answer to a change may be lost.
func (o *outage) answers(client, server net.Conn, changes <-chan struct{}) {
	defer client.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-changes:
			if o.effect() {
				if o.kill != nil {
					o.kill()
				}
				return
			}
		default:
		}
		if _, err := io.Copy(client, bytes.NewReader(buf[:n])); err != nil {
			return
		}
	}
}

func isChange(packet []byte) bool {
	statements := []string{"ALTER USER ", "SET PASSWORD", "CREATE USER ", "DROP USER ", "GRANT ", "REVOKE ", "SET DEFAULT ROLE ", "SETUSER"}
	// A query of PostgreSQL, where nothing lasts before COMMIT. One of MySQL
	// may begin with the same byte, its length.
	if bytes.HasPrefix(packet, []byte("Q")) && !bytes.HasPrefix(packet, []byte("Q\x00\x00\x00\x03")) {
		statements = []string{"ALTER ROLE ", "COMMIT"}
	}
	for _, statement := range statements {
		if bytes.Contains(packet, []byte(statement)) {
			return true
		}
	}
	return false
}
