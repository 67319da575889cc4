// Package iam answers two questions about every request: who is calling
// (Signature Version 4) and may they do this (policies). No other package
// knows about signatures or permissions.
package iam

import (
	"context"
	"time"

	"github.com/keyturn/keyturn/internal/iam/policy"
)

// Principal is an identity that may sign requests.
type Principal struct {
	ARN      string // arn:aws:iam::000000000000:user/admin
	Account  string // 12 digits
	UserID   string // AIDA… or, for an assumed role, AROA…:session
	Policies []*policy.Document
	Issued   time.Time // when its temporary credentials were made; zero: they are lasting ones
	ActsFor  string    // the service for which it acts, such as rds: it may change what that service manages; empty: none
}

// Caller is a Principal in the region and service that its request was signed for.
type Caller struct {
	Principal
	AccessKeyID string // the key that signed, such as AKIAIOSFODNN7EXAMPLE
	Region      string // us-east-1
	Service     string // secretsmanager, rds, lambda
	RequestID   string // a UUID, also in the x-amzn-RequestId header
	SourceIP    string // without the port
	UserAgent   string
	Secure      bool      // it came over TLS, or never left the process
	Now         time.Time // when the request was verified
}

// Resource is what a request touches.
type Resource struct {
	ARN string // "*" where an operation touches nothing in particular
	// Named is what the request called it, for the words of a denial: the ARN
	// would tell whether it exists. Empty: the ARN.
	Named string
	// Policy is the resource policy attached to it; nil: none.
	Policy *policy.Document
	// Keys returns the values of the operation's own condition keys, whose names
	// are in lower case (secretsmanager:versionstage); nil: it has none. Keys that
	// every request has, such as aws:sourceip, are the Guard's business.
	Keys func(key string) (values []string, ok bool)
}

type callerKey struct{}

// WithCaller returns a context that carries c, which must not change any more.
func WithCaller(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns the Caller that WithCaller put into ctx, or the zero Caller.
func CallerOf(ctx context.Context) Caller {
	if c, ok := ctx.Value(callerKey{}).(*Caller); ok {
		return *c
	}
	return Caller{}
}
