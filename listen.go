package keyturn

import (
	"net"
	"net/http"
	"strings"

	"github.com/keyturn/keyturn/internal/http1"
)

// Listener is what Listen returns.
type Listener = http1.Listener

// maxQuickBody is how many bytes the body of a request has at the most that is
// answered without net/http: nearly all values of secrets, and nothing that holds
// much memory.
const maxQuickBody = 64 << 10

// Listen takes connections from l and answers the usual requests to Secrets
// Manager on them itself, which costs about half of what net/http takes for
// them. All other connections are for an http.Server of the same program:
//
//	l := server.Listen(listener, front)
//	err := front.Serve(l)
//
// The http.Server's time limits hold for both. Its Shutdown knows of its own
// requests only: call the Listener's as well.
func (s *Server) Listen(l net.Listener, front *http.Server) *Listener {
	idle := front.IdleTimeout
	if idle == 0 {
		idle = front.ReadTimeout
	}
	return http1.Listen(l, http1.Config{Handler: s, Takes: forSecretsManager, MaxBody: maxQuickBody, Log: s.config.Log,
		Header: front.ReadHeaderTimeout, Read: front.ReadTimeout, Write: front.WriteTimeout, Idle: idle})
}

func forSecretsManager(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
}
