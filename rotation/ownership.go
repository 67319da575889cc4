package rotation

import "context"

// OwnershipMender is the ability of some sessions to bring the objects of two
// users that take turns into the hands of an owner role, where they were made
// by the way of AWS's rotation templates: then each object belongs to the user
// that happened to make it, and the other one may not change it.
type OwnershipMender interface {
	// PlanOwnership returns what has to be done, in its order; nothing if all
	// is well. It changes nothing.
	PlanOwnership(ctx context.Context, t Turns) ([]Action, error)
	// MendOwnership does it and returns what it has done, also when it fails
	// on the way. It may be repeated. The users of t can log in, with all
	// their rights, at every moment of it.
	MendOwnership(ctx context.Context, t Turns) ([]Action, error)
}

// Action is one statement with its reason. It holds no password.
type Action struct {
	Database  string `json:"Database"` // where it runs
	Statement string `json:"Statement"`
	Reason    string `json:"Reason,omitempty"` // of this one and those that follow without one
}
