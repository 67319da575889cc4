package scheduler

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// singleUser is the strategy under which the database refuses the value of
// AWSCURRENT for a while; under the others that a function names, it never does.
const singleUser = "SingleUser"

// exposure returns how long, at most, the database refused the value of
// AWSCURRENT, in microseconds, for the step that ended it; nil: not known.
//
// A function that changes and promotes in one step measures it. Else it is the
// time from just before the change, in setSecret, until the promotion was
// answered. A setSecret that was cut short may have made the change and told
// nothing: then it counts from the beginning of the first one.
func exposure(ctx context.Context, tx *sqldb.Tx, c *claim, o outcome) (*int64, error) {
	if o.err != nil || c.kind != rotating {
		return nil, nil //nolint:nilnil,nilerr // it is not known
	}
	if e := o.answer.ExposureMicros; e != nil {
		return bounded(*e), nil
	}
	if o.answer.PromotedAtMicros == 0 && c.step != stepFinish {
		return nil, nil //nolint:nilnil // not promoted yet
	}
	if told := o.answer.Strategy; told != "" && told != singleUser {
		return bounded(0), nil
	}
	recorded, changed, err := changeOf(ctx, tx, c)
	switch strategy := cmp.Or(o.answer.Strategy, recorded); {
	case err != nil || strategy == "":
		return nil, err // a function that does not tell
	case strategy != singleUser:
		return bounded(0), nil
	case o.answer.PromotedAtMicros == 0:
		return nil, nil //nolint:nilnil // its answer was lost
	}
	return bounded(o.answer.PromotedAtMicros - changed), nil
}

// changeOf reads from the records of setSecret how and when, in microseconds
// since 1970, the password of a version was changed.
func changeOf(ctx context.Context, tx *sqldb.Tx, c *claim) (strategy string, changed int64, err error) {
	var at sql.NullInt64
	err = tx.QueryRow(ctx, `SELECT COALESCE(MAX(strategy), ''), COALESCE(MIN(changed_at_micros), MIN(started_at) * 1000)
		FROM rotation_runs WHERE arn = $1 AND version_id = $2 AND step = $3`, c.arn, c.token, stepSet).Scan(&strategy, &at)
	if err != nil {
		return "", 0, fmt.Errorf("reading when the password was changed: %w", err)
	}
	return strategy, at.Int64, nil
}

// bounded is a measured time, as far as a time.Duration goes; a clock that was
// set back measured none.
func bounded(micros int64) *int64 {
	micros = min(max(0, micros), time.Duration(math.MaxInt64).Microseconds())
	return &micros
}
