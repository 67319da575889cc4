package wire

import (
	"strings"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam"
)

// begin notes what is known of every request.
func (h *handler) begin(c *call) {
	c.event = audit.Event{Time: h.Now(), Type: audit.APICall, Source: c.service.eventSource, RequestID: c.requestID,
		SourceIP: sourceIP(c.request), UserAgent: c.request.UserAgent()}
}

// identified notes the caller, once the signature is known to be theirs.
func (c *call) identified() {
	c.event.Principal, c.event.AccessKeyID = c.caller.ARN, c.caller.AccessKeyID
	c.event.Account, c.event.Region = c.caller.Account, c.caller.Region
}

// failed notes why the call was refused, or did not succeed.
func (c *call) failed(f *fault.Fault) { c.event.ErrorCode, c.event.ErrorText = f.Kind.Code, f.Message }

// record writes the line of a call that was answered or refused. A call without
// one must not seem to have gone well: its caller is told of a failure.
func (h *handler) record(c *call, a answer) answer {
	if h.Audit == nil {
		return a
	}
	if c.op != nil {
		c.event.Name = c.op.action
	} else if c.event.Name == "" {
		c.event.Name = claimedAction(c)
	}
	if c.event.Principal == "" {
		c.claim()
	}
	if err := h.Audit.Record(&c.event); err != nil {
		h.logInternal(c, err)
		return c.service.protocol.refuse(c.service, fault.Of(err), c.requestID)
	}
	return a
}

// claim notes whose key a request names that could not be verified. The
// principal stays empty: anybody can write down a key's id.
func (c *call) claim() {
	if scope, ok := iam.ScopeOf(c.request); ok {
		c.event.AccessKeyID, c.event.Region = scope.AccessKeyID, scope.Region
	}
}

// claimedAction is what a request calls itself whose operation is not known, or was
// not looked for since its signature is wrong.
func claimedAction(c *call) string {
	if _, action, ok := cutLast(c.request.Header.Get("X-Amz-Target"), '.'); ok {
		return action
	}
	if c.service.Protocol == RESTJSON {
		return c.request.Method + " " + c.request.URL.EscapedPath()
	}
	form, err := formOf(c) // its body may have been refused before it was read
	if err != nil {
		return ""
	}
	return strings.TrimSpace(form.Get("Action"))
}

// eventSource is how CloudTrail names a service; keyturn's own operations are
// not one of AWS's.
func eventSource(actionPrefix string) string {
	if actionPrefix == "keyturn" {
		return "keyturn"
	}
	return actionPrefix + ".amazonaws.com"
}
