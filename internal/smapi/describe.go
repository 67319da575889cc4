package smapi

import (
	"context"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

// entry is a secret as DescribeSecret and ListSecrets show it.
func (s *Service) entry(ctx context.Context, tx *sqldb.Tx, found *secret.Secret) (types.SecretListEntry, error) {
	e := types.SecretListEntry{ARN: ptr(string(found.ARN)), Name: &found.Name, Description: ifSet(found.Description),
		KmsKeyId: ifSet(found.KMSKeyID), Type: ifSet(found.Type), OwningService: ifSet(found.OwningService),
		CreatedDate: &found.Created, LastChangedDate: &found.Changed,
		LastAccessedDate: found.Accessed, DeletedDate: found.DeleteAt, Tags: tagList(found.Tags)}
	stages, err := s.vault.Stages(ctx, tx, found.ARN)
	if err != nil {
		return e, err
	}
	e.SecretVersionsToStages = stageMap(stages)
	state, err := s.sched.State(ctx, tx, found.ARN)
	if state != nil {
		addRotation(&e, state)
	}
	return e, err
}

func tagList(tags []secret.Tag) []types.Tag {
	if tags == nil {
		return nil
	}
	list := make([]types.Tag, 0, len(tags))
	for _, t := range tags {
		list = append(list, types.Tag{Key: &t.Key, Value: &t.Value})
	}
	return list
}

func stageMap(stages map[secret.VersionID][]string) map[string][]string {
	if len(stages) == 0 {
		return nil
	}
	m := make(map[string][]string, len(stages))
	for id, labels := range stages {
		m[string(id)] = labels
	}
	return m
}

func addRotation(e *types.SecretListEntry, st *scheduler.State) {
	e.RotationEnabled, e.RotationLambdaARN = &st.Enabled, ifSet(st.Function)
	e.LastRotatedDate, e.NextRotationDate = st.LastRotated, st.DueBy
	rules := types.RotationRulesType{ScheduleExpression: ifSet(st.Rule.Expr), Duration: ifSet(st.Rule.Duration)}
	if st.Days > 0 {
		rules.AutomaticallyAfterDays = &st.Days
	}
	if rules != (types.RotationRulesType{}) {
		e.RotationRules = &rules
	}
}

func (s *Service) describe(ctx context.Context, in *sm.DescribeSecretInput) (*sm.DescribeSecretOutput, error) {
	var e types.SecretListEntry
	err := s.db.Read(ctx, func(tx *sqldb.Tx) error {
		found, err := s.vault.Find(ctx, tx, arnOf(in.SecretId))
		if err != nil {
			return err
		}
		e, err = s.entry(ctx, tx, found)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &sm.DescribeSecretOutput{ARN: e.ARN, Name: e.Name, Description: e.Description, KmsKeyId: e.KmsKeyId,
		Type: e.Type, OwningService: e.OwningService, CreatedDate: e.CreatedDate, LastChangedDate: e.LastChangedDate,
		LastAccessedDate: e.LastAccessedDate, DeletedDate: e.DeletedDate, Tags: e.Tags,
		VersionIdsToStages: e.SecretVersionsToStages, RotationEnabled: e.RotationEnabled,
		RotationLambdaARN: e.RotationLambdaARN, RotationRules: e.RotationRules,
		LastRotatedDate: e.LastRotatedDate, NextRotationDate: e.NextRotationDate}, nil
}

func checkList(in *sm.ListSecretsInput) error {
	var v wire.Violations
	if in.MaxResults != nil {
		v.Range("maxResults", ptr(int64(*in.MaxResults)), 1, 100)
	}
	v.Length("nextToken", in.NextToken, 1, 4096)
	v.Enum("sortOrder", string(in.SortOrder), "asc", "desc")
	v.Enum("sortBy", string(in.SortBy), "created-date", "last-accessed-date", "last-changed-date", "name")
	if err := v.Err(); err != nil {
		return err
	}
	if len(in.Filters) > 0 {
		return secret.ErrInvalidParameter.Errorf("This server doesn't filter lists yet: leave Filters out.")
	}
	if in.SortBy != "" && in.SortBy != types.SortByTypeCreatedDate {
		return secret.ErrInvalidParameter.Errorf("This server sorts lists by created-date only: leave SortBy out.")
	}
	return nil
}

func (s *Service) list(ctx context.Context, in *sm.ListSecretsInput) (*sm.ListSecretsOutput, error) {
	page := secret.Page{At: here(ctx), Limit: 100, Token: orEmpty(in.NextToken),
		WithDeleted: in.IncludePlannedDeletion != nil && *in.IncludePlannedDeletion,
		Descending:  in.SortOrder == types.SortOrderTypeDesc}
	if in.MaxResults != nil {
		page.Limit = int(*in.MaxResults)
	}
	out := &sm.ListSecretsOutput{SecretList: []types.SecretListEntry{}}
	err := s.db.Read(ctx, func(tx *sqldb.Tx) error {
		found, next, err := s.vault.List(ctx, tx, page)
		if err != nil {
			return err
		}
		for _, f := range found {
			e, err := s.entry(ctx, tx, f)
			if err != nil {
				return err
			}
			out.SecretList = append(out.SecretList, e)
		}
		out.NextToken = ifSet(next)
		return nil
	})
	return out, err
}
