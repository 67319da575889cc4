package mysql

import (
	"context"
	"database/sql"
)

// standing is what a password is to an account.
type standing int

const (
	theOnly   standing = iota // there is no secondary password, so this is the primary one
	primary                   // and there is an older, secondary one
	secondary                 // there is a newer one
	uncertain                 // neither of two, or stored in a form that is not known here
)

// standing tells what a password that logs in is to an account of somebody else.
func (m *mysql) standing(ctx context.Context, a account, password string) (standing, error) {
	var first, second sql.NullString
	err := m.QueryRowContext(ctx, `SELECT authentication_string, JSON_UNQUOTE(JSON_EXTRACT(User_attributes, '$.additional_password'))
		FROM mysql.user WHERE user = ? AND host = ?`, a.user, a.host).Scan(&first, &second)
	if err != nil {
		return uncertain, m.statementError(ctx, err, nil)
	}
	if !second.Valid || second.String == "" {
		return theOnly, nil
	}
	if is, _ := storedFor(first.String, password); is {
		return primary, nil
	}
	if is, _ := storedFor(second.String, password); is {
		return secondary, nil
	}
	return uncertain, nil
}
