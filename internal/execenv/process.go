package execenv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

// User is a system user; the zero value is that of this program.
type User struct {
	UID, GID int
	Other    bool // it is not this program's
}

// LookUp returns the system user called name.
func LookUp(name string) (User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return User{}, fmt.Errorf("looking up the user of functions: %w", err)
	}
	uid, errU := strconv.Atoi(u.Uid)
	gid, errG := strconv.Atoi(u.Gid)
	if err := errors.Join(errU, errG); err != nil {
		return User{}, fmt.Errorf("looking up the user of functions: %w", err)
	}
	return User{UID: uid, GID: gid, Other: uid != os.Geteuid()}, nil
}

func (u User) own(path string) error {
	if !u.Other {
		return nil
	}
	if err := os.Lchown(path, u.UID, u.GID); err != nil {
		return fmt.Errorf("giving a function its folder: %w", err)
	}
	return nil
}

// spec is what a process is started from.
type spec struct {
	command   []string
	dir       string
	variables []string
	output    *os.File
	user      User
	memory    int // MiB
}

// process is a running process, the leader of its process group.
type process struct {
	pid     int
	program string
	exited  chan struct{} // closed when it was reaped
	state   *os.ProcessState
	starved atomic.Bool // it was ended because it took too much memory
}

// limited runs a command under the limits that a process passes on to its
// children: no core dumps, 1024 open files (as on AWS), 512 MiB in a file, and a
// ceiling of writable memory, in KiB, that catches what grows too fast for watch.
// The last two are not known to every shell.
const limited = `ulimit -c 0; ulimit -n 1024; ulimit -f 1048576; ulimit -d "$1" 2>/dev/null; shift; exec "$@"`

// spareMemory is what a process may reserve beyond its memory, in MiB:
// interpreters reserve more than they use.
const spareMemory = 1024

// startProcess starts a process that ends with this program at the latest.
//
// Linux sends a parent-death signal when the thread that forked ends, so one
// thread is kept for each process. An interrupt typed at this program's terminal
// does not reach the process, since it has a process group of its own.
func startProcess(s spec) (*process, error) {
	if unsupported != nil {
		return nil, unsupported
	}
	args := append([]string{"-c", limited, "sh", strconv.Itoa((s.memory + spareMemory) << 10)}, s.command...)
	cmd := exec.Command("/bin/sh", args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.variables, s.output, s.output
	cmd.SysProcAttr = attributes(s.user)
	p := &process{program: s.command[0], exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // the state tells
			p.state = cmd.ProcessState
			p.kill() // what it left behind in its group
		}
		close(p.exited)
	}()
	err := <-started
	if errors.Is(err, fs.ErrPermission) && s.user.Other {
		return nil, noEntry(fmt.Sprintf("/bin/sh: permission denied: user %d, who runs functions, must be able to enter every folder above the server's data folder", s.user.UID))
	}
	if err != nil {
		return nil, fmt.Errorf("starting a function's process: %w", err)
	}
	go p.watch(s.memory)
	return p, nil
}

func (p *process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// watchEvery is how often the memory of a process is looked at.
const watchEvery = 100 * time.Millisecond

// watch ends a process that holds more memory than it may.
func (p *process) watch(limit int) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.exited:
			return
		case <-tick.C:
			if resident(p.pid) > int64(limit)<<20 {
				p.starved.Store(true)
				p.kill()
				return
			}
		}
	}
}

// failure tells how the process ended, once it has.
func (p *process) failure(id string) *Failure {
	switch {
	case p.starved.Load():
		return newFailure("Runtime.OutOfMemory", "RequestId: %s Error: Runtime exited with error: signal: killed", id)
	case p.state == nil || p.state.Success():
		return newFailure("Runtime.ExitError", "RequestId: %s Error: Runtime exited without providing a reason", id)
	}
	return newFailure("Runtime.ExitError", "RequestId: %s Error: Runtime exited with error: %s%s", id, p.state, p.shellTells())
}

// shellTells explains the codes by which the shell says that it could not run a program
// (POSIX, "Exit Status for Commands"): nothing else tells so to who reads the failure.
func (p *process) shellTells() string {
	switch p.state.ExitCode() {
	case 126:
		return " (the user who runs functions may not execute " + p.program + ", or enter a folder above it)"
	case 127:
		return " (" + p.program + " was not found)"
	}
	return ""
}
