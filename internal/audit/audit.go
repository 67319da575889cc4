// Package audit keeps the record of every call: who did what to which secret,
// and how it ended; never a value. The record is a file of JSON lines, to which
// lines are only ever added, and in which each line carries the hash of the one
// before it.
package audit

import (
	"context"
	"time"
)

// Event is one line of the record.
type Event struct {
	Time        time.Time
	Type        string // AwsApiCall, or AwsServiceEvent for what the server does by itself
	Source      string // secretsmanager.amazonaws.com
	Name        string // GetSecretValue, RotationSucceeded
	Principal   string // ARN; empty when the caller is unknown
	AccessKeyID string
	Account     string
	Region      string
	Resource    string // ARN, or "*"
	VersionID   string // of the version that was read or written, where there is one
	SourceIP    string
	UserAgent   string
	RequestID   string
	ErrorCode   string // empty: it succeeded
	ErrorText   string
}

// The types of an Event, as CloudTrail names them.
const (
	APICall      = "AwsApiCall"
	ServiceEvent = "AwsServiceEvent"
)

// Recorder takes events. When Record returns nil the line is written as the
// recorder's policy demands.
type Recorder interface {
	Record(e *Event) error
}

type eventKey struct{}

// WithEvent returns a context that carries the event of the call under way.
func WithEvent(ctx context.Context, e *Event) context.Context {
	return context.WithValue(ctx, eventKey{}, e)
}

// Of returns the event of the call under way, to which a service adds what it
// alone knows, such as the version id. Without one it returns an event that
// nobody records.
func Of(ctx context.Context) *Event {
	if e, ok := ctx.Value(eventKey{}).(*Event); ok {
		return e
	}
	return new(Event)
}
