package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/keyturn/keyturn/deploy/lockedfile"
	"github.com/keyturn/keyturn/deploy/yamlfile"
)

// ConfigError is a config.yml that cannot be used: it names the file, the
// line, the key, and what to do.
type ConfigError = yamlfile.Error

// fileError is what is wrong with config.yml as a file; nil stays nil.
func fileError(err error) error {
	e, ok := errors.AsType[*lockedfile.Error](err)
	if !ok {
		return err
	}
	fix := e.Fix
	if errors.Is(e, fs.ErrNotExist) {
		fix = "name the file with -f"
	}
	return &ConfigError{Path: e.Path, Problem: e.Problem, Fix: fix}
}

// StepError is a step that failed. Neither its text nor the errors inside it
// hold a password.
type StepError struct {
	Step   Step
	Code   string // AWS's error code, when a service refused something
	Advice string // what to do
	Err    error
}

// Error returns step, cause and advice in one line.
func (e *StepError) Error() string {
	text := string(e.Step) + ": " + e.Err.Error()
	if e.Advice != "" {
		text += "; " + e.Advice
	}
	return text
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// problem is a failure that a step itself found, with its way out.
type problem struct{ text, advice string }

func (p *problem) Error() string { return p.text }

func refuse(advice, format string, args ...any) error {
	return &problem{text: fmt.Sprintf(format, args...), advice: advice}
}

// explain makes a *StepError of whatever ended a step. Services repeat
// parameters in their messages, so passwords are blotted out.
func explain(step Step, err error, secrets []string) *StepError {
	e := &StepError{Step: step, Err: err, Code: code(err)}
	if p, ok := errors.AsType[*problem](err); ok {
		e.Advice = p.advice
	} else {
		e.Advice = advice(err, e.Code)
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		e.Err = &ServiceError{Operation: operation(err), Code: e.Code, Message: api.ErrorMessage()}
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		e.Err = fmt.Errorf("%s: %w", operation(err), u)
	}
	if clean := blot(e.Err.Error(), secrets); clean != e.Err.Error() {
		e.Err = errors.New(clean)
	}
	return e
}

// ServiceError is an answer of a service that refused an operation.
type ServiceError struct {
	Operation string // such as "CreateDBCluster"
	Code      string // such as "AccessDenied"
	Message   string // in the service's words
}

// Error returns "operation: code: message".
func (e *ServiceError) Error() string { return e.Operation + ": " + e.Code + ": " + e.Message }

// shortest is the shortest password that RDS takes. Blotting out shorter ones
// would make holes in ordinary words, and tell them by that.
const shortest = 8

func blot(text string, secrets []string) string {
	for _, s := range secrets {
		if len(s) >= shortest {
			text = strings.ReplaceAll(text, s, redacted)
		}
	}
	return text
}

// code returns AWS's code of an error, or "".
func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

func operation(err error) string {
	if op, ok := errors.AsType[*smithy.OperationError](err); ok {
		return op.Operation()
	}
	return "request"
}

// Codes with which services refuse a caller. RDS and Lambda spell some of them
// differently.
var (
	denied        = []string{"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized"}
	badSignature  = []string{"InvalidSignatureException", "SignatureDoesNotMatch", "UnrecognizedClientException", "InvalidClientTokenId", "IncompleteSignature", "MissingAuthenticationToken", "AuthFailure"}
	expired       = []string{"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
	unimplemented = []string{"UnknownOperationException", "InvalidAction", "UnknownError"}
)

func advice(err error, code string) string {
	switch {
	case slices.Contains(denied, code):
		return fmt.Sprintf("allow %s to the caller (AWS_PROFILE, AWS_ACCESS_KEY_ID), or use another", operation(err))
	case slices.Contains(badSignature, code):
		return "check the access key and the region (AWS_PROFILE, AWS_SHARED_CREDENTIALS_FILE, AWS_REGION) and the clock of this machine"
	case slices.Contains(expired, code):
		return "get fresh credentials and run deploy again"
	case slices.Contains(unimplemented, code):
		return "check that the endpoint (AWS_ENDPOINT_URL) is AWS or a keyturn server"
	case code != "":
		return "run deploy again when the cause is gone; it goes on where it stopped"
	default:
		return localAdvice(err)
	}
}

// localAdvice is for errors that no service answered.
func localAdvice(err error) string {
	_, network := errors.AsType[net.Error](err)
	_, timeout := errors.AsType[*timeoutError](err)
	switch {
	case timeout:
		return "run deploy again; it goes on waiting"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "run deploy again; it goes on where it stopped"
	case strings.Contains(err.Error(), "credentials"):
		return "set AWS_PROFILE, AWS_SHARED_CREDENTIALS_FILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	case network:
		return "check that the server runs and that the endpoint (AWS_ENDPOINT_URL) and region are right"
	default:
		return ""
	}
}
