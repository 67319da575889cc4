package lockedfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes a file with the content "a: 1" and returns its path.
func write(t *testing.T, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(path, []byte("a: 1\n"), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // past the umask
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// check compares content and mode, and that nothing else lies in the folder.
func check(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("content is %q, %v; want %q", got, err, content)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != mode {
		t.Errorf("mode is %v, %v; want %v", info.Mode(), err, mode)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestReplaceMode(t *testing.T) {
	for _, tt := range []struct {
		before fs.FileMode
		secret bool
		after  fs.FileMode
	}{
		{0o644, false, 0o644},
		{0o664, true, 0o600},
		{0o600, true, 0o600},
		{0o400, true, 0o400},
		{0o755, true, 0o600},
	} {
		path := write(t, tt.before)
		if err := open(t, path).Replace([]byte("a: 2\n"), tt.secret); err != nil {
			t.Fatal(err)
		}
		check(t, path, "a: 2\n", tt.after)
	}
}

func TestReplaceTightensEqualContent(t *testing.T) {
	path := write(t, 0o644)
	if err := open(t, path).Replace([]byte("a: 1\n"), true); err != nil {
		t.Fatal(err)
	}
	check(t, path, "a: 1\n", 0o600)
}

func TestReplaceTwiceKeepsTheLock(t *testing.T) {
	path := write(t, 0o600)
	f := open(t, path)
	for _, content := range []string{"a: 2\n", "a: 3\n"} {
		if err := f.Replace([]byte(content), true); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "in use by another") {
			t.Errorf("opened a locked file: %v", err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
	check(t, path, "a: 3\n", 0o600)
}

func TestReplaceFollowsSymlink(t *testing.T) {
	path := write(t, 0o600)
	link := filepath.Join(t.TempDir(), "link.yml")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := open(t, link).Replace([]byte("a: 2\n"), true); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("the link became %v, %v", info.Mode(), err)
	}
	check(t, path, "a: 2\n", 0o600)
}

func TestReplaceRefusesForeignChange(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"written over": func(path string) error { return os.WriteFile(path, []byte("mine: 1\n"), 0o600) },
		"renamed over": func(path string) error {
			next := path + "~"
			return errors.Join(os.WriteFile(next, []byte("mine: 1\n"), 0o600), os.Rename(next, path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, 0o600)
			f := open(t, path)
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			for _, content := range []string{"a: 2\n", "a: 1\n"} {
				err := f.Replace([]byte(content), true)
				if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Problem, "changed by somebody else") {
					t.Errorf("got %v", err)
				}
			}
			check(t, path, "mine: 1\n", 0o600)
		})
	}
}

func TestReplaceRefusesDeletedFile(t *testing.T) {
	path := write(t, 0o600)
	f := open(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := f.Replace([]byte("a: 2\n"), true); err == nil {
		t.Error("a deleted file came back")
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestReplaceRefusesOtherLinkTarget(t *testing.T) {
	path, other := write(t, 0o600), write(t, 0o600)
	link := filepath.Join(t.TempDir(), "link.yml")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	f := open(t, link)
	if err := errors.Join(os.Remove(link), os.Symlink(other, link)); err != nil {
		t.Fatal(err)
	}
	if err := f.Replace([]byte("a: 2\n"), true); err == nil {
		t.Error("wrote to a file that the link does not name any more")
	}
	check(t, path, "a: 1\n", 0o600)
}

func TestReplaceKeepsOwner(t *testing.T) {
	wantUID, wantGID := 12345, 54321
	if os.Getuid() != 0 { // only root may give files away
		wantUID, wantGID = os.Getuid(), os.Getgid()
	}
	path := write(t, 0o600)
	if err := os.Chown(path, wantUID, wantGID); err != nil {
		t.Fatal(err)
	}
	if err := open(t, path).Replace([]byte("a: 2\n"), true); err != nil {
		t.Fatal(err)
	}
	if uid, gid := owner(t, path); int(uid) != wantUID || int(gid) != wantGID {
		t.Errorf("owner is %d:%d", uid, gid)
	}
}

func TestOpenRefuses(t *testing.T) {
	folder := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(folder, "none.yml"): "no such file or directory",
		folder:                            "is not a regular file",
	} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}

func TestReplaceable(t *testing.T) {
	path := write(t, 0o600)
	f := open(t, path)
	if err := f.Replaceable(); err != nil {
		t.Error(err)
	}
	check(t, path, "a: 1\n", 0o600)
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := f.Replaceable(); err == nil {
		t.Error("the folder is gone")
	}
}
