// Package execenv runs the code of functions as AWS Lambda does: in execution
// environments. Each is a process of its own that asks the Runtime API for an
// event, handles it, posts the answer and asks for the next; between two events
// it is frozen. A process sees a copy of its code, a folder for its files and
// the environment variables it is given, and nothing else of this program's.
//
// The Runtime API: "Using the Lambda runtime API for custom runtimes" in AWS's
// developer guide.
package execenv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of every environment.
const (
	// initTime is how long a process may take until it asks for its first event, or
	// Config.Timeout if that is longer. AWS gives ten seconds, and tries again.
	initTime = 30 * time.Second
	// MaxResponse is the largest answer, in bytes ("Lambda quotas").
	MaxResponse = 6<<20 + 100
)

// Config describes an environment.
type Config struct {
	Function string // its name
	ARN      string
	Runtime  string // python3.12, nodejs22.x, provided.al2023 …
	Handler  string
	// Dir is a folder that is not there yet, in one that User may enter. It is
	// removed when the environment stops.
	Dir string
	// Code is the deployment package, a zip.
	Code    []byte
	Memory  int           // MiB
	Timeout time.Duration // of each event
	// Variables are environment variables, NAME=VALUE; a later one wins.
	Variables []string
	// User runs the process; the zero value is this program's own user.
	User User
	// Log gets what the process prints, at level debug.
	Log *slog.Logger
}

// Environment is one process and its Runtime API. It handles one event at a time.
type Environment struct {
	config  Config
	process *process
	output  *output
	server  *http.Server
	served  chan struct{} // closed when server has ended
	work    chan *invocation
	init    chan *Failure // of an initialisation that failed
	closing sync.Once
	spent   atomic.Bool // its process is being ended

	current struct {
		sync.Mutex
		invocation *invocation
	}
}

// invocation is one event on its way through a process.
type invocation struct {
	id       string
	event    []byte
	deadline time.Time // written before answer is read
	answer   chan answer
}

// answer is what a process posts: JSON, or how it failed.
type answer struct {
	payload []byte
	failure *Failure
}

// Start unpacks the code and starts the process. A function that can't be started
// at all is a *Failure.
func Start(c Config) (*Environment, error) {
	e := &Environment{config: c, work: make(chan *invocation), init: make(chan *Failure, 1), served: make(chan struct{})}
	if err := e.start(); err != nil {
		e.Stop()
		return nil, err
	}
	return e, nil
}

func (e *Environment) start() error {
	if err := e.makeFolders(); err != nil {
		return err
	}
	command, err := e.config.command()
	if err != nil {
		return err
	}
	if e.output, err = openOutput(filepath.Join(e.config.Dir, "output")); err != nil {
		return err
	}
	address, err := e.serve()
	if err != nil {
		return err
	}
	e.process, err = startProcess(spec{
		command: command, dir: e.codeDir(), variables: e.variables(address), output: e.output.file,
		user: e.config.User, memory: e.config.Memory,
	})
	return err
}

func (e *Environment) codeDir() string  { return filepath.Join(e.config.Dir, "task") }
func (e *Environment) filesDir() string { return filepath.Join(e.config.Dir, "tmp") }

// makeFolders unpacks the code where the process can read and not change it,
// unless it runs as this program's own user, and makes its folder for files.
func (e *Environment) makeFolders() error {
	for _, dir := range []string{e.config.Dir, e.codeDir()} {
		if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // another user reads the code
			return fmt.Errorf("making a function's folder: %w", err)
		}
	}
	if err := Unpack(e.config.Code, e.codeDir()); err != nil {
		return err
	}
	if err := writeClients(e.config.Dir); err != nil {
		return err
	}
	if err := os.Mkdir(e.filesDir(), 0o700); err != nil {
		return fmt.Errorf("making a function's folder: %w", err)
	}
	return e.config.User.own(e.filesDir())
}

// serve opens the Runtime API on the loopback address.
func (e *Environment) serve() (address string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("opening the Runtime API: %w", err)
	}
	e.server = &http.Server{Handler: e.runtimeAPI(), ReadHeaderTimeout: initTime, ErrorLog: slog.NewLogLogger(e.config.Log.Handler(), slog.LevelDebug)}
	go func() {
		defer close(e.served)
		_ = e.server.Serve(listener) // it ends by Close
	}()
	return listener.Addr().String(), nil
}

// variables is the whole environment of the process; see "Defined runtime
// environment variables" in AWS's developer guide.
func (e *Environment) variables(address string) []string {
	c := e.config
	all := append([]string{
		"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "TZ=:UTC",
		"PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1",
	}, c.Variables...)
	return append(all,
		"HOME="+e.filesDir(), "TMPDIR="+e.filesDir(),
		"AWS_LAMBDA_RUNTIME_API="+address,
		"AWS_LAMBDA_FUNCTION_NAME="+c.Function, "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE="+strconv.Itoa(c.Memory),
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/"+c.Function, "AWS_LAMBDA_LOG_STREAM_NAME=keyturn",
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand", "AWS_EXECUTION_ENV=AWS_Lambda_"+c.Runtime,
		"LAMBDA_TASK_ROOT="+e.codeDir(), "LAMBDA_RUNTIME_DIR="+e.config.Dir, "_HANDLER="+c.Handler)
}

// Invoke has the process handle an event, JSON, and returns its answer, JSON. id
// is the request's. It returns a *Failure when the function failed; when Alive is
// false afterwards, the environment is of no further use. tail is the end of what
// the process printed meanwhile.
func (e *Environment) Invoke(ctx context.Context, id string, event []byte) (payload, tail []byte, err error) {
	e.process.resume()
	payload, err = e.handle(ctx, &invocation{id: id, event: event, answer: make(chan answer, 1)})
	e.process.freeze()
	tail, printed := e.output.take()
	if ctx.Err() == nil {
		e.output.log(e.config.Log, e.config.Function, id, printed)
	}
	return payload, tail, err
}

func (e *Environment) handle(ctx context.Context, inv *invocation) ([]byte, error) {
	payload, err := e.exchange(ctx, inv)
	failure, own := errors.AsType[*Failure](err)
	if err != nil && (!own || failure.Fatal) {
		e.spent.Store(true) // before the process has ended
		e.process.kill()
	}
	return payload, err
}

func (e *Environment) exchange(ctx context.Context, inv *invocation) ([]byte, error) {
	limit := max(initTime, e.config.Timeout)
	start := time.NewTimer(limit)
	defer start.Stop()
	select {
	case e.work <- inv:
		return e.await(ctx, inv)
	case failure := <-e.init:
		return nil, failure
	case <-e.process.exited:
		return nil, e.exitFailure(inv)
	case <-start.C:
		return nil, timedOut(inv.id, limit)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// await waits for the answer to an event that the process has taken.
func (e *Environment) await(ctx context.Context, inv *invocation) ([]byte, error) {
	limit := time.NewTimer(e.config.Timeout)
	defer limit.Stop()
	select {
	case a := <-inv.answer:
		return a.result()
	case <-e.process.exited:
		select {
		case a := <-inv.answer: // it answered, and then ended
			return a.result()
		default:
			return nil, e.exitFailure(inv)
		}
	case <-limit.C:
		return nil, timedOut(inv.id, e.config.Timeout)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a answer) result() ([]byte, error) {
	if a.failure != nil {
		return nil, a.failure
	}
	return a.payload, nil
}

// exitFailure tells how a process ended that should not have. What it said about
// its initialisation before tells more.
func (e *Environment) exitFailure(inv *invocation) *Failure {
	select {
	case failure := <-e.init:
		return failure
	default:
		return e.process.failure(inv.id)
	}
}

// Alive reports whether the process can take another event.
func (e *Environment) Alive() bool {
	return !e.spent.Load() && e.process.alive() && e.process.there()
}

// Stop ends the process, and whatever it started in its process group, and
// removes its folder.
func (e *Environment) Stop() {
	e.closing.Do(func() {
		if e.process != nil {
			e.process.kill()
			<-e.process.exited
		}
		if e.server != nil {
			_ = e.server.Close()
			<-e.served
		}
		if e.output != nil {
			e.output.close()
		}
		if err := os.RemoveAll(e.config.Dir); err != nil {
			e.config.Log.Warn("removing a function's folder", "function", e.config.Function, "error", err)
		}
	})
}
