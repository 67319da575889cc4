package wire

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam"
)

// Config is what NewHandler needs.
type Config struct {
	Services []Service
	// Verify names the caller of a request whose body was read into the second
	// argument; a Caller with an empty Service is taken for any service. Needed.
	Verify func(*http.Request, []byte) (iam.Caller, error)
	// Guard is asked before every operation. Needed.
	Guard *iam.Guard
	// Audit takes a line for every call; nil means none are kept.
	Audit audit.Recorder
	// Now is the clock of conditions and of the audit log; nil means time.Now.
	Now func() time.Time
	// Log gets what callers must not see; nil means nowhere.
	Log *slog.Logger
	// Meter makes what counts an operation's requests; it is asked once for
	// each. nil means that nobody counts.
	Meter func(operation string) Meter
}

// Meter counts the requests of one operation. It is safe for concurrent use.
type Meter interface {
	// Answered counts a request; code is its error's, empty for success.
	Answered(code string, took time.Duration)
}

var (
	errTooLarge = fault.Kind{Code: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge}
	errBadBody  = fault.Kind{Code: "SerializationException", Status: http.StatusBadRequest}
)

type handler struct {
	Config
	services []*service
	unknown  Meter // counts requests of no known operation; nil without Meter
}

// protocol is one way of writing requests and answers.
type protocol interface {
	// operation finds what is called by the request's head alone. Query
	// answers nil, nil: there the body names it.
	operation(s *service, r *http.Request) (*operation, error)
	// decode fills c.in, and c.op where operation could not.
	decode(c *call) error
	// encode writes the answer of a call that succeeded.
	encode(c *call, out any) (answer, error)
	// refuse writes a failure. It must not fail itself.
	refuse(s *service, f *fault.Fault, requestID string) answer
}

// call is one request on its way through the house.
type call struct {
	request   *http.Request
	requestID string
	service   *service
	op        *operation
	body      []byte
	in        any
	caller    iam.Caller
	event     audit.Event
	spare     *buffers // memory that is cleared when the answer is written
}

// answer is a whole response but for the headers that all of them share.
type answer struct {
	status      int
	contentType string
	header      http.Header // more headers, often nil
	body        []byte
}

// NewHandler returns a handler for all services of cfg. It refuses services
// that cannot be told apart and operations that are not complete.
func NewHandler(cfg Config) (http.Handler, error) {
	if cfg.Verify == nil || cfg.Guard == nil {
		return nil, errors.New("wire: Verify and Guard are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	h := &handler{Config: cfg}
	known := map[string]bool{}
	for _, s := range cfg.Services {
		compiled, err := compile(s)
		if err != nil {
			return nil, fmt.Errorf("wire: service %s: %w", s.Name, err)
		}
		key := compiled.identity()
		if known[key] {
			return nil, fmt.Errorf("wire: service %s is registered twice", key)
		}
		known[key] = true
		compiled.meterBy(cfg.Meter)
		h.services = append(h.services, compiled)
	}
	if cfg.Meter != nil {
		h.unknown = cfg.Meter("unknown")
	}
	if len(h.services) == 0 {
		return nil, errors.New("wire: no services")
	}
	return h, nil
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{request: r, requestID: newRequestID(), service: h.pick(r), spare: spare.Get().(*buffers)}
	defer c.spare.release()
	h.begin(c)
	write(w, c.requestID, h.record(c, h.answer(w, c)))
	h.count(c)
}

// newRequestID draws a UUID. It names a request and protects nothing, so it may
// come from the runtime's quick generator.
func newRequestID() string {
	var raw [16]byte
	binary.LittleEndian.PutUint64(raw[:8], rand.Uint64()) //nolint:gosec // see above
	binary.LittleEndian.PutUint64(raw[8:], rand.Uint64()) //nolint:gosec // see above
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80   // version 4, and RFC 9562's variant
	var text [36]byte
	hex.Encode(text[0:8], raw[0:4])
	hex.Encode(text[9:13], raw[4:6])
	hex.Encode(text[14:18], raw[6:8])
	hex.Encode(text[19:23], raw[8:10])
	hex.Encode(text[24:36], raw[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// errPanic stands for what a panic carries.
var errPanic = errors.New("panic")

// answer turns whatever happens into something that can be written.
func (h *handler) answer(w http.ResponseWriter, c *call) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			h.logPanic(c, p)
			a = c.refuse(fault.Of(errPanic))
		}
	}()
	a, err := h.serve(w, c)
	if err == nil {
		return a
	}
	if !isShown(err) {
		h.logInternal(c, err)
	}
	return c.refuse(fault.Of(err))
}

// isShown tells whether an error has a text for the caller.
func isShown(err error) bool {
	_, shown := errors.AsType[*fault.Fault](err)
	return shown
}

func (h *handler) serve(w http.ResponseWriter, c *call) (answer, error) {
	op, err := c.service.protocol.operation(c.service, c.request)
	if err != nil {
		return answer{}, err
	}
	c.op = op
	if err := c.readBody(w); err != nil {
		return answer{}, err
	}
	if err := h.verify(c); err != nil {
		return answer{}, err
	}
	c.identified()
	if err := c.service.protocol.decode(c); err != nil {
		return answer{}, err
	}
	out, err := h.act(c.request.Context(), c)
	if err != nil {
		return answer{}, err
	}
	if raw, ok := out.(*Raw); ok {
		return answer{status: cmp.Or(raw.Status, c.op.status), header: raw.Header, body: raw.Body}, nil
	}
	return c.service.protocol.encode(c, out)
}

// act asks for permission and acts, for a call whose caller and input are known.
func (h *handler) act(ctx context.Context, c *call) (out any, err error) {
	ctx = audit.WithEvent(iam.WithCaller(ctx, &c.caller), &c.event)
	return c.op.run(ctx, c.in, func(res iam.Resource) error {
		c.event.Resource = res.ARN
		return h.Guard.Check(ctx, c.caller, c.op.iamAction, res)
	})
}

// verify names the caller, who must have signed for this very service: a
// signature for one service is no permission to speak to another.
func (h *handler) verify(c *call) (err error) {
	if c.caller, err = h.Verify(c.request, c.body); err != nil {
		return err
	}
	caller := &c.caller
	if caller.Service != "" && caller.Service != c.service.Name {
		return iam.ErrInvalidSignature.Errorf("Credential should be scoped to correct service: '%s'.", c.service.Name)
	}
	caller.RequestID, caller.UserAgent = c.requestID, c.request.UserAgent()
	caller.SourceIP, caller.Secure, caller.Now = c.event.SourceIP, c.request.TLS != nil, h.Now()
	return nil
}

// sourceIP is the address that the connection comes from. Headers that claim
// another one are not believed: policies decide by it.
func sourceIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// trustedLength is the most bytes that are reserved on the word of a stranger's
// Content-Length; longer bodies get memory as they arrive.
const trustedLength = 64 << 10

// readBody reads at most one byte more than is allowed.
func (c *call) readBody(w http.ResponseWriter) error {
	limit := c.maxBody()
	length := c.request.ContentLength
	if length > limit {
		return c.tooLarge(limit)
	}
	if c.request.Body == nil || length == 0 {
		return nil
	}
	var err error
	if 0 < length && length <= trustedLength {
		c.body = c.room(int(length))
		_, err = io.ReadFull(c.request.Body, c.body) // net/http ends it at that length
	} else {
		c.body, err = io.ReadAll(http.MaxBytesReader(w, c.request.Body, limit))
	}
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return c.tooLarge(limit)
	}
	if err != nil {
		return errBadBody.Errorf("The request body ended early.")
	}
	return nil
}

// room returns memory for a body. It is used again for protocols that decode into
// copies.
func (c *call) room(length int) []byte {
	if c.service.Protocol == JSON11 {
		return c.spare.room(length)
	}
	return make([]byte, length)
}

func (c *call) maxBody() int64 {
	if c.op != nil {
		return c.op.maxBody
	}
	return c.service.maxBody
}

func (c *call) tooLarge(limit int64) error {
	return errTooLarge.Errorf("Request must be smaller than %d bytes for the %s operation", limit, c.action())
}

func (c *call) action() string {
	if c.op == nil {
		return "requested"
	}
	return c.op.action
}

func (c *call) refuse(f *fault.Fault) answer {
	c.failed(f)
	return c.service.protocol.refuse(c.service, f, c.requestID)
}

// write sends an answer. An error of the connection has nobody left to tell.
func write(w http.ResponseWriter, requestID string, a answer) {
	header := w.Header()
	for name, values := range a.header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	values := []string{requestID, a.contentType, ""} // one allocation
	header["X-Amzn-Requestid"] = values[0:1:1]
	if a.contentType != "" {
		header["Content-Type"] = values[1:2:2]
	}
	if a.status != http.StatusNoContent {
		values[2] = strconv.Itoa(len(a.body))
		header["Content-Length"] = values[2:3:3]
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// logInternal is the end of every error that a caller must not see.
func (h *handler) logInternal(c *call, err error) {
	level := slog.LevelError
	if c.request.Context().Err() != nil {
		level = slog.LevelInfo // the caller has gone; that is no fault of ours
	}
	h.Log.LogAttrs(context.Background(), level, "request failed", slog.String("service", c.service.Name),
		slog.String("action", c.action()), slog.String("requestId", c.requestID), slog.Any("error", err))
}

// logPanic writes where it happened. What a panic carries may hold a secret,
// so only the runtime's own texts are written.
func (h *handler) logPanic(c *call, p any) {
	what := fmt.Sprintf("%T", p)
	if err, ok := p.(runtime.Error); ok {
		what = err.Error()
	}
	h.Log.LogAttrs(context.Background(), slog.LevelError, "panic in handler", slog.String("service", c.service.Name),
		slog.String("action", c.action()), slog.String("requestId", c.requestID), slog.String("panic", what),
		slog.String("stack", string(debug.Stack())))
}
