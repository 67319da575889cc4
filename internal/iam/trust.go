package iam

import (
	"context"
	"net/http"
)

// Trust takes a request at its word, for development servers: nothing is
// checked, everybody is the account's administrator. Region, service and access
// key id are those of the signature's scope, where there is one; without it the
// region is defaultRegion and the other two are empty.
func Trust(r *http.Request, account, defaultRegion string) Caller {
	c := Caller{Principal: Administrator(account), Region: defaultRegion}
	if s, ok := ScopeOf(r); ok {
		c.AccessKeyID, c.Region, c.Service = s.AccessKeyID, s.Region, s.Service
	}
	return c
}

// Trusted returns whom a key stands for that works now, whatever the signature.
// Its failures are those of Verify.
func (v *Verifier) Trusted(ctx context.Context, accessKeyID string) (Principal, error) {
	credential, err := v.lookup(ctx, accessKeyID)
	if err != nil {
		return Principal{}, err
	}
	return credential.Principal, credential.checkExpiry(v.Now())
}
