package policy

// statement is one statement, compiled.
type statement struct {
	deny         bool
	actions      actions
	notAction    bool
	resources    []pattern
	notResource  bool
	principals   *principals // nil in an identity policy
	notPrincipal bool
	conditions   []condition
}

// decide returns the statement's effect on a request, or None if it does not apply.
func (s *statement) decide(r *Request) Effect {
	if s.actions.match(r.Action) == s.notAction || !s.coversResource(r) {
		return None
	}
	effect := s.effectFor(&r.Principal)
	if effect == None {
		return None
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(r) {
			return None
		}
	}
	return effect
}

// coversResource reads a NotResource with a variable that has no value in the way that
// grants less. AWS says that such an entry matches no resource, so that a Deny applies;
// and that a variable without a value may make a statement invalid, so that an Allow
// does not.
//
// Rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-no-value
func (s *statement) coversResource(r *Request) bool {
	allKnown := true
	for i := range s.resources {
		matched, known := s.resources[i].match(r, r.Resource)
		if matched {
			return !s.notResource
		}
		allKnown = allKnown && known
	}
	return s.notResource && (allKnown || s.deny)
}

// effectFor returns the statement's effect on a principal, or None if it is not
// about that principal.
//
// An account in NotPrincipal is read in the way that grants less: an Allow spares
// all principals of it, a Deny spares only its root, as in AWS's example where
// naming a user and its account still denies the account's other users.
func (s *statement) effectFor(p *Principal) Effect {
	if s.principals == nil {
		return s.ifTrue(true)
	}
	reach := s.principals.reach(p)
	switch {
	case s.notPrincipal && s.deny:
		return s.ifTrue(reach != direct)
	case s.notPrincipal:
		return s.ifTrue(reach == nobody)
	case reach == viaAccount && !s.deny:
		return AllowAccount
	}
	return s.ifTrue(reach != nobody)
}

func (s *statement) ifTrue(applies bool) Effect {
	switch {
	case !applies:
		return None
	case s.deny:
		return Deny
	}
	return Allow
}
