package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn/rotation"
)

var _ rotation.RightsReader = (*session)(nil)

// Rights implements rotation.RightsReader. Of what the roles own and are
// granted it tells in every database that the session may enter.
func (s *session) Rights(ctx context.Context, user string) ([]string, error) {
	r, err := s.readRole(ctx, user)
	if err != nil || r.oid == 0 {
		return nil, err
	}
	lines := r.lines()
	databases, err := s.databases(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, d := range databases {
		found, err := s.linesIn(ctx, d, r)
		if err != nil {
			return nil, err
		}
		lines = append(lines, found...)
	}
	slices.Sort(lines)
	return slices.Compact(lines), nil
}

// lines are the facts about a role that belong to no database.
func (r role) lines() (lines []string) {
	for word, is := range map[string]bool{"LOGIN": r.login, "SUPERUSER": r.super, "CREATEROLE": r.createRole, "REPLICATION": r.replication,
		"CREATEDB": r.createDB && r.actsAs == "", "BYPASSRLS": r.bypassRLS && r.actsAs == ""} {
		if is {
			lines = append(lines, word)
		}
	}
	if r.limit >= 0 {
		lines = append(lines, fmt.Sprintf("CONNECTION LIMIT %d", r.limit))
	}
	if r.until != "infinity" {
		lines = append(lines, "VALID UNTIL "+r.until)
	}
	if r.actsAs != "" {
		lines = append(lines, "SET role = "+r.actsAs)
	}
	for _, m := range r.members {
		line := "member of " + quoted(m.of)
		if m.admin {
			line += " WITH ADMIN OPTION"
		}
		if !m.inherit {
			line += " WITH INHERIT FALSE"
		}
		if !m.set {
			line += " WITH SET FALSE"
		}
		lines = append(lines, line)
	}
	for _, each := range r.settings {
		line := "SET " + each.name + " = " + each.value
		if each.database != "" {
			line += " in database " + each.database
		}
		lines = append(lines, line)
	}
	return lines
}

// database is one in which a role has objects, grants or policies.
type database struct {
	name  string
	enter bool // the session may connect to it
}

// databases finds them without entering any.
func (s *session) databases(ctx context.Context, r role) ([]database, error) {
	rows, err := s.conn.Query(ctx, `SELECT d.datname, d.datallowconn AND has_database_privilege(d.oid, 'CONNECT')
		FROM pg_database d WHERE d.oid IN (
			SELECT CASE WHEN dbid = 0 AND classid = 'pg_database'::regclass THEN objid
				WHEN dbid = 0 THEN (SELECT oid FROM pg_database WHERE datname = current_database()) ELSE dbid END
			FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND refobjid = $1)
		ORDER BY 1`, r.oid)
	if err != nil {
		return nil, statementError(ctx, err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d database, err error) {
		return d, row.Scan(&d.name, &d.enter)
	})
	return all, statementError(ctx, err)
}

// in connects to another database of the server as the same role.
func (s *session) in(ctx context.Context, name string) (*session, error) {
	cfg := s.conn.Config().Copy()
	cfg.Database = name
	other := &session{login: s.login, timeout: s.timeout}
	cfg.OnNotice = other.heed
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, loginError(ctx, err, s.login)
	}
	other.conn = c
	if err := other.settle(ctx); err != nil {
		_ = other.Close()
		return nil, err
	}
	return other, nil
}

func (s *session) linesIn(ctx context.Context, d database, r role) ([]string, error) {
	where := " in database " + d.name
	if !d.enter {
		return []string{"objects or grants" + where + ", which " + s.login.Username + " may not enter"}, nil
	}
	there, err := s.in(ctx, d.name)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	owned, err := there.ownedBy(ctx, r)
	if err != nil {
		return nil, err
	}
	granted, err := there.grantedTo(ctx, r)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, object := range owned {
		lines = append(lines, object+where)
	}
	for _, g := range granted {
		lines = append(lines, g.to("")+where)
	}
	return lines, nil
}

// ownedBy names what belongs to a role in this database, and the policies and default
// privileges that name it.
func (s *session) ownedBy(ctx context.Context, r role) ([]string, error) {
	rows, err := s.conn.Query(ctx, `SELECT CASE deptype WHEN 'o' THEN 'owns ' ELSE 'is named by ' END || o.type || ' ' || o.identity
		FROM pg_shdepend d, pg_identify_object(d.classid, d.objid, d.objsubid) o
		WHERE refclassid = 'pg_authid'::regclass AND refobjid = $1 AND (deptype IN ('o', 'r') OR deptype = 'a' AND classid = 'pg_default_acl'::regclass)
		AND dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
		AND (dbid <> 0 OR classid <> 'pg_database'::regclass OR o.identity = pg_catalog.quote_ident(current_database()))
		ORDER BY 1`, r.oid)
	if err != nil {
		return nil, statementError(ctx, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return all, statementError(ctx, err)
}

// granted is a privilege that a role was granted directly.
type granted struct {
	privilege, on string
	option        bool
	owner         string // of the object
	public        bool   // everybody has it
	mine          bool   // the session may take it back: it can act as the object's owner, who gave it
}

// to is the GRANT of it; "" leaves the grantee out.
func (g granted) to(name string) string {
	text := "GRANT " + g.privilege + " ON " + g.on
	if name != "" {
		text += " TO " + quoted(name)
	}
	if g.option {
		text += " WITH GRANT OPTION"
	}
	return text
}

func (g granted) from(name string) string {
	return "REVOKE " + g.privilege + " ON " + g.on + " FROM " + quoted(name)
}

// acls are the access privileges of everything in a database that can have
// them: what GRANT calls it, its owner, its list, and the column, if any.
var acls = strings.Join([]string{
	"SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || oid::regclass AS name, relowner AS owner, relacl AS acl, NULL::name AS part FROM pg_class",
	"SELECT 'TABLE ' || attrelid::regclass, relowner, attacl, attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid",
	"SELECT 'ROUTINE ' || oid::regprocedure, proowner, proacl, NULL FROM pg_proc",
	"SELECT 'SCHEMA ' || pg_catalog.quote_ident(nspname), nspowner, nspacl, NULL FROM pg_namespace",
	"SELECT 'TYPE ' || oid::regtype, typowner, typacl, NULL FROM pg_type",
	"SELECT 'LANGUAGE ' || pg_catalog.quote_ident(lanname), lanowner, lanacl, NULL FROM pg_language",
	"SELECT 'FOREIGN DATA WRAPPER ' || pg_catalog.quote_ident(fdwname), fdwowner, fdwacl, NULL FROM pg_foreign_data_wrapper",
	"SELECT 'FOREIGN SERVER ' || pg_catalog.quote_ident(srvname), srvowner, srvacl, NULL FROM pg_foreign_server",
	"SELECT 'DATABASE ' || pg_catalog.quote_ident(datname), datdba, datacl, NULL FROM pg_database WHERE datname = current_database()",
	"SELECT 'TABLESPACE ' || pg_catalog.quote_ident(spcname), spcowner, spcacl, NULL FROM pg_tablespace",
	"SELECT 'LARGE OBJECT ' || oid, lomowner, lomacl, NULL FROM pg_largeobject_metadata",
}, " UNION ALL ")

// parameterACLs are those of settings, which are there from PostgreSQL 15 on. They belong
// to the superuser that the installation has made, whose number is always 10.
const parameterACLs = ` UNION ALL SELECT 'PARAMETER ' ||
	(SELECT string_agg(pg_catalog.quote_ident(part), '.' ORDER BY n) FROM unnest(string_to_array(parname, '.')) WITH ORDINALITY p (part, n)),
	10, paracl, NULL FROM pg_parameter_acl`

func (s *session) acls() string {
	if s.major() < 15 {
		return acls
	}
	return acls + parameterACLs
}

// grantedTo reads what a role was granted in this database, apart from what it
// owns.
func (s *session) grantedTo(ctx context.Context, r role) ([]granted, error) {
	rows, err := s.conn.Query(ctx, `SELECT a.privilege_type || COALESCE(' (' || pg_catalog.quote_ident(part) || ')', ''), name, bool_or(a.is_grantable),
			pg_get_userbyid(o.owner), bool_or(EXISTS (SELECT FROM aclexplode(o.acl) p WHERE p.grantee = 0 AND p.privilege_type = a.privilege_type)),
			bool_and(a.grantor = o.owner AND pg_has_role(o.owner, 'USAGE'))
		FROM (`+s.acls()+`) o, aclexplode(o.acl) a WHERE a.grantee = $1 AND o.owner <> $1 GROUP BY 1, 2, o.owner ORDER BY 2, 1`, r.oid)
	if err != nil {
		return nil, statementError(ctx, err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (g granted, err error) {
		return g, row.Scan(&g.privilege, &g.on, &g.option, &g.owner, &g.public, &g.mine)
	})
	return all, statementError(ctx, err)
}
