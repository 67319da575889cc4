package dbserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// installation is a data folder in the making.
type installation struct {
	server *Server
	config Config
	folder string // new, empty, of the right user
	user   account
	lock   *os.File
	log    *os.File
}

// Init makes the server's data folder with its accounts, if it has none. The
// folder appears complete or not at all: it is made beside its place and then
// renamed, and what an interrupted Init left is thrown away by the next one.
// When ctx ends, the programs that Init runs are killed.
func (s *Server) Init(ctx context.Context, setup Setup) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Initialised() {
		return nil
	}
	if err := checkSetup(setup); err != nil {
		return err
	}
	in, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	defer in.lock.Close()
	defer in.log.Close()
	if err := s.engine.initialise(ctx, in, setup); err != nil {
		return fmt.Errorf("initialising %s: %w; its log says:\n%s", s.config.Binary.Product, err, s.logTail(setup.MasterPassword))
	}
	return s.commit()
}

// checkSetup lets only names through that need no quoting in any product.
func checkSetup(setup Setup) error {
	if !plainName(setup.MasterUser) || (setup.Database != "" && !plainName(setup.Database)) {
		return errors.New("names of the master user and the database have letters, digits and underscores only")
	}
	if !printable(setup.MasterPassword) {
		return errors.New("a password has printable ASCII characters only")
	}
	return nil
}

func plainName(name string) bool {
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' {
			return false
		}
	}
	return name != ""
}

func (s *Server) prepare(ctx context.Context) (*installation, error) {
	// Others must pass through the folder above: servers may run as another
	// user. The server's own folder is closed to everybody but that user.
	if err := os.MkdirAll(filepath.Dir(s.config.Dir), 0o711); err != nil {
		return nil, fmt.Errorf("making a folder for database servers: %w", err)
	}
	user, err := chooseUser(s.config.Binary, s.config.Dir)
	if err != nil {
		return nil, err
	}
	if err := ownFolder(s.config.Dir, user); err != nil {
		return nil, err
	}
	lock, left, err := s.acquire(ctx)
	if err != nil {
		return nil, err
	}
	if lock == nil { // a server whose data folder was deleted under it
		return nil, errors.Join(errors.New("a server without a data folder was running; try again"), s.end(ctx, left))
	}
	in := &installation{server: s, config: s.config, folder: s.path(newFolder), user: user, lock: lock}
	if err := in.open(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return in, nil
}

func (in *installation) open() error {
	if err := os.RemoveAll(in.folder); err != nil {
		return fmt.Errorf("removing an interrupted initialisation: %w", err)
	}
	if err := ownFolder(in.folder, in.user); err != nil {
		return err
	}
	log, err := openLog(in.server.path(logFile))
	in.log = log
	return err
}

func ownFolder(path string, owner account) error {
	if err := os.Mkdir(path, 0o700); err != nil && !os.IsExist(err) {
		return fmt.Errorf("making a database server's folder: %w", err)
	}
	if err := os.Chown(path, owner.uid, owner.gid); err != nil {
		return fmt.Errorf("giving a database server's folder to its user: %w", err)
	}
	return nil
}

func (s *Server) commit() error {
	_ = os.Remove(s.path(pidFile)) // of a program that has ended
	if err := os.Rename(s.path(newFolder), s.path(dataFolder)); err != nil {
		return fmt.Errorf("completing a data folder: %w", err)
	}
	dir, err := os.Open(s.config.Dir)
	if err != nil {
		return fmt.Errorf("completing a data folder: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("completing a data folder: %w", err)
	}
	return nil
}

// start runs a program of the installation in the background.
func (in *installation) start(stdin, path string, args ...string) (*process, error) {
	p, err := in.server.spawn(command{path: path, args: args, stdin: stdin, user: in.user, lock: in.lock, log: in.log})
	if err != nil {
		return nil, fmt.Errorf("running %s: %w", path, err)
	}
	return p, nil
}

// run runs a program of the installation to its end and returns what it printed.
func (in *installation) run(ctx context.Context, stdin, path string, args ...string) (string, error) {
	before, err := in.log.Stat()
	if err != nil {
		return "", fmt.Errorf("reading a server's log: %w", err)
	}
	p, err := in.start(stdin, path, args...)
	if err != nil {
		return "", err
	}
	if err := p.wait(ctx); err != nil {
		return "", fmt.Errorf("running %s: %w", path, err)
	}
	after, err := in.log.Stat()
	if err != nil {
		return "", fmt.Errorf("reading a server's log: %w", err)
	}
	printed := make([]byte, after.Size()-before.Size())
	_, err = in.log.ReadAt(printed, before.Size())
	return string(printed), err
}

// wait waits for a child's end, and kills it when ctx ends first.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.exited:
		return p.err
	case <-ctx.Done():
		signalGroup(p.pid, syscall.SIGKILL)
		<-p.exited
		return ctx.Err()
	}
}
