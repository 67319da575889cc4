package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/deploy"
)

// The exit codes are part of the interface: scripts rely on them.
const (
	exitOK              = 0
	exitFailure         = 1
	exitUsage           = 2
	exitFound           = 3
	exitPreflight       = 4
	exitRotationFailed  = 5
	exitRotationUnknown = 6
	exitNotFound        = 7
	exitDenied          = 8
	exitInterrupted     = 130
	exitReaderGone      = 141
)

const exitCodesText = `keyturn ends with one of these codes. They do not change from one release to
the next.

    0  the command did what it was asked to do
    1  failure: anything that has no code of its own
    2  usage: the command line or config.yml is wrong; nothing was changed
    3  "doctor", or "rotation status --failing", has found something to mend;
       nothing was changed
    4  something stands in the way of a rotation, which was not begun; or it was
       only tested, and the test failed
    5  a rotation failed before it changed the password in the database, or the
       old password stays valid beside the new one
    6  a rotation's end is not known: it may have changed the password in the
       database without having moved AWSCURRENT, or it still runs
    7  not found: the secret, its version or field, the function, the cluster,
       the access key
    8  access denied: no permission, or credentials that the server refuses
  130  interrupted by SIGINT, SIGTERM or SIGHUP
  141  whoever read the output has gone, as in "| head -1"; what the command was
       asked to do was done as far as stderr does not tell otherwise`

func newExitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long:  exitCodesText,
	}
}

var (
	errTimeout     = errors.New("the time of --timeout is over")
	errInterrupted = errors.New("interrupted")
	errReaderGone  = errors.New("nobody reads the output any more")
)

// usageError is a command line that cannot be carried out.
type usageError struct{ message, hint string }

func (e usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return usageError{message: fmt.Sprintf(format, args...)}
}

// guided is an error with the way out of it, and with its exit code.
type guided struct {
	err  error
	hint string
	code int // 0: the code of err
}

func (e guided) Error() string { return e.err.Error() }
func (e guided) Unwrap() error { return e.err }

// startError is why a server did not start. Its text is told as it is: the service that
// may have answered in it is AWS KMS, which the server asks, not one that a command called.
type startError struct{ err error }

func (e startError) Error() string { return e.err.Error() }
func (e startError) Unwrap() error { return e.err }

func isStart(err error) bool {
	_, is := errors.AsType[startError](err)
	return is
}

// settle names the true reason of an error that only says that the context
// ended.
func (a *app) settle(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil && isDeploy(err):
		return guided{err: errInterrupted, hint: deployAgain}
	case ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))):
		return interrupted(err) // an error of another kind, such as of the server's end, is told
	case a.expired != nil && a.expired() && !isGuided(err):
		return fmt.Errorf("no end after %s: %w", a.flags.timeout, errTimeout)
	case isReaderGone(err):
		return errReaderGone
	}
	return err
}

// isReaderGone tells a write to a pipe that nobody reads, if nothing else went wrong;
// that of a connection is no *fs.PathError.
func isReaderGone(err error) bool {
	write, ok := errors.AsType[*fs.PathError](err)
	return ok && errors.Is(write, syscall.EPIPE) && exitCode(err) == exitFailure
}

// interrupted keeps the hint, which says what goes on or is to be done again.
func interrupted(err error) error {
	if g, ok := errors.AsType[guided](err); ok && g.hint != "" {
		return guided{err: errInterrupted, hint: g.hint}
	}
	return errInterrupted
}

func isDeploy(err error) bool {
	var step *deploy.StepError
	return errors.As(err, &step)
}

func isGuided(err error) bool {
	var g guided
	return errors.As(err, &g)
}

// report writes the error and the way out of it.
func (a *app) report(cmd *cobra.Command, err error) {
	if errors.Is(err, errReaderGone) {
		return // who reads no more wants no word of it
	}
	fmt.Fprintf(a.stderr, "keyturn: %s\n", message(err))
	if hint := hintFor(err); hint != "" {
		fmt.Fprintf(a.stderr, "%s\n", hint)
	}
	var usage usageError
	if errors.As(err, &usage) && cmd != nil {
		fmt.Fprintf(a.stderr, "See \"%s --help\".\n", cmd.CommandPath())
	}
}

// message is the service's own sentence with its code, or the reason why it
// could not be reached: the SDK's wrapping around these helps nobody at a
// prompt.
func message(err error) string {
	var api smithy.APIError
	var request *url.Error
	switch {
	case isDeploy(err), isStart(err):
		return err.Error()
	case isStranger(err):
		return strangerText(err)
	case errors.As(err, &api) && strings.TrimSpace(api.ErrorMessage()) != "":
		return fmt.Sprintf("%s (%s)", strings.TrimSpace(api.ErrorMessage()), api.ErrorCode())
	case errors.As(err, &api):
		return api.ErrorCode()
	case errors.As(err, &request) && isUnknownAuthority(err):
		return fmt.Sprintf("the certificate of %s is not signed by an authority that this machine knows: name the authority's PEM file with AWS_CA_BUNDLE", request.URL)
	case errors.As(err, &request):
		return fmt.Sprintf("no answer from %s: %v", request.URL, request.Err)
	}
	return err.Error()
}

// isStranger tells an answer that is none of this API: a proxy's, or that of a server that
// speaks another one.
func isStranger(err error) bool {
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) || answer.Response == nil || answer.Response.Request == nil {
		return false
	}
	var api smithy.APIError
	_, garbled := errors.AsType[*smithy.DeserializationError](err)
	return garbled || errors.As(err, &api) && api.ErrorCode() == "UnknownError"
}

func strangerText(err error) string {
	var answer *smithyhttp.ResponseError
	errors.As(err, &answer)
	return fmt.Sprintf("%s answered %s, which is no answer of this API", answer.Response.Request.URL, answer.Response.Status)
}

func isUnknownAuthority(err error) bool {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	return unknown
}

func exitCode(err error) int {
	var usage usageError
	var g guided
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.Is(err, errReaderGone):
		return exitReaderGone
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &g) && g.code != 0:
		return g.code
	}
	if code, ok := exitCodeOfDeploy(err); ok {
		return code
	}
	return exitCodeOfAPI(err)
}

func exitCodeOfAPI(err error) int {
	var api smithy.APIError
	if isStart(err) || !errors.As(err, &api) {
		return exitFailure
	}
	return exitCodeOfCode(api.ErrorCode())
}

func exitCodeOfCode(code string) int {
	switch {
	case isNotFound(code):
		return exitNotFound
	case isDenied(code):
		return exitDenied
	}
	return exitFailure
}

// isNotFound knows Secrets Manager's and Lambda's code, IAM's, and RDS's family
// (DBClusterNotFoundFault, DBInstanceNotFound, …).
func isNotFound(code string) bool {
	return code == "ResourceNotFoundException" || code == "NoSuchEntityException" ||
		strings.HasSuffix(code, "NotFoundFault") || strings.HasSuffix(code, "NotFound")
}

func isDenied(code string) bool {
	return code == "AccessDenied" || code == "AccessDeniedException" || isUnknownCaller(code)
}

// isUnknownCaller tells the refusals that concern the credentials themselves.
func isUnknownCaller(code string) bool {
	return slices.Contains([]string{
		"UnrecognizedClientException", "InvalidSignatureException", "InvalidClientTokenId", "SignatureDoesNotMatch",
		"IncompleteSignature", "IncompleteSignatureException", "MissingAuthenticationToken",
		"MissingAuthenticationTokenException", "ExpiredToken", "ExpiredTokenException", "RequestExpired",
	}, code)
}

// hintFor tells the way out of an error; empty when there is nothing to add.
func hintFor(err error) string {
	var usage usageError
	var g guided
	switch {
	case errors.As(err, &usage):
		return usage.hint
	case errors.As(err, &g):
		return g.hint
	}
	return hintOfService(err)
}

func hintOfService(err error) string {
	var api smithy.APIError
	var profile config.SharedConfigProfileNotExistError
	var network *net.OpError
	var dns *net.DNSError
	switch {
	case isDeploy(err), isStart(err):
		return "" // its text ends with the way out
	case isStranger(err):
		return hintOfStranger(err)
	case errors.Is(err, http.ErrSchemeMismatch):
		return "The server there speaks plain HTTP: write http:// into AWS_ENDPOINT_URL or --endpoint-url."
	case errors.As(err, &api):
		return hintOfMessage(api)
	case errors.As(err, &profile):
		return "Profiles stand in ~/.aws/config and ~/.aws/credentials (AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE)."
	case errors.As(err, &network), errors.As(err, &dns):
		return hintUnreachable(err)
	}
	return ""
}

func hintOfStranger(err error) string {
	hint := "Another program answers there: see AWS_ENDPOINT_URL and --endpoint-url, and HTTP_PROXY, HTTPS_PROXY and NO_PROXY."
	answer, _ := errors.AsType[*smithyhttp.ResponseError](err)
	if answer.HTTPStatusCode() == http.StatusBadRequest && answer.Response.Request.URL.Scheme == "http" {
		return "A server that speaks HTTPS answers so: if this is one, write https://.\n" + hint
	}
	return hint
}

// hintOfMessage knows refusals whose code says too little.
func hintOfMessage(api smithy.APIError) string {
	switch {
	case strings.HasPrefix(api.ErrorMessage(), "Secrets Manager cannot invoke the specified Lambda function"):
		return "\"keyturn rotation adopt\" and \"keyturn deploy\" add that permission; by hand it is\n" +
			"  aws lambda add-permission --function-name FUNCTION --statement-id secretsmanager \\\n" +
			"    --action lambda:InvokeFunction --principal secretsmanager.amazonaws.com"
	case strings.HasPrefix(api.ErrorMessage(), "No Lambda rotation function ARN"):
		return "\"keyturn rotation adopt\" configures its rotation, after a test of the login; \"keyturn secret rotate\" does\n" +
			"with --function and --days, and rotates at once."
	case strings.HasPrefix(api.ErrorMessage(), "Signature expired"), strings.HasPrefix(api.ErrorMessage(), "Signature not yet current"):
		return "The clocks of this machine and of the server are apart: set the one that is wrong."
	case strings.Contains(api.ErrorMessage(), "with this name is already scheduled for deletion"):
		return "\"keyturn secret restore\" brings that one back; \"keyturn secret delete --force-delete-without-recovery\"\n" +
			"ends it for good, and its name is free again."
	case strings.Contains(api.ErrorMessage(), "was marked for deletion"):
		return "\"keyturn secret restore\" brings it back."
	case strings.HasPrefix(api.ErrorMessage(), "A previous rotation isn't complete"):
		return "It tries again now: \"keyturn rotation status\" shows how it stands. If it is stuck, \"keyturn rotation repair\"\n" +
			"completes it, begins it again or drops it."
	}
	return hintOfCode(api.ErrorCode())
}

func hintOfCode(code string) string {
	switch {
	case isUnknownCaller(code):
		return "The server does not accept these credentials. Those of a keyturn server stand in its data folder:\n" +
			"  export AWS_SHARED_CREDENTIALS_FILE=keyturn-data/credentials\n" +
			"and variables such as AWS_ACCESS_KEY_ID or AWS_PROFILE go before that file."
	case code == "UnknownOperationException":
		return "The server that answers does not know this operation; see AWS_ENDPOINT_URL and --endpoint-url.\n" +
			"The clock of a keyturn server can be advanced only if it was started with --dev."
	}
	return ""
}

func hintUnreachable(err error) string {
	server := "the server"
	var request *url.Error
	if errors.As(err, &request) {
		if u, parseErr := url.Parse(request.URL); parseErr == nil {
			server = u.Scheme + "://" + u.Host
		}
	}
	return fmt.Sprintf("Nothing answers at %s. Start a server with \"keyturn serve\",\n"+
		"or name the right one with AWS_ENDPOINT_URL or --endpoint-url.", server)
}
