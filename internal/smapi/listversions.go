package smapi

import (
	"context"
	"time"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

func checkListVersions(v *wire.Violations, in *sm.ListSecretVersionIdsInput) error {
	checkPage(v, in.MaxResults, 100, in.NextToken)
	return v.Err()
}

// listVersions also answers for a secret that is scheduled for deletion: the API
// names no error for that.
func (s *Service) listVersions(ctx context.Context, in *sm.ListSecretVersionIdsInput) (*sm.ListSecretVersionIdsOutput, error) {
	page := secret.VersionPage{ARN: arnOf(in.SecretId), WithDeprecated: isTrue(in.IncludeDeprecated),
		Limit: orMost(in.MaxResults, 100), Token: orEmpty(in.NextToken)}
	out := &sm.ListSecretVersionIdsOutput{ARN: in.SecretId, Versions: []types.SecretVersionsListEntry{}}
	err := s.db.Read(ctx, func(tx *sqldb.Tx) error {
		found, err := s.vault.Find(ctx, tx, page.ARN)
		if err != nil {
			return err
		}
		versions, next, err := s.vault.Versions(ctx, tx, page)
		out.Name, out.NextToken = &found.Name, ifSet(next)
		for _, version := range versions {
			out.Versions = append(out.Versions, s.versionEntry(version))
		}
		return err
	})
	return out, err
}

func (s *Service) versionEntry(v *secret.Version) types.SecretVersionsListEntry {
	key := v.KMSKeyID
	if key == "" {
		key = "DefaultEncryptionKey"
	}
	return types.SecretVersionsListEntry{VersionId: new(string(v.ID)), VersionStages: v.Stages,
		CreatedDate: &v.Created, LastAccessedDate: s.lastRead(v), KmsKeyIds: []string{key}}
}

// lastRead is the day on which a version was read last, also while that waits
// to be noted.
func (s *Service) lastRead(v *secret.Version) *time.Time {
	a := &s.accesses
	a.Lock()
	defer a.Unlock()
	if day, waits := a.waiting[access{v.ARN, v.ID}]; waits {
		return &day
	}
	return v.Accessed
}
