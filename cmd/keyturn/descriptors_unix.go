//go:build unix

package main

import "syscall"

// affordable is how many of n connections the process may have open at once: half of
// its descriptors are left for the databases that it rotates, functions and its own
// files, whoever keeps connections to it.
func affordable(n int) int {
	var open syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &open); err != nil {
		return n
	}
	return int(min(uint64(open.Cur)/2, uint64(n))) //nolint:gosec,unconvert // at most n; FreeBSD has it signed
}
