package postgres

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/keyturn/keyturn/rotation"
)

var _ rotation.OwnershipMender = (*session)(nil)

// phase is what happens in one transaction.
type phase struct {
	database   string
	reason     string
	statements []string
}

// verifiers are hidden: with one, somebody could try passwords.
var verifiers = regexp.MustCompile(`SCRAM-SHA-256\$[^']*`)

func redacted(statement string) string { return verifiers.ReplaceAllString(statement, "[redacted]") }

func (p phase) actions() (all []rotation.Action) {
	for i, statement := range p.statements {
		a := rotation.Action{Database: p.database, Statement: redacted(statement)}
		if i == 0 {
			a.Reason = p.reason
		}
		all = append(all, a)
	}
	return all
}

// PlanOwnership implements rotation.OwnershipMender.
func (s *session) PlanOwnership(ctx context.Context, t rotation.Turns) ([]rotation.Action, error) {
	phases, err := s.plan(ctx, t)
	var all []rotation.Action
	for _, p := range phases {
		all = append(all, p.actions()...)
	}
	return all, err
}

// MendOwnership implements rotation.OwnershipMender.
func (s *session) MendOwnership(ctx context.Context, t rotation.Turns) (done []rotation.Action, err error) {
	phases, err := s.plan(ctx, t)
	for _, p := range phases {
		if err := s.carryOut(ctx, p, t); err != nil {
			return done, err
		}
		done = append(done, p.actions()...)
	}
	return done, err
}

func (s *session) carryOut(ctx context.Context, p phase, t rotation.Turns) error {
	there, err := s.in(ctx, p.database)
	if err != nil {
		return err
	}
	defer there.Close()
	return there.inTransaction(ctx, baseOf(t.Other), func() error { return there.run(ctx, p.statements) })
}

// pairing is what a plan is made of.
type pairing struct {
	owner  role
	logins []role // those of the two that exist
	home   string // the database of the session
}

// plan finds the phases. In the first one the logins become members of the
// owner, so that they keep every right; then, database by database, objects
// and grants go over to the owner; and at the end the logins act as the owner.
func (s *session) plan(ctx context.Context, t rotation.Turns) ([]phase, error) {
	p, err := s.pairing(ctx, t)
	if err != nil {
		return nil, err
	}
	members, err := s.membersPhase(p, t)
	if err != nil {
		return nil, err
	}
	phases := []phase{members, p.attributesPhase()}
	for _, login := range p.moving() {
		moved, err := s.movePhases(ctx, login, p)
		if err != nil {
			return nil, err
		}
		phases = append(phases, moved...)
	}
	var all []phase
	for _, each := range append(phases, p.actPhase()) {
		if len(each.statements) > 0 {
			all = append(all, each)
		}
	}
	return all, nil
}

func (s *session) pairing(ctx context.Context, t rotation.Turns) (pairing, error) {
	p := pairing{home: s.conn.Config().Database}
	for _, name := range []string{baseOf(t.Other), baseOf(t.Other) + rotation.CloneSuffix} {
		r, err := s.readRole(ctx, name)
		if err != nil {
			return p, err
		}
		if r.oid == 0 {
			continue
		}
		if err := tooMighty(r, s.from16()); err != nil {
			return p, err
		}
		p.logins = append(p.logins, r)
	}
	if len(p.logins) == 0 {
		return p, rotation.Errorf(rotation.ClassSecret, "the server has neither of the roles %s and %s", t.Current.Username, t.Other)
	}
	var err error
	if p.owner, err = s.ownerOf(ctx, p.logins); err != nil {
		return p, err
	}
	return p, p.nameTheirSchemas(ctx, t)
}

// nameTheirSchemas asks the logins that do not act as the owner yet, and can be asked.
func (p pairing) nameTheirSchemas(ctx context.Context, t rotation.Turns) error {
	for _, l := range []rotation.Login{t.Current, t.Previous} {
		acts := slices.ContainsFunc(p.logins, func(r role) bool { return r.name == l.Username && r.actsAs != "" })
		if l.Password == "" || acts {
			continue
		}
		if _, err := provenPassword(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// ownerOf is the role that a login acts as already, or that of the usual name.
func (s *session) ownerOf(ctx context.Context, logins []role) (role, error) {
	for _, r := range logins {
		if r.actsAs == "" {
			continue
		}
		owner, err := s.readRole(ctx, r.actsAs)
		if err != nil || owner.oid != 0 && !owner.login {
			return owner, err
		}
	}
	return s.ownerRole(ctx, logins[0].name)
}

// stands tells whether a login gives its place to the owner: then its objects
// and grants need not be moved.
func (p pairing) stands(r role) bool { return p.owner.oid == 0 && r.name == baseOf(r.name) }

// moving are the logins whose objects and grants have to be moved.
func (p pairing) moving() (all []role) {
	for _, r := range p.logins {
		if r.depends && !p.stands(r) {
			all = append(all, r)
		}
	}
	return all
}

// becoming is the role that has what the owner will have before anything is moved:
// the owner, the login that gives its place to it, or none yet.
func (p pairing) becoming() role {
	for _, r := range p.logins {
		if p.stands(r) {
			return r
		}
	}
	return p.owner
}

func (s *session) membersPhase(p pairing, t rotation.Turns) (phase, error) {
	all := phase{database: p.home, reason: "an owner role " + quoted(p.owner.name) + " that cannot log in, and the logins as its members"}
	made := p.owner.oid != 0
	for _, r := range p.logins {
		switch {
		case p.stands(r):
			statements, err := s.standFor(r, p.owner.name, passwordOf(r, t))
			if err != nil {
				return all, err
			}
			all.statements = append(all.statements, statements...)
			made = true
			continue
		case !made:
			all.statements = append(all.statements, "CREATE ROLE "+quoted(p.owner.name)+" NOLOGIN")
			made = true
		}
		if r.actsAs != p.owner.name {
			all.statements = append(all.statements, s.passOnMemberships(r, p)...)
		}
		if r.isMember(p.owner.name) {
			continue
		}
		all.statements = append(all.statements, "ALTER ROLE "+quoted(r.name)+" INHERIT", s.grantTo(p.owner.name, r.name))
	}
	return all, nil
}

// attributesPhase gives the owner what no member inherits. It is of its own, so that
// there is an owner whom a superuser can give what the administrator may not. The logins
// keep it, for their open sessions act as themselves to their end.
func (p pairing) attributesPhase() phase {
	all := phase{database: p.home, reason: "attributes that members do not inherit"}
	has := p.becoming()
	for _, r := range p.logins {
		if p.stands(r) || r.actsAs == p.owner.name {
			continue
		}
		for attribute, lacks := range map[string]bool{
			"CREATEDB": r.createDB && !has.createDB, "BYPASSRLS": r.bypassRLS && !has.bypassRLS, "CREATEROLE": r.createRole && !has.createRole,
		} {
			if lacks {
				all.statements = append(all.statements, "ALTER ROLE "+quoted(p.owner.name)+" "+attribute)
			}
		}
	}
	slices.Sort(all.statements)
	all.statements = slices.Compact(all.statements)
	return all
}

func (r role) isMember(of string) bool {
	for _, m := range r.members {
		if m.of == of && m.inherit && m.set {
			return true
		}
	}
	return false
}

// passwordOf returns the password that a login keeps. If the secret does not
// know it, the login gets one with the next rotation.
func passwordOf(r role, t rotation.Turns) string {
	switch r.name {
	case t.Current.Username:
		return t.Current.Password
	case t.Previous.Username:
		return t.Previous.Password
	}
	return ""
}

// movePhases moves what a login has, in each database.
func (s *session) movePhases(ctx context.Context, r role, p pairing) ([]phase, error) {
	databases, err := s.databases(ctx, r)
	if err != nil {
		return nil, err
	}
	var all []phase
	for _, d := range databases {
		if !d.enter {
			return nil, rotation.Errorf(rotation.ClassPrivilege, "%s has objects or grants in the database %s: GRANT CONNECT ON DATABASE %s TO %s",
				r.name, d.name, quoted(d.name), quoted(s.login.Username))
		}
		statements, err := s.moveStatements(ctx, d.name, r, p)
		if err != nil {
			return nil, err
		}
		all = append(all, phase{d.name, "what " + r.name + " owns or was granted becomes " + p.owner.name + "'s", statements})
	}
	return all, nil
}

// moveStatements hand over what is granted and owned. An administrator that is
// no superuser must be a member of both roles meanwhile.
func (s *session) moveStatements(ctx context.Context, name string, r role, p pairing) ([]string, error) {
	there, err := s.in(ctx, name)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if err := there.mappingsPass(ctx, r, p.becoming()); err != nil {
		return nil, err
	}
	all, err := there.handOver(ctx, r, p)
	if err != nil {
		return nil, err
	}
	owned, err := there.ownedBy(ctx, r)
	if err != nil {
		return nil, err
	}
	var asOwner []string
	if slices.ContainsFunc(owned, reassignable) {
		asOwner = append(asOwner, "REASSIGN OWNED BY "+quoted(r.name)+" TO "+quoted(p.owner.name))
	}
	last, err := there.nameTheOwner(ctx, r, p)
	if err != nil || len(asOwner)+len(last) == 0 {
		return all, err
	}
	return s.asMember(ctx, slices.Concat(all, asOwner, last), r, p)
}

// asMember makes the administrator a member of the login and the owner before
// statements, unless it is one, and after them what it was before.
func (s *session) asMember(ctx context.Context, all []string, r role, p pairing) ([]string, error) {
	admin, err := s.readRole(ctx, s.login.Username)
	if err != nil || admin.super {
		return all, err
	}
	// What is granted of a login that gives its place to the owner is the owner's then.
	for _, each := range []struct{ now, then string }{{r.name, r.name}, {p.becoming().name, p.owner.name}} {
		if !admin.isMember(each.now) {
			all = append([]string{s.grantTo(each.then, admin.name)}, append(all, s.asBefore(admin, each.now, each.then))...)
		}
	}
	return all, nil
}

// asBefore gives the administrator back what it had of a role.
func (s *session) asBefore(admin role, now, then string) string {
	for _, m := range admin.members {
		if m.of == now && slices.Contains(admin.givers[now], admin.name) {
			return fmt.Sprintf("GRANT %s TO %s WITH INHERIT %t, SET %t", quoted(then), quoted(admin.name), m.inherit, m.set)
		}
	}
	return "REVOKE " + quoted(then) + " FROM " + quoted(admin.name)
}

// actPhase comes last: until then the logins act as themselves.
func (p pairing) actPhase() phase {
	last := phase{database: p.home, reason: "sessions of either login act as " + quoted(p.owner.name) + " from now on"}
	for _, r := range p.logins {
		if r.actsAs != p.owner.name && !p.stands(r) {
			last.statements = append(last.statements, actAs(r.name, p.owner.name))
		}
	}
	return last
}
