package iam

import (
	"cmp"
	"context"
	"sync"

	"github.com/keyturn/keyturn/internal/iam/policy"
)

// Guard is the one door through which every permission question goes. The zero
// value is ready.
type Guard struct{}

// Check returns nil if c may do action on res, and ErrAccessDenied in AWS's
// words if not.
func (g *Guard) Check(_ context.Context, c Caller, action string, res Resource) error {
	v := judge(&c, action, &res)
	if v == allowed {
		return nil
	}
	return ErrAccessDenied.Errorf("User: %s is not authorized to perform: %s on resource: %s %s",
		c.ARN, action, cmp.Or(res.Named, res.orAny()), v.reason(action))
}

// question is one decision under way. They are used again and again, so that a
// decision need not allocate.
type question struct {
	request  policy.Request
	caller   Caller
	resource Resource
	values   []string // of globalKeys, while they are asked for
}

var questions = sync.Pool{New: func() any {
	q := &question{values: make([]string, len(globalKeys))}
	q.request.Keys = q.keys
	return q
}}

// ask begins a decision; done ends it.
func ask(c *Caller, action string, res *Resource) *question {
	q := questions.Get().(*question)
	q.caller, q.resource = *c, *res
	q.request.Action, q.request.Resource = action, res.orAny()
	q.request.Principal = policy.Principal{ARN: c.ARN, Account: c.Account}
	return q
}

func (q *question) done() {
	q.caller, q.resource = Caller{}, Resource{}
	clear(q.values)
	questions.Put(q)
}

// keys answers the keys that every request has, and passes on the others.
func (q *question) keys(key string) (values []string, ok bool) {
	i, global := globalKeyIndex[key]
	if !global {
		if q.resource.Keys == nil {
			return nil, false
		}
		return q.resource.Keys(key)
	}
	q.values[i] = globalKeys[i].value(q)
	if q.values[i] == "" {
		return nil, false
	}
	return q.values[i : i+1 : i+1], true
}
