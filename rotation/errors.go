package rotation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// Class says what stands in a rotation's way. It is stored in the rotation's
// record, and runbooks are keyed by it.
type Class string

// The classes of errors.
const (
	ClassDNS       Class = "dns"       // the host's name has no address
	ClassTCP       Class = "tcp"       // no connection, or it broke
	ClassTLS       Class = "tls"       // no TLS, or the certificate is not trusted
	ClassAuth      Class = "auth"      // the server refused user and password
	ClassPrivilege Class = "privilege" // the account may not do it
	ClassPolicy    Class = "policy"    // the server's password rules refuse it
	ClassTimeout   Class = "timeout"   // no answer in time
	ClassAPI       Class = "api"       // Secrets Manager refused or did not answer
	ClassSecret    Class = "secret"    // the secret's value or staging does not fit
	ClassDatabase  Class = "database"  // any other answer of the database server
	ClassFunction  Class = "function"  // a function that is not keyturn's failed in its own way
)

// Error is a failed step. Its text says what to do and never holds a password
// or a connection string.
type Error struct {
	Class Class
	Err   error
}

// Errorf returns an *Error of a class.
func Errorf(class Class, format string, args ...any) error {
	return &Error{Class: class, Err: fmt.Errorf(format, args...)}
}

// Error returns the text without the class.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrRejected is the reason why a server refuses a new password that another
// one may satisfy: its rules for passwords, or the account's history.
var ErrRejected = errors.New("the server's password rules refuse the new password")

// ErrExpired is the reason why a server lets nobody in by the right password: it
// has expired. An administrator can set a new one.
var ErrExpired = errors.New("the password has expired")

// ErrBlocked is the reason why a server lets nobody in, whatever the password: it has
// refused too many logins of the user in a row.
var ErrBlocked = errors.New("the user is blocked after refused logins")

// ErrConnectionLimit is the reason why a server lets nobody in by a password that it
// has looked at and found right: the account has as many connections as it may have.
var ErrConnectionLimit = errors.New("the password is right, but the account has no connection left")

// ErrNoPlan is the reason why StepPlan and StepRehearse have no answer.
var ErrNoPlan = errors.New("its sessions have no such step")

// TypeNoPlan is the ErrorType of errors that match ErrNoPlan. The login by which the
// change would be made has succeeded before.
const TypeNoPlan = "NoPlan"

// TypeRejected is the ErrorType of errors that match ErrRejected. Their class is
// ClassPolicy.
const TypeRejected = "rejected"

// ErrorType returns the class, TypeRejected or TypeNoPlan: AWS Lambda shows it as
// errorType.
func (e *Error) ErrorType() string {
	if errors.Is(e.Err, ErrNoPlan) {
		return TypeNoPlan
	}
	if e.Class == ClassPolicy && errors.Is(e.Err, ErrRejected) {
		return TypeRejected
	}
	return string(e.Class)
}

// ClassOf returns the class of the first *Error in err's chain, "" if there is
// none.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return ""
}

// NetworkClass finds the class of a failure below the database's protocol. It
// returns "" for a failure of any other sort. Engines call it after they have
// looked for the answers of their own server.
func NetworkClass(err error) Class {
	switch {
	case err == nil:
		return ""
	case isTLS(err):
		return ClassTLS
	case isDNS(err):
		return ClassDNS
	case isTimeout(err):
		return ClassTimeout
	case isTCP(err):
		return ClassTCP
	}
	return ""
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

func isDNS(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns)
}

func isTLS(err error) bool {
	var (
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
		alert  tls.AlertError
		root   x509.UnknownAuthorityError
		host   x509.HostnameError
		cert   x509.CertificateInvalidError
	)
	return errors.Is(err, ErrNoTLS) || errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.As(err, &root) || errors.As(err, &host) || errors.As(err, &cert)
}

func isTCP(err error) bool {
	var (
		op    *net.OpError
		errno syscall.Errno
	)
	return errors.As(err, &op) || errors.As(err, &errno) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// Hint says what to do about a class at a login, in one sentence for people;
// TLSHint does so for ClassTLS.
func (c Class) Hint(l Login) string {
	switch c {
	case ClassDNS:
		return fmt.Sprintf("the name %s has no address: check the key host of the secret and the network's DNS", l.Host)
	case ClassTCP:
		return fmt.Sprintf("check that the server runs, that host and port of the secret are right, and that a firewall or security group lets this machine in to %s", l.Address(0))
	case ClassTimeout:
		return fmt.Sprintf("%s did not answer in time: check routes, firewalls and security groups, and the server's load", l.Address(0))
	case ClassAuth:
		return fmt.Sprintf("the server refused user %s with this password", l.Username)
	}
	return ""
}
