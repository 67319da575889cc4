package keyturn_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
)

// benchKey signs requests to one server. It keeps the signing key of the day,
// so that the generator costs little beside what it measures.
type benchKey struct {
	id, secret string
	host       string
}

const benchScope = "/us-east-1/secretsmanager/aws4_request"

// sign returns the bytes of a request, ready to be written to a connection.
func (k benchKey) sign(op, body string) []byte {
	at := time.Now().UTC().Format("20060102T150405Z")
	key := benchDerive(k.secret, at[:8])
	const signed = "content-type;host;x-amz-date;x-amz-target"
	canonical := "POST\n/\n\ncontent-type:application/x-amz-json-1.1\nhost:" + k.host + "\nx-amz-date:" + at +
		"\nx-amz-target:secretsmanager." + op + "\n\n" + signed + "\n" + benchHash(body)
	mac := benchMAC(key, "AWS4-HMAC-SHA256\n"+at+"\n"+at[:8]+benchScope+"\n"+benchHash(canonical))
	return fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nContent-Length: %d\r\n"+
		"Authorization: AWS4-HMAC-SHA256 Credential=%s/%s%s, SignedHeaders=%s, Signature=%x\r\n"+
		"Content-Type: application/x-amz-json-1.1\r\nX-Amz-Date: %s\r\nX-Amz-Target: secretsmanager.%s\r\n\r\n%s",
		k.host, len(body), k.id, at[:8], benchScope, signed, mac, at, op, body)
}

var benchDerived sync.Map // :: secret and day → signing key

func benchDerive(secret, day string) []byte {
	if key, ok := benchDerived.Load(secret + day); ok {
		return key.([]byte)
	}
	key := []byte("AWS4" + secret)
	for _, text := range []string{day, "us-east-1", "secretsmanager", "aws4_request"} {
		key = benchMAC(key, text)
	}
	benchDerived.Store(secret+day, key)
	return key
}

func benchMAC(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func benchHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// gets reads secrets drawn evenly from the first n. Up to 10,000 requests are
// signed before a round begins, and again before the signatures expire.
func (p *benchProcess) gets(n int) func(*rand.Rand) []byte { return p.signedAhead("GetSecretValue", n) }

func (p *benchProcess) describes(n int) func(*rand.Rand) []byte {
	return p.signedAhead("DescribeSecret", n)
}

func (p *benchProcess) signedAhead(op string, n int) func(*rand.Rand) []byte {
	sign := func(i int) []byte { return p.key.sign(op, fmt.Sprintf(`{"SecretId":"%s"}`, benchName(i))) }
	if n > 10000 {
		return func(draw *rand.Rand) []byte { return sign(draw.IntN(n)) }
	}
	signed := &benchSigned{sign: sign, n: n}
	return func(draw *rand.Rand) []byte { return signed.fresh()[draw.IntN(n)] }
}

// benchSigned is one request for each of n secrets.
type benchSigned struct {
	sign func(i int) []byte
	n    int

	mu    sync.RWMutex
	until time.Time // the signatures are to be renewed then
	all   [][]byte
}

// fresh signs all at once: the first question comes before a round begins, so that
// none of it is part of what is measured.
func (s *benchSigned) fresh() [][]byte {
	s.mu.RLock()
	all, until := s.all, s.until
	s.mu.RUnlock()
	if time.Now().Before(until) {
		return all
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.until) {
		return s.all
	}
	s.all = make([][]byte, s.n)
	for i := range s.all {
		s.all[i] = s.sign(i)
	}
	s.until = time.Now().Add(4 * time.Minute)
	return s.all
}

// lists asks for the page of 100 names with one of n prefixes.
func (p *benchProcess) lists(n int) func(*rand.Rand) []byte {
	return func(draw *rand.Rand) []byte {
		return p.key.sign("ListSecrets", fmt.Sprintf(`{"MaxResults":100,"Filters":[{"Key":"name","Values":["team%05d/"]}]}`, draw.IntN(n)))
	}
}

func benchText() string { return strings.Repeat(benchValue, 11)[:300] }

func (p *benchProcess) puts(n int) func(*rand.Rand) []byte {
	return func(draw *rand.Rand) []byte {
		return p.key.sign("PutSecretValue", fmt.Sprintf(`{"SecretId":"%s","ClientRequestToken":"%s","SecretString":"%s"}`,
			benchName(draw.IntN(n)), uuid.NewString(), benchText()))
	}
}

// creates makes secrets of new names.
func (p *benchProcess) creates() func(*rand.Rand) []byte {
	return func(*rand.Rand) []byte { return p.createRequest("created/" + uuid.NewString()) }
}

func (p *benchProcess) createRequest(name string) []byte {
	return p.key.sign("CreateSecret", fmt.Sprintf(`{"Name":"%s","ClientRequestToken":"%s","SecretString":"%s"}`, name, uuid.NewString(), benchText()))
}

// drive sends requests over so many connections for a time.
func (p *benchProcess) drive(conns int, span time.Duration, request func(*rand.Rand) []byte) benchResult {
	var crew sync.WaitGroup
	took := make([][]time.Duration, conns)
	lines := make([]*benchConn, conns)
	for i := range lines {
		lines[i] = p.dial()
		defer lines[i].Close()
		if err := lines[i].do(request(rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))); err != nil {
			p.b.Fatal(err)
		}
	}
	cpu, begin := p.cpu(), time.Now()
	for i := range conns {
		crew.Go(func() { took[i] = lines[i].repeat(p.b, begin.Add(span), request) })
	}
	crew.Wait()
	elapsed := time.Since(begin).Seconds()
	all := slices.Concat(took...)
	slices.Sort(all)
	if len(all) == 0 {
		p.b.Fatal("no request was answered")
	}
	n := float64(len(all))
	return benchResult{rate: n / elapsed, p50: millis(all[len(all)/2]), p99: millis(all[len(all)*99/100]),
		cpu: (p.cpu() - cpu) / n * 1000, rss: p.rss()}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// create makes the secrets with the numbers from..to, as fast as 64 connections
// take them.
func (p *benchProcess) create(from, to int) time.Duration {
	return p.all(from, to, func(i int) []byte { return p.createRequest(benchName(i)) })
}

func (p *benchProcess) readAll(n int) {
	p.all(0, n, func(i int) []byte {
		return p.key.sign("GetSecretValue", fmt.Sprintf(`{"SecretId":"%s"}`, benchName(i)))
	})
}

// all sends one request for each number over 64 connections.
func (p *benchProcess) all(from, to int, request func(i int) []byte) time.Duration {
	var crew sync.WaitGroup
	var next atomic.Int64
	next.Store(int64(from))
	begin := time.Now()
	for range 64 {
		c := p.dial()
		crew.Go(func() {
			defer c.Close()
			for i := int(next.Add(1)) - 1; i < to; i = int(next.Add(1)) - 1 {
				if err := c.do(request(i)); err != nil {
					p.b.Error(err)
					return
				}
			}
		})
	}
	crew.Wait()
	return time.Since(begin)
}

// benchConn is one keep-alive connection with a parser that reads no more of an
// answer than it must.
type benchConn struct {
	net.Conn
	in *bufio.Reader
}

func (p *benchProcess) dial() *benchConn {
	c, err := (&net.Dialer{}).DialContext(p.b.Context(), "tcp", p.key.host)
	if err != nil {
		p.b.Fatal(err)
	}
	return &benchConn{c, bufio.NewReaderSize(c, 64<<10)}
}

func (c *benchConn) repeat(b *testing.B, until time.Time, request func(*rand.Rand) []byte) (took []time.Duration) {
	draw := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	took = make([]time.Duration, 0, 1<<16)
	for {
		bytes := request(draw)
		begin := time.Now()
		if begin.After(until) {
			return took
		}
		if err := c.do(bytes); err != nil {
			b.Error(err)
			return took
		}
		took = append(took, time.Since(begin))
	}
}

var errBenchAnswer = errors.New("not the answer that was wanted")

// do sends a request and reads its answer, which must be a success.
func (c *benchConn) do(request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	status, length := "", 0
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if status == "" {
			status = string(line[9:12])
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	if status == "200" {
		_, err := c.in.Discard(length)
		return err
	}
	text := make([]byte, length)
	_, err := io.ReadFull(c.in, text)
	return errors.Join(fmt.Errorf("%w: %s %s", errBenchAnswer, status, text), err)
}

func (p *benchProcess) has(name string) bool {
	c := p.dial()
	defer c.Close()
	err := c.do(p.key.sign("DescribeSecret", fmt.Sprintf(`{"SecretId":"%s"}`, name)))
	if err != nil && !errors.Is(err, errBenchAnswer) {
		p.b.Fatal(err)
	}
	return err == nil
}
