// Package doctor looks at the database users of a secret and says what is wrong
// with them. It reads the secret by Secrets Manager and asks the database
// itself, so it works against AWS and against keyturn alike.
//
// It compares the two users that take turns under the strategy
// AlternatingUsers: a right that one of them lacks makes an application fail
// after the next rotation, for no visible reason.
package doctor

import (
	"context"
	"slices"

	"github.com/keyturn/keyturn/rotation"
)

// Doctor examines secrets. Both fields must be set. It is safe for concurrent
// use.
type Doctor struct {
	Secrets rotation.Secrets
	Engine  rotation.Engine
}

// Report is what an examination found. It holds no password.
type Report struct {
	CurrentUser string // of AWSCURRENT
	OtherUser   string // that takes turns with it
	// Missing tells that there is no other user yet; the first rotation makes
	// it, and then nothing can be compared.
	Missing bool `json:",omitzero"`
	// Differences are the rights, limits and settings that one of the users
	// has and the other has not.
	Differences []Difference `json:",omitzero"`
	// Ownership is what FixOwnership would do (PostgreSQL), or has done.
	Ownership []rotation.Action `json:",omitzero"`
}

// Difference is a fact about one of the two users.
type Difference struct {
	User string // who has it
	What string // in the server's words
}

// Healthy tells whether there is nothing to mend.
func (r Report) Healthy() bool { return len(r.Differences) == 0 && len(r.Ownership) == 0 }

// Examine compares the two users of a secret and changes nothing. The secret
// needs masterarn, since an administrator has to look. Its errors are those of
// package rotation.
func (d Doctor) Examine(ctx context.Context, secretID string) (Report, error) {
	t, err := d.turns(ctx, secretID)
	if err != nil {
		return Report{}, err
	}
	defer t.Session.Close()
	r, err := compare(ctx, t)
	if err != nil {
		return Report{}, err
	}
	if mender, ok := t.Session.(rotation.OwnershipMender); ok && !r.Missing {
		r.Ownership, err = mender.PlanOwnership(ctx, t)
	}
	return r, err
}

// FixOwnership hands the objects of both users over to their owner role
// (PostgreSQL), compares them again, and returns what it has done, also when it
// fails on the way. It may be repeated.
func (d Doctor) FixOwnership(ctx context.Context, secretID string) (Report, error) {
	t, err := d.turns(ctx, secretID)
	if err != nil {
		return Report{}, err
	}
	defer t.Session.Close()
	mender, ok := t.Session.(rotation.OwnershipMender)
	if !ok {
		return Report{}, rotation.Errorf(rotation.ClassPolicy, "in a database of the engine %s, objects have no owner that could be fixed", t.Current.Engine)
	}
	done, err := mender.MendOwnership(ctx, t)
	if err != nil {
		return Report{CurrentUser: t.Current.Username, OtherUser: t.Other, Ownership: done}, err
	}
	r, err := compare(ctx, t)
	r.Ownership = done
	return r, err
}

func (d Doctor) turns(ctx context.Context, secretID string) (rotation.Turns, error) {
	f := rotation.Function{Secrets: d.Secrets, Engine: d.Engine}
	return f.Turns(ctx, secretID)
}

func compare(ctx context.Context, t rotation.Turns) (Report, error) {
	r := Report{CurrentUser: t.Current.Username, OtherUser: t.Other}
	reader, ok := t.Session.(rotation.RightsReader)
	if !ok {
		return r, rotation.Errorf(rotation.ClassPolicy, "the engine %s cannot tell what its users may do", t.Current.Engine)
	}
	current, err := reader.Rights(ctx, r.CurrentUser)
	if err != nil {
		return r, err
	}
	if len(current) == 0 {
		return r, rotation.Errorf(rotation.ClassSecret, "the server has no user %s: rotate, so that the other user takes its turn and the next rotation makes this one anew; or correct the key username of the secret", r.CurrentUser)
	}
	other, err := reader.Rights(ctx, r.OtherUser)
	if err != nil {
		return r, err
	}
	if len(other) == 0 {
		r.Missing = true
		return r, nil
	}
	r.Differences = slices.Concat(without(r.CurrentUser, current, other), without(r.OtherUser, other, current))
	return r, nil
}

// without lists what a user has and another has not.
func without(user string, has, not []string) (all []Difference) {
	for _, line := range has {
		if !slices.Contains(not, line) {
			all = append(all, Difference{user, line})
		}
	}
	return all
}
