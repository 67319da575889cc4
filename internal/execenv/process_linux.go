package execenv

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// attributes make a process the leader of its group, and have it end with this
// program, also when that is killed.
func attributes(u User) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: u.credential()}
}

// resident returns how much memory a process has in use, in bytes; 0 if it has
// ended. See proc(5), statm: the second number, in pages.
func resident(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	fields := bytes.Fields(text)
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
