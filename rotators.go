package keyturn

import (
	"sync"

	"github.com/keyturn/keyturn/internal/iam/policy"
	"github.com/keyturn/keyturn/internal/secret"
)

// maxRotators bounds how many policies are kept: those of the rotations at work,
// each of which asks four times.
const maxRotators = 256

// rotators keeps the policies of rotation functions for a while. The zero value
// is ready; it is safe to share.
type rotators struct {
	sync.Mutex
	policies map[[2]secret.ARN]*policy.Document // :: secret and admin secret → what its function may
}

// policy is rotatorPolicy with a memory.
func (r *rotators) policy(arn, admin secret.ARN) (*policy.Document, error) {
	key := [2]secret.ARN{arn, admin}
	if d := r.find(key); d != nil {
		return d, nil
	}
	d, err := rotatorPolicy(arn, admin)
	if err != nil {
		return nil, err
	}
	r.keep(key, d)
	return d, nil
}

func (r *rotators) find(key [2]secret.ARN) *policy.Document {
	r.Lock()
	defer r.Unlock()
	return r.policies[key]
}

func (r *rotators) keep(key [2]secret.ARN, d *policy.Document) {
	r.Lock()
	defer r.Unlock()
	if r.policies == nil || len(r.policies) >= maxRotators {
		r.policies = map[[2]secret.ARN]*policy.Document{}
	}
	r.policies[key] = d
}
