// Package envelope seals what must not lie in the clear on a disk. Each sealed
// value has a data key of its own; the data key is wrapped by a key of the
// keyring; and both are bound to the place the value belongs to, so ciphertext
// moved to another place does not open.
//
// A key is what a KmsKeyId names. It has one or more key materials, of which the
// newest wraps; the older ones only unwrap what they wrapped. Material is either
// 32 bytes in a key file or a key in AWS KMS.
package envelope

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
)

// Key is one key material: it wraps data keys. boundTo must be the same for Wrap
// and Unwrap. A Key is safe for concurrent use.
type Key interface {
	// ID names the material for ever; what it wrapped is stored beside this id.
	ID() string
	Wrap(ctx context.Context, dataKey, boundTo []byte) ([]byte, error)
	// Unwrap returns ErrWrongPlace for what was not wrapped for boundTo.
	Unwrap(ctx context.Context, wrapped, boundTo []byte) ([]byte, error)
}

// Why something could not be sealed or opened, beside InvalidKeyError.
var (
	// ErrUnknownKey says that a value was sealed with a key that the keyring lacks.
	ErrUnknownKey = errors.New("the key that sealed this value is not in the keyring")
	// ErrWrongPlace says that ciphertext was changed, or opened for another place
	// than it was sealed for.
	ErrWrongPlace = errors.New("sealed value does not belong here or was changed")
	// ErrAccessDenied says that AWS KMS does not let this server use the key.
	ErrAccessDenied = errors.New("access to AWS KMS is not allowed")
	// ErrUnusable says that the key in AWS KMS is disabled, pending deletion or of
	// another use.
	ErrUnusable = errors.New("the key in AWS KMS can't be used in its present state")
)

// InvalidKeyError says that a KmsKeyId names no key. Its text is for callers.
type InvalidKeyError struct{ Reason string }

// Error returns the reason.
func (e *InvalidKeyError) Error() string { return e.Reason }

// Sealed is ciphertext and what is needed, besides the key, to open it.
type Sealed struct {
	KeyID      string // of the key material
	Wrapped    []byte // the data key, wrapped
	Ciphertext []byte
}

// Seal encrypts plaintext (AES-256-GCM) for the place boundTo, under the
// keyring's default key.
func (k *Keyring) Seal(ctx context.Context, plaintext []byte, boundTo string) (Sealed, error) {
	return k.SealWith(ctx, "", plaintext, boundTo)
}

// SealWith is Seal under the key that keyID names, as a KmsKeyId does: see Check.
// It returns an *InvalidKeyError, ErrAccessDenied or ErrUnusable when that key
// does not serve.
func (k *Keyring) SealWith(ctx context.Context, keyID string, plaintext []byte, boundTo string) (Sealed, error) {
	key, err := k.state.Load().resolve(keyID)
	if err != nil {
		return Sealed{}, err
	}
	dataKey, place := make([]byte, 32), []byte(boundTo)
	rand.Read(dataKey)
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

// Open returns what was sealed for the place boundTo; for its errors see
// DataKey.
func (k *Keyring) Open(ctx context.Context, s Sealed, boundTo string) ([]byte, error) {
	key, err := k.DataKey(ctx, s, boundTo)
	if err != nil {
		return nil, err
	}
	return key.Open(nil, s.Ciphertext, []byte(boundTo))
}

// DataKey unwraps the data key of a sealed value, so that the value can be
// opened often without asking the key that wrapped it; re-wrapping leaves it
// valid. It returns ErrWrongPlace, ErrUnknownKey, ErrAccessDenied or ErrUnusable.
func (k *Keyring) DataKey(ctx context.Context, s Sealed, boundTo string) (*DataKey, error) {
	raw, err := k.unwrap(ctx, s, boundTo)
	if err != nil {
		return nil, err
	}
	aead, err := gcm(raw)
	return &DataKey{aead: aead}, err
}

func (k *Keyring) unwrap(ctx context.Context, s Sealed, boundTo string) ([]byte, error) {
	key, err := k.state.Load().find(s.KeyID)
	if err != nil {
		return nil, err
	}
	raw, err := key.Unwrap(ctx, s.Wrapped, []byte(boundTo))
	if err != nil {
		return nil, fmt.Errorf("unwrapping a data key: %w", err)
	}
	return raw, nil
}

// Newest returns the material that Rewrap would use in place of the one that
// sealed, and whether that is another one.
func (k *Keyring) Newest(materialID string) (newest string, stale bool) {
	key := k.state.Load().owner[materialID]
	if key == nil {
		return materialID, false
	}
	newest = key.newest().ID()
	return newest, newest != materialID
}

// Opens tells whether there is the material that a value names. A key in AWS KMS is
// not asked for.
func (k *Keyring) Opens(materialID string) bool {
	_, err := k.state.Load().find(materialID)
	return err == nil
}

// Rewrap wraps the data key of s by the newest material of the key that sealed
// it. The ciphertext stays as it is. For its errors see DataKey and SealWith.
func (k *Keyring) Rewrap(ctx context.Context, s Sealed, boundTo string) (Sealed, error) {
	key := k.state.Load().owner[s.KeyID]
	if key == nil {
		return s, nil
	}
	raw, err := k.unwrap(ctx, s, boundTo)
	if err != nil {
		return Sealed{}, err
	}
	wrapped, err := key.newest().Wrap(ctx, raw, []byte(boundTo))
	if err != nil {
		return Sealed{}, fmt.Errorf("wrapping a data key: %w", err)
	}
	return Sealed{KeyID: key.newest().ID(), Wrapped: wrapped, Ciphertext: s.Ciphertext}, nil
}

// DataKey opens one sealed value. It prints as [redacted].
type DataKey struct{ aead cipher.AEAD }

// Open appends to dst what was sealed for the place boundTo, or returns
// ErrWrongPlace.
func (d *DataKey) Open(dst, ciphertext, boundTo []byte) ([]byte, error) {
	plaintext, err := d.aead.Open(dst, nil, ciphertext, boundTo)
	if err != nil {
		return nil, ErrWrongPlace
	}
	return plaintext, nil
}

// String hides the key.
func (*DataKey) String() string { return "[redacted]" }

// GoString hides the key.
func (*DataKey) GoString() string { return "[redacted]" }

// gcm makes the nonce part of the ciphertext: a data key seals one value, and
// the standard library draws the nonce.
func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("making a cipher: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
