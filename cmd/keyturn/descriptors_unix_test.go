//go:build unix

package main

import (
	"syscall"
	"testing"
)

// Who opens as many connections as the server takes leaves it descriptors for rotations.
func TestConnectionsLeaveDescriptors(t *testing.T) {
	var usual syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &usual); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &usual); err != nil {
			t.Error(err)
		}
	})
	few := usual
	few.Cur = 1000
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	if n := affordable(usualLimits.connections); n != 500 {
		t.Errorf("%d connections, and 1,000 descriptors", n)
	}
	if n := affordable(400); n != 400 {
		t.Errorf("%d connections of 400", n)
	}
}
