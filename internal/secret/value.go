package secret

import (
	"bytes"
	"context"
	"fmt"
)

// Value is a secret's value: text or bytes, never both.
type Value struct {
	Text   *string
	Binary []byte
}

// String hides the value.
func (Value) String() string { return "[redacted]" }

// GoString hides the value.
func (Value) GoString() string { return "[redacted]" }

// IsZero reports whether there is no value.
func (v Value) IsZero() bool { return v.Text == nil && v.Binary == nil }

// Equal reports whether both are the same value.
func (v Value) Equal(w Value) bool {
	return (v.Text == nil) == (w.Text == nil) && bytes.Equal(v.bytes(), w.bytes())
}

func (v Value) bytes() []byte {
	if v.Text != nil {
		return []byte(*v.Text)
	}
	return v.Binary
}

// Slot is where a value is to be stored.
type Slot struct {
	ARN      ARN
	ID       VersionID
	KMSKeyID string // the secret's; empty: the default key
}

// Seal encrypts a value for one version of one secret, under the secret's key.
// A key that does not serve is one of the failures of CheckKey.
func (v *Vault) Seal(ctx context.Context, s Slot, value Value) (*Version, error) {
	sealed, err := v.keys.SealWith(ctx, s.KMSKeyID, value.bytes(), place(s.ARN, s.ID))
	if err != nil {
		return nil, keyFault(fmt.Errorf("sealing version %s: %w", s.ID, err), cantEncrypt)
	}
	kind := binary
	if value.Text != nil {
		kind = text
	}
	return &Version{ARN: s.ARN, ID: s.ID, KMSKeyID: s.KMSKeyID, kind: kind, sealed: sealed}, nil
}

// Open decrypts a version.
func (v *Vault) Open(ctx context.Context, version *Version) (Value, error) {
	plain, err := v.keys.Open(ctx, version.sealed, place(version.ARN, version.ID))
	if err != nil {
		return Value{}, openFault(version, err)
	}
	return version.value(plain), nil
}

func (v *Version) value(plain []byte) Value {
	if v.kind == binary {
		return Value{Binary: plain}
	}
	s := string(plain)
	return Value{Text: &s}
}

// copied is value of something that does not last.
func (v *Version) copied(plain []byte) Value {
	if v.kind == binary {
		plain = bytes.Clone(plain)
	}
	return v.value(plain)
}

// TakenError says that a ClientRequestToken is already the id of a version with
// a value. Whether that is a repeated request or a conflict depends on the
// value: see Vault.SameValue.
type TakenError struct{ Version *Version }

// Error names the version.
func (e *TakenError) Error() string { return "version " + string(e.Version.ID) + " exists" }

// Conflict is what a caller sees when the values differ.
func (e *TakenError) Conflict() error {
	return ErrExists.Errorf("You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", e.Version.ID, e.Version.ARN)
}

// SameValue returns nil if the taken version holds value, which makes the
// request a repetition, or else ErrExists.
func (v *Vault) SameValue(ctx context.Context, taken *TakenError, value Value) error {
	old, err := v.Open(ctx, taken.Version)
	if err != nil {
		return err
	}
	if !old.Equal(value) {
		return taken.Conflict()
	}
	return nil
}
