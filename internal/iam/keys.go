package iam

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// ErrUnknownKey is what Keys.Lookup returns for an access key that nobody has.
var ErrUnknownKey = errors.New("unknown access key")

// Credential is what an access key id stands for. It prints as [redacted].
type Credential struct {
	Secret       string    // the secret access key
	SessionToken string    // empty for a lasting key; else every request must carry it
	Expires      time.Time // when it ends; zero: never
	Principal    Principal
}

// String hides the secret.
func (Credential) String() string { return "[redacted]" }

// Format hides the secret from every verb.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue hides the secret from structured logs.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText hides the secret from encoders.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Keys finds the credential of an access key id.
type Keys interface {
	// Lookup returns ErrUnknownKey (possibly wrapped) when there is no such
	// key. It is called once per request, from many goroutines.
	Lookup(ctx context.Context, accessKeyID string) (Credential, error)
}
