//go:build !unix

package dbserver

import (
	"errors"
	"os"
	"syscall"
)

// unsupported is why no server can run on this system: servers are groups of
// processes, and inherit the lock of their folder.
var unsupported = errors.New("database servers are run on Linux and macOS only; adopt one that runs, with the tag keyturn:endpoint")

var errLocked = errors.New("another process has the lock")

func as(account) *syscall.SysProcAttr           { return nil }
func leader(account) *syscall.SysProcAttr       { return nil }
func signalGroup(int, syscall.Signal)           {}
func lock(*os.File, bool) error                 { return unsupported }
func ownerOf(string) (owner account, made bool) { return account{}, false }
