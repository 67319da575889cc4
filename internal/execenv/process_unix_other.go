//go:build unix && !linux

package execenv

import "syscall"

// attributes make a process the leader of its group. There is no parent-death
// signal: a process outlives a killed server until its Runtime API breaks off.
func attributes(u User) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: u.credential()}
}

// resident is not known here: only the limit of the shell holds.
func resident(int) int64 { return 0 }
