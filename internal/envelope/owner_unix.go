//go:build unix

package envelope

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives a file the owner and group of the one that it is to replace:
// root changes the key file of a server that runs as another user, and that must
// still be able to read it. Others than root may not, and need not.
func keepOwner(path string, old fs.FileInfo) error {
	stat, ok := old.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	err := os.Lchown(path, int(stat.Uid), int(stat.Gid))
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// readByOthers tells whether group or others may do anything with a file.
func readByOthers(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }
