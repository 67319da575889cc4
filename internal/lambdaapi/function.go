// Package lambdaapi is the slice of AWS Lambda (version 2015-03-31) that
// rotation needs: functions, who may invoke them, and invoking them. There are
// two sorts. Built-in functions are Go code of this program, present in every
// account and region: keyturn's own rotation functions, and those that an
// embedder registers. All others are made by CreateFunction; their code runs in
// processes of its own, see package execenv.
package lambdaapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/execenv"
	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
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
	Function        string // its ARN
	Payload         []byte // JSON
}

// Function is a built-in function.
type Function struct {
	Name        string
	Description string
	Handler     Handler
	Internal    bool // ListFunctions does not show it
}

// Grant is what the process of a function acts under.
type Grant struct {
	// Key tells grants apart: a process goes on with another event only under
	// the very same rights.
	Key string
	// Issue returns environment variables, NAME=VALUE, with credentials that end
	// by revoke. Of those in preset the function has a value of its own.
	Issue func(preset map[string]string) (variables []string, revoke func(), err error)
}

// Config is what New needs.
type Config struct {
	DB *sqldb.DB
	// Keys seal environment variables.
	Keys *envelope.Keyring
	// Dir is where the folders of running functions are; New empties it. Others
	// may pass through it, so that User can.
	Dir string
	// User runs functions; the zero value is this program's own user.
	User     execenv.User
	BuiltIns []Function
	// Reserved is the prefix of names that are the server's own.
	Reserved string
	// Grant says what the process of a function may do for an invocation.
	Grant func(context.Context, Invocation) (Grant, error)
	Log   *slog.Logger
}

// Service answers the API. It is safe for concurrent use.
type Service struct {
	config       Config
	environments environments
	async        sync.WaitGroup // invocations of type Event
	slots        chan struct{}  // bounds them
	ending       context.Context
	end          context.CancelFunc // ends invocations of type Event
}

// maxAsync is how many invocations of type Event may run at once, builtInTime how
// long one of a built-in function may take, of whatever type, and endTime how long
// those of type Event have once the server stops.
const (
	maxAsync    = 100
	builtInTime = 30 * time.Second
	endTime     = 30 * time.Second
)

// New returns a Service.
func New(c Config) (*Service, error) {
	if err := os.RemoveAll(c.Dir); err != nil { // of processes that ended with a killed server
		return nil, fmt.Errorf("emptying the folder of functions: %w", err)
	}
	if err := os.MkdirAll(c.Dir, 0o711); err != nil { //nolint:gosec // see Config.Dir
		return nil, fmt.Errorf("making the folder of functions: %w", err)
	}
	s := &Service{config: c, slots: make(chan struct{}, maxAsync)}
	s.ending, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Wait returns when all asynchronous invocations have ended. Those that take too
// long are ended.
func (s *Service) Wait() {
	timer := time.AfterFunc(endTime, s.end)
	defer timer.Stop()
	s.async.Wait()
}

// Close ends the processes of functions. Call it when no invocation is under way.
func (s *Service) Close() {
	s.end()
	s.environments.close()
}

// arn is a function's ARN in parts.
type arn struct{ region, account, name string }

// runAsync runs an invocation of type Event; nobody waits for its answer.
func (s *Service) runAsync(ctx context.Context, a arn, payload []byte) error {
	d, err := s.find(ctx, a)
	if err != nil {
		return err
	}
	select {
	case s.slots <- struct{}{}:
	default:
		return ErrTooMany.Errorf("Rate Exceeded.")
	}
	s.async.Go(func() {
		defer func() { <-s.slots }()
		ctx, cancel := context.WithTimeout(s.ending, max(d.timeout(), builtInTime))
		defer cancel()
		if _, _, err := s.call(ctx, d, a, payload); err != nil {
			s.config.Log.Info("an asynchronous invocation failed", "function", a.String())
		}
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
		return arn{}, wire.ErrValidation.Errorf(
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

// Failure is what a function that failed answers, in Lambda's form.
type Failure struct {
	Message string
	Type    string
	body    []byte // what the function's process said; nil: no more than the above
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
	d, err := s.find(ctx, a)
	if err != nil {
		return nil, err
	}
	answer, _, err := s.call(ctx, d, a, payload)
	return answer, err
}

func split(functionARN string) (arn, error) {
	f := strings.Split(functionARN, ":")
	if len(f) < 7 || len(f) > 7 && f[7] != "$LATEST" {
		return arn{}, ErrNotFound.Errorf("Function not found: %s", clip(functionARN))
	}
	return arn{region: f[3], account: f[4], name: f[6]}, nil
}

// call runs a function. tail is the end of what its process printed.
func (s *Service) call(ctx context.Context, d *definition, a arn, payload []byte) (answer, tail []byte, err error) {
	inv := Invocation{Account: a.account, Region: a.region, Function: a.String(), Payload: payload}
	if d.builtIn == nil {
		return s.runProcess(ctx, d, inv)
	}
	answer, err = s.callBuiltIn(ctx, d.builtIn, inv)
	return answer, nil, err
}

// callBuiltIn runs the handler, and ends it after builtInTime. An error that tells
// its type is the function's own and becomes a *Failure; of any other, callers see
// no more than that it happened.
func (s *Service) callBuiltIn(ctx context.Context, f *Function, inv Invocation) (answer []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // its text may hold values
			s.config.Log.Error("a function panicked", "function", f.Name, "stack", string(debug.Stack()))
			answer, err = nil, &Failure{Message: "The function panicked.", Type: "Runtime.Panic"}
		}
	}()
	limited, cancel := context.WithTimeout(ctx, builtInTime)
	defer cancel()
	answer, err = f.Handler(limited, inv)
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
	if limited.Err() != nil {
		return nil, &Failure{Message: fmt.Sprintf("Task timed out after %.2f seconds", builtInTime.Seconds()), Type: "Sandbox.Timedout"}
	}
	s.config.Log.Error("a function failed", "function", f.Name, "error", err)
	return nil, &Failure{Message: "The function failed. The server's log says why.", Type: "Error"}
}

func (f *Failure) payload() []byte {
	if f.body != nil {
		return f.body
	}
	b, _ := json.Marshal(map[string]string{"errorMessage": f.Message, "errorType": f.Type}) // two strings: never fails
	return b
}
