// Package wire speaks AWS's protocols: JSON 1.1, Query and REST-JSON. It keeps
// one order for every request: find the operation, read the body once and
// bounded, name the caller, decode, ask what is touched, ask for permission,
// and only then act. Failures become an answer in one place, in the words of
// the protocol that was spoken.
//
// The types on the wire are the Input and Output structs of the AWS SDK.
package wire

import (
	"context"
	"net/http"

	"github.com/keyturn/keyturn/internal/iam"
)

// Protocol is how a service writes its requests and answers.
type Protocol int

// The protocols of the services that keyturn serves.
const (
	JSON11   Protocol = iota // Secrets Manager: POST / with X-Amz-Target
	Query                    // RDS: a form with Action and Version, answered in XML
	RESTJSON                 // Lambda: paths and methods
)

// DefaultMaxBody is the largest request body in bytes unless a service or an
// operation says otherwise.
const DefaultMaxBody = 1 << 20

// Service is a set of operations behind one name.
type Service struct {
	// Name is the service of the signature's scope: secretsmanager, rds, lambda.
	Name string
	// TargetPrefix is what stands before the action in X-Amz-Target, with or
	// without the dot. Needed for JSON11, unused elsewhere. Services may share a
	// Name if their prefixes differ.
	TargetPrefix string
	// ActionPrefix is what stands before the colon in IAM actions; empty means Name.
	ActionPrefix string
	Protocol     Protocol
	// Version is the API version that a Query service answers to; empty means
	// that of RDS, 2014-10-31.
	Version string
	// Namespace is that of a Query service's XML; empty means
	// http://NAME.amazonaws.com/doc/VERSION/.
	Namespace string
	// MaxBody bounds request bodies, in bytes; zero means DefaultMaxBody.
	MaxBody int64
	Ops     []Op
}

// Op is one operation of a Service. Make it with On.
type Op struct {
	action  string
	pattern string
	status  int
	maxBody int64
	newIn   func() any
	// run is nil for an Op that was given no target or nothing to do.
	run func(ctx context.Context, in any, allow func(iam.Resource) error) (any, error)
}

// On makes the operation called action from two functions. target checks what
// must be right before permission is asked, turns names into ARNs in *In, and
// says what is touched. do acts; it runs only if the caller may. A nil *Out
// with a nil error is an empty answer.
func On[In, Out any](action string,
	target func(context.Context, *In) (iam.Resource, error),
	do func(context.Context, *In) (*Out, error),
) Op {
	op := Op{action: action, newIn: func() any { return new(In) }}
	if target == nil || do == nil {
		return op
	}
	op.run = func(ctx context.Context, in any, allow func(iam.Resource) error) (any, error) {
		input := in.(*In)
		resource, err := target(ctx, input)
		if err != nil {
			return nil, err
		}
		if err := allow(resource); err != nil {
			return nil, err
		}
		out, err := do(ctx, input)
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = new(Out)
		}
		return out, nil
	}
	return op
}

// Action returns the name that On was given, such as GetSecretValue.
func (o Op) Action() string { return o.action }

// At says where a REST-JSON operation is found, as in
// "DELETE /2015-03-31/functions/{FunctionName}/policy/{StatementId}?Qualifier&RevisionId".
// {X} and the names after ? fill the In fields of that name; a query parameter
// that begins in lower case (tagKeys) fills the field in upper case (TagKeys).
// A final slash in the request's path makes no difference.
//
// Two more bindings need no mention: the X-Amz- headers of Lambda's Invoke fill
// InvocationType, LogType, ClientContext and their like, and a field Payload of
// type []byte takes the whole body as it is.
func (o Op) At(pattern string) Op {
	o.pattern = pattern
	return o
}

// Status sets the HTTP status of success, 200 by default. With 204 the answer
// has no body.
func (o Op) Status(code int) Op {
	o.status = code
	return o
}

// MaxBody bounds the operation's request body, in bytes, instead of its
// service's bound. Query services know no operation before they have read the
// body, so there it has no effect.
func (o Op) MaxBody(n int64) Op {
	o.maxBody = n
	return o
}

// ForEveryone lets every caller use the operation, whatever policies say, as
// AWS does with sts:GetCallerIdentity.
func (o Op) ForEveryone() Op {
	if run := o.run; run != nil {
		o.run = func(ctx context.Context, in any, _ func(iam.Resource) error) (any, error) {
			return run(ctx, in, func(iam.Resource) error { return nil })
		}
	}
	return o
}

// Raw is an Out type that is written as it is. A zero Status means the
// operation's own.
type Raw struct {
	Status int
	Header http.Header
	Body   []byte
}
