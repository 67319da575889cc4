// Package iam answers two questions about every request: who is calling
// (Signature Version 4) and may they do this (policies). No other package
// knows about signatures or permissions.
package iam

import "context"

// Principal is an identity that may sign requests.
type Principal struct {
	ARN     string // arn:aws:iam::000000000000:user/admin
	Account string // 12 digits
	Allow   []Allow
}

// Allow grants actions on resources. Both take the wildcards * and ?, as in an
// IAM policy statement.
type Allow struct {
	Actions   []string
	Resources []string
}

// Caller is a Principal in the region and service that its request was signed for.
type Caller struct {
	Principal
	AccessKeyID string // the key that signed, such as AKIAIOSFODNN7EXAMPLE
	Region      string // us-east-1
	Service     string // secretsmanager, rds, lambda
	RequestID   string // a UUID, also in the x-amzn-RequestId header
}

// Resource is what a request touches, as an ARN; "*" where an operation touches
// nothing in particular.
type Resource struct{ ARN string }

type callerKey struct{}

// WithCaller returns a context that carries c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns the Caller that WithCaller put into ctx, or the zero Caller.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
