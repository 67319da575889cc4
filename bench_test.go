package keyturn_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/uuid"

	"github.com/keyturn/keyturn/keyturntest"
)

// BenchmarkHTTP measures whole requests over keep-alive connections, signed
// with Signature Version 4, beside a bare net/http handler that answers the
// bytes of GetSecretValue's answer to the same requests. Requests are signed
// before the clock runs.
func BenchmarkHTTP(b *testing.B) {
	for _, conns := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("bare/conns=%d", conns), func(b *testing.B) { benchBare(b, conns) })
		b.Run(fmt.Sprintf("GetSecretValue/conns=%d", conns), func(b *testing.B) { benchGet(b, conns) })
		b.Run(fmt.Sprintf("PutSecretValue/conns=%d", conns), func(b *testing.B) { benchPut(b, conns) })
	}
}

const benchSecrets = 1000

func benchServer(b *testing.B) *keyturntest.Server {
	b.Helper()
	s := keyturntest.NewServer(b)
	var crew sync.WaitGroup
	names := make(chan string)
	for range 32 {
		crew.Go(func() {
			for name := range names {
				_, err := s.SecretsManager.CreateSecret(context.Background(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(strings.Repeat("x", 300))})
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range benchSecrets {
		names <- fmt.Sprintf("bench/%d", i)
	}
	close(names)
	crew.Wait()
	return s
}

// signed returns the bytes of a request, ready to be written to a connection.
func signed(b *testing.B, cfg aws.Config, url, op, body string) []byte {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url+"/", strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "secretsmanager."+op)
	key, err := cfg.Credentials.Retrieve(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(b.Context(), key, r, hex.EncodeToString(sum[:]), "secretsmanager", cfg.Region, time.Now()); err != nil {
		b.Fatal(err)
	}
	var buf bytes.Buffer
	if err := r.Write(&buf); err != nil {
		b.Fatal(err)
	}
	return buf.Bytes()
}

func getRequest(b *testing.B, s *keyturntest.Server) func(int) []byte {
	b.Helper()
	requests := make([][]byte, benchSecrets)
	for i := range requests {
		requests[i] = signed(b, s.Config, s.URL, "GetSecretValue", fmt.Sprintf(`{"SecretId":"bench/%d"}`, i))
	}
	return func(i int) []byte { return requests[i%benchSecrets] }
}

func benchBare(b *testing.B, conns int) {
	s := benchServer(b)
	out, err := s.SecretsManager.GetSecretValue(b.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("bench/0")})
	if err != nil {
		b.Fatal(err)
	}
	answer := fmt.Appendf(nil, `{"ARN":%q,"CreatedDate":1796000000.123,"Name":"bench/0","SecretString":%q,"VersionId":%q,"VersionStages":["AWSCURRENT"]}`, *out.ARN, *out.SecretString, *out.VersionId)
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_, _ = w.Write(answer)
	}))
	defer bare.Close()
	drive(b, bare.Listener.Addr().String(), conns, getRequest(b, s))
}

func benchGet(b *testing.B, conns int) {
	s := benchServer(b)
	drive(b, strings.TrimPrefix(s.URL, "http://"), conns, getRequest(b, s))
}

func benchPut(b *testing.B, conns int) {
	s := benchServer(b)
	requests := make([][]byte, b.N)
	for i := range requests {
		body := fmt.Sprintf(`{"SecretId":"bench/%d","ClientRequestToken":"%s","SecretString":"%s"}`, i%benchSecrets, uuid.NewString(), strings.Repeat("y", 300))
		requests[i] = signed(b, s.Config, s.URL, "PutSecretValue", body)
	}
	drive(b, strings.TrimPrefix(s.URL, "http://"), conns, func(i int) []byte { return requests[i] })
}

// drive sends b.N requests over so many connections and reports rate and
// latencies.
func drive(b *testing.B, addr string, conns int, request func(int) []byte) {
	b.Helper()
	todo := make(chan int, conns)
	took := make([]time.Duration, b.N)
	var crew sync.WaitGroup
	for range conns {
		c, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		crew.Go(func() { send(b, c, todo, took, request) })
	}
	b.ResetTimer()
	begin := time.Now()
	for i := range b.N {
		todo <- i
	}
	close(todo)
	crew.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "req/s")
	b.ReportMetric(float64(took[b.N/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[b.N*99/100].Microseconds())/1000, "p99-ms")
}

func send(b *testing.B, c net.Conn, todo <-chan int, took []time.Duration, request func(int) []byte) {
	defer c.Close()
	in := bufio.NewReader(c)
	for i := range todo {
		begin := time.Now()
		if _, err := c.Write(request(i)); err != nil {
			b.Error(err)
			return
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			b.Error(err)
			return
		}
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		took[i] = time.Since(begin)
		if err != nil || res.StatusCode != http.StatusOK {
			b.Errorf("status %d: %v", res.StatusCode, err)
			return
		}
	}
}
