package dbserver_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
)

// TestClosedFolder has root run PostgreSQL where its user cannot go.
func TestClosedFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("keyturn and PostgreSQL are the same user: no folder is closed to one of them")
		return
	}
	binary, err := dbserver.Find(dbserver.Postgres)
	check(t, err)
	closed := filepath.Join(t.TempDir(), "closed")
	check(t, os.Mkdir(closed, 0o700))
	s := newServer(t, dbserver.Config{Binary: binary, Dir: filepath.Join(closed, "rds", "db"), Port: freePort(t), AdminPassword: adminPassword})
	err = s.Init(within(t), setup)
	if err == nil || !strings.Contains(err.Error(), "cannot enter") || !strings.Contains(err.Error(), "chmod o+x") {
		t.Errorf("got %v", err)
	}
	t.Log(err)
}
