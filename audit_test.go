package keyturn_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go/middleware"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
)

// auditWorld is a server whose audit log is looked at.
type auditWorld struct {
	*keyturntest.Server
	t   *testing.T
	dir string
}

func newAuditWorld(t *testing.T, changes ...func(*keyturn.Config)) *auditWorld {
	s := keyturntest.NewServer(t, changes...)
	return &auditWorld{Server: s, t: t, dir: filepath.Join(filepath.Dir(s.CredentialsFile()), keyturn.AuditDir)}
}

// lines returns the entries of the log, oldest first.
func (w *auditWorld) lines() (all []*audit.Entry) {
	w.t.Helper()
	log := audit.NewReader(w.dir)
	defer log.Close()
	for {
		raw, err := log.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			w.t.Fatal(err)
		}
		e, err := audit.ParseLine(raw)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, e)
	}
}

// line returns the one line of a call.
func (w *auditWorld) line(requestID string) *audit.Entry {
	w.t.Helper()
	var found *audit.Entry
	for _, e := range w.lines() {
		if e.RequestID != requestID {
			continue
		}
		if found != nil {
			w.t.Fatalf("call %s has more than one line", requestID)
		}
		found = e
	}
	if found == nil {
		w.t.Fatalf("call %s has no line", requestID)
	}
	return found
}

func (w *auditWorld) check(requestID string, want audit.Entry) {
	w.t.Helper()
	got := w.line(requestID)
	at, err := time.Parse(time.RFC3339, got.Time)
	if err != nil || time.Since(at) > time.Hour || got.SourceIP != "127.0.0.1" || got.Type != audit.APICall || got.Source != want.Source {
		w.t.Errorf("%s: %+v", want.Name, got)
	}
	if got.Name != want.Name || got.ErrorCode != want.ErrorCode || got.Identity != want.Identity || got.VersionID != want.VersionID || got.Region != want.Region {
		w.t.Errorf("%s: got  %+v\nwant %+v", want.Name, got, want)
	}
}

// answered is the request id of a call that went well.
func (w *auditWorld) answered(metadata middleware.Metadata, err error) string {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	id, _ := awsmiddleware.GetRequestIDMetadata(metadata)
	return id
}

// refused is the request id of a call that was refused.
func (w *auditWorld) refused(err error) string {
	w.t.Helper()
	failure, ok := errors.AsType[*awshttp.ResponseError](err)
	if !ok {
		w.t.Fatalf("got %v", err)
	}
	return failure.ServiceRequestID()
}

// send posts something that no SDK would send.
func (w *auditWorld) send(target, body string) string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.URL, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", target)
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("User-Agent", "stranger\t\"1\"")
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.Header.Get("X-Amzn-Requestid")
}

const (
	auditedValue = "Audited.Value_1"
	smSource     = "secretsmanager.amazonaws.com"
)

// Every call has one line, allowed or not, and no line has a value.
func TestAuditOfCalls(t *testing.T) {
	w := newAuditWorld(t)
	key, err := w.Config.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	admin := audit.Identity{ARN: "arn:aws:iam::000000000000:user/admin", Account: keyturn.DefaultAccount, AccessKeyID: key.AccessKeyID}
	created, err := w.SecretsManager.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("audited"), SecretString: aws.String(auditedValue)})
	w.check(w.answered(created.ResultMetadata, err), audit.Entry{Source: smSource, Name: "CreateSecret", Identity: admin, Region: "us-east-1", VersionID: *created.VersionId})
	got, err := w.SecretsManager.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("audited")})
	id := w.answered(got.ResultMetadata, err)
	w.check(id, audit.Entry{Source: smSource, Name: "GetSecretValue", Identity: admin, Region: "us-east-1", VersionID: *created.VersionId})
	if e := w.line(id); e.Resource() != *created.ARN || !strings.HasPrefix(e.UserAgent, "aws-sdk-go-v2/") || e.Recipient != keyturn.DefaultAccount {
		t.Errorf("%+v", e)
	}

	// Without permission, and for a secret that is not there.
	cfg := w.As(t, keyturn.DefaultAccount, "nobody", `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`)
	nobodyKey, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	nobody := audit.Identity{ARN: "arn:aws:iam::000000000000:user/nobody", Account: keyturn.DefaultAccount, AccessKeyID: nobodyKey.AccessKeyID}
	for secret, resource := range map[string]string{"audited": *created.ARN, "missing": "arn:aws:secretsmanager:us-east-1:000000000000:secret:missing-??????"} {
		_, err = secretsmanager.NewFromConfig(cfg).GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &secret})
		id = w.refused(err)
		w.check(id, audit.Entry{Source: smSource, Name: "GetSecretValue", Identity: nobody, Region: "us-east-1", ErrorCode: "AccessDeniedException"})
		if e := w.line(id); e.Resource() != resource || !e.Denied() {
			t.Errorf("%+v", e)
		}
	}

	// With a signature that is not the key's.
	cfg.Credentials = credentials.NewStaticCredentialsProvider(key.AccessKeyID, "another", "")
	_, err = secretsmanager.NewFromConfig(cfg).PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: aws.String("audited"), SecretString: aws.String(auditedValue)})
	w.check(w.refused(err), audit.Entry{Source: smSource, Name: "PutSecretValue", Identity: audit.Identity{AccessKeyID: key.AccessKeyID}, Region: "us-east-1",
		ErrorCode: "InvalidSignatureException"})

	// What is no call of an operation at all.
	w.check(w.send("secretsmanager.GetSecretValue", "{}"), audit.Entry{Source: smSource, Name: "GetSecretValue", ErrorCode: "MissingAuthenticationTokenException"})
	w.check(w.send("secretsmanager.No\u00fcch", auditedValue), audit.Entry{Source: smSource, Name: "No\u00fcch", ErrorCode: "UnknownOperationException"})
	w.check(w.send("secretsmanager.ListSecrets", strings.Repeat(auditedValue, 1<<20)), audit.Entry{Source: smSource, Name: "ListSecrets", ErrorCode: "RequestEntityTooLargeException"})

	// A value that is refused, and one in the wrong place.
	_, err = w.SecretsManager.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("audited"),
		SecretString: aws.String(strings.Repeat(auditedValue, 1<<13))})
	w.check(w.refused(err), audit.Entry{Source: smSource, Name: "PutSecretValue", Identity: admin, Region: "us-east-1", ErrorCode: "ValidationException"})
	if _, err := keyturnapi.New(w.Config).ListKeys(t.Context(), &keyturnapi.ListKeysInput{}); err != nil {
		t.Fatal(err)
	}
	all := w.lines()
	if last := all[len(all)-1]; last.Name != "ListKeys" || last.Source != "keyturn" {
		t.Errorf("%+v", last)
	}
	w.checkWhole()
	w.checkHolds(auditedValue, key.SecretAccessKey, nobodyKey.SecretAccessKey)
}

// publicKey is that of the data folder, as the command line finds it.
func (w *auditWorld) publicKey() audit.PublicKey {
	w.t.Helper()
	text, err := keyturn.AuditPublicKey(w.t.Context(), filepath.Dir(w.dir), keyturn.Keys{})
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := audit.ParsePublicKey(text)
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

func (w *auditWorld) verify() (*audit.Report, error) {
	w.t.Helper()
	p, err := audit.Folder(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	p.Key = w.publicKey()
	return audit.Verify(p)
}

func (w *auditWorld) checkWhole() {
	w.t.Helper()
	seen := map[string]bool{}
	for _, e := range w.lines() {
		if e.RequestID != "" && seen[e.RequestID] {
			w.t.Errorf("call %s has more than one line", e.RequestID)
		}
		seen[e.RequestID] = true
	}
	if _, err := w.verify(); err != nil {
		w.t.Error(err)
	}
}

// checkHolds fails if a file of the log holds one of the values.
func (w *auditWorld) checkHolds(values ...string) {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "*"))
	if err != nil || len(files) != 2 {
		w.t.Fatalf("the log has the files %v, %v", files, err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, v := range values {
			if bytes.Contains(text, []byte(v)) {
				w.t.Errorf("%s holds a value", path)
			}
		}
	}
}

// A rotation has lines for its beginning and its end, and for each call that its
// function makes, as the principal that it is.
func TestAuditOfRotation(t *testing.T) {
	w := newAuditWorld(t)
	app := newWorld(t, w.Config, newAccount(t, dbtest.Products()[0], rotation.StrategySingleUser))
	version, err := app.rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if current, err := app.settled(t.Context()); err != nil || current != version {
		t.Fatalf("AWSCURRENT is on %s, %v", current, err)
	}
	value, err := app.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &app.secret})
	if err != nil {
		t.Fatal(err)
	}
	login, err := rotation.ParseLogin(*value.SecretString)
	if err != nil {
		t.Fatal(err)
	}
	w.await("RotationSucceeded")
	counts := map[string]int{}
	for _, e := range w.lines() {
		if strings.HasPrefix(e.Name, "Rotation") && (e.VersionID != version || e.Type != audit.ServiceEvent || e.Resource() != *value.ARN) {
			t.Errorf("%+v", e)
		}
		if strings.HasPrefix(e.Identity.ARN, "arn:aws:sts::000000000000:assumed-role/keyturn-rotation/") {
			counts["by the function: "+e.Name]++
		}
		counts[e.Name]++
	}
	for name, want := range map[string]int{"RotateSecret": 1, "RotationStarted": 1, "RotationSucceeded": 1, "RotationFailed": 0, "by the function: PutSecretValue": 1} {
		if counts[name] != want {
			t.Errorf("%s: %d lines", name, counts[name])
		}
	}
	if counts["by the function: GetSecretValue"] == 0 || counts["by the function: UpdateSecretVersionStage"] == 0 {
		t.Errorf("%v", counts)
	}
	w.checkWhole()
	w.checkHolds(login.Password, "First.Password_1", *value.SecretString)
}

// await waits for a line: those of the server itself come after the fact.
func (w *auditWorld) await(name string) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, e := range w.lines() {
			if e.Name == name {
				return
			}
		}
	}
	w.t.Fatalf("there is no %s", name)
}

// Whoever edits the log of a server that is not running is found out, before and
// after the server's next start.
func TestAuditTampering(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	w := &auditWorld{t: t, dir: filepath.Join(dir, keyturn.AuditDir)}
	use := func() {
		server := mustOpen(t, dir)
		client := secretsmanager.NewFromConfig(server.AWSConfig())
		if _, err := client.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{}); err != nil {
			t.Fatal(err)
		}
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
	}
	use()
	use()
	if r, err := w.verify(); err != nil || r.Lines != 6 || r.Signed != 6 {
		t.Fatalf("%+v, %v", r, err)
	}
	path := filepath.Join(w.dir, "audit-000001.jsonl")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cut := text[:bytes.LastIndexByte(text[:len(text)-1], '\n')+1]
	if err := os.WriteFile(path, cut, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := w.verify(); !isBreak(err) {
			t.Errorf("got %v", err)
		}
		use()
	}
}

func isBreak(err error) bool {
	_, ok := errors.AsType[*audit.BreakError](err)
	return ok
}

// A call that can't be recorded is not answered, and the server says that it is
// not ready.
func TestAuditThatCanNotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := mustOpen(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, keyturn.AuditDir, "audit-000001.jsonl")
	if err := os.Rename(log, log+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", log); err != nil {
		t.Fatal(err)
	}
	if _, err := keyturn.Open(t.Context(), keyturn.Config{Data: dir}); !errors.Is(err, audit.ErrNotRecorded) {
		t.Errorf("the server starts: %v", err)
	}
}

// Both fsync policies that wait for the disk, under callers at once.
func TestAuditFsync(t *testing.T) {
	for _, policy := range []keyturn.AuditFsync{keyturn.AuditFsyncAlways, keyturn.AuditFsyncNever} {
		t.Run(string(policy), func(t *testing.T) {
			w := newAuditWorld(t, func(c *keyturn.Config) { c.AuditFsync = policy })
			ended := make(chan error)
			for range 8 {
				go func() { ended <- listTimes(t.Context(), w.SecretsManager, 5) }()
			}
			for range 8 {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
			if n := len(w.lines()); n != 41 {
				t.Errorf("%d lines", n)
			}
			r, err := w.verify()
			if err != nil || policy == keyturn.AuditFsyncAlways && r.Signed != 41 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	if _, err := keyturn.Open(t.Context(), keyturn.Config{Data: t.TempDir(), AuditFsync: "sometimes"}); err == nil {
		t.Error("an unknown policy is taken")
	}
}

func listTimes(ctx context.Context, client *secretsmanager.Client, n int) error {
	for range n {
		if _, err := client.ListSecrets(ctx, &secretsmanager.ListSecretsInput{}); err != nil {
			return err
		}
	}
	return nil
}
