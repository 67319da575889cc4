package mysql

import (
	"context"
	"fmt"
	"regexp"

	"github.com/keyturn/keyturn/rotation"
)

var withPlugin = regexp.MustCompile(`IDENTIFIED WITH '([0-9A-Za-z_]+)'`)

// MakeUser implements rotation.Rehearser.
func (m *mysql) MakeUser(ctx context.Context, name, password, like string, alone bool) error {
	rows, err := m.accounts(ctx, like, hostsOf)
	if err != nil {
		return err
	}
	if err := m.writable(); err != nil {
		return err
	}
	for _, a := range rows {
		plugin, err := m.plugin(ctx, a)
		if err != nil {
			return err
		}
		with := ""
		if plugin != "" {
			with = " WITH " + plugin // letters, digits and underscores alone
		}
		if err := m.exec(ctx, "CREATE USER IF NOT EXISTS ?@? IDENTIFIED"+with+" BY ?", name, a.host, password); err != nil {
			return m.needs(err, "making a throw-away user", "CREATE USER")
		}
		if err := m.allow(ctx, account{name, a.host}, "APPLICATION_PASSWORD_ADMIN", alone); err != nil {
			return err
		}
	}
	return nil
}

// plugin returns the plugin by which an account logs in.
func (m *mysql) plugin(ctx context.Context, a account) (string, error) {
	statement, args := "SHOW CREATE USER CURRENT_USER()", []any(nil)
	if a != m.self {
		statement, args = "SHOW CREATE USER ?@?", []any{a.user, a.host}
	}
	var created string
	if err := m.QueryRowContext(ctx, statement, args...).Scan(&created); err != nil {
		return "", m.needs(m.statementError(ctx, err, nil), "reading the account "+a.String(), "SELECT ON mysql.*")
	}
	if found := withPlugin.FindStringSubmatch(created); found != nil {
		return found[1], nil
	}
	return "", nil
}

// allow gives a throw-away user the privilege that the account has, where it
// has to act alone. Nobody may pass on what he holds without GRANT OPTION.
func (c *conn) allow(ctx context.Context, a account, privilege string, alone bool) error {
	if !alone {
		return nil
	}
	err := c.exec(ctx, "GRANT "+privilege+" ON *.* TO ?@?", a.user, a.host)
	if rotation.ClassOf(err) == rotation.ClassAuth { // MariaDB's 1045: access denied to the statement
		err = &rotation.Error{Class: rotation.ClassPrivilege, Err: err}
	}
	if rotation.ClassOf(err) == rotation.ClassPrivilege {
		return rotation.Errorf(rotation.ClassPrivilege, "a throw-away user that keeps two passwords by itself, as the account does, needs a privilege that the account may pass on: GRANT %s ON *.* TO %s WITH GRANT OPTION; or name an administrator by masterarn", privilege, c.self)
	}
	return err
}

// MakeUser implements rotation.Rehearser.
func (m *mariadb) MakeUser(ctx context.Context, name, password, like string, alone bool) error {
	rows, err := m.accounts(ctx, like, hostsOfMaria)
	if err != nil {
		return err
	}
	if err := m.writable(); err != nil {
		return err
	}
	for _, a := range rows {
		list, err := m.alternatives(ctx, a)
		if err != nil {
			return err
		}
		made := account{name, a.host}
		if err := m.create(ctx, identity{made, by(pluginsOf(list), password)}); err != nil {
			return m.needs(err, "making a throw-away user", "CREATE USER")
		}
		if err := m.allow(ctx, made, "CREATE USER", alone); err != nil {
			return err
		}
	}
	return nil
}

// DropUsers implements rotation.Rehearser.
func (m *mysql) DropUsers(ctx context.Context, names ...string) error {
	return m.drop(ctx, names, hostsOf)
}

// DropUsers implements rotation.Rehearser.
func (m *mariadb) DropUsers(ctx context.Context, names ...string) error {
	return m.drop(ctx, names, hostsOfMaria)
}

// drop looks for hosts where it may; otherwise the users were made for the
// host of this session.
func (c *conn) drop(ctx context.Context, names []string, query string) error {
	for _, name := range names {
		rows, err := c.accounts(ctx, name, query)
		switch rotation.ClassOf(err) {
		case rotation.ClassSecret: // no such user
			continue
		case rotation.ClassPrivilege:
			rows, err = []account{{name, c.self.host}}, nil
		}
		if err != nil {
			return err
		}
		for _, a := range rows {
			if err := c.exec(ctx, "DROP USER IF EXISTS ?@?", a.user, a.host); err != nil {
				return c.needs(err, "dropping the user "+a.String(), "CREATE USER")
			}
		}
	}
	return nil
}

// UsersLike implements rotation.Rehearser. Without a look at mysql.user only
// the user of that very name is known of.
func (c *conn) UsersLike(ctx context.Context, prefix string) ([]string, error) {
	rows, err := c.QueryContext(ctx, "SELECT DISTINCT user FROM mysql.user WHERE LEFT(user, ?) = ?", len(prefix), prefix)
	if err != nil {
		err = c.statementError(ctx, err, nil)
		if rotation.ClassOf(err) != rotation.ClassPrivilege {
			return nil, fmt.Errorf("listing users: %w", err)
		}
		if prefix == rotation.RehearsalPrefix {
			return nil, nil
		}
		return []string{prefix}, nil
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, c.statementError(ctx, err, nil)
		}
		names = append(names, name)
	}
	return names, c.statementError(ctx, rows.Err(), nil)
}
