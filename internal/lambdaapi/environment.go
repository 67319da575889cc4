package lambdaapi

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/keyturn/keyturn/internal/execenv"
	"github.com/keyturn/keyturn/internal/iam"
)

// maxRunning is how many invocations may run in processes at once. A process then
// waits, frozen, for another event: maxIdle of them at once, each for idleTime,
// which is enough for the next step of a rotation.
const (
	maxRunning = 64
	maxIdle    = 16
	idleTime   = 30 * time.Second
)

// environments are the processes of functions. The zero value is ready.
type environments struct {
	mu      sync.Mutex
	running int
	waiting int
	idle    map[string][]*warm // :: key → those that wait; see warm.key
	closed  bool
}

// warm is an environment and what ends with it.
type warm struct {
	*execenv.Environment
	key    string // of the revision of the function and the grant
	revoke func()
	expiry *time.Timer // while idle
}

func (w *warm) stop() {
	w.Stop()
	w.revoke()
}

// take returns an environment that waits, or nil with a place for a new one. One whose
// process has ended while it waited is of no use, and no failure of the next event.
func (e *environments) take(key string) (*warm, error) {
	for w := e.last(key); w != nil; w = e.last(key) {
		if w.Alive() {
			return w, nil
		}
		e.give(w)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running >= maxRunning {
		return nil, ErrTooMany.Errorf("Rate Exceeded.")
	}
	e.running++
	return nil, nil
}

// last takes out the environment that waits for the shortest time, or returns nil.
func (e *environments) last(key string) *warm {
	e.mu.Lock()
	defer e.mu.Unlock()
	waiting := e.idle[key]
	if len(waiting) == 0 {
		return nil
	}
	w := waiting[len(waiting)-1]
	e.forget(w)
	return w
}

// forget is called with mu locked, for one that is idle. It runs from now on.
func (e *environments) forget(w *warm) {
	w.expiry.Stop()
	e.waiting--
	e.running++
	rest := slices.DeleteFunc(e.idle[w.key], func(other *warm) bool { return other == w })
	if e.idle[w.key] = rest; len(rest) == 0 {
		delete(e.idle, w.key)
	}
}

// give returns a place: with an environment that may be of more use, or nil.
func (e *environments) give(w *warm) {
	if !e.keep(w) && w != nil {
		w.stop()
	}
}

func (e *environments) keep(w *warm) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running--
	if w == nil || e.closed || e.waiting >= maxIdle || !w.Alive() {
		return false
	}
	if e.idle == nil {
		e.idle = map[string][]*warm{}
	}
	e.waiting++
	e.idle[w.key] = append(e.idle[w.key], w)
	w.expiry = time.AfterFunc(idleTime, func() { e.expire(w) })
	return true
}

// expire ends an environment that has waited long enough.
func (e *environments) expire(w *warm) {
	e.mu.Lock()
	waits := slices.Contains(e.idle[w.key], w) // else it was taken a moment ago
	if waits {
		e.forget(w)
		e.running--
	}
	e.mu.Unlock()
	if waits {
		w.stop()
	}
}

// close ends those that wait; those that run end when they are given back.
func (e *environments) close() {
	e.mu.Lock()
	e.closed = true
	var all []*warm
	for _, waiting := range e.idle {
		all = append(all, waiting...)
	}
	for _, w := range all {
		e.forget(w)
		e.running--
	}
	e.mu.Unlock()
	for _, w := range all {
		w.stop()
	}
}

// runProcess invokes a function that was made by CreateFunction. tail is the end
// of what it printed.
func (s *Service) runProcess(ctx context.Context, d *definition, inv Invocation) (answer, tail []byte, err error) {
	g, err := s.config.Grant(ctx, inv)
	if err != nil {
		return nil, nil, err
	}
	key := d.arn.String() + " " + *d.shown.RevisionId + " " + g.Key
	w, err := s.environments.take(key)
	if err != nil {
		return nil, nil, err
	}
	if w == nil {
		if w, err = s.begin(ctx, d, g, key); err != nil {
			s.environments.give(nil)
			return nil, nil, failureOf(err)
		}
	}
	defer s.environments.give(w)
	id := cmp.Or(iam.CallerOf(ctx).RequestID, uuid.NewString())
	answer, tail, err = w.Invoke(ctx, id, inv.Payload)
	return answer, tail, failureOf(err)
}

// begin starts a new environment.
func (s *Service) begin(ctx context.Context, d *definition, g Grant, key string) (*warm, error) {
	code, err := s.code(ctx, d)
	if err != nil {
		return nil, err
	}
	own, err := s.variables(ctx, d)
	if err != nil {
		return nil, err
	}
	granted, revoke, err := g.Issue(own)
	if err != nil {
		return nil, err
	}
	var variables []string
	for _, name := range slices.Sorted(maps.Keys(own)) {
		variables = append(variables, name+"="+own[name])
	}
	env, err := execenv.Start(execenv.Config{
		Function: d.arn.name, ARN: d.arn.String(), Runtime: string(d.shown.Runtime), Handler: orEmpty(d.shown.Handler),
		Dir: filepath.Join(s.config.Dir, uuid.NewString()), Code: code, Memory: int(*d.shown.MemorySize), Timeout: d.timeout(),
		Variables: append(variables, granted...), User: s.config.User, Log: s.config.Log,
	})
	if err != nil {
		revoke()
		return nil, err
	}
	return &warm{Environment: env, key: key, revoke: revoke}, nil
}

// failureOf turns a process's failure into the function's.
func failureOf(err error) error {
	if f, ok := errors.AsType[*execenv.Failure](err); ok {
		return &Failure{Message: f.Message, Type: f.Type, body: f.Payload}
	}
	return err
}
