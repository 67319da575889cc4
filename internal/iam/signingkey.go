package iam

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"sync"
)

// maxDerived bounds the memory of signingKeys; one entry serves a key for a
// day in one region and service.
const maxDerived = 1024

type signingKey [sha256.Size]byte

// signingKeys remembers derived signing keys. Only scopes whose signature was
// right are kept, so nobody can fill it from outside.
type signingKeys struct {
	mu      sync.RWMutex
	byScope map[Scope]derivedKey // :: scope → key and the secret it came from
}

type derivedKey struct {
	secret string
	key    signingKey
}

// find misses when the access key has another secret now.
func (k *signingKeys) find(s Scope, secret string) (signingKey, bool) {
	k.mu.RLock()
	d, ok := k.byScope[s]
	k.mu.RUnlock()
	if !ok || subtle.ConstantTimeCompare([]byte(d.secret), []byte(secret)) != 1 {
		return signingKey{}, false
	}
	return d.key, true
}

// keep starts anew when it is full: entries of past days are dead anyway, and
// deriving a key again costs microseconds.
func (k *signingKeys) keep(s Scope, secret string, key signingKey) {
	// The scope's strings are parts of a whole header; copies let it go.
	s = Scope{strings.Clone(s.AccessKeyID), strings.Clone(s.Date), strings.Clone(s.Region), strings.Clone(s.Service)}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byScope == nil || len(k.byScope) >= maxDerived {
		k.byScope = map[Scope]derivedKey{}
	}
	k.byScope[s] = derivedKey{secret: secret, key: key}
}

func deriveKey(s Scope, secret string) (key signingKey) {
	step := []byte("AWS4" + secret)
	for _, text := range [...]string{s.Date, s.Region, s.Service, terminator} {
		mac := hmac.New(sha256.New, step)
		mac.Write([]byte(text))
		step = mac.Sum(nil)
	}
	copy(key[:], step)
	return key
}
