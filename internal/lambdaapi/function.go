// Package lambdaapi is the slice of AWS Lambda (version 2015-03-31) that
// rotation needs: the functions there are, who may invoke them, and invoking
// them. The functions are keyturn's own rotation functions, which run in this
// process and are present in every account and region.
package lambdaapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Failures that callers see.
var (
	ErrNotFound       = fault.Kind{Code: "ResourceNotFoundException", Status: 404}
	ErrConflict       = fault.Kind{Code: "ResourceConflictException", Status: 409}
	ErrInvalidValue   = fault.Kind{Code: "InvalidParameterValueException", Status: 400}
	ErrInvalidContent = fault.Kind{Code: "InvalidRequestContentException", Status: 400}
	ErrPrecondition   = fault.Kind{Code: "PreconditionFailedException", Status: 412}
	ErrTooMany        = fault.Kind{Code: "TooManyRequestsException", Status: 429}
)

// Handler is a function's code. The answer is JSON. An error with a method
// ErrorType() string tells its type.
type Handler func(ctx context.Context, inv Invocation) (answer []byte, err error)

// Invocation is one call of a function.
type Invocation struct {
	Account, Region string
	Payload         []byte // JSON
}

// Function is a function of this server.
type Function struct {
	Name        string
	Description string
	Handler     Handler
	Internal    bool // ListFunctions does not show it
}

// Service answers the API. It is safe for concurrent use.
type Service struct {
	db        *sqldb.DB
	log       *slog.Logger
	functions []Function
	async     sync.WaitGroup // invocations of type Event
	slots     chan struct{}  // bounds them
}

// maxAsync is how many invocations of type Event may run at once, asyncTime how
// long each may take.
const (
	maxAsync  = 100
	asyncTime = 30 * time.Second
)

// New returns a Service with these functions.
func New(db *sqldb.DB, log *slog.Logger, functions ...Function) *Service {
	return &Service{db: db, log: log, functions: functions, slots: make(chan struct{}, maxAsync)}
}

// Wait returns when all asynchronous invocations have ended.
func (s *Service) Wait() { s.async.Wait() }

// arn is a function's ARN in parts.
type arn struct{ region, account, name string }

// runAsync runs an invocation of type Event; nobody waits for its answer.
func (s *Service) runAsync(ctx context.Context, functionARN string, payload []byte) error {
	select {
	case s.slots <- struct{}{}:
	default:
		return ErrTooMany.Errorf("Rate Exceeded.")
	}
	s.async.Go(func() {
		defer func() { <-s.slots }()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), asyncTime)
		defer cancel()
		_, _ = s.Run(ctx, functionARN, payload)
	})
	return nil
}

func (a arn) String() string {
	return fmt.Sprintf("arn:aws:lambda:%s:%s:function:%s", a.region, a.account, a.name)
}

// functionName takes a name, a partial ARN (ACCOUNT:function:NAME) or an ARN,
// each perhaps with a qualifier; see FunctionName in Lambda's API reference.
var functionName = regexp.MustCompile(`^(?:arn:aws[a-z-]*:lambda:([a-z0-9-]+):)?(?:([0-9]{12}):)?(?:function:)?([A-Za-z0-9_-]{1,64})(?::(\$LATEST|[A-Za-z0-9_-]+))?$`)

// parse returns the ARN that a FunctionName means for this caller.
func parse(ctx context.Context, name string) (arn, error) {
	c := iam.CallerOf(ctx)
	m := functionName.FindStringSubmatch(name)
	if m == nil {
		return arn{}, fault.Kind{Code: "ValidationException", Status: 400}.Errorf(
			"1 validation error detected: Value '%s' at 'functionName' failed to satisfy constraint: Member must be a function name or ARN", clip(name))
	}
	a := arn{region: c.Region, account: c.Account, name: m[3]}
	if m[1] != "" && m[1] != c.Region {
		return arn{}, ErrNotFound.Errorf("Functions from '%s' are not reachable in this region ('%s')", m[1], c.Region)
	}
	if m[2] != "" {
		a.account = m[2]
	}
	if m[4] != "" && m[4] != "$LATEST" {
		return arn{}, ErrNotFound.Errorf("Function not found: %s:%s", a, m[4])
	}
	return a, nil
}

func clip(s string) string {
	if len(s) > 140 {
		return s[:140]
	}
	return s
}

func (s *Service) find(a arn) (*Function, error) {
	for i := range s.functions {
		if s.functions[i].Name == a.name {
			return &s.functions[i], nil
		}
	}
	return nil, ErrNotFound.Errorf("Function not found: %s", a)
}

// Failure is what a function that failed answers, in Lambda's form.
type Failure struct {
	Message string `json:"errorMessage"`
	Type    string `json:"errorType"`
}

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// Run invokes the function with this ARN and waits for its answer. A failure of
// the function itself is a *Failure.
func (s *Service) Run(ctx context.Context, functionARN string, payload []byte) ([]byte, error) {
	a, err := split(functionARN)
	if err != nil {
		return nil, err
	}
	f, err := s.find(a)
	if err != nil {
		return nil, err
	}
	return s.call(ctx, f, Invocation{Account: a.account, Region: a.region, Payload: payload})
}

func split(functionARN string) (arn, error) {
	f := strings.Split(functionARN, ":")
	if len(f) < 7 || len(f) > 7 && f[7] != "$LATEST" {
		return arn{}, ErrNotFound.Errorf("Function not found: %s", clip(functionARN))
	}
	return arn{region: f[3], account: f[4], name: f[6]}, nil
}

// call runs the handler. An error that tells its type is the function's own and
// becomes a *Failure; of any other, callers see no more than that it happened.
func (s *Service) call(ctx context.Context, f *Function, inv Invocation) (answer []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // its text may hold values
			s.log.Error("a function panicked", "function", f.Name, "stack", string(debug.Stack()))
			answer, err = nil, &Failure{Message: "The function panicked.", Type: "Runtime.Panic"}
		}
	}()
	answer, err = f.Handler(ctx, inv)
	if err == nil {
		return answer, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var typed interface{ ErrorType() string }
	if errors.As(err, &typed) {
		return nil, &Failure{Message: err.Error(), Type: typed.ErrorType()}
	}
	s.log.Error("a function failed", "function", f.Name, "error", err)
	return nil, &Failure{Message: "The function failed. The server's log says why.", Type: "Error"}
}

func (f *Failure) payload() []byte {
	b, _ := json.Marshal(f) // two strings: never fails
	return b
}
