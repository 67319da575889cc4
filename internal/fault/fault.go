// Package fault carries failures that a caller may see: an AWS error code, an
// HTTP status and a message in AWS's words. Everything else that goes wrong
// stays inside, so that no path, SQL text or address leaks through an answer.
package fault

import (
	"errors"
	"fmt"
)

// Kind is one sort of failure, as AWS names it. A Kind is comparable and is an
// error, so callers write errors.Is(err, secret.ErrNotFound).
type Kind struct {
	Code   string // the wire code, such as "ResourceNotFoundException"
	Status int    // the HTTP status
}

// Internal is what a caller sees of any error that is not a Fault.
var Internal = Kind{Code: "InternalServiceError", Status: 500}

// Error returns the code.
func (k Kind) Error() string { return k.Code }

// Errorf returns a *Fault of this kind. Its text is shown to the caller: never
// format a secret value into it.
func (k Kind) Errorf(format string, args ...any) error {
	return &Fault{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// Fault is one failure of a Kind.
type Fault struct {
	Kind    Kind
	Message string
}

// Error returns code and message.
func (f *Fault) Error() string { return f.Kind.Code + ": " + f.Message }

// Unwrap returns the Kind, for errors.Is.
func (f *Fault) Unwrap() error { return f.Kind }

// Of returns the Fault inside err. An error without one becomes Internal with
// a fixed text; its own text is for the log only.
func Of(err error) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	return &Fault{Kind: Internal, Message: "An error occurred on the server side."}
}
