package keyturn_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/keyturntest"
)

// BenchmarkHandler measures what one call costs without a network, beside the
// floor of BenchmarkHTTP: its time, and what it allocates. Writes come one by one
// and from 64 at once.
func BenchmarkHandler(b *testing.B) {
	s := keyturntest.NewServer(b)
	_, err := s.SecretsManager.CreateSecret(context.Background(),
		&secretsmanager.CreateSecretInput{Name: aws.String(benchName(0)), SecretString: aws.String(benchText())})
	if err != nil {
		b.Fatal(err)
	}
	text, err := os.ReadFile(s.CredentialsFile())
	if err != nil {
		b.Fatal(err)
	}
	found := regexp.MustCompile(`aws_access_key_id = (\S+)\naws_secret_access_key = (\S+)`).FindStringSubmatch(string(text))
	key := benchKey{id: found[1], secret: found[2], host: strings.TrimPrefix(s.URL, "http://")}
	b.Setenv("KEYTURN_BENCH_KEY", key.id)
	b.Setenv("KEYTURN_BENCH_SECRET", key.secret)
	floor, err := newBenchFloor()
	if err != nil {
		b.Fatal(err)
	}
	body := `{"SecretId":"` + benchName(0) + `"}`
	b.Run("floor", func(b *testing.B) { benchDirect(b, floor, key, "GetSecretValue", body) })
	b.Run("GetSecretValue", func(b *testing.B) { benchDirect(b, s, key, "GetSecretValue", body) })
	b.Run("DescribeSecret", func(b *testing.B) { benchDirect(b, s, key, "DescribeSecret", body) })
	p := &benchProcess{key: key}
	for i := range benchWritten {
		benchCall(b, s, p.createRequest(benchName(i+1)))
	}
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("PutSecretValue/writers=%d", writers), func(b *testing.B) { benchWrites(b, s, writers, p.puts(benchWritten)) })
		b.Run(fmt.Sprintf("CreateSecret/writers=%d", writers), func(b *testing.B) { benchWrites(b, s, writers, p.creates()) })
	}
}

// benchWritten is how many secrets take new values: each 100 a day.
const benchWritten = 2000

// benchWrites measures rounds of requests that are signed beforehand.
func benchWrites(b *testing.B, h http.Handler, writers int, request func(*rand.Rand) []byte) {
	draw := rand.New(rand.NewPCG(uint64(writers), 1))
	b.ReportAllocs()
	var used time.Duration
	for left := b.N; left > 0; left -= 1000 {
		b.StopTimer()
		ready := make(chan []byte, min(left, 1000))
		for range cap(ready) {
			ready <- request(draw)
		}
		close(ready)
		b.StartTimer()
		begin := benchCPU()
		var crew sync.WaitGroup
		for range writers {
			crew.Go(func() {
				for raw := range ready {
					benchCall(b, h, raw)
				}
			})
		}
		crew.Wait()
		used += benchCPU() - begin
	}
	b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op")
}

// benchCall has one request served.
func benchCall(b *testing.B, h http.Handler, raw []byte) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		b.Error(err)
		return
	}
	r.RemoteAddr = "127.0.0.1:12345"
	w := &benchWriter{header: http.Header{}}
	if h.ServeHTTP(w, r); w.status != http.StatusOK {
		b.Errorf("status %d", w.status)
	}
}

func benchDirect(b *testing.B, h http.Handler, key benchKey, op, body string) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(key.sign(op, body))))
	if err != nil {
		b.Fatal(err)
	}
	r.RemoteAddr = "127.0.0.1:12345"
	w := &benchWriter{header: http.Header{}}
	b.ReportAllocs()
	begin, used := time.Now(), benchCPU()
	for b.Loop() {
		r.Body = io.NopCloser(strings.NewReader(body))
		clear(w.header)
		if h.ServeHTTP(w, r); w.status != http.StatusOK {
			b.Fatalf("status %d after %s", w.status, time.Since(begin))
		}
	}
	b.ReportMetric(float64(benchCPU()-used)/float64(b.N), "cpu-ns/op")
}

// benchCPU is the CPU time of this process: unlike the clock it does not run
// while others have the processor.
func benchCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type benchWriter struct {
	header http.Header
	status int
}

func (w *benchWriter) Header() http.Header         { return w.header }
func (w *benchWriter) WriteHeader(status int)      { w.status = status }
func (w *benchWriter) Write(b []byte) (int, error) { return len(b), nil }
