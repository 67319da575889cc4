//go:build unix

package envelope_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/keyturn/keyturn/internal/envelope"
)

// The key file stays with the user whose server reads it, also when root
// rotates a key in it.
func TestKeyFileKeepsItsOwner(t *testing.T) {
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 { // whoever else runs this cannot give a file away
		uid, gid = 12345, 54321
	}
	path := filepath.Join(t.TempDir(), "key")
	keys, err := envelope.Open(t.Context(), envelope.Source{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Rotate(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); int(owner.Uid) != uid || int(owner.Gid) != gid || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file has owner %d:%d and mode %o, want %d:%d", owner.Uid, owner.Gid, info.Mode().Perm(), uid, gid)
	}
}
