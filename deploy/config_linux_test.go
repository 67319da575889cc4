package deploy

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// A config.yml that could not be written at the end is found before anything is made.
func TestFolderMayNotBeWritten(t *testing.T) {
	folder, err := os.MkdirTemp("", "") // t.TempDir lies in a folder that only root enters
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	path := filepath.Join(folder, "config.yml")
	err = errors.Join(os.WriteFile(path, []byte(least), 0o600), os.Chmod(path, 0o644), os.Chmod(folder, 0o555))
	if err != nil {
		t.Fatal(err)
	}
	err = asNobody(t, func() error { return Check(path) })
	if e, ok := errors.AsType[*ConfigError](err); !ok || !strings.Contains(e.Fix, "its folder") {
		t.Errorf("got %v", err)
	}
}

// asNobody calls f without root's right to write everywhere: the file system sees another
// user on this thread.
func asNobody(t *testing.T, f func() error) error {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if os.Geteuid() == 0 {
		if err := syscall.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = syscall.Setfsuid(0) }()
	}
	return f()
}
