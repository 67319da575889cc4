//go:build unix

package dbserver

import (
	"os"
	"strconv"
	"syscall"
)

// unsupported is why no server can run on this system.
var unsupported error

// credential is nil where no change of user is wanted.
func (a account) credential() *syscall.Credential {
	if a.uid == os.Geteuid() {
		return nil
	}
	return &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)} //nolint:gosec // ids come from the system
}

// as starts a program as a user.
func as(a account) *syscall.SysProcAttr { return &syscall.SysProcAttr{Credential: a.credential()} }

// leader starts it as the leader of a process group besides.
func leader(a account) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: a.credential()}
}

func signalGroup(pid int, sig syscall.Signal) {
	_ = syscall.Kill(-pid, sig) // the only error left is that it has ended
}

// errLocked says that another process has a lock.
const errLocked = syscall.EWOULDBLOCK

// lock locks a file that is open, for this process or as one of several, without
// waiting. Processes that inherit the file have the lock as well.
func lock(f *os.File, alone bool) error {
	how := syscall.LOCK_SH
	if alone {
		how = syscall.LOCK_EX
	}
	return syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
}

// ownerOf returns the user that made a folder, whose processes alone can use it.
func ownerOf(folder string) (account, bool) {
	info, err := os.Stat(folder)
	if err != nil {
		return account{}, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return account{}, false
	}
	return account{name: strconv.Itoa(int(stat.Uid)), uid: int(stat.Uid), gid: int(stat.Gid)}, true
}
