package keyturn_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/iam"
)

// benchProcess is a server under measurement.
type benchProcess struct {
	b      *testing.B
	args   []string
	env    []string
	key    benchKey
	cmd    *exec.Cmd
	output bytes.Buffer
}

func benchBinary(b *testing.B) string {
	if os.Getenv("KEYTURN_BENCH_PROFILE") != "" {
		return ""
	}
	binary := filepath.Join(b.TempDir(), "keyturn")
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-o", binary, "./cmd/keyturn")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("building keyturn: %v\n%s", err, out)
	}
	return binary
}

// newBenchServer starts the program on a data folder. With
// KEYTURN_BENCH_PROFILE=FILE it is the same handler in this test binary, which
// writes a CPU profile.
func newBenchServer(b *testing.B, binary, data string) *benchProcess {
	p := newBenchProcess(b)
	p.args = []string{binary, "serve", "--listen", p.key.host, "--data", data}
	if binary == "" {
		p.args = []string{os.Args[0]}
		p.env = []string{"KEYTURN_BENCH_CHILD=serve", "KEYTURN_BENCH_LISTEN=" + p.key.host, "KEYTURN_BENCH_FOLDER=" + data}
	}
	p.await()
	text, err := os.ReadFile(filepath.Join(data, "credentials"))
	if err != nil {
		b.Fatal(err)
	}
	found := regexp.MustCompile(`aws_access_key_id = (\S+)\naws_secret_access_key = (\S+)`).FindStringSubmatch(string(text))
	if found == nil {
		b.Fatal("the credentials file holds no key")
	}
	p.key.id, p.key.secret = found[1], found[2]
	return p
}

// newBenchYardstick starts bare, floor or synced, which takes the same access key.
func newBenchYardstick(b *testing.B, kind string, key benchKey) *benchProcess {
	p := newBenchProcess(b)
	p.key.id, p.key.secret = key.id, key.secret
	p.args = []string{os.Args[0]}
	p.env = []string{"KEYTURN_BENCH_CHILD=" + kind, "KEYTURN_BENCH_LISTEN=" + p.key.host,
		"KEYTURN_BENCH_KEY=" + key.id, "KEYTURN_BENCH_SECRET=" + key.secret, "KEYTURN_BENCH_FOLDER=" + benchRoot(b)}
	p.await()
	return p
}

func newBenchProcess(b *testing.B) *benchProcess {
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	p := &benchProcess{b: b, key: benchKey{host: l.Addr().String()}}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.stop)
	return p
}

// start starts the process and returns how long it took to answer a read.
func (p *benchProcess) start() time.Duration {
	begin := p.launch()
	for {
		c, err := (&net.Dialer{}).DialContext(p.b.Context(), "tcp", p.key.host)
		if err == nil {
			_ = c.Close()
			break
		}
		p.waitMore(begin)
	}
	if !p.has(benchName(0)) {
		p.b.Fatal("the server lost its secrets")
	}
	return time.Since(begin)
}

// await starts the process and waits until it answers anything.
func (p *benchProcess) await() {
	for begin := p.launch(); ; p.waitMore(begin) {
		res, err := http.Get("http://" + p.key.host + "/livez")
		if err == nil {
			_ = res.Body.Close()
			return
		}
	}
}

func (p *benchProcess) launch() time.Time {
	p.output.Reset()
	begin := time.Now()
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		p.b.Fatal(err)
	}
	return begin
}

func (p *benchProcess) waitMore(begin time.Time) {
	if time.Since(begin) > 30*time.Second {
		p.b.Fatalf("the server does not come up:\n%s", p.output.String())
	}
	time.Sleep(time.Millisecond)
}

func (p *benchProcess) stop() {
	if p.cmd == nil || p.cmd.ProcessState != nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

// cpu is the process's CPU time in seconds.
func (p *benchProcess) cpu() float64 {
	text := p.proc("stat")
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100 // the kernel's ticks for user space
}

// rss is the process's memory in MB, peak the most it had.
func (p *benchProcess) rss() float64  { return p.status("VmRSS:") }
func (p *benchProcess) peak() float64 { return p.status("VmHWM:") }

func (p *benchProcess) status(field string) float64 {
	_, rest, _ := strings.Cut(p.proc("status"), field)
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		p.b.Fatal(err)
	}
	return kib / 1024
}

func (p *benchProcess) proc(file string) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
	if err != nil {
		p.b.Fatal(err)
	}
	return string(text)
}

// A process of this test binary that was told to be a server is one.
func init() {
	kind := os.Getenv("KEYTURN_BENCH_CHILD")
	if kind == "" {
		return
	}
	if err := benchServe(kind); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// benchServe serves until SIGTERM, behind an http.Server and with a garbage
// collector as serve has them.
func benchServe(kind string) error {
	debug.SetGCPercent(200)
	debug.SetMemoryLimit(64 << 20)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	h, err := benchHandler(ctx, kind)
	if err != nil {
		return err
	}
	if file := os.Getenv("KEYTURN_BENCH_PROFILE"); file != "" {
		if profile, err := os.Create(file + "." + kind); err == nil {
			_ = pprof.StartCPUProfile(profile)
			defer pprof.StopCPUProfile()
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", os.Getenv("KEYTURN_BENCH_LISTEN"))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	if s, ok := h.(*keyturn.Server); ok {
		l = s.Listen(l, server)
	}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func benchHandler(ctx context.Context, kind string) (http.Handler, error) {
	switch kind {
	case "bare":
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			benchAnswer(w)
		}), nil
	case "floor":
		return newBenchFloor()
	case "synced":
		return newBenchSynced(os.Getenv("KEYTURN_BENCH_FOLDER"))
	}
	server, err := keyturn.Open(ctx, keyturn.Config{Data: os.Getenv("KEYTURN_BENCH_FOLDER")})
	if err == nil {
		go func() { _ = server.Run(ctx) }()
	}
	return server, err
}

// newBenchSynced answers what is on the disk, one request after the other.
func newBenchSynced(folder string) (http.Handler, error) {
	disk, err := newBenchDisk(folder)
	var one sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		one.Lock()
		defer one.Unlock()
		if err := disk.write(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		benchAnswer(w)
	}), err
}

// benchAnswer writes what GetSecretValue does, headers included.
func benchAnswer(w http.ResponseWriter) {
	header := w.Header()
	header["X-Amzn-Requestid"] = []string{"0190a8e2-7c4b-7000-8000-3f2a1b0c9d8e"}
	header["Content-Type"] = []string{"application/x-amz-json-1.1"}
	header["Content-Length"] = []string{strconv.Itoa(len(benchGetAnswer))}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(benchGetAnswer)
}

var benchGetAnswer = fmt.Appendf(nil, `{"ARN":"arn:aws:secretsmanager:us-east-1:000000000000:secret:%s-AbCdEf","CreatedDate":1796000000.123,`+
	`"Name":"%[1]s","SecretString":"%s","VersionId":"0190a8e2-7c4b-7000-8000-3f2a1b0c9d8e","VersionStages":["AWSCURRENT"]}`, benchName(0), benchText())

// benchFloor is the least work behind GetSecretValue.
type benchFloor struct {
	verifier iam.Verifier
	aead     cipher.AEAD
	sealed   []byte
}

func newBenchFloor() (*benchFloor, error) {
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	keys := &benchKeys{os.Getenv("KEYTURN_BENCH_KEY"), iam.Credential{Secret: os.Getenv("KEYTURN_BENCH_SECRET"), Principal: iam.Administrator("000000000000")}}
	return &benchFloor{verifier: iam.Verifier{Keys: keys, Now: time.Now}, aead: aead,
		sealed: aead.Seal(nil, nil, []byte(benchText()), []byte("place"))}, nil
}

func (f *benchFloor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if _, err := f.verifier.Verify(r, body); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	if _, err := f.aead.Open(nil, nil, f.sealed, []byte("place")); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	benchAnswer(w)
}

// benchKeys is one access key.
type benchKeys struct {
	id         string
	credential iam.Credential
}

func (k *benchKeys) Lookup(_ context.Context, id string) (iam.Credential, error) {
	if id != k.id {
		return iam.Credential{}, iam.ErrUnknownKey
	}
	return k.credential, nil
}
