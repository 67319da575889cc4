package envelope

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
)

// Local is key material held in this process: 32 bytes for AES-256-GCM. It
// prints as [redacted].
type Local struct {
	id   string
	raw  []byte
	aead cipher.AEAD
}

// NewLocal returns new material that nothing else knows yet.
func NewLocal() (*Local, error) {
	raw, id := make([]byte, 32), make([]byte, 8)
	rand.Read(raw)
	rand.Read(id)
	return newLocal(hex.EncodeToString(id), raw)
}

func newLocal(id string, raw []byte) (*Local, error) {
	aead, err := gcm(raw)
	if err != nil {
		return nil, err
	}
	return &Local{id: id, raw: raw, aead: aead}, nil
}

func parseLocal(id, text string) (*Local, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != 32 {
		return nil, errors.New("the key is damaged")
	}
	return newLocal(id, raw)
}

// secret is the material as a key file holds it.
func (l *Local) secret() string { return base64.StdEncoding.EncodeToString(l.raw) }

// ID returns the material's id.
func (l *Local) ID() string { return l.id }

// Wrap encrypts dataKey.
func (l *Local) Wrap(_ context.Context, dataKey, boundTo []byte) ([]byte, error) {
	return l.aead.Seal(nil, nil, dataKey, boundTo), nil
}

// Unwrap decrypts what Wrap made, or returns ErrWrongPlace.
func (l *Local) Unwrap(_ context.Context, wrapped, boundTo []byte) ([]byte, error) {
	dataKey, err := l.aead.Open(nil, nil, wrapped, boundTo)
	if err != nil {
		return nil, ErrWrongPlace
	}
	return dataKey, nil
}

// String hides the key.
func (l *Local) String() string { return "[redacted]" }

// GoString hides the key.
func (l *Local) GoString() string { return "[redacted]" }
