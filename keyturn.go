// Package keyturn is a server that keeps database credentials and turns them:
// the AWS Secrets Manager API, with the slices of RDS and Lambda that deploying
// and rotating need, over an embedded database. Open returns it as an
// http.Handler, so it can be a process of its own or part of another.
package keyturn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/internal/accesskey"
	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/keyapi"
	"github.com/keyturn/keyturn/internal/lambdaapi"
	"github.com/keyturn/keyturn/internal/metrics"
	"github.com/keyturn/keyturn/internal/rdsapi"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/smapi"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/rotation"
)

// DefaultAccount and DefaultRegion are where a server's first access key lives.
const (
	DefaultAccount = "000000000000"
	DefaultRegion  = "us-east-1"
)

// InMemory is the Config.Data of a server that forgets everything at its end.
const InMemory = ":memory:"

// ErrInUse says that another server has the data folder open.
var ErrInUse = errors.New("another keyturn server is using this data folder")

// Config configures a server. The zero value of every field but Data works.
type Config struct {
	// Data is the folder of the server's state, made if missing, or InMemory.
	// Database servers of the RDS slice then live in a temporary folder.
	Data string
	// Dev accepts any access key without checking the signature, and allows the
	// clock to be advanced. It is for test suites; never listen on anything but
	// the loopback address with it.
	Dev bool
	// Keys says where the encryption keys are; the zero value is root.key in Data.
	Keys Keys
	// AuditFsync is when lines of the audit log are forced to the disk; empty means
	// AuditFsyncInterval.
	AuditFsync AuditFsync
	// Functions are Lambda functions of the embedder's own, by name, present in
	// every account and region.
	Functions map[string]Function
	// FunctionUser is the system user that runs the code of functions when the
	// server runs as root; empty means the user with the number 65534 (nobody).
	FunctionUser string
	// DriftCheck is how often a canary login looks whether the password of
	// AWSCURRENT still works, for each secret that a function of this server
	// rotates; 0 means DefaultDriftCheck, less means never. The tag
	// keyturn:rotation-drift-check of a secret wins.
	DriftCheck time.Duration
	// RotationsPerHost is how many rotations may be at work on one database
	// server at a time; 0 is DefaultRotationsPerHost. Others wait, and hold up no
	// rotation elsewhere.
	RotationsPerHost int
	// RotationsPerSecond is how many rotations may begin by their schedule in a
	// second, so that a server which finds many due at once goes on answering
	// quickly; 0 is DefaultRotationsPerSecond, and less is no bound. One that
	// somebody asks for does not wait.
	RotationsPerSecond int
	// Log gets what the server has to say; nil is slog.Default().
	Log *slog.Logger
	// Now is the server's clock; nil is time.Now.
	Now func() time.Time
}

// Server is an open server. It is safe for concurrent use.
type Server struct {
	config     Config
	folder     string // where files live; temporary when the state is in memory
	lock       *flock.Flock
	db         *sqldb.DB
	keys       *envelope.Keyring
	audit      *audit.Log
	vault      *secret.Vault
	sessions   iam.Sessions
	admins     []*rotation.Admins // of the functions that rotate
	rotators   rotators
	accessKeys *accesskey.Service
	keyService *keyapi.Service
	sched      *scheduler.Scheduler
	sm         *smapi.Service
	lambda     *lambdaapi.Service
	rds        *rdsapi.Service
	handler    http.Handler
	metrics    *metrics.Metrics

	inProcess func() aws.Config
	private   privateDoor // by which processes of functions come in

	ahead    atomic.Int64 // how far AdvanceClock has moved the clock, in nanoseconds
	draining atomic.Bool
}

// Open opens the data folder, or makes a new one with a root key and an access
// key. It returns ErrInUse when another server has it open, and an error that
// wraps sqldb's ErrNewerSchema for a folder of a newer keyturn. Nothing rotates
// until Run.
func Open(ctx context.Context, c Config) (*Server, error) {
	if c.Data == "" {
		return nil, errors.New("opening a server: Config.Data is empty: name a folder, or InMemory")
	}
	if c.RotationsPerHost < 0 {
		return nil, fmt.Errorf("opening a server: Config.RotationsPerHost is %d: no rotation could ever begin", c.RotationsPerHost)
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Server{config: c}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) error {
	if err := s.openFolder(); err != nil {
		return err
	}
	if err := s.openKeys(ctx); err != nil {
		return err
	}
	path := InMemory
	if s.config.Data != InMemory {
		path = filepath.Join(s.folder, databaseFile)
	}
	if err := s.openFile(path); err != nil {
		return err
	}
	var err error
	s.db, err = sqldb.Open(ctx, path, s.now, secret.Schema, scheduler.Schema, lambdaapi.Schema, rdsapi.Schema, accesskey.Schema, keyapi.Schema, auditSchema)
	if err != nil {
		return fmt.Errorf("opening %s: %w", s.config.Data, err)
	}
	if err := s.openAudit(ctx); err != nil {
		return err
	}
	s.accessKeys, err = accesskey.New(ctx, accesskey.Config{DB: s.db, Keys: s.keys, Operators: DefaultAccount, Log: s.config.Log})
	if err != nil {
		return err
	}
	if err := s.openCredentials(ctx); err != nil {
		return err
	}
	return s.wire()
}

// Files in the data folder.
const (
	databaseFile    = "keyturn.db"
	keyFile         = "root.key"
	credentialsFile = "credentials"
	lockFile        = "lock"
)

// openFolder makes the folder and locks it. Others may enter it, though not
// list it: a PostgreSQL server refuses to run as root and so lives in it under
// another user. Every file of ours has mode 0600.
func (s *Server) openFolder() (err error) {
	if s.config.Data == InMemory {
		if s.folder, err = os.MkdirTemp("", "keyturn-"); err != nil {
			return fmt.Errorf("making a temporary folder: %w", err)
		}
		return os.Chmod(s.folder, 0o711) //nolint:gosec // see above
	}
	if s.folder, err = filepath.Abs(s.config.Data); err != nil {
		return fmt.Errorf("opening the data folder: %w", err)
	}
	if err := os.MkdirAll(s.folder, 0o711); err != nil { //nolint:gosec // see above
		return fmt.Errorf("making the data folder: %w", err)
	}
	s.lock = flock.New(filepath.Join(s.folder, lockFile), flock.SetPermissions(0o600))
	locked, err := s.lock.TryLock()
	if err != nil {
		return fmt.Errorf("locking the data folder: %w", err)
	}
	if !locked {
		return fmt.Errorf("%w: %s. Stop that one first, or choose another folder with --data", ErrInUse, s.folder)
	}
	return s.refuseLostDatabase()
}

// openFile makes the database's file: SQLite would make it readable to all.
func (s *Server) openFile(path string) error {
	if path == InMemory {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("making the database file: %w", err)
	}
	return f.Close()
}

// refuseLostDatabase: the audit log is made after the database, so a folder that has
// the first alone has lost the other. A new one would have no secrets, and other access
// keys than the file with the credentials.
func (s *Server) refuseLostDatabase() error {
	path := filepath.Join(s.folder, databaseFile)
	_, noDB := os.Stat(path)
	_, noLog := os.Stat(filepath.Join(s.folder, AuditDir))
	if errors.Is(noDB, os.ErrNotExist) && noLog == nil {
		return fmt.Errorf("the database %s is missing, though there is an audit log beside it: put it back from your backup, "+
			"or choose an empty folder for a new server", path)
	}
	return nil
}

func (s *Server) now() time.Time {
	return s.config.Now().Add(time.Duration(s.ahead.Load()))
}

// Run brings back database servers and carries out what falls due, until ctx
// ends. It returns when all of it has stopped.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.audit.Run(ctx) })
	g.Go(func() error { return s.sched.Run(ctx) })
	g.Go(func() error { return s.rds.Run(ctx) })
	g.Go(func() error { return s.sm.Run(ctx) })
	g.Go(func() error { return s.accessKeys.Run(ctx) })
	g.Go(func() error { return s.keyService.Run(ctx) })
	err := g.Wait()
	s.lambda.Wait()
	return err
}

// Drain makes /readyz fail, so that no new work is sent here.
func (s *Server) Drain() { s.draining.Store(true) }

// Close closes the database and unlocks the folder. Call it after Run has
// returned and requests have ended.
func (s *Server) Close() error {
	var errs []error
	if s.sm != nil {
		s.sm.Close()
	}
	if s.lambda != nil {
		s.lambda.Close()
	}
	for _, a := range s.admins {
		a.Close()
	}
	errs = append(errs, s.private.close())
	if s.audit != nil {
		errs = append(errs, s.audit.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.config.Data == InMemory && s.folder != "" {
		errs = append(errs, os.RemoveAll(s.folder))
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
