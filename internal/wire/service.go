package wire

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/keyturn/keyturn/internal/iam"
)

// service is a Service that was checked and indexed.
type service struct {
	Service
	protocol protocol
	maxBody  int64
	byAction map[string]*operation // :: action → operation
	routes   []route               // REST-JSON only

	eventSource string // as the audit log names it: secretsmanager.amazonaws.com
}

// operation is an Op that was checked, in its service.
type operation struct {
	Op
	iamAction string // secretsmanager:GetSecretValue
	status    int
	maxBody   int64
	bindings  *bindings // REST-JSON only
	meter     Meter     // nil: nobody counts
}

func compile(s Service) (*service, error) {
	s.TargetPrefix = strings.TrimSuffix(s.TargetPrefix, ".")
	if s.ActionPrefix == "" {
		s.ActionPrefix = s.Name
	}
	source := eventSource(s.ActionPrefix)
	if s.Version == "" {
		s.Version = "2014-10-31"
	}
	c := &service{Service: s, maxBody: s.MaxBody, byAction: map[string]*operation{}, eventSource: source}
	if c.maxBody == 0 {
		c.maxBody = DefaultMaxBody
	}
	switch s.Protocol {
	case JSON11:
		c.protocol = json11{}
	case Query:
		c.protocol = query{}
	case RESTJSON:
		c.protocol = restJSON{}
	}
	if s.Name == "" || c.protocol == nil || s.Protocol == JSON11 && s.TargetPrefix == "" {
		return nil, errors.New("a name, a known protocol and, for JSON, a target prefix are needed")
	}
	for _, op := range s.Ops {
		if err := c.add(op); err != nil {
			return nil, fmt.Errorf("operation %s: %w", op.action, err)
		}
	}
	return c, nil
}

func (s *service) add(op Op) error {
	if op.run == nil {
		return errors.New("it must be made by On, with a target and something to do")
	}
	if s.byAction[op.action] != nil {
		return errors.New("it is registered twice")
	}
	o := &operation{Op: op, iamAction: s.ActionPrefix + ":" + op.action, status: op.status, maxBody: op.maxBody}
	if o.status == 0 {
		o.status = http.StatusOK
	}
	if o.maxBody == 0 {
		o.maxBody = s.maxBody
	}
	s.byAction[op.action] = o
	if s.Protocol != RESTJSON {
		return nil
	}
	return s.addRoute(o)
}

// identity is what must differ between two services of one handler.
func (s *service) identity() string {
	if s.Protocol == JSON11 {
		return s.TargetPrefix
	}
	return s.Name
}

// pick finds the service that a request means: by its target header, by the
// service it was signed for, by its path. If none of them tells, it picks the
// service whose protocol comes closest, to refuse the request in a form that
// its sender may understand.
func (h *handler) pick(r *http.Request) *service {
	target := r.Header.Get("X-Amz-Target")
	if prefix, _, ok := cutLast(target, '.'); ok {
		if s := h.first(func(s *service) bool { return s.Protocol == JSON11 && s.TargetPrefix == prefix }); s != nil {
			return s
		}
	}
	if scope, ok := iam.ScopeOf(r); ok {
		if s := h.first(func(s *service) bool { return s.Name == scope.Service }); s != nil {
			return s
		}
	}
	if s := h.first(func(s *service) bool { return s.hasPath(r.URL.EscapedPath()) }); s != nil {
		return s
	}
	closest := closestProtocol(r, target)
	if s := h.first(func(s *service) bool { return s.Protocol == closest }); s != nil {
		return s
	}
	return h.services[0]
}

func (h *handler) first(match func(*service) bool) *service {
	for _, s := range h.services {
		if match(s) {
			return s
		}
	}
	return nil
}

func closestProtocol(r *http.Request, target string) Protocol {
	content := r.Header.Get("Content-Type")
	switch {
	case target != "" || strings.HasPrefix(content, "application/x-amz-json"):
		return JSON11
	case strings.HasPrefix(content, formType) || r.URL.Query().Has("Action"):
		return Query
	case r.URL.Path == "/" || r.URL.Path == "":
		return JSON11
	}
	return RESTJSON
}

// cutLast splits at the last separator: target prefixes may hold dots themselves.
func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}
