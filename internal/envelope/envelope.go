// Package envelope seals what must not lie in the clear on a disk. Each sealed
// value has a data key of its own; the data key is wrapped by a key of the
// keyring; and both are bound to the place the value belongs to, so ciphertext
// moved to another place does not open.
package envelope

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
)

// Key wraps data keys. boundTo must be the same for Wrap and Unwrap. A Key is
// safe for concurrent use.
type Key interface {
	ID() string
	Wrap(ctx context.Context, dataKey, boundTo []byte) ([]byte, error)
	Unwrap(ctx context.Context, wrapped, boundTo []byte) ([]byte, error)
}

// ErrUnknownKey says that a value was sealed with a key that the keyring lacks.
var ErrUnknownKey = errors.New("the key that sealed this value is not in the keyring")

// ErrWrongPlace says that ciphertext was changed, or opened for another place
// than it was sealed for.
var ErrWrongPlace = errors.New("sealed value does not belong here or was changed")

// Sealed is ciphertext and what is needed, besides the key, to open it.
type Sealed struct {
	KeyID      string
	Wrapped    []byte // the data key, wrapped
	Ciphertext []byte
}

// Keyring seals with its first key and opens with any. It is safe for
// concurrent use.
type Keyring struct{ keys []Key }

// NewKeyring returns a keyring that seals with first.
func NewKeyring(first Key, more ...Key) *Keyring {
	return &Keyring{keys: append([]Key{first}, more...)}
}

// Seal encrypts plaintext (AES-256-GCM) for the place boundTo, under the
// keyring's default key.
func (k *Keyring) Seal(ctx context.Context, plaintext []byte, boundTo string) (Sealed, error) {
	return k.SealWith(ctx, "", plaintext, boundTo)
}

// SealWith is Seal under the key that keyID names, as a KmsKeyId does: an id, an
// alias or an ARN; empty means the default key.
func (k *Keyring) SealWith(ctx context.Context, keyID string, plaintext []byte, boundTo string) (Sealed, error) {
	dataKey := make([]byte, 32)
	rand.Read(dataKey)
	key, place := k.keys[0], []byte(boundTo)
	wrapped, err := key.Wrap(ctx, dataKey, place)
	if err != nil {
		return Sealed{}, fmt.Errorf("wrapping a data key: %w", err)
	}
	aead, err := gcm(dataKey)
	if err != nil {
		return Sealed{}, err
	}
	return Sealed{KeyID: key.ID(), Wrapped: wrapped, Ciphertext: aead.Seal(nil, nil, plaintext, place)}, nil
}

// Open returns what was sealed for the place boundTo, or ErrWrongPlace or
// ErrUnknownKey.
func (k *Keyring) Open(ctx context.Context, s Sealed, boundTo string) ([]byte, error) {
	key, err := k.DataKey(ctx, s, boundTo)
	if err != nil {
		return nil, err
	}
	return key.Open(s.Ciphertext, boundTo)
}

// DataKey unwraps the data key of a sealed value, so that the value can be
// opened often without asking the key that wrapped it. It returns ErrWrongPlace
// or ErrUnknownKey.
func (k *Keyring) DataKey(ctx context.Context, s Sealed, boundTo string) (*DataKey, error) {
	key, err := k.find(s.KeyID)
	if err != nil {
		return nil, err
	}
	raw, err := key.Unwrap(ctx, s.Wrapped, []byte(boundTo))
	if err != nil {
		return nil, fmt.Errorf("unwrapping a data key: %w", err)
	}
	aead, err := gcm(raw)
	return &DataKey{aead: aead}, err
}

// DataKey opens one sealed value. It prints as [redacted].
type DataKey struct{ aead cipher.AEAD }

// Open returns what was sealed for the place boundTo, or ErrWrongPlace.
func (d *DataKey) Open(ciphertext []byte, boundTo string) ([]byte, error) {
	plaintext, err := d.aead.Open(nil, nil, ciphertext, []byte(boundTo))
	if err != nil {
		return nil, ErrWrongPlace
	}
	return plaintext, nil
}

// String hides the key.
func (*DataKey) String() string { return "[redacted]" }

// GoString hides the key.
func (*DataKey) GoString() string { return "[redacted]" }

func (k *Keyring) find(id string) (Key, error) {
	for _, key := range k.keys {
		if key.ID() == id {
			return key, nil
		}
	}
	return nil, ErrUnknownKey
}

// gcm makes the nonce part of the ciphertext: a data key seals one value, and
// the standard library draws the nonce.
func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("making a cipher: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
