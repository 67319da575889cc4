package mysql

import (
	"context"
	"fmt"
	"strings"

	"github.com/keyturn/keyturn/rotation"
)

// untouched tells which accounts an account leaves alone that changes its own password:
// its statements mean the row that the server took for its login. To logins by another
// row AWSCURRENT is no use after that.
func (c *conn) untouched(ctx context.Context, query string) (string, error) {
	rows, err := c.QueryContext(ctx, query, c.self.user)
	if err != nil {
		err = c.statementError(ctx, err, nil)
		if rotation.ClassOf(err) != rotation.ClassPrivilege {
			return "", err
		}
		return fmt.Sprintf("of %s alone: whether the server has accounts of %s for other hosts, which would keep the old password, cannot be seen without GRANT SELECT ON mysql.user TO %s", c.self, c.self.user, c.self), nil
	}
	defer rows.Close()
	var others []string
	for rows.Next() {
		other := account{user: c.self.user}
		if err := rows.Scan(&other.host, new(bool)); err != nil {
			return "", c.statementError(ctx, err, nil)
		}
		if other != c.self {
			others = append(others, other.String())
		}
	}
	if len(others) == 0 || rows.Err() != nil {
		return "", c.statementError(ctx, rows.Err(), nil)
	}
	return fmt.Sprintf("of %s alone: %s keeps the old password, so the new value does not log in from there: name an administrator by masterarn, who changes all, or drop it", c.self, strings.Join(others, ", ")), nil
}
