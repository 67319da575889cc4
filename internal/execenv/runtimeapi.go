package execenv

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// runtimeAPI answers the four calls of the Runtime API.
func (e *Environment) runtimeAPI() http.Handler {
	const root = "/2018-06-01/runtime/"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+root+"invocation/next", e.next)
	mux.HandleFunc("POST "+root+"invocation/{id}/response", e.respond)
	mux.HandleFunc("POST "+root+"invocation/{id}/error", e.fail)
	mux.HandleFunc("POST "+root+"init/error", e.initFailed)
	return mux
}

// next gives the process an event when there is one.
func (e *Environment) next(w http.ResponseWriter, r *http.Request) {
	select {
	case inv := <-e.work:
		e.take(inv)
		e.describe(w.Header(), inv)
		_, _ = w.Write(inv.event) // a process that has gone is noticed elsewhere
	case <-r.Context().Done():
	}
}

// take makes inv the event that answers belong to. Processes compare its
// deadline with the machine's clock, so it is told by that one.
func (e *Environment) take(inv *invocation) {
	e.current.Lock()
	defer e.current.Unlock()
	inv.deadline = time.Now().Add(e.config.Timeout)
	e.current.invocation = inv
}

func (e *Environment) describe(h http.Header, inv *invocation) {
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", e.config.ARN)
	h.Set("Lambda-Runtime-Trace-Id", "Root=1-00000000-000000000000000000000000;Sampled=0")
}

// settle ends the event with this id. There is no second answer to one.
func (e *Environment) settle(id string, a answer) bool {
	e.current.Lock()
	defer e.current.Unlock()
	inv := e.current.invocation
	if inv == nil || inv.id != id {
		return false
	}
	e.current.invocation = nil
	inv.answer <- a
	return true
}

func (e *Environment) respond(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxResponse))
	a := answer{payload: body}
	status := http.StatusAccepted
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		status = http.StatusRequestEntityTooLarge
		a = answer{failure: newFailure("Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (%d bytes).", MaxResponse)}
	} else if err != nil {
		return // the process broke off
	}
	e.settled(w, r, a, status)
}

func (e *Environment) fail(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxResponse))
	if err != nil {
		return
	}
	e.settled(w, r, answer{failure: reported(body, false)}, http.StatusAccepted)
}

func (e *Environment) settled(w http.ResponseWriter, r *http.Request, a answer, status int) {
	if !e.settle(r.PathValue("id"), a) {
		reply(w, http.StatusBadRequest, map[string]string{"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"})
		return
	}
	reply(w, status, map[string]string{"status": "OK"})
}

func (e *Environment) initFailed(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxResponse))
	if err != nil {
		return
	}
	select {
	case e.init <- reported(body, true):
	default: // it said so before
	}
	reply(w, http.StatusAccepted, map[string]string{"status": "OK"})
}

func reply(w http.ResponseWriter, status int, body map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the process may have gone
}
