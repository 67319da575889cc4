//go:build !unix

package execenv

import (
	"errors"
	"syscall"
)

// unsupported is why no process of a function can run on this system: processes are
// frozen between events, and end as groups.
var unsupported = errors.New("functions that are processes run on Linux and macOS only")

func attributes(User) *syscall.SysProcAttr { return nil }
func resident(int) int64                   { return 0 }

func (*process) there() bool { return false }

func (*process) kill()   {}
func (*process) freeze() {}
func (*process) resume() {}
