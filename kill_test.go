package keyturn_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// process is a keyturn server that can be killed.
type process struct {
	t      testing.TB
	binary string
	data   string
	addr   string
	flags  []string // of serve, beside those for data and addr
	cmd    *exec.Cmd
	output bytes.Buffer
}

// built is the folder of the program that build has made; TestMain removes it.
var built string

var buildOnce = sync.OnceValue(func() (err error) {
	if built, err = os.MkdirTemp("", "keyturn-built-"); err != nil {
		return err
	}
	if out, err := exec.Command("go", "build", "-o", built, "./cmd/keyturn").CombinedOutput(); err != nil {
		return fmt.Errorf("building keyturn: %w\n%s", err, out)
	}
	return nil
})

// build makes the real program, once for all tests of this binary.
func build(t testing.TB) string {
	t.Helper()
	if err := buildOnce(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(built, "keyturn")
}

func newProcess(t testing.TB, binary string) *process {
	t.Helper()
	port, err := dbserver.FreePort(func(int) bool { return false }) // one that no client gets while the server is down
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, binary: binary, data: filepath.Join(t.TempDir(), "data"), addr: net.JoinHostPort(dbserver.Host, strconv.Itoa(port))}
	t.Cleanup(p.kill)
	return p
}

func (p *process) start() {
	p.t.Helper()
	p.output.Reset()
	p.cmd = exec.Command(p.binary, append([]string{"serve", "--listen", p.addr, "--data", p.data}, p.flags...)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		res, err := http.Get("http://" + p.addr + "/readyz")
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Since(begin) > 2*time.Minute {
			p.t.Fatalf("the server does not come up: %v\n%s", err, p.output.String())
		}
	}
}

func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}

func (p *process) clients() aws.Config {
	p.t.Helper()
	cfg, err := config.LoadDefaultConfig(p.t.Context(),
		config.WithSharedCredentialsFiles([]string{filepath.Join(p.data, "credentials")}), config.WithSharedConfigFiles(nil),
		config.WithRegion("us-east-1"), config.WithBaseEndpoint("http://"+p.addr), config.WithRetryMaxAttempts(1))
	if err != nil {
		p.t.Fatal(err)
	}
	return cfg
}

// The server is killed at random moments of rotations. After each restart the
// rotation is carried to its end, exactly one version has AWSCURRENT, and its
// password logs in; with two passwords it does so at once.
func TestKilledServer(t *testing.T) {
	kills, binary := times(t, "KEYTURN_KILLS", 3), build(t)
	for _, a := range everyStrategy(t) {
		t.Run(a.String(), func(t *testing.T) {
			p := newProcess(t, binary)
			p.start()
			w := newWorld(t, p.clients(), a)
			others := createMany(t, w.secrets, 20)
			interrupted := 0
			for range kills {
				interrupted += w.survive(t, p)
			}
			for name, value := range others {
				out, err := w.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &name})
				if err != nil || *out.SecretString != value {
					t.Errorf("secret %s is lost or changed: %v", name, err)
				}
			}
			t.Logf("%d kills, %d of them in the middle of a rotation, %d of %d secrets there", kills, interrupted, len(others)+1, len(others)+1)
		})
	}
}

func createMany(t testing.TB, client *secretsmanager.Client, n int) map[string]string {
	t.Helper()
	all := map[string]string{}
	for i := range n {
		name, value := fmt.Sprintf("other/%d", i), fmt.Sprintf("value %d", i)
		if _, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value}); err != nil {
			t.Fatal(err)
		}
		all[name] = value
	}
	return all
}

// survive kills the server once during a rotation, and returns 1 if that was in
// the middle of it.
func (w *world) survive(t *testing.T, p *process) (interrupted int) {
	t.Helper()
	before := w.current(t)
	token, err := w.rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Duration(rand.IntN(40_000)) * time.Microsecond)
	p.kill()
	p.start()
	if w.account.strategy != rotation.StrategySingleUser {
		if err := w.login(t.Context()); err != nil {
			t.Errorf("right after the restart AWSCURRENT does not log in: %v", err)
		}
	}
	if w.current(t) == before {
		interrupted = 1
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if _, err := w.recorded(ctx, token); err != nil {
		t.Fatalf("the rotation does not end: %v\n%s", err, p.output.String())
	}
	got, err := w.settled(ctx)
	if err != nil || got != token {
		t.Fatalf("AWSCURRENT is on %s, not on %s: %v\n%s", got, token, err, p.output.String())
	}
	if err := w.login(ctx); err != nil {
		t.Fatalf("the password of AWSCURRENT does not log in: %v", err)
	}
	return interrupted
}

func (w *world) current(t testing.TB) string {
	t.Helper()
	out, err := w.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &w.secret})
	if err != nil {
		t.Fatal(err)
	}
	return *out.VersionId
}

// What was acknowledged is there after a kill, to the last write.
func TestKilledServerKeepsWhatItAcknowledged(t *testing.T) {
	p := newProcess(t, build(t))
	p.start()
	client := secretsmanager.NewFromConfig(p.clients())
	for round := range 5 {
		begun, acknowledged := make(chan struct{}), make(chan string, 1)
		go func() { acknowledged <- createUntilDead(client, round, begun) }()
		<-begun
		time.Sleep(100 * time.Millisecond)
		p.kill()
		last := <-acknowledged
		p.start()
		out, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &last})
		if err != nil || *out.SecretString != last {
			t.Errorf("secret %s was acknowledged: %v", last, err)
		}
	}
	if _, err := os.Stat(filepath.Join(p.data, "root.key")); err != nil {
		t.Error(err)
	}
}

// createUntilDead returns the name of the last secret that was acknowledged; the
// first one, or the end, closes begun.
func createUntilDead(client *secretsmanager.Client, round int, begun chan<- struct{}) (last string) {
	begin := sync.OnceFunc(func() { close(begun) })
	defer begin()
	for i := 0; ; i++ {
		name := fmt.Sprintf("%d/%d", round, i)
		_, err := client.CreateSecret(context.Background(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &name})
		if err != nil {
			return last
		}
		last = name
		begin()
	}
}

// SIGTERM ends the server in order, and a folder has one server at a time.
func TestTerminatedServer(t *testing.T) {
	p := newProcess(t, build(t))
	p.start()
	second := exec.CommandContext(t.Context(), p.binary, "serve", "--listen", "127.0.0.1:0", "--data", p.data)
	out, err := second.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("another keyturn server is using this data folder")) {
		t.Errorf("a second server on the same folder: %v\n%s", err, out)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, p.output.String())
	}
	p.cmd = nil
	p.start()
}
