package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keyturn/keyturn/rotation"
)

var (
	_ rotation.UserCopier    = (*session)(nil)
	_ rotation.CopyExplainer = (*session)(nil)
)

// CopyUser implements rotation.UserCopier. All of it is one transaction.
func (s *session) CopyUser(ctx context.Context, from rotation.Login, to string) error {
	return s.inTransaction(ctx, baseOf(to), s.copying(ctx, from, to))
}

// errTried ends the transaction of a trial.
var errTried = errors.New("it was a trial")

// ExplainCopy implements rotation.CopyExplainer: it does all of it, and ends it by a
// ROLLBACK.
func (s *session) ExplainCopy(ctx context.Context, from rotation.Login, to string) ([]string, error) {
	err := s.inTransaction(ctx, baseOf(to), func() error { return cmp.Or(s.copying(ctx, from, to)(), errTried) })
	if !errors.Is(err, errTried) {
		return nil, err
	}
	return append(s.ran, settingPassword(to)), nil
}

func (s *session) copying(ctx context.Context, from rotation.Login, to string) func() error {
	return func() error {
		have, err := s.readRole(ctx, from.Username)
		if err != nil {
			return err
		}
		if have.oid == 0 {
			return rotation.NoUser(from.Username)
		}
		if !have.login {
			return rotation.Errorf(rotation.ClassPolicy, "the role %s may not log in, and so no copy of it shall: ALTER ROLE %s LOGIN", have.name, quoted(have.name))
		}
		if err := s.lasting(ctx, have.name); err != nil {
			return err
		}
		owner, err := s.setUp(ctx, have, from, to)
		if err != nil {
			return err
		}
		return s.levelLogin(ctx, from.Username, to, owner)
	}
}

// inTransaction keeps other sessions of this package from acting on the same
// pair of roles meanwhile.
func (s *session) inTransaction(ctx context.Context, pair string, act func() error) error {
	begin := begin + "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '10s'; SET LOCAL search_path = pg_catalog; " +
		"SELECT pg_advisory_xact_lock(hashtextextended(" + literal("keyturn:"+pair) + ", 0))"
	s.ran = nil
	err := s.exec(ctx, begin)
	if err == nil {
		err = act()
	}
	if err == nil {
		return s.exec(ctx, "COMMIT")
	}
	_ = s.exec(ctx, "ROLLBACK") // if the connection is gone, the server does it
	return err
}

// setUp gives the login role an owner role, unless it has one, and returns its
// name. It refuses what only an administrator can decide.
func (s *session) setUp(ctx context.Context, have role, from rotation.Login, to string) (string, error) {
	if have.actsAs != "" {
		if err := s.mayOwn(ctx, have); err != nil {
			return "", err
		}
		return have.actsAs, s.mayAct(ctx, to, have.actsAs)
	}
	owner, err := s.mayStandFor(ctx, have, to)
	if err != nil {
		return "", err
	}
	if owner.oid != 0 {
		return owner.name, s.run(ctx, []string{s.grantTo(owner.name, have.name), actAs(have.name, owner.name)})
	}
	password, err := provenPassword(ctx, from)
	if err != nil {
		return "", err
	}
	statements, err := s.standFor(have, owner.name, password)
	if err != nil {
		return "", err
	}
	return owner.name, s.run(ctx, statements)
}

// mayOwn refuses an owner role through which a login could change the other's
// password, and one that the login is set to act as but may not: then its sessions
// have what is its own, which a copy would not.
func (s *session) mayOwn(ctx context.Context, login role) error {
	owner, err := s.readRole(ctx, login.actsAs)
	if err != nil {
		return err
	}
	acts, err := s.mayBecome(ctx, login, owner)
	if err != nil {
		return err
	}
	switch {
	case owner.oid == 0:
		return rotation.Errorf(rotation.ClassPolicy, "%s is set to act as the role %s, which is not there: CREATE ROLE %[3]s, and GRANT %[3]s TO %[4]s, or ALTER ROLE %[4]s RESET role",
			login.name, owner.name, quoted(owner.name), quoted(login.name))
	case !acts:
		return rotation.Errorf(rotation.ClassPolicy, "%s is set to act as %s, but may not: %s, or ALTER ROLE %s RESET role",
			login.name, owner.name, s.grantTo(owner.name, login.name), quoted(login.name))
	case owner.login:
		return unready("%s acts as %s, which can log in, and so could change its password", login.name, owner.name)
	}
	return tooMighty(owner, s.from16())
}

// mayBecome tells whether a login may SET ROLE to another role.
func (s *session) mayBecome(ctx context.Context, login, other role) (may bool, err error) {
	privilege := "MEMBER"
	if s.from16() {
		privilege = "SET"
	}
	err = s.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE oid = $2 AND pg_has_role($1::oid, oid, $3))", login.oid, other.oid, privilege).Scan(&may)
	return may, statementError(ctx, err)
}

// mayAct refuses a role that has yet to act as the owner, and would leave behind what it
// has of its own: a mending of the ownership has not come to its end.
func (s *session) mayAct(ctx context.Context, to, owner string) error {
	other, err := s.readRole(ctx, to)
	if err == nil && other.depends && other.actsAs != owner {
		err = unready("%s has objects or grants of its own", other.name)
	}
	return err
}

// provenPassword returns the password of a login if it is valid: one that is
// not must not become so.
func provenPassword(ctx context.Context, l rotation.Login) (string, error) {
	c, err := Engine{}.Connect(ctx, l)
	if rotation.ClassOf(err) == rotation.ClassAuth {
		return "", nil
	}
	if errors.Is(err, rotation.ErrConnectionLimit) {
		return l.Password, nil
	}
	if err != nil {
		return "", err
	}
	s := c.(*session)
	defer s.Close()
	if err := s.exec(ctx, "BEGIN NOT DEFERRABLE"); err != nil { // see notDeferred
		return "", err
	}
	return l.Password, s.namesItsSchema(ctx)
}

// namesItsSchema refuses a role that finds a schema by "$user" in its search_path: that
// will mean the owner's name, and applications would miss what they do not name.
func (s *session) namesItsSchema(ctx context.Context) error {
	r := setting{name: "search_path"}
	err := s.conn.QueryRow(ctx, `SELECT current_database(), reset_val FROM pg_settings WHERE name = 'search_path'
		AND EXISTS (SELECT FROM pg_namespace WHERE nspname = session_user AND has_schema_privilege(oid, 'USAGE'))`).Scan(&r.database, &r.value)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	names := splitNames(r.value)
	if err != nil || !slices.Contains(names, "$user") {
		return statementError(ctx, err)
	}
	user := s.login.Username
	for i, name := range names {
		if name == "$user" {
			name = user
		}
		names[i] = quoted(name)
	}
	r.value = strings.Join(names, ", ")
	return rotation.Errorf(rotation.ClassPolicy, `%s finds the schema %s by "$user", which will mean its owner role: %s`, user, quoted(user), r.set(user))
}

// mayStandFor returns the owner role that is to be, or that waits to be used.
func (s *session) mayStandFor(ctx context.Context, have role, to string) (role, error) {
	if err := tooMighty(have, s.from16()); err != nil {
		return role{}, err
	}
	owner, err := s.ownerRole(ctx, have.name)
	if err != nil {
		return role{}, err
	}
	other, err := s.readRole(ctx, to)
	if err != nil {
		return role{}, err
	}
	switch {
	case have.name != baseOf(have.name):
		return role{}, unready("%s has no owner role: the two users were made in another way", have.name)
	case owner.oid != 0 && have.depends:
		return role{}, unready("%s has objects or grants, but there is the role %s already", have.name, owner.name)
	case other.depends:
		return role{}, unready("%s has objects or grants of its own", other.name)
	}
	return owner, nil
}

// ownerRole reads the owner role by its usual name.
func (s *session) ownerRole(ctx context.Context, user string) (role, error) {
	name := baseOf(user) + ownerSuffix
	if len(name) > 63 {
		return role{}, rotation.Errorf(rotation.ClassSecret, "the name %s of the owner role has %d bytes, and PostgreSQL takes 63: use a shorter username, or set one by ALTER ROLE %s SET role",
			name, len(name), quoted(user))
	}
	owner, err := s.readRole(ctx, name)
	if err == nil && owner.login {
		err = rotation.Errorf(rotation.ClassPolicy, "the role %s, which is to own the objects, can log in: ALTER ROLE %s NOLOGIN, or rename it", name, quoted(name))
	}
	return owner, err
}

// tooMighty refuses roles that could change the other's password all the same.
func tooMighty(r role, from16 bool) error {
	if r.super || r.createRole && !from16 {
		return rotation.Errorf(rotation.ClassPolicy, "the role %s is a superuser or has CREATEROLE and so could change the other user's password: rotate it by SingleUser, or take that away", r.name)
	}
	return nil
}

func unready(format string, args ...any) error {
	return rotation.Errorf(rotation.ClassPolicy, "%s; \"keyturn doctor SECRET --fix-ownership\" shows what to do and does it", fmt.Sprintf(format, args...))
}

// levelLogin makes the login role to the equal of from.
func (s *session) levelLogin(ctx context.Context, from, to, owner string) error {
	want, err := s.readRole(ctx, from)
	if err != nil {
		return err
	}
	have, err := s.readRole(ctx, to)
	if err != nil {
		return err
	}
	return s.run(ctx, s.levelStatements(have, want, owner))
}

// levelStatements returns what differs.
func (s *session) levelStatements(have, want role, owner string) (all []string) {
	switch {
	case have.oid == 0:
		all = append(all, "CREATE ROLE "+quoted(have.name)+" "+want.attributes()+" PASSWORD NULL")
	case have.attributes() != want.attributes() || have.login != want.login:
		text := want.attributes()
		if have.replication && !want.replication {
			text += " NOREPLICATION"
		}
		all = append(all, "ALTER ROLE "+quoted(have.name)+" "+text)
	}
	all = append(all, s.levelMemberships(have, want)...)
	if have.actsAs != owner {
		all = append(all, actAs(have.name, owner))
	}
	for _, each := range have.settings {
		if !slices.ContainsFunc(want.settings, func(w setting) bool { return w.database == each.database && w.name == each.name }) {
			all = append(all, each.reset(have.name))
		}
	}
	for _, each := range want.settings {
		if !slices.Contains(have.settings, each) {
			all = append(all, each.set(have.name))
		}
	}
	return all
}

func (s *session) levelMemberships(have, want role) (all []string) {
	for _, m := range have.members {
		if !slices.Contains(want.members, m) {
			all = append(all, s.revokeMembership(have, m.of)...)
		}
	}
	for _, m := range want.members {
		if !slices.Contains(have.members, m) {
			all = append(all, s.grantMembership(m, have.name))
		}
	}
	return all
}

// revokeMembership takes a role back. From PostgreSQL 16 on each grant of it is its
// giver's; those that the session may not take back stay.
func (s *session) revokeMembership(have role, of string) (all []string) {
	statement := "REVOKE " + quoted(of) + " FROM " + quoted(have.name)
	if !s.from16() {
		return []string{statement}
	}
	for _, giver := range have.givers[of] {
		all = append(all, statement+" GRANTED BY "+quoted(giver))
	}
	return all
}

func (s *session) grantMembership(m membership, login string) string {
	statement := "GRANT " + quoted(m.of) + " TO " + quoted(login)
	switch {
	case s.from16():
		return fmt.Sprintf("%s WITH ADMIN %t, INHERIT %t, SET %t", statement, m.admin, m.inherit, m.set)
	case m.admin:
		return statement + " WITH ADMIN OPTION"
	}
	return statement
}

// run runs statements and names the GRANT that one of them lacks.
func (s *session) run(ctx context.Context, statements []string) error {
	for _, each := range statements {
		if err := s.exec(ctx, each); err != nil {
			return s.lacks(err, each)
		}
		s.ran = append(s.ran, redacted(each))
		if s.withheld != "" {
			return rotation.Errorf(rotation.ClassPrivilege, "%s: the server has given nothing, %q; the object's owner, or a superuser, must do that", each, s.withheld)
		}
	}
	return nil
}

// heed keeps the warning that is all that the server says to a GRANT of what the session
// may not pass on (SQLSTATE 01007, privilege_not_granted).
func (s *session) heed(_ *pgconn.PgConn, n *pgconn.Notice) {
	if n.Code == "01007" {
		s.withheld = n.Message
	}
}

// lacks says which statement failed, and for want of which privilege.
func (s *session) lacks(err error, statement string) error {
	switch {
	case rotation.ClassOf(err) != rotation.ClassPrivilege:
		return fmt.Errorf("%s: %w", redacted(statement), err)
	case !onRoles(statement):
		return rotation.Errorf(rotation.ClassPrivilege, "%s: the object's owner, or a superuser, must do that: %w", statement, err)
	}
	admin := quoted(s.login.Username)
	return rotation.Errorf(rotation.ClassPrivilege,
		"%s: the administrator needs CREATEROLE (ALTER ROLE %s CREATEROLE), from PostgreSQL 16 on ADMIN OPTION on the roles (GRANT … TO %s WITH ADMIN OPTION), and for REPLICATION, BYPASSRLS and CREATEDB to be a superuser or to have it: %w",
		redacted(statement), admin, admin, err)
}

// onRoles tells statements about roles from those about what belongs to them.
func onRoles(statement string) bool {
	for _, begin := range []string{"ALTER ROLE ", "CREATE ROLE ", `GRANT "`, `REVOKE "`} {
		if strings.HasPrefix(statement, begin) {
			return true
		}
	}
	return false
}
