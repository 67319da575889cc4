package rotation

// proof is what a login has shown.
type proof int

const (
	untried proof = iota
	live
	denied // the server looked at the password and refused it
	absent // there is no such login
)

// facts are what setSecret knows of the account and its passwords.
//
// Once the token is AWSCURRENT, which a near-atomic change makes it before its
// COMMIT, "pending" is still the token's password, and "current" that of
// AWSPREVIOUS, from which AWSCURRENT has moved; there is no "previous" then.
type facts struct {
	pending, current, previous proof
	admin                      bool // the secret names an administrator (masterarn)
	created                    bool // the pending password was made just now, so no database should have it
	keepsOne                   bool // no password stays beside the new one, whatever works now
}

// action is what setSecret does next.
type action string

const (
	tryPending  action = "log in with the pending password"
	tryCurrent  action = "log in with the current password"
	tryPrevious action = "log in with the previous password"
	settle      action = "complete what an earlier attempt has begun"
	change      action = "change the password by the strategy of the secret"
	overwrite   action = "change the password and keep none, for AWSCURRENT is refused"
	giveUp      action = "stop: nobody may change the password"
)

// decide is the table of docs/state-machine.md for setSecret, from its top to
// its bottom. At most three logins are refused, and only if no password works.
func decide(k facts) action {
	begins := k.created && k.pending == untried
	switch {
	case begins && k.admin && k.keepsOne:
		return change
	case begins && k.current == untried:
		return tryCurrent
	case begins && k.current == live:
		return change
	case k.pending == untried:
		return tryPending
	case k.pending == live:
		return settle
	case k.current == untried:
		return tryCurrent
	case k.current == live:
		return change
	case k.admin:
		return overwrite
	case k.previous == untried:
		return tryPrevious
	case k.previous == live:
		return overwrite
	}
	return giveUp
}
