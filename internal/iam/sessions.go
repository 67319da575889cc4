package iam

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"sync"
)

// Sessions issues credentials that live in memory until they are revoked:
// rotation functions act under them. The zero value is ready; it is safe to share.
type Sessions struct {
	mu     sync.RWMutex
	active map[string]Credential // :: access key id → credential
}

// Issue returns a new access key id, secret access key and session token for p.
// Requests signed with them must carry the token.
func (s *Sessions) Issue(p Principal) (accessKeyID, secret, token string) {
	accessKeyID, c := NewTemporary()
	c.Principal = p
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active == nil {
		s.active = map[string]Credential{}
	}
	s.active[accessKeyID] = c
	return accessKeyID, c.Secret, c.SessionToken
}

// Revoke ends a credential; an unknown access key id is no error.
func (s *Sessions) Revoke(accessKeyID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.active, accessKeyID)
}

// None reports whether there are no credentials.
func (s *Sessions) None() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.active) == 0
}

// Lookup implements Keys.
func (s *Sessions) Lookup(_ context.Context, accessKeyID string) (Credential, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c, ok := s.active[accessKeyID]
	if !ok {
		return Credential{}, ErrUnknownKey
	}
	return c, nil
}

// NewLasting draws an access key that nobody has yet, for no principal yet.
//
// AWS's ids have 20 characters and begin with AKIA, those of temporary keys with
// ASIA; rand.Text uses the same letters and digits as they do.
func NewLasting() (accessKeyID string, c Credential) {
	return "AKIA" + rand.Text()[:16], Credential{Secret: randomBase64(30)}
}

// NewTemporary is NewLasting for a credential with a session token.
func NewTemporary() (accessKeyID string, c Credential) {
	return "ASIA" + rand.Text()[:16], Credential{Secret: randomBase64(30), SessionToken: randomBase64(96)}
}

func randomBase64(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: the runtime ends the process first
	return base64.StdEncoding.EncodeToString(b)
}
