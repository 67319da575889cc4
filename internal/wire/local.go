package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam"
)

// Local calls the operations of a JSON service for a caller of this process who
// is known, without a request being written, signed and read again. Everything
// behind that is the same: what is touched is asked, then permission, and the
// call has its line in the audit log.
type Local struct {
	Handler      http.Handler // of NewHandler
	TargetPrefix string       // the service's
	Caller       iam.Caller
	UserAgent    string
}

// Call runs one operation on its *Input, which it may change, and returns its
// *Output. Its failures are *fault.Faults, or the error of a context that has
// ended.
func (l Local) Call(ctx context.Context, action string, in any) (out any, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("calling %s in process: %w", action, err)
	}
	h, ok := l.Handler.(*handler)
	if !ok {
		return nil, errors.New("wire: Local needs a handler of NewHandler")
	}
	s := h.first(func(s *service) bool { return s.Protocol == JSON11 && s.TargetPrefix == l.TargetPrefix })
	if s == nil || s.byAction[action] == nil {
		return nil, fmt.Errorf("wire: there is no operation %s.%s", l.TargetPrefix, action)
	}
	c := &call{requestID: newRequestID(), service: s, op: s.byAction[action], in: in}
	out, err = h.local(ctx, c, l)
	if ended := ctx.Err(); ended != nil {
		return nil, fmt.Errorf("calling %s in process: %w", action, ended)
	}
	return out, err
}

// local is serve, answer and record of a call that is no request.
func (h *handler) local(ctx context.Context, c *call, l Local) (out any, err error) {
	c.caller = l.Caller
	c.caller.Service, c.caller.RequestID, c.caller.UserAgent = c.service.Name, c.requestID, l.UserAgent
	c.caller.SourceIP, c.caller.Secure, c.caller.Now = "127.0.0.1", true, h.Now()
	c.event = audit.Event{Time: c.caller.Now, Type: audit.APICall, Source: c.service.eventSource, Name: c.op.action,
		RequestID: c.requestID, SourceIP: c.caller.SourceIP, UserAgent: c.caller.UserAgent}
	c.identified()
	if out, err = h.tryLocal(ctx, c); err != nil {
		f := fault.Of(err)
		c.failed(f)
		out, err = nil, f
	}
	if h.Audit == nil {
		return out, err
	}
	if failure := h.Audit.Record(&c.event); failure != nil { // it must not seem to have gone well
		h.Log.Error("recording a call", "action", c.op.action, "requestId", c.requestID, "error", failure)
		return nil, fault.Of(failure)
	}
	return out, err
}

// tryLocal acts. A panic is a failure of this call alone.
func (h *handler) tryLocal(ctx context.Context, c *call) (out any, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.logPanic(c, p)
			err = errPanic
		}
	}()
	if out, err = h.act(ctx, c); err != nil && !isShown(err) && ctx.Err() == nil {
		h.Log.Error("request failed", "service", c.service.Name, "action", c.op.action, "requestId", c.requestID, "error", err)
	}
	return out, err
}
