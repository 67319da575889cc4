package dbserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	lockFile = "lock"
	pidFile  = "pid"
	logFile  = "log"
)

// process is a running program of ours: a child, or one that was taken over.
type process struct {
	pid    int
	exited chan struct{} // closed when a child was reaped; nil for one taken over
	err    error         // how a child ended; read after exited
	done   chan struct{} // closed when nothing holds the folder's lock any more
}

// alive is false for nil.
func (p *process) alive() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// watch closes p.done at the end of p. The lock tells more than the process id:
// it ends with the last process of the server (PostgreSQL has many), it is not
// fooled by a process that nobody reaps, and process ids are used again.
func (p *process) watch(lock string) {
	if p.exited != nil {
		<-p.exited
	}
	for held(lock) {
		time.Sleep(pollEvery)
	}
	close(p.done)
}

type command struct {
	path  string
	args  []string
	stdin string
	user  account
	lock  *os.File // inherited by the process, which so holds the lock
	log   *os.File
}

// spawn starts a program and notes its process id.
//
// The process is the leader of its own process group, so that an interrupt
// typed at keyturn's terminal does not reach it: keyturn stops its servers
// itself. No parent-death signal (Pdeathsig) is set. Linux sends it when the
// *thread* that forked ends, which in Go may happen at any time; and a server
// that outlives a killed keyturn keeps the connections of its clients until
// the next keyturn takes it over.
func (s *Server) spawn(c command) (*process, error) {
	cmd := exec.Command(c.path, c.args...)
	if c.user.uid == 0 && s.config.Binary.Product != Redis { // postgres never is; mysqld and mariadbd want to be told so
		cmd.Args = append(cmd.Args, "--user=root")
	}
	cmd.Dir = s.config.Dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.config.Dir, "LC_ALL=C", "TZ=UTC"}
	cmd.Stdout, cmd.Stderr = c.log, c.log
	cmd.ExtraFiles = []*os.File{c.lock}
	cmd.SysProcAttr = leader(c.user)
	if c.stdin != "" {
		cmd.Stdin = strings.NewReader(c.stdin)
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{pid: cmd.Process.Pid, exited: make(chan struct{}), done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	// Servers write the same file themselves a little later; that covers a
	// keyturn that is killed right here.
	if err := s.writePID(p.pid, c.user); err != nil {
		signalGroup(p.pid, syscall.SIGKILL)
		<-p.exited
		return nil, err
	}
	return p, nil
}

func (s *Server) writePID(pid int, owner account) error {
	path := s.path(pidFile)
	if err := os.WriteFile(path, []byte(strconv.Itoa(pid)+"\n"), 0o600); err != nil {
		return fmt.Errorf("noting a process id: %w", err)
	}
	if err := os.Chown(path, owner.uid, owner.gid); err != nil {
		return fmt.Errorf("noting a process id: %w", err)
	}
	return nil
}

// held tells whether any process has the lock on the file.
func held(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(lock(f, false), errLocked)
}

func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a server's lock: %w", err)
	}
	if err := lock(f, true); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
	}
	return f, nil
}

// acquireTime is how long a folder's lock may stay with a process that cannot
// be taken over. It is longer than any initialisation step.
const acquireTime = time.Minute

// acquire returns the folder's lock, or else the process that rightly holds
// it: a server of this folder with the arguments it would be started with. Any
// other process of this folder, such as half an initialisation, is stopped.
func (s *Server) acquire(ctx context.Context) (*os.File, *process, error) {
	ctx, cancel := context.WithTimeout(ctx, acquireTime)
	defer cancel()
	for {
		lock, err := tryLock(s.path(lockFile))
		if err == nil {
			return lock, nil, nil
		}
		if !errors.Is(err, errLocked) {
			return nil, nil, err
		}
		if p := s.leftBehind(); p != nil {
			return nil, p, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("another process uses the database folder %s: %w", s.config.Dir, ctx.Err())
		case <-time.After(pollEvery):
		}
	}
}

// leftBehind looks at the process that holds the lock. It returns nil when
// that is not (yet) known, or when it had to be stopped.
func (s *Server) leftBehind() *process {
	pid := s.notedPID()
	if pid == 0 {
		return nil
	}
	line := commandLine(pid)
	if !strings.Contains(line, s.config.Dir+string(filepath.Separator)) {
		return nil // the id was used again by a stranger
	}
	for _, arg := range s.engine.arguments(s.config, s.path(dataFolder)) {
		if !strings.Contains(" "+line+" ", " "+arg+" ") {
			signalGroup(pid, syscall.SIGKILL)
			return nil
		}
	}
	p := &process{pid: pid, done: make(chan struct{})}
	go p.watch(s.path(lockFile))
	return p
}

func (s *Server) notedPID() int {
	text, err := os.ReadFile(s.path(pidFile))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 2 {
		return 0
	}
	return pid
}

// commandLine returns the arguments of a process, joined by blanks, or "".
func commandLine(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err == nil {
		return strings.ReplaceAll(string(text), "\x00", " ")
	}
	text, err = exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return string(text)
}

// stopTime is how long a server may take to end in good order.
const stopTime = 30 * time.Second

// end stops p, in good order if it can be done before ctx or stopTime ends.
func (s *Server) end(ctx context.Context, p *process) error {
	signalGroup(p.pid, s.engine.stopSignal())
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	case <-time.After(stopTime):
	}
	signalGroup(p.pid, syscall.SIGKILL)
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTime):
		return fmt.Errorf("process %d of %s does not end", p.pid, s.config.Dir)
	}
}
