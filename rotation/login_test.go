package rotation

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
)

func TestEncrypted(t *testing.T) {
	for _, tc := range []struct {
		host string
		tls  TLS
		want bool
	}{
		{"127.0.0.1", TLSAuto, false},
		{"127.8.9.10", TLSAuto, false},
		{"::1", TLSAuto, false},
		{"[::1]", TLSAuto, false},
		{"::ffff:127.0.0.1", TLSAuto, false},
		{"localhost", TLSAuto, false},
		{"/run/mysqld/mysqld.sock", TLSAuto, false},
		{"db.example.com", TLSAuto, true},
		{"localhost.example.com", TLSAuto, true},
		{"127.0.0.1.example.com", TLSAuto, true},
		{"10.0.0.1", TLSAuto, true},
		{"", TLSAuto, true},
		{"127.0.0.1", TLSVerify, true},
		{"db.example.com", TLSOff, false},
	} {
		if got := (Login{Host: tc.host, TLS: tc.tls}).Encrypted(); got != tc.want {
			t.Errorf("host %q with TLS %d: encrypted %v, want %v", tc.host, tc.tls, got, tc.want)
		}
	}
}

func TestAddress(t *testing.T) {
	for _, tc := range []struct {
		host string
		port int
		want string
	}{
		{"h", 0, "h:3306"}, {"h", 1, "h:1"}, {"::1", 1, "[::1]:1"}, {"[::1]", 1, "[::1]:1"}, {"/s", 1, "/s"},
	} {
		if got := (Login{Host: tc.host, Port: tc.port}).Address(3306); got != tc.want {
			t.Errorf("address %s, want %s", got, tc.want)
		}
	}
	for _, l := range []Login{{Host: "db"}, {Host: "[::1]"}} {
		if got := l.Address(0); got != l.Host {
			t.Errorf("without a port %s is shown as %s", l.Host, got)
		}
	}
}

func TestNetworkClass(t *testing.T) {
	op := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, tc := range []struct {
		err  error
		want Class
	}{
		{nil, ""},
		{errors.New("something else"), ""},
		{op(syscall.ECONNREFUSED), ClassTCP},
		{io.ErrUnexpectedEOF, ClassTCP},
		{op(&net.DNSError{Name: "h", IsNotFound: true}), ClassDNS},
		{op(&net.DNSError{Name: "h", IsTimeout: true}), ClassDNS},
		{op(syscall.ETIMEDOUT), ClassTimeout},
		{context.DeadlineExceeded, ClassTimeout},
		{fmt.Errorf("login: %w", x509.UnknownAuthorityError{}), ClassTLS},
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "h"}, ClassTLS},
	} {
		if got := NetworkClass(tc.err); got != tc.want {
			t.Errorf("%v: class %q, want %q", tc.err, got, tc.want)
		}
	}
}

func TestErrorType(t *testing.T) {
	cause := errors.New("cause")
	err := explain("doing it", fmt.Errorf("more: %w", Errorf(ClassPolicy, "too short: %w", cause)))
	var typed interface{ ErrorType() string }
	if !errors.As(err, &typed) || typed.ErrorType() != "policy" || !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
	if ClassOf(explain("doing it", cause)) != ClassDatabase {
		t.Error("an error without a class must be one of the database")
	}
}

// TestSafeAlphabet: 64 characters, none of which needs quoting anywhere.
func TestSafeAlphabet(t *testing.T) {
	var kept strings.Builder
	for c := '!'; c <= '~'; c++ {
		if !strings.ContainsRune(SafeExclusions, c) {
			kept.WriteRune(c)
		}
	}
	if want := ".0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"; kept.String() != want {
		t.Errorf("the alphabet is %s", kept.String())
	}
}
