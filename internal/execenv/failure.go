package execenv

import (
	"encoding/json"
	"fmt"
	"time"
)

// Failure is a function that failed, as Lambda's Invoke tells it.
type Failure struct {
	Type    string // errorType
	Message string // errorMessage
	Payload []byte // the whole answer, JSON
	// Fatal failures leave the process in no state to go on.
	Fatal bool
}

// Error returns the message. It is the function's own text.
func (f *Failure) Error() string { return f.Message }

// newFailure is a failure that the process did not tell itself.
func newFailure(errorType, format string, args ...any) *Failure {
	f := &Failure{Type: errorType, Message: fmt.Sprintf(format, args...), Fatal: true}
	f.Payload, _ = json.Marshal(map[string]string{"errorType": f.Type, "errorMessage": f.Message}) // two strings: never fails
	return f
}

// Lambda's words for what happens to a process.
func timedOut(id string, after time.Duration) *Failure {
	return newFailure("Sandbox.Timedout", "RequestId: %s Error: Task timed out after %.2f seconds", id, after.Seconds())
}

func noEntry(why string) *Failure {
	return newFailure("Runtime.InvalidEntrypoint", "Error: fork/exec %s", why)
}

// reported reads the failure that a process posts. Anything may be in it.
func reported(body []byte, fatal bool) *Failure {
	var told struct {
		Message string `json:"errorMessage"`
		Type    string `json:"errorType"`
	}
	if json.Unmarshal(body, &told) != nil {
		f := newFailure("Runtime.Unknown", "The function failed and did not say why.")
		f.Fatal = fatal
		return f
	}
	return &Failure{Type: told.Type, Message: told.Message, Payload: body, Fatal: fatal}
}
