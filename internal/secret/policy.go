package secret

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// SetPolicy stores the text of a resource policy, which the caller has checked;
// an empty one removes it. It holds from the next request on.
func (v *Vault) SetPolicy(ctx context.Context, tx *sqldb.Tx, arn ARN, text string) error {
	if _, err := change(ctx, tx, `UPDATE secrets SET resource_policy = $2 WHERE `+byARN, arn, text); err != nil {
		return fmt.Errorf("storing a resource policy: %w", err)
	}
	return v.Touch(ctx, tx, arn)
}
