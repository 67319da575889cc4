package keyturn_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturntest"
)

// malformedRequests is how many TestMalformedRequests sends.
const malformedRequests = 10_000

// Requests that are wrong in every way: most are valid ones, changed and then
// signed, so that they get past the signature; others have broken signatures or
// are no HTTP. None of them may be answered 5xx, stop the server, or leave
// anything behind.
func TestMalformedRequests(t *testing.T) {
	var log lockedBuffer
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	sender := newSender(t, s)
	sender.send(t, 500, 0) // what is made once, is made
	before := sender.settled()
	sender.send(t, malformedRequests, 1)
	after := sender.settled()
	t.Logf("%d goroutines and %d KiB of heap before, %d and %d after", before.goroutines, before.heap>>10, after.goroutines, after.heap>>10)
	if ok, refused := sender.answers[200].Load(), sender.answers[400].Load(); ok < malformedRequests/20 || refused < malformedRequests/20 {
		t.Errorf("%d requests were answered 200 and %d 400: the others do not get far enough to prove much", ok, refused)
	}
	if after.goroutines > before.goroutines+goroutineSlack || after.heap > before.heap+heapSlack {
		t.Error("the requests left something behind")
	}
	for _, sign := range []string{"panic", "request failed"} {
		if i := strings.Index(log.String(), sign); i >= 0 {
			t.Errorf("the log has %q: %.2000s", sign, log.String()[i:])
		}
	}
	if _, err := s.SecretsManager.ListSecrets(t.Context(), nil); err != nil {
		t.Errorf("the server does not serve any longer: %v", err)
	}
}

// lockedBuffer is a log that several may write.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

const (
	goroutineSlack = 10
	heapSlack      = 24 << 20 // bytes; caches have bounds, and fill up
)

type used struct {
	goroutines int
	heap       uint64
}

func usage() used {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return used{runtime.NumGoroutine(), m.HeapAlloc}
}

// settled is the usage once the connections of before are gone: when the number
// of goroutines stays the same for a while.
func (s *sender) settled() used {
	s.client.CloseIdleConnections()
	last, same := 0, 0
	for range 500 {
		if n := runtime.NumGoroutine(); n != last {
			last, same = n, 0
		}
		if same++; same == 20 {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	return usage()
}

// sender sends malformed requests to one server.
type sender struct {
	server *keyturntest.Server
	client *http.Client
	host   string
	creds  aws.Credentials

	answers [600]atomic.Int64 // :: status → how often
}

func newSender(t *testing.T, s *keyturntest.Server) *sender {
	t.Helper()
	creds, err := s.Config.Credentials.Retrieve(t.Context())
	must(t, err)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}, Timeout: 2 * time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &sender{server: s, client: client, host: strings.TrimPrefix(s.URL, "http://"), creds: creds}
}

const senders = 16

// send sends n requests that the seed determines.
func (s *sender) send(t *testing.T, n int, seed uint64) {
	t.Helper()
	var g sync.WaitGroup
	for i := range senders {
		g.Go(func() {
			m := mutator{rand.New(rand.NewPCG(seed, uint64(i)))}
			for range n / senders {
				s.one(t, m)
			}
		})
	}
	g.Wait()
}

func (s *sender) one(t *testing.T, m mutator) {
	switch m.IntN(10) {
	case 0, 1:
		s.raw(t, m.stream())
	case 2:
		r := s.sign(t, m.draft(s.server.URL))
		m.spoil(r)
		if status := s.exchange(t, r); status < 300 {
			t.Errorf("a request with a spoilt signature was answered %d: %s %s %v", status, r.Method, r.URL, r.Header)
		}
	default:
		d := m.draft(s.server.URL)
		m.mutate(d)
		s.exchange(t, s.sign(t, d))
	}
}

// draft is a request that is not signed yet.
type draft struct {
	service, method, url, body string
	header                     http.Header
}

// sign gives d a valid signature; what cannot be a request at all becomes a
// plain one.
func (s *sender) sign(t *testing.T, d *draft) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), d.method, d.url, strings.NewReader(d.body))
	if err != nil {
		r, err = http.NewRequestWithContext(t.Context(), http.MethodPost, s.server.URL, strings.NewReader(d.body))
	}
	if err != nil {
		t.Error(err)
	}
	r.Header = d.header
	sum := sha256.Sum256([]byte(d.body))
	if err := v4.NewSigner().SignHTTP(t.Context(), s.creds, r, hex.EncodeToString(sum[:]), d.service, "us-east-1", time.Now()); err != nil {
		t.Error(err)
	}
	return r
}

// exchange checks the answer and returns its status, or 400 where the client
// would not send such a request.
func (s *sender) exchange(t *testing.T, r *http.Request) int {
	response, err := s.client.Do(r)
	if err != nil {
		if errors.Is(err, io.EOF) || r.Context().Err() != nil {
			t.Errorf("no answer to %s %s: %v", r.Method, r.URL, err)
		}
		return http.StatusBadRequest
	}
	defer response.Body.Close()
	s.answers[response.StatusCode].Add(1)
	checkResponse(t, response)
	return response.StatusCode
}

func checkResponse(t *testing.T, response *http.Response) {
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Errorf("reading an answer: %v", err)
	}
	checkStatus(t, response.StatusCode, body)
	isJSON := strings.Contains(response.Header.Get("Content-Type"), "json")
	if isJSON && response.Request.Method != http.MethodHead && response.StatusCode != http.StatusNoContent && !json.Valid(body) {
		t.Errorf("answered %d with no JSON: %.500s", response.StatusCode, body)
	}
}

// checkStatus wants no 5xx but for net/http's own words for a transfer coding
// or version that is none.
func checkStatus(t *testing.T, status int, body []byte) {
	switch status {
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return
	}
	if status >= http.StatusInternalServerError {
		t.Errorf("answered %d: %.500s", status, body)
	}
}

// raw sends bytes that need not be HTTP, and reads whatever is answered.
func (s *sender) raw(t *testing.T, stream []byte) {
	conn, err := net.Dial("tcp", s.host)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Error(err)
	}
	_, _ = conn.Write(stream) // the server may have hung up by now
	_ = conn.(*net.TCPConn).CloseWrite()
	for answers := bufio.NewReader(conn); ; {
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
				t.Errorf("the server holds a connection that said %.200q", stream)
			}
			return
		}
		body, _ := io.ReadAll(response.Body) // cut off where the server hung up
		_ = response.Body.Close()
		checkStatus(t, response.StatusCode, body)
	}
}

// mutator is a source of wrong things.
type mutator struct{ *rand.Rand }

func pick[T any](m mutator, from []T) T { return from[m.IntN(len(from))] }

// validJSON is a valid request for each operation, for a secret that may exist.
var validJSON = map[string]string{
	"BatchGetSecretValue":          `{"Filters":[{"Key":"name","Values":["app"]}],"MaxResults":2,"NextToken":"t"}`,
	"CancelRotateSecret":           `{"SecretId":"app"}`,
	"CreateSecret":                 `{"Name":"app","ClientRequestToken":"00000000-0000-0000-0000-000000000000","SecretString":"v","Description":"d","Tags":[{"Key":"a","Value":"b"}],"AddReplicaRegions":[{"Region":"eu-west-1"}]}`,
	"DeleteResourcePolicy":         `{"SecretId":"app"}`,
	"DeleteSecret":                 `{"SecretId":"app","RecoveryWindowInDays":7}`,
	"DescribeSecret":               `{"SecretId":"app"}`,
	"GetRandomPassword":            `{"PasswordLength":20,"ExcludeCharacters":"abc","RequireEachIncludedType":true}`,
	"GetResourcePolicy":            `{"SecretId":"app"}`,
	"GetSecretValue":               `{"SecretId":"app","VersionStage":"AWSCURRENT"}`,
	"ListSecretVersionIds":         `{"SecretId":"app","MaxResults":5,"IncludeDeprecated":true,"NextToken":"t"}`,
	"ListSecrets":                  `{"MaxResults":5,"SortBy":"name","SortOrder":"asc","Filters":[{"Key":"all","Values":["!a b"]}],"NextToken":"t"}`,
	"PutResourcePolicy":            `{"SecretId":"app","ResourcePolicy":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}]}","BlockPublicPolicy":false}`,
	"PutSecretValue":               `{"SecretId":"app","ClientRequestToken":"00000000-0000-0000-0000-000000000001","SecretBinary":"AAEC","VersionStages":["A","B"]}`,
	"RemoveRegionsFromReplication": `{"SecretId":"app","RemoveReplicaRegions":["eu-west-1"]}`,
	"ReplicateSecretToRegions":     `{"SecretId":"app","AddReplicaRegions":[{"Region":"eu-west-1","KmsKeyId":"k"}],"ForceOverwriteReplicaSecret":true}`,
	"RestoreSecret":                `{"SecretId":"app"}`,
	"RotateSecret":                 `{"SecretId":"app","ClientRequestToken":"00000000-0000-0000-0000-000000000002","RotationLambdaARN":"arn:aws:lambda:us-east-1:000000000000:function:keyturn-rotate-mysql","RotationRules":{"ScheduleExpression":"cron(0 8 1 * ? *)","Duration":"2h"}}`,
	"StopReplicationToReplica":     `{"SecretId":"app"}`,
	"TagResource":                  `{"SecretId":"app","Tags":[{"Key":"a","Value":"b"},{"Key":"c","Value":"d"}]}`,
	"UntagResource":                `{"SecretId":"app","TagKeys":["a"]}`,
	"UpdateSecret":                 `{"SecretId":"app","ClientRequestToken":"00000000-0000-0000-0000-000000000003","SecretString":"w","KmsKeyId":""}`,
	"UpdateSecretVersionStage":     `{"SecretId":"app","VersionStage":"A","MoveToVersionId":"00000000-0000-0000-0000-000000000001"}`,
	"ValidateResourcePolicy":       `{"ResourcePolicy":"{\"Statement\":{\"Effect\":\"Deny\",\"NotPrincipal\":{\"AWS\":\"*\"},\"Condition\":{\"Null\":{\"a\":\"true\"}}}}"}`,
}

// validForms ask nothing of RDS that would start a server.
var validForms = []string{
	"Action=DescribeDBClusters&Filters.Filter.1.Name=engine&Filters.Filter.1.Values.Value.1=mysql&MaxRecords=20",
	"Action=DescribeDBInstances&DBInstanceIdentifier=none&Marker=m",
	"Action=DescribeGlobalClusters&Filters.Filter.1.Name=db-cluster-id&Filters.Filter.1.Values.Value.1=x",
	"Action=CreateDBInstance&DBInstanceIdentifier=i&DBInstanceClass=c&Engine=mysql&AllocatedStorage=5&Tags.Tag.1.Key=a",
	"Action=ModifyDBCluster&DBClusterIdentifier=none&BackupRetentionPeriod=3&ApplyImmediately=true",
	"Action=DeleteDBCluster&DBClusterIdentifier=none&SkipFinalSnapshot=true",
	"Action=AddTagsToResource&ResourceName=arn:aws:rds:us-east-1:000000000000:cluster:none&Tags.Tag.1.Key=a&Tags.Tag.1.Value=b",
	"Action=GetCallerIdentity",
}

// validRequests are those of Lambda.
var validRequests = [][3]string{
	{"GET", "/2015-03-31/functions?MaxItems=5&Marker=m", ""},
	{"GET", "/2015-03-31/functions/keyturn-rotate-mysql?Qualifier=q", ""},
	{"POST", "/2015-03-31/functions/keyturn-rotate-mysql/policy", `{"StatementId":"s","Action":"lambda:InvokeFunction","Principal":"secretsmanager.amazonaws.com","SourceArn":"a"}`},
	{"DELETE", "/2015-03-31/functions/keyturn-rotate-mysql/policy/s?RevisionId=1", ""},
	{"POST", "/2015-03-31/functions/keyturn-rotate-mysql/invocations", `{"Step":"createSecret","SecretId":"app","ClientRequestToken":"t"}`},
}

// draft returns a valid request.
func (m mutator) draft(base string) *draft {
	switch m.IntN(6) {
	case 0:
		r := pick(m, validRequests)
		return &draft{"lambda", r[0], base + r[1], r[2], http.Header{"Content-Type": {"application/json"}}}
	case 1:
		service, version := "rds", "&Version=2014-10-31"
		form := pick(m, validForms)
		if strings.Contains(form, "GetCallerIdentity") {
			service, version = "sts", "&Version=2011-06-15"
		}
		return &draft{service, "POST", base + "/", form + version, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
	}
	action := pick(m, operations)
	return &draft{"secretsmanager", "POST", base + "/", validJSON[action],
		http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"secretsmanager." + action}}}
}

// operations is in order, for the seed to mean the same each time.
var operations = slices.Sorted(maps.Keys(validJSON))

// evil are values that stand where others are expected, as JSON.
var evil = []string{
	"null", "true", "-1", "0", "1e400", "99999999999999999999999", "0.1", `""`, `" "`, `"\u0000"`, `"\ud800"`, "\"\xff\xfe\"", "[]", "{}", `{"":{}}`,
	`[null,null]`, `"!"`, `"` + strings.Repeat("x", 600) + `"`, `"` + strings.Repeat("é/", 40_000) + `"`,
	strings.Repeat("[", 11_000), strings.Repeat("[", 5_000) + strings.Repeat("]", 5_000), strings.Repeat(`{"a":`, 3_000) + "1" + strings.Repeat("}", 3_000),
	`"arn:aws:secretsmanager:us-east-1:000000000000:secret:"`, `"arn:aws:secretsmanager:::secret:a-b"`, `"../../etc/passwd"`, `"rate(0 days)"`, `"cron(* * * * * *)"`, `"%s%n"`, "NaN", "-", "\"\x00\"",
}

// mutate changes one thing about a request before it is signed.
func (m mutator) mutate(d *draft) {
	switch m.IntN(12) {
	case 0:
		d.method = pick(m, []string{"GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "X"})
	case 1:
		d.header.Set("Content-Type", pick(m, []string{"", "text/plain", "application/x-amz-json-1.0", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "\xff"}))
	case 2:
		d.header.Set("X-Amz-Target", pick(m, []string{"", ".", "secretsmanager.", "secretsmanager.Nope", ".GetSecretValue", "keyturn.ListRotations", "keyturn.AdvanceClock", strings.Repeat("a.", 500)}))
	case 3:
		d.header.Set("Content-Encoding", pick(m, []string{"gzip", "br", "zstd", "aws-chunked", "nonsense", "gzip, gzip"}))
	case 4:
		d.service = pick(m, []string{"kms", "s3", "secretsmanager", "rds", "lambda", "sts", "x"})
	case 5:
		d.url += pick(m, []string{"?", "?Action=x", "?%zz", "/..", "/%00", "/%2f%2e%2e", "?a=1&a=2", "/" + strings.Repeat("a", 3_000), "?X-Amz-Algorithm=x", ";"})
	case 6:
		d.header.Set("X-Amz-Content-Sha256", pick(m, []string{"UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "00", ""}))
	default:
		d.body = m.change(d.body)
	}
}

// change breaks a body: a form where it is one, otherwise JSON.
func (m mutator) change(body string) string {
	switch m.IntN(8) {
	case 0:
		return body[:m.IntN(len(body)+1)]
	case 1:
		b := []byte(body)
		if len(b) > 0 {
			b[m.IntN(len(b))] ^= 1 << m.IntN(8)
		}
		return string(b)
	case 2:
		return body + pick(m, []string{body, "}", "\x00", "&&&==&", "&Tags.Tag.999999999.Key=x", "&" + strings.Repeat("a.", 200) + "=1", "&%zz"})
	case 3:
		return pick(m, evil)
	case 4:
		return strings.Repeat(" ", pick(m, []int{1, 70_000, 1<<20 - 50, 1 << 20})) + body // the last are larger than is allowed
	}
	return m.replaceValue(body)
}

// replaceValue puts something evil in the place of one value.
func (m mutator) replaceValue(body string) string {
	separator, ends := ":", ",}"
	if strings.HasPrefix(body, "Action=") {
		separator, ends = "=", "&"
	}
	parts := strings.Split(body, separator)
	if len(parts) < 2 {
		return pick(m, evil)
	}
	at := 1 + m.IntN(len(parts)-1)
	value := pick(m, evil)
	if separator == "=" {
		value = url.QueryEscape(strings.Trim(value, `"`))
	}
	rest := ""
	if end := strings.IndexAny(parts[at], ends); end >= 0 {
		rest = parts[at][end:]
	}
	parts[at] = value + rest
	return strings.Join(parts, separator)
}

// spoil changes a signed request so that its signature no longer holds.
func (m mutator) spoil(r *http.Request) {
	authorization := r.Header.Get("Authorization")
	switch m.IntN(7) {
	case 0:
		r.Header.Del("Authorization")
	case 1: // one byte of the signature
		b := []byte(authorization)
		b[len(b)-1-m.IntN(64)] ^= 1
		r.Header.Set("Authorization", string(b))
	case 2:
		r.Header.Set("Authorization", authorization[:m.IntN(len(authorization))])
	case 3:
		r.Header.Set("X-Amz-Date", pick(m, []string{"", "20150830T123600Z", "yesterday", "99999999T999999Z", strings.Repeat("9", 5_000)}))
	case 4:
		r.Header.Set("Authorization", strings.ReplaceAll(authorization, "/us-east-1/", pick(m, []string{"//", "/\xff/", "/us-east-2/", "/" + strings.Repeat("x", 9_000) + "/"})))
	case 5:
		r.Header.Set("X-Amz-Security-Token", pick(m, []string{"x", strings.Repeat("t", 20_000)}))
	case 6: // moved into the URL, where it means nothing
		r.URL.RawQuery = "X-Amz-Signature=00&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/b/c/d/aws4_request&X-Amz-Expires=" + pick(m, []string{"-1", "1e9", "", "99999999999999999999"})
		r.Header.Del("Authorization")
	}
}

// stream returns bytes that are nearly HTTP.
func (m mutator) stream() []byte {
	random := make([]byte, 1+m.IntN(3_000))
	for i := range random {
		random[i] = byte(m.Uint32())
	}
	s := strings.ReplaceAll(pick(m, streams), garbage, string(random))
	if m.IntN(10) == 0 {
		s = s[:m.IntN(len(s))]
	}
	return []byte(s)
}

const (
	// garbage stands for random bytes in streams.
	garbage = "GARBAGE"
	post    = "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: secretsmanager.GetSecretValue\r\n"
	whole   = post + "Content-Length: 2\r\n\r\n{}"
	chunked = post + "Transfer-Encoding: chunked\r\n\r\n"
)

var streams = []string{
	garbage,
	whole + garbage,
	whole + whole + whole + "GET",
	post + "Content-Length: 100\r\n\r\n{}",
	post + "Content-Length: -1\r\n\r\n{}",
	post + "Content-Length: 99999999999999999999\r\n\r\n{}",
	post + "Content-Length: 9223372036854775807\r\n\r\n{}",
	post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
	post + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	chunked + "zz\r\n{}\r\n0\r\n\r\n",
	chunked + "ffffffffffffffff\r\n{}",
	chunked + "2;" + strings.Repeat("x", 9_000) + "\r\n{}\r\n",
	chunked + "2\r\n{}\r\n0\r\nTrailer: " + garbage + "\r\n\r\n",
	chunked + strings.Repeat("1\r\nx\r\n", 3_000),
	post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	post + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
	post + "Expect: nonsense\r\nContent-Length: 2\r\n\r\n{}",
	post + "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
	post + "Big: " + strings.Repeat("x", 1_200_000) + "\r\n\r\n",
	post + strings.Repeat("A: b\r\n", 20_000) + "\r\n",
	post + "Nul: a\x00b\r\n\r\n",
	post + "No colon here\r\n\r\n",
	post + ": no name\r\n\r\n",
	post + " folded: yes\r\n\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + garbage,
	"GET / HTTP/0.9\r\n\r\n",
	"GET / HTTP/3.0\r\nHost: h\r\n\r\n",
	"GET http://[::1 HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET / HTTP/1.1\r\n\r\n",
	"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /../../etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /" + strings.Repeat("%2e", 1_000) + " HTTP/1.1\r\nHost: h\r\n\r\n",
	"POST /?X-Amz-Credential=" + garbage + " HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
	"\r\n\r\n\r\n",
	"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + garbage, // a TLS client
}
