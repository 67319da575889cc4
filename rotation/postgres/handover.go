package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn/rotation"
)

// passOnMemberships gives the owner the roles that a login is a member of: its
// sessions will act as the owner, with the owner's rights alone.
func (s *session) passOnMemberships(r role, p pairing) (all []string) {
	has := p.becoming()
	pair := []string{p.owner.name, baseOf(r.name), baseOf(r.name) + rotation.CloneSuffix}
	for _, m := range r.members {
		both := has.with(m)
		if !slices.Contains(pair, m.of) && !slices.Contains(has.members, both) {
			all = append(all, s.grantMembership(both, p.owner.name))
		}
	}
	return all
}

// with is a membership with what the role's own one, in the same role, gives besides.
func (r role) with(m membership) membership {
	for _, own := range r.members {
		if own.of == m.of {
			m.admin, m.inherit, m.set = m.admin || own.admin, m.inherit || own.inherit, m.set || own.set
		}
	}
	return m
}

// reassignable leaves out what REASSIGN OWNED does.
func reassignable(object string) bool {
	return strings.HasPrefix(object, "owns ") && !strings.HasPrefix(object, "owns default acl ") && !strings.HasPrefix(object, "owns user mapping ")
}

// handOver gives the owner what a login was granted, and takes it from the
// login, which has it as a member. What the session may not take stays, and
// does no harm.
func (s *session) handOver(ctx context.Context, r role, p pairing) ([]string, error) {
	grants, err := s.grantedTo(ctx, r)
	if err != nil {
		return nil, err
	}
	has, err := s.grantedTo(ctx, p.becoming())
	if err != nil {
		return nil, err
	}
	var all []string
	for _, g := range grants {
		becomes := slices.Contains([]string{p.owner.name, baseOf(r.name), baseOf(r.name) + rotation.CloneSuffix}, g.owner)
		public := g.public && !g.option
		if !becomes && !public && !slices.ContainsFunc(has, func(h granted) bool { return h.to("") == g.to("") }) {
			all = append(all, g.to(p.owner.name))
		}
		if g.mine {
			all = append(all, g.from(r.name))
		}
	}
	return all, nil
}

// mappingsPass refuses a login that alone has a user mapping to a foreign server: who
// acts as the owner would lose the server, and the mapping's password is not ours to copy.
func (s *session) mappingsPass(ctx context.Context, r, has role) error {
	rows, err := s.conn.Query(ctx, `SELECT srvname FROM pg_user_mappings m WHERE umuser = $1 AND NOT EXISTS
		(SELECT FROM pg_user_mappings o WHERE o.srvid = m.srvid AND o.umuser IN (0, $2)) ORDER BY 1`, r.oid, has.oid)
	if err != nil {
		return statementError(ctx, err)
	}
	servers, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(servers) == 0 {
		return statementError(ctx, err)
	}
	return rotation.Errorf(rotation.ClassPolicy, "in the database %s, %s alone has a user mapping to the foreign server %s: CREATE USER MAPPING FOR %s SERVER %s OPTIONS (…), with the same options",
		s.conn.Config().Database, r.name, servers[0], quoted(has.name), quoted(servers[0]))
}

// nameTheOwner puts the owner into what names a login without being a grant or its
// property: policies, and privileges of objects that are yet to be made.
func (s *session) nameTheOwner(ctx context.Context, r role, p pairing) ([]string, error) {
	policies, err := s.policies(ctx, r, p)
	if err != nil {
		return nil, err
	}
	defaults, err := s.defaults(ctx, r, p)
	return append(policies, defaults...), err
}

// policies lists the policies that shall name the owner instead of a login. Without,
// whoever acts as the owner sees no rows.
func (s *session) policies(ctx context.Context, r role, p pairing) ([]string, error) {
	rows, err := s.conn.Query(ctx, `SELECT polname, polrelid::regclass::text,
			ARRAY(SELECT rolname FROM pg_roles WHERE oid = ANY(polroles) AND oid <> $1 ORDER BY 1)::text[]
		FROM pg_policy WHERE $1 = ANY(polroles) AND NOT $2 = ANY(polroles) ORDER BY 2, 1`, r.oid, p.becoming().oid)
	if err != nil {
		return nil, statementError(ctx, err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var name, table string
		var roles []string
		err := row.Scan(&name, &table, &roles)
		for i := range roles {
			roles[i] = quoted(roles[i])
		}
		return fmt.Sprintf("ALTER POLICY %s ON %s TO %s", quoted(name), table, strings.Join(append(roles, quoted(p.owner.name)), ", ")), err
	})
	return all, statementError(ctx, err)
}

// byDefault is a privilege on the objects that a role will make; see ALTER DEFAULT
// PRIVILEGES.
type byDefault struct {
	maker, schema, kind, privilege, grantee string
	option                                  bool
}

// swap puts one role in another's place.
func (d byDefault) swap(one, other string) byDefault {
	if d.maker == one {
		d.maker = other
	}
	if d.grantee == one {
		d.grantee = other
	}
	return d
}

// statement gives the privilege, or takes it back.
func (d byDefault) statement(verb, word string) string {
	text := "ALTER DEFAULT PRIVILEGES FOR ROLE " + quoted(d.maker)
	if d.schema != "" {
		text += " IN SCHEMA " + quoted(d.schema)
	}
	text += " " + verb + " " + d.privilege + " ON " + d.kind + " " + word + " "
	if d.grantee == "" {
		return text + "PUBLIC"
	}
	return text + quoted(d.grantee)
}

func (d byDefault) grant() string {
	text := d.statement("GRANT", "TO")
	if d.option {
		text += " WITH GRANT OPTION"
	}
	return text
}

func (d byDefault) revoke() string { return d.statement("REVOKE", "FROM") }

// defaults lists what others get of objects that a login makes, and the login of those
// of others, for the owner in its place. What everybody has anyway is left out.
func (s *session) defaults(ctx context.Context, r role, p pairing) ([]string, error) {
	found, err := s.readDefaults(ctx)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, d := range found {
		instead := d.swap(r.name, p.becoming().name)
		if instead == d || d.schema == "" && d.grantee == "" {
			continue
		}
		if instead.maker != instead.grantee && !slices.Contains(found, instead) {
			all = append(all, d.swap(r.name, p.owner.name).swap(p.becoming().name, p.owner.name).grant())
		}
		all = append(all, d.swap(p.becoming().name, p.owner.name).revoke())
	}
	return all, nil
}

func (s *session) readDefaults(ctx context.Context) ([]byDefault, error) {
	rows, err := s.conn.Query(ctx, `SELECT pg_get_userbyid(defaclrole), COALESCE(nspname, ''),
			CASE defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES' WHEN 'T' THEN 'TYPES'
				WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END,
			privilege_type, CASE grantee WHEN 0 THEN '' ELSE pg_get_userbyid(grantee) END, is_grantable
		FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = defaclnamespace, aclexplode(defaclacl) a
		WHERE grantee <> defaclrole ORDER BY 1, 2, 3, 5, 4`)
	if err != nil {
		return nil, statementError(ctx, err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d byDefault, err error) {
		return d, row.Scan(&d.maker, &d.schema, &d.kind, &d.privilege, &d.grantee, &d.option)
	})
	return all, statementError(ctx, err)
}
