package smapi_test

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/smapi"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

// house is the service with everything below it and nothing above, on a fake
// clock: synctest.Wait returns when all background work is done. Its functions
// may all be invoked, and fail. What the public API cannot make, such as a secret
// of another service, is made with its vault.
type house struct {
	client // in us-east-1
	db     *sqldb.DB
	vault  *secret.Vault
	config aws.Config
	other  string // a KmsKeyId beside the default key

	mu     sync.Mutex
	events []audit.Event
}

const account = "000000000000"

// inHouse runs a test in a bubble with a clock of its own.
func inHouse(t *testing.T, do func(t *testing.T, h *house)) {
	synctest.Test(t, func(t *testing.T) { do(t, newHouse(t)) })
}

func newHouse(t *testing.T) *house { return newHouseAt(t, ":memory:") }

// newHouseAt has its database in a file, whose readers do not wait for a writer.
func newHouseAt(t *testing.T, file string) *house {
	standard, err := envelope.NewLocal()
	if err != nil {
		t.Fatal(err)
	}
	other, err := envelope.NewLocal()
	if err != nil {
		t.Fatal(err)
	}
	h := &house{other: other.ID()}
	if h.db, err = sqldb.Open(t.Context(), file, time.Now, secret.Schema, scheduler.Schema); err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	h.vault = secret.NewVault(h.db, envelope.NewKeyring(standard, other))
	sched := scheduler.New(scheduler.Config{DB: h.db, Vault: h.vault, Functions: noFunctions{}, Now: time.Now, Log: quiet})
	service := smapi.New(smapi.Config{DB: h.db, Vault: h.vault, Scheduler: sched, Functions: noFunctions{},
		Guard: &iam.Guard{}, Audit: h, Log: quiet})
	handler, err := wire.NewHandler(wire.Config{Services: []wire.Service{{Name: "secretsmanager", TargetPrefix: "secretsmanager",
		Protocol: wire.JSON11, Ops: service.Ops()}}, Verify: trust, Guard: &iam.Guard{}, Now: time.Now, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	h.config = aws.Config{Region: "us-east-1", BaseEndpoint: aws.String("http://house"), HTTPClient: wire.InProcess{Handler: handler},
		Credentials: credentials.NewStaticCredentialsProvider("any", "any", ""), RetryMaxAttempts: 1}
	h.client = client{sm.NewFromConfig(h.config), t}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var crew sync.WaitGroup
	crew.Go(func() { _ = service.Run(ctx) })
	crew.Go(func() { _ = sched.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		crew.Wait()
		service.Close()
		if err := h.db.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func trust(r *http.Request, _ []byte) (iam.Caller, error) {
	return iam.Trust(r, account, "us-east-1"), nil
}

// in returns a client of another region.
func (h *house) in(region string) client {
	cfg := h.config.Copy()
	cfg.Region = region
	return client{sm.NewFromConfig(cfg), h.t}
}

// Record implements audit.Recorder.
func (h *house) Record(e *audit.Event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, *e)
	return nil
}

// noted returns what was recorded since the last call, one "name version" each.
func (h *house) noted() (all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		all = append(all, e.Name+" "+strings.TrimRight(e.VersionID, "-"))
	}
	h.events = nil
	slices.Sort(all)
	return all
}

// make creates a secret that the public API cannot make.
func (h *house) make(n secret.New) secret.ARN {
	h.t.Helper()
	n.ARN = secret.NewARN(secret.Place{Account: account, Region: "us-east-1"}, n.Name)
	text := "made"
	version, err := h.vault.Seal(h.t.Context(), secret.Slot{ARN: n.ARN, ID: secret.VersionID(token("v1"))}, secret.Value{Text: &text})
	h.must(err)
	h.must(h.db.Write(h.t.Context(), func(tx *sqldb.Tx) error {
		_, err := h.vault.Create(h.t.Context(), tx, n, version)
		return err
	}))
	return n.ARN
}

type noFunctions struct{}

// Permits implements smapi.Functions.
func (noFunctions) Permits(context.Context, string, secret.ARN) (bool, error) { return true, nil }

// Invoke implements scheduler.Functions.
func (noFunctions) Invoke(context.Context, string, []byte) ([]byte, error) {
	return nil, &scheduler.FunctionError{Message: "it always fails"}
}
