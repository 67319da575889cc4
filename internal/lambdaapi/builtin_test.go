package lambdaapi

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The function's own error says what did not answer.
type silence struct{}

func (silence) Error() string     { return "the database did not answer" }
func (silence) ErrorType() string { return "timeout" }

func TestBuiltInFunctionHasThirtySeconds(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want Failure
	}{
		{silence{}, Failure{Message: "the database did not answer", Type: "timeout"}},
		{errors.New("ended"), Failure{Message: "Task timed out after 30.00 seconds", Type: "Sandbox.Timedout"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			f := &Function{Name: "f", Handler: func(ctx context.Context, _ Invocation) ([]byte, error) {
				<-ctx.Done()
				return nil, tc.err
			}}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			_, err := (&Service{}).callBuiltIn(ctx, f, Invocation{})
			failure, ok := errors.AsType[*Failure](err)
			if !ok || failure.Message != tc.want.Message || failure.Type != tc.want.Type {
				t.Errorf("got %v", err)
			}
			if took := time.Since(begin); took != 30*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}
