package dbserver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// leftServer is a process with the arguments of a server, whose id is noted in the
// folder of s.
func leftServer(t *testing.T, s *Server, args ...string) (exited chan error) {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", "sleep 60; :", "server"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited = make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() { signalGroup(cmd.Process.Pid, syscall.SIGKILL) })
	if err := os.WriteFile(s.path(pidFile), fmt.Append(nil, cmd.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
	return exited
}

func newMySQL(t *testing.T) *Server {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "db")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Binary: Binary{Product: MySQL}, Dir: dir, Port: 1150, AdminPassword: "Admin_1aA"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Process ids are used again: the one that was noted in a folder may be that of the
// server in the next folder by now, whose name begins alike.
func TestServerOfAnotherFolderIsLeftAlone(t *testing.T) {
	s := newMySQL(t)
	exited := leftServer(t, s, "--datadir="+s.config.Dir+"2/"+dataFolder)
	if p := s.leftBehind(); p != nil {
		t.Errorf("process %d is taken for that of the folder", p.pid)
	}
	select {
	case err := <-exited:
		t.Errorf("it was ended: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
}

// A server that was left behind on the port 11500 is not the one that is to have 1150.
func TestServerOnAnotherPortIsNotTakenOver(t *testing.T) {
	s := newMySQL(t)
	before := s.config
	before.Port = 11500
	exited := leftServer(t, s, s.engine.arguments(before, s.path(dataFolder))...)
	if p := s.leftBehind(); p != nil {
		t.Errorf("process %d is taken over", p.pid)
		return
	}
	if err := <-exited; err == nil {
		t.Error("the server on 11500 was left to end by itself")
	}
}
