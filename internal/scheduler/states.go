package scheduler

import (
	"context"
	"fmt"
	"strings"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// maxStates is how many secrets States takes: a page of ListSecrets.
const maxStates = 100

var statesText = `SELECT ` + rowColumns + ` FROM rotations WHERE arn IN ($1` + func() string {
	var b strings.Builder
	for i := 2; i <= maxStates; i++ {
		fmt.Fprintf(&b, ",$%d", i)
	}
	return b.String()
}() + `)`

// States returns the rotations of at most 100 secrets in one statement. Secrets
// for which none was ever configured are not among them.
func (s *Scheduler) States(ctx context.Context, tx *sqldb.Tx, arns []secret.ARN) (map[secret.ARN]*State, error) {
	args := make([]any, maxStates) // the rest is NULL, which is in no list
	for i, arn := range arns {
		args[i] = arn
	}
	rows, err := tx.Query(ctx, statesText, args...)
	if err != nil {
		return nil, fmt.Errorf("reading rotations: %w", err)
	}
	defer rows.Close()
	all := map[secret.ARN]*State{}
	for rows.Next() {
		r, err := scanRow(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("reading rotations: %w", err)
		}
		all[r.arn] = r.state()
	}
	return all, rows.Err()
}
