package iam

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"strings"
	"sync"
)

// maxDerived bounds the memory of signingKeys; one entry serves a key for a
// day in one region and service.
const maxDerived = 1024

// signingKeys remembers derived signing keys. Only scopes whose signature was
// right are kept, so nobody can fill it from outside.
type signingKeys struct {
	mu      sync.RWMutex
	byScope map[Scope]*signingKey
}

// signingKey signs for one scope. It is safe to share.
type signingKey struct {
	secret  string    // it came from
	signers sync.Pool // of *signer
}

// signer is what one signature needs, with the key at work in it already.
type signer struct {
	mac       hash.Hash
	text, sum []byte
}

// sign signs the string to sign, in hex.
func (k *signingKey) sign(c *claim, canonicalHash [2 * sha256.Size]byte) (out [2 * sha256.Size]byte) {
	s := k.signers.Get().(*signer)
	defer k.signers.Put(s)
	s.text = append(append(s.text[:0], algorithm+"\n"...), c.date...)
	s.text = append(append(append(s.text, '\n'), c.scopeText...), '\n')
	s.text = append(s.text, canonicalHash[:]...)
	s.mac.Reset()
	s.mac.Write(s.text)
	s.sum = s.mac.Sum(s.sum[:0])
	hex.Encode(out[:], s.sum)
	clear(s.sum) // what would have been right
	return out
}

// find misses when the access key has another secret now.
func (k *signingKeys) find(s Scope, secret string) (*signingKey, bool) {
	k.mu.RLock()
	d, ok := k.byScope[s]
	k.mu.RUnlock()
	if !ok || subtle.ConstantTimeCompare([]byte(d.secret), []byte(secret)) != 1 {
		return nil, false
	}
	return d, true
}

// keep starts anew when it is full: entries of past days are dead anyway, and
// deriving a key again costs microseconds.
func (k *signingKeys) keep(s Scope, key *signingKey) {
	// The scope's strings are parts of a whole header; copies let it go.
	s = Scope{strings.Clone(s.AccessKeyID), strings.Clone(s.Date), strings.Clone(s.Region), strings.Clone(s.Service)}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byScope == nil || len(k.byScope) >= maxDerived {
		k.byScope = map[Scope]*signingKey{}
	}
	k.byScope[s] = key
}

func deriveKey(s Scope, secret string) *signingKey {
	step := []byte("AWS4" + secret)
	for _, text := range [...]string{s.Date, s.Region, s.Service, terminator} {
		mac := hmac.New(sha256.New, step)
		mac.Write([]byte(text))
		step = mac.Sum(nil)
	}
	key := &signingKey{secret: secret}
	key.signers.New = func() any { return &signer{mac: hmac.New(sha256.New, step)} }
	return key
}
