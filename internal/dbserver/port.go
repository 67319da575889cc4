package dbserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"
)

// Host is the address that servers listen on: this machine only.
const Host = "127.0.0.1"

// ErrPortTaken says that another process listens on a server's port.
var ErrPortTaken = errors.New("the port is taken by another process")

// The ports to choose from lie below those that systems give to outgoing
// connections (32768 and up on Linux): a port out of that range could be in
// use by a client when its server comes back after a restart.
const (
	lowestPort = 20000
	portCount  = 10000
)

// FreePort returns a port on which nothing listens now and that taken does not
// claim. It starts at a random place, so that two callers seldom meet.
func FreePort(taken func(port int) bool) (int, error) {
	start := rand.IntN(portCount) //nolint:gosec // to keep callers apart, not to surprise them
	for i := range portCount {
		port := lowestPort + (start+i)%portCount
		if !taken(port) && PortFree(port) == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("looking for a free port between %d and %d: %w", lowestPort, lowestPort+portCount, ErrPortTaken)
}

// PortFree returns nil when a server could listen on the port, and an error
// that wraps ErrPortTaken when it could not.
func PortFree(port int) error {
	listener, err := net.Listen("tcp", address(port))
	if err != nil {
		return fmt.Errorf("listening on %s: %w (%w)", address(port), ErrPortTaken, errors.Unwrap(err))
	}
	return listener.Close()
}

// portPatience is how long a port may stay taken by a server that was killed:
// the kernel may give up its lock a moment before its sockets.
const portPatience = 2 * time.Second

func untilPortFree(ctx context.Context, port int) error {
	ctx, cancel := context.WithTimeout(ctx, portPatience)
	defer cancel()
	for {
		err := PortFree(port)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pollEvery):
		}
	}
}

func address(port int) string { return net.JoinHostPort(Host, strconv.Itoa(port)) }
