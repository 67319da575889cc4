package keyturn

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/keyapi"
	"github.com/keyturn/keyturn/internal/metrics"
	"github.com/keyturn/keyturn/internal/rdsapi"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/smapi"
	"github.com/keyturn/keyturn/internal/stsapi"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keyturnapi"
)

// wire puts the rooms together.
func (s *Server) wire() error {
	s.vault = secret.NewVault(s.db, s.keys)
	s.metrics = metrics.New(build(), s.watchedRotations)
	recorder := counted{s.audit, s.metrics}
	if err := s.openFunctions(); err != nil {
		return err
	}
	invoke := functions{lambda: s.lambda, redact: s.redact, managedOwner: s.managedOwner}
	s.sched = scheduler.New(scheduler.Config{DB: s.db, Vault: s.vault, Functions: invoke, Audit: recorder, Now: s.now, Log: s.config.Log,
		Drift: s.config.drift(), Meter: s.metrics, Hosts: hosts{s.vault}, PerHost: s.config.RotationsPerHost, PerSecond: s.config.RotationsPerSecond})
	guard := &iam.Guard{}
	s.sm = smapi.New(smapi.Config{DB: s.db, Vault: s.vault, Scheduler: s.sched, Functions: invoke,
		Guard: guard, Audit: recorder, Log: s.config.Log})
	s.keyService = keyapi.New(keyapi.Config{DB: s.db, Keys: s.keys, Stores: stores(), Operators: DefaultAccount, Log: s.config.Log})
	s.rds = rdsapi.New(rdsapi.Config{DB: s.db, Keys: s.keys, Dir: s.rdsFolder(), Log: s.config.Log, Now: s.now,
		Masters: masterSecrets{s.vault, s.sched}})
	api, err := wire.NewHandler(wire.Config{Services: s.services(), Verify: s.verifier(), Guard: guard, Audit: recorder, Now: s.now, Log: s.config.Log,
		Meter: func(operation string) wire.Meter { return s.metrics.Operation(operation) }})
	if err != nil {
		return err
	}
	s.handler = api
	s.inProcess = sync.OnceValue(func() aws.Config {
		cfg, _ := s.clientOf(iam.Administrator(DefaultAccount), DefaultRegion)
		return cfg
	})
	return nil
}

func (s *Server) services() []wire.Service {
	extensions := slices.Concat(s.sm.Extensions(), s.accessKeys.Ops(), s.keyService.Ops())
	if s.config.Dev {
		extensions = append(extensions, wire.On("AdvanceClock", clockTarget, s.advanceClock))
	}
	return []wire.Service{
		{Name: "secretsmanager", TargetPrefix: "secretsmanager", Protocol: wire.JSON11, Ops: s.sm.Ops()},
		{Name: "secretsmanager", TargetPrefix: "keyturn", ActionPrefix: "keyturn", Protocol: wire.JSON11, Ops: extensions},
		{Name: "rds", Protocol: wire.Query, Ops: s.rds.Ops()},
		{Name: "sts", Protocol: wire.Query, Version: stsapi.Version, Namespace: stsapi.Namespace, Ops: stsapi.Ops(s.accessKeys)},
		{Name: "lambda", Protocol: wire.RESTJSON, Ops: s.lambda.Ops()},
	}
}

// verifier names callers: by their signature, or in dev mode by their word.
// Functions of this server have real signatures in either mode; the SDK makes
// them by the machine's clock, which AdvanceClock does not move.
func (s *Server) verifier() func(*http.Request, []byte) (iam.Caller, error) {
	lasting := &iam.Verifier{Keys: s.accessKeys, Now: s.now}
	temporary := &iam.Verifier{Keys: &s.sessions, Now: time.Now}
	return func(r *http.Request, body []byte) (iam.Caller, error) {
		if s.sessions.None() && !s.config.Dev {
			return s.used(lasting.Verify(r, body))
		}
		scope, _ := iam.ScopeOf(r)
		_, notOurs := s.sessions.Lookup(r.Context(), scope.AccessKeyID)
		switch {
		case notOurs == nil:
			return temporary.Verify(r, body)
		case s.config.Dev:
			return s.trusted(lasting, r, scope.AccessKeyID)
		}
		return s.used(lasting.Verify(r, body))
	}
}

// used notes that the key of a caller was used.
func (s *Server) used(c iam.Caller, err error) (iam.Caller, error) {
	if err == nil {
		s.accessKeys.Used(&c, s.now())
	}
	return c, err
}

// trusted names the caller of a request to a dev server: whom its access key
// stands for if this server made it, else an administrator of the account that
// the key's id is, or of the default account.
func (s *Server) trusted(keys *iam.Verifier, r *http.Request, accessKeyID string) (c iam.Caller, err error) {
	account := DefaultAccount
	if accountID.MatchString(accessKeyID) {
		account = accessKeyID
	}
	c = iam.Trust(r, account, DefaultRegion)
	if s.accessKeys.Account(accessKeyID) == "" {
		return c, nil
	}
	if c.Principal, err = keys.Trusted(r.Context(), accessKeyID); err != nil {
		return iam.Caller{}, err
	}
	return s.used(c, nil)
}

var accountID = regexp.MustCompile(`^[0-9]{12}$`)

// ServeHTTP answers the APIs, /livez, and /readyz, which is /healthz too.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/livez":
		answer(w, nil)
	case "/readyz", "/healthz":
		answer(w, s.ready(r.Context()))
	default:
		s.handler.ServeHTTP(w, r)
	}
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// readyTime is how long a commit or a line of the audit log may take before a disk
// counts as one that hangs.
const readyTime = 5 * time.Second

// ready reports whether the server should get work.
func (s *Server) ready(ctx context.Context) error {
	if s.draining.Load() {
		return errors.New("shutting down")
	}
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	if err := notReady(ctx, "the database", s.db.Ready(ctx)); err != nil {
		return err
	}
	return notReady(ctx, "the audit log", s.audit.Ready(ctx))
}

// notReady is what strangers may read of an error.
func notReady(ctx context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return errors.New(what + " does not answer")
	}
	return errors.New(what + " can't be written; the server's log says why")
}

// AWSConfig returns a configuration for SDK clients that call this server
// without a network, as the administrator of the default account. Its
// credentials last as long as the server.
func (s *Server) AWSConfig() aws.Config { return s.inProcess() }

// clientOf returns a configuration for clients that act as p; done ends their
// credentials.
func (s *Server) clientOf(p iam.Principal, region string) (cfg aws.Config, done func()) {
	id, key, token := s.sessions.Issue(p)
	return aws.Config{
		Region:           region,
		BaseEndpoint:     aws.String("http://keyturn.internal"),
		Credentials:      credentials.NewStaticCredentialsProvider(id, key, token),
		HTTPClient:       wire.InProcess{Handler: s},
		RetryMaxAttempts: 1, // a step that fails is tried again by the scheduler
	}, func() { s.sessions.Revoke(id) }
}

// maxAhead is how far the clock of a dev server goes ahead in all: what a
// time.Duration holds is less than three times that.
const maxAhead = 100 * 365 * 24 * time.Hour

func clockTarget(_ context.Context, in *keyturnapi.AdvanceClockInput) (iam.Resource, error) {
	var v wire.Violations
	v.Range("seconds", &in.Seconds, 1, int64(maxAhead/time.Second))
	return iam.Resource{ARN: "*"}, v.Err()
}

// advanceClock moves the clock of a dev server forward; what falls due runs.
func (s *Server) advanceClock(_ context.Context, in *keyturnapi.AdvanceClockInput) (*keyturnapi.AdvanceClockOutput, error) {
	by := in.Seconds * int64(time.Second)
	for moved := false; !moved; {
		ahead := s.ahead.Load()
		if ahead+by > int64(maxAhead) {
			return nil, secret.ErrInvalidRequest.Errorf("The clock goes ahead by 100 years at most.")
		}
		moved = s.ahead.CompareAndSwap(ahead, ahead+by)
	}
	s.sched.Poke()
	s.sm.Poke()
	return &keyturnapi.AdvanceClockOutput{Now: s.now().UTC()}, nil
}
