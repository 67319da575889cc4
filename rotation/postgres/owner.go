package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn/rotation"
)

// Two login roles that take turns share an owner role that cannot log in:
//
//	app        LOGIN, member of app_owner, SET role = app_owner
//	app_clone  LOGIN, member of app_owner, SET role = app_owner
//	app_owner  NOLOGIN, owns the objects, holds the grants
//
// A session of either acts as app_owner from its first statement, so what it
// makes belongs to neither, and neither is a member of the other: it cannot
// change the other's password. The role setting tells the owner's name, which
// an administrator may so choose.
const ownerSuffix = "_owner"

// role is what pg_roles and its neighbours say about one role.
type role struct {
	oid  uint32 // 0: there is no such role
	name string

	login, super, createRole, replication bool

	createDB, bypassRLS bool // without effect in a session that acts as another role

	limit    int    // CONNECTION LIMIT
	until    string // VALID UNTIL
	actsAs   string // the setting "role"
	depends  bool   // objects, grants or policies name it, in any database
	members  []membership
	settings []setting

	givers map[string][]string // from 16 on :: role it is a member of → whose grants the session may take back
}

// membership is a role that a role has been granted. The last two options are
// there from PostgreSQL 16 on.
type membership struct {
	of    string
	admin bool

	inherit, set bool
}

// setting is what ALTER ROLE … [IN DATABASE …] SET has set.
type setting struct{ database, name, value string }

// from16 tells whether a membership says by itself what it gives.
func (s *session) from16() bool { return s.major() >= 16 }

func (s *session) major() int {
	return serverVersion(s.conn.PgConn().ParameterStatus("server_version"))
}

func serverVersion(text string) (major int) {
	_, _ = fmt.Sscanf(text, "%d", &major)
	return major
}

// readRole reads a role by its name.
func (s *session) readRole(ctx context.Context, name string) (role, error) {
	r := role{name: name}
	err := s.conn.QueryRow(ctx, `SELECT oid, rolcanlogin, rolsuper, rolcreaterole, rolreplication, rolcreatedb, rolbypassrls, rolconnlimit,
		COALESCE(rolvaliduntil::text, 'infinity'),
		EXISTS (SELECT FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND refobjid = r.oid)
		FROM pg_roles r WHERE rolname = $1`, name).
		Scan(&r.oid, &r.login, &r.super, &r.createRole, &r.replication, &r.createDB, &r.bypassRLS, &r.limit, &r.until, &r.depends)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, nil
	}
	if err != nil {
		return r, statementError(ctx, err)
	}
	if err = s.readMemberships(ctx, &r); err != nil {
		return r, err
	}
	if r.settings, err = s.readSettings(ctx, r.oid); err != nil {
		return r, err
	}
	r.settings = slices.DeleteFunc(r.settings, func(each setting) bool {
		if each.database != "" || each.name != "role" {
			return false
		}
		r.actsAs = each.value
		return true
	})
	return r, nil
}

// readMemberships reads the roles that a role is a member of.
func (s *session) readMemberships(ctx context.Context, r *role) error {
	options := "true, true, '{}'::text[]"
	if s.from16() {
		options = `bool_or(inherit_option), bool_or(set_option),
			array_agg(pg_get_userbyid(grantor)) FILTER (WHERE pg_has_role(grantor, 'USAGE') AND pg_has_role(m.roleid, 'MEMBER WITH ADMIN OPTION'))`
	}
	rows, err := s.conn.Query(ctx, `SELECT r.rolname, bool_or(admin_option), `+options+`
		FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE m.member = $1 GROUP BY r.rolname ORDER BY 1`, r.oid)
	if err != nil {
		return statementError(ctx, err)
	}
	r.givers = map[string][]string{}
	r.members, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (m membership, err error) {
		var givers []string
		err = row.Scan(&m.of, &m.admin, &m.inherit, &m.set, &givers)
		r.givers[m.of] = givers
		return m, err
	})
	return statementError(ctx, err)
}

func (s *session) readSettings(ctx context.Context, oid uint32) ([]setting, error) {
	rows, err := s.conn.Query(ctx, `SELECT COALESCE(datname, ''), split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)
		FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c
		WHERE s.setrole = $1 ORDER BY 1, 2`, oid)
	if err != nil {
		return nil, statementError(ctx, err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (each setting, err error) {
		return each, row.Scan(&each.database, &each.name, &each.value)
	})
	return all, statementError(ctx, err)
}

// quoted is a role's name in SQL.
func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

// literal is a text in SQL, whatever standard_conforming_strings says.
func literal(text string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}

// grantTo makes a login role a member that may act as the owner.
func (s *session) grantTo(owner, login string) string {
	statement := "GRANT " + quoted(owner) + " TO " + quoted(login)
	if s.from16() {
		statement += " WITH INHERIT TRUE, SET TRUE"
	}
	return statement
}

func actAs(login, owner string) string {
	return "ALTER ROLE " + quoted(login) + " SET role = " + literal(owner)
}

// attributes are what a login role has of its own. It always inherits: before
// the owner's rights are its own, a session may run without the role setting.
func (r role) attributes() string {
	text := fmt.Sprintf("LOGIN INHERIT CONNECTION LIMIT %d VALID UNTIL %s", r.limit, literal(r.until))
	if r.replication {
		text += " REPLICATION"
	}
	return text
}

// standFor renames a role that rotates alone to the owner's name and puts a
// new login role in its place, with the same password. Objects, grants,
// policies and memberships go by a role's number, so in every database they
// are the owner's at once, and sessions that are open go on as the owner. It
// all happens in one transaction.
func (s *session) standFor(r role, owner, password string) ([]string, error) {
	access := "PASSWORD NULL"
	if password != "" {
		verifier, err := newVerifier(password, s.iterations)
		if err != nil {
			return nil, again(r, err)
		}
		access = "PASSWORD '" + verifier + "'"
	}
	statements := []string{
		"ALTER ROLE " + quoted(r.name) + " RENAME TO " + quoted(owner),
		"ALTER ROLE " + quoted(owner) + " NOLOGIN PASSWORD NULL CONNECTION LIMIT -1 VALID UNTIL 'infinity'",
		"CREATE ROLE " + quoted(r.name) + " " + r.attributes() + " " + access,
		s.grantTo(owner, r.name),
		actAs(r.name, owner),
	}
	for _, each := range r.settings {
		statements = append(statements, each.set(r.name))
	}
	return statements, nil
}

// again says why a password that stays cannot be given to the new role. It is not rejected
// as a new one is, for no other new one would help.
func again(r role, err error) error {
	if errors.Is(err, rotation.ErrRejected) {
		return rotation.Errorf(rotation.ClassPolicy, "the password of %s stays and has to be given again, and has characters outside printable ASCII: rotate once by SingleUser", r.name)
	}
	return fmt.Errorf("giving %s its password again: %w", r.name, err)
}

// inDatabase is the clause of ALTER ROLE.
func (s setting) inDatabase(login string) string {
	text := "ALTER ROLE " + quoted(login)
	if s.database != "" {
		text += " IN DATABASE " + quoted(s.database)
	}
	return text
}

func (s setting) reset(login string) string {
	return s.inDatabase(login) + " RESET " + settingName(s.name)
}

func (s setting) set(login string) string {
	return s.inDatabase(login) + " SET " + settingName(s.name) + " = " + s.values()
}

// settingName quotes a name, which may have two parts.
func settingName(name string) string { return pgx.Identifier(strings.Split(name, ".")).Sanitize() }

// lists are the settings whose value is a list of quoted names; see
// GUC_LIST_QUOTE in the server's source, and what pg_dump does with them.
var lists = []string{"local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries", "temp_tablespaces", "unix_socket_directories"}

// values writes a stored value so that it is stored the same again.
func (s setting) values() string {
	if !slices.Contains(lists, strings.ToLower(s.name)) {
		return literal(s.value)
	}
	var texts []string
	for _, name := range splitNames(s.value) {
		texts = append(texts, literal(name))
	}
	if texts == nil {
		return "''"
	}
	return strings.Join(texts, ", ")
}

// splitNames reads a list such as "$user", public.
func splitNames(list string) (names []string) {
	for rest := strings.TrimSpace(list); rest != ""; {
		var name string
		if strings.HasPrefix(rest, `"`) {
			name, rest = cutQuoted(rest[1:])
		} else {
			end := strings.IndexByte(rest, ',')
			if end < 0 {
				end = len(rest)
			}
			name, rest = strings.TrimSpace(rest[:end]), rest[end:]
		}
		names = append(names, name)
		rest = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(rest), ","))
	}
	return names
}

// cutQuoted reads to the closing quote; two quotes are one.
func cutQuoted(rest string) (name, behind string) {
	for {
		part, after, found := strings.Cut(rest, `"`)
		name += part
		if !found || !strings.HasPrefix(after, `"`) {
			return name, after
		}
		name += `"`
		rest = after[1:]
	}
}

// baseOf is the first of the two names.
func baseOf(user string) string {
	base, ok := strings.CutSuffix(user, rotation.CloneSuffix)
	if !ok || base == "" {
		return user
	}
	return base
}
