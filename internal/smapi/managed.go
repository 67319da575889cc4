package smapi

import (
	"context"

	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// primary finds a secret for what is done also to those that another service manages:
// replicating and rotating. It must be live and no replica.
func (s *Service) primary(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (*secret.Secret, error) {
	found, err := s.vault.FindLive(ctx, tx, arn)
	if err != nil {
		return nil, err
	}
	return found, found.RequirePrimary()
}

// editable is Vault.FindEditable for what a rotation does. The value of a
// secret that a service manages may be changed by who acts for that service.
func (s *Service) editable(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (*secret.Secret, error) {
	found, err := s.vault.FindToWrite(ctx, tx, arn)
	if err != nil {
		return nil, err
	}
	if found.OwningService != "" && found.OwningService == iam.CallerOf(ctx).ActsFor {
		return found, found.RequirePrimary()
	}
	return found, found.RequireEditable()
}
