package dbserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Config says which server to run, and where. Every field is needed.
type Config struct {
	Binary        Binary
	Dir           string   // the server's folder; made by Init
	Port          int      // on Host; see FreePort
	AdminPassword Password // of the account Admin; printable ASCII
}

// Setup is what Init makes beside the internal administrator.
type Setup struct {
	MasterUser     string   // letters, digits and underscores
	MasterPassword Password // printable ASCII
	Database       string   // a first database; none when empty
}

// ErrNotInitialised says that a server has no data folder yet.
var ErrNotInitialised = errors.New("the data folder is not initialised")

// Server is one database server: a data folder, a port and, between Start and
// Stop, a process. It is safe for use by several goroutines. Only one Server
// may stand for a folder within a process; between processes a lock decides.
type Server struct {
	config Config
	engine engine

	mu      sync.Mutex // held while the server starts, stops or is initialised
	running *process   // the last process; it may have ended since
}

// engine is what differs between the products.
type engine interface {
	// arguments are those of the server program on a data folder.
	arguments(c Config, data string) []string
	// initialise fills an empty folder with a data folder that has its accounts.
	initialise(ctx context.Context, in *installation, setup Setup) error
	// login tries whether the administrator can log in.
	login(ctx context.Context, c Config) error
	// setPassword gives an account a new password; older ones end.
	setPassword(ctx context.Context, c Config, user string, next Password) error
	// clear removes what a killed process left in the data folder and what
	// would keep the next one from starting. The folder's lock is held.
	clear(c Config, noted int) error
	// stopSignal makes the server close its connections and end in good order.
	stopSignal() syscall.Signal
}

const (
	dataFolder = "data"
	newFolder  = "new" // becomes data when it is complete
)

// New returns the server of c. Nothing is started or written.
func New(c Config) (*Server, error) {
	if unsupported != nil {
		return nil, unsupported
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("resolving the folder of a database server: %w", err)
	}
	c.Dir = dir
	if !printable(c.AdminPassword) || c.Port < 1 || c.Port > 65535 {
		return nil, errors.New("a database server needs a port and a password of printable ASCII characters for its administrator")
	}
	s := &Server{config: c}
	switch c.Binary.Product {
	case MySQL:
		s.engine = mysqlEngine{}
	case MariaDB:
		s.engine = mysqlEngine{mariadb: true}
	case Postgres:
		s.engine = postgresEngine{}
	case Redis:
		s.engine = redisEngine{}
	default:
		return nil, fmt.Errorf("unknown database product %q", c.Binary.Product)
	}
	return s, nil
}

func printable(p Password) bool {
	for i := range len(p) {
		if p[i] < ' ' || p[i] > '~' {
			return false
		}
	}
	return p != ""
}

// Port returns the port that the server listens on.
func (s *Server) Port() int { return s.config.Port }

// Initialised tells whether the server has a complete data folder.
func (s *Server) Initialised() bool {
	_, err := os.Stat(s.path(dataFolder))
	return err == nil
}

func (s *Server) path(name string) string { return filepath.Join(s.config.Dir, name) }

// Start brings the server up and returns when the administrator can log in. It
// returns at once when the server runs. A process that an earlier keyturn left
// behind is taken over, with its connections, when it runs with the same
// arguments, and is stopped otherwise. When ctx ends first, the server is
// stopped again. Errors are ErrNotInitialised, ErrPortTaken and others that
// show the end of the server's log.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running.alive() {
		return nil
	}
	if !s.Initialised() {
		return fmt.Errorf("starting the server in %s: %w", s.config.Dir, ErrNotInitialised)
	}
	lock, left, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	if lock == nil && s.takeOver(ctx, left) {
		return nil
	}
	if lock == nil { // it did not answer and was stopped
		if lock, _, err = s.acquire(ctx); err != nil {
			return err
		}
	}
	return s.launch(ctx, lock)
}

// takeOverTime is how long a process that was left behind may take to answer
// before it is started anew.
const takeOverTime = 15 * time.Second

func (s *Server) takeOver(ctx context.Context, left *process) bool {
	within, cancel := context.WithTimeout(ctx, takeOverTime)
	defer cancel()
	if err := s.untilReady(within, left); err != nil {
		_ = s.end(ctx, left) // launch reports what is still wrong
		return false
	}
	s.running = left
	return true
}

// launch starts a process that holds lock from its first moment on.
func (s *Server) launch(ctx context.Context, lock *os.File) error {
	defer lock.Close() // the process has its own copy, and holds the lock alone
	if err := untilPortFree(ctx, s.config.Port); err != nil {
		return fmt.Errorf("starting %s: %w", s.config.Binary.Product, err)
	}
	user, err := chooseUser(s.config.Binary, s.config.Dir)
	if err != nil {
		return err
	}
	if err := s.engine.clear(s.config, s.notedPID()); err != nil {
		return err
	}
	log, err := s.freshLog()
	if err != nil {
		return err
	}
	defer log.Close()
	p, err := s.spawn(command{
		path: s.config.Binary.Path, args: s.engine.arguments(s.config, s.path(dataFolder)),
		user: user, lock: lock, log: log,
	})
	if err != nil {
		return fmt.Errorf("starting %s: %w", s.config.Binary.Product, err)
	}
	_ = lock.Close() // once more by defer, which does nothing then
	go p.watch(s.path(lockFile))
	if err := s.untilReady(ctx, p); err != nil {
		return errors.Join(err, s.end(ctx, p))
	}
	s.running = p
	return nil
}

// pollEvery is the time between two looks at a server that starts or stops.
const pollEvery = 50 * time.Millisecond

func (s *Server) untilReady(ctx context.Context, p *process) error {
	for {
		err := s.tryLogin(ctx)
		if err == nil && p.alive() {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("starting %s: it ended at once; its log says:\n%s", s.config.Binary.Product, s.logTail())
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s on port %d: %w (last answer: %w); its log says:\n%s",
				s.config.Binary.Product, s.config.Port, ctx.Err(), err, s.logTail())
		case <-time.After(pollEvery):
		}
	}
}

func (s *Server) tryLogin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.engine.login(ctx, s.config)
}

// Done returns a channel that is closed when the server's process is gone,
// however it ended. It is closed already when the server was never started.
func (s *Server) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return closed
	}
	return s.running.done
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Stop ends the server in good order, also one that an earlier keyturn left
// behind, and kills it when that takes longer than ctx or half a minute. It
// returns when no process uses the folder any more.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running.alive() {
		return s.end(ctx, s.running)
	}
	if !held(s.path(lockFile)) {
		return nil
	}
	lock, left, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	if lock != nil {
		return lock.Close() // it ended meanwhile
	}
	return s.end(ctx, left)
}

// Remove deletes the server's folder with everything in it. The server must be
// stopped.
func (s *Server) Remove() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held(s.path(lockFile)) {
		return fmt.Errorf("removing %s: a server process still uses it", s.config.Dir)
	}
	if err := os.RemoveAll(s.config.Dir); err != nil {
		return fmt.Errorf("removing a database server's folder: %w", err)
	}
	return nil
}

// SetMasterPassword gives user a new password through the internal
// administrator. Every older password of user ends. The server must run.
func (s *Server) SetMasterPassword(ctx context.Context, user string, next Password) error {
	if !printable(next) {
		return errors.New("a password has printable ASCII characters only")
	}
	if err := s.engine.setPassword(ctx, s.config, user, next); err != nil {
		return fmt.Errorf("setting the password of %s: %w", user, err)
	}
	return nil
}
