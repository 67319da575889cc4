//go:build unix

package execenv

import "syscall"

// unsupported is why no process of a function can run on this system.
var unsupported error

func (u User) credential() *syscall.Credential {
	if !u.Other {
		return nil
	}
	return &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)} //nolint:gosec // ids come from the system
}

// signal reaches the whole process group. Once that has ended, its number may be
// another's.
func (p *process) signal(s syscall.Signal) {
	if p.alive() {
		_ = syscall.Kill(-p.pid, s) // the only error is that it has ended
	}
}

// there tells whether the system has the process, or its end is still to be learnt: it
// knows of that a moment before whoever waits for it.
func (p *process) there() bool { return syscall.Kill(p.pid, 0) != syscall.ESRCH }

func (p *process) kill()   { p.signal(syscall.SIGKILL) }
func (p *process) freeze() { p.signal(syscall.SIGSTOP) }
func (p *process) resume() { p.signal(syscall.SIGCONT) }
