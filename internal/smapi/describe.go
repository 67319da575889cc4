package smapi

import (
	"context"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// entry is a secret as DescribeSecret and ListSecrets show it. state is nil if
// rotation was never configured.
func (s *Service) entry(found *secret.Secret, stages map[secret.VersionID][]string, state *scheduler.State) types.SecretListEntry {
	e := types.SecretListEntry{ARN: new(string(found.ARN)), Name: &found.Name, Description: ifSet(found.Description),
		KmsKeyId: ifSet(found.KMSKeyID), Type: ifSet(found.Type), OwningService: ifSet(found.OwningService),
		CreatedDate: &found.Created, LastChangedDate: &found.Changed,
		LastAccessedDate: s.lastAccess(found.ARN, found.Accessed), DeletedDate: found.DeleteAt, Tags: tagList(found.Tags),
		PrimaryRegion: ifSet(found.PrimaryRegion), SecretVersionsToStages: stageMap(stages),
		ExternalSecretRotationRoleArn:  ifSet(found.External.RoleARN),
		ExternalSecretRotationMetadata: externalMetadata(found.External.Metadata)}
	if state != nil {
		addRotation(&e, state)
	}
	if found.OwningService != "" { // which rotates it by a function that nobody sees
		e.RotationLambdaARN = nil
	}
	return e
}

func externalMetadata(all []secret.Tag) (list []types.ExternalSecretRotationMetadataItem) {
	for _, m := range all {
		list = append(list, types.ExternalSecretRotationMetadataItem{Key: &m.Key, Value: &m.Value})
	}
	return list
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
	arn := arnOf(in.SecretId)
	var e types.SecretListEntry
	var replicas []secret.Replica
	err := s.db.Read(ctx, func(tx *sqldb.Tx) error {
		found, err := s.vault.Find(ctx, tx, arn)
		if err != nil {
			return err
		}
		stages, err := found.Stages()
		if err != nil {
			return err
		}
		state, err := s.sched.State(ctx, tx, found.PrimaryARN())
		if err != nil {
			return err
		}
		e = s.entry(found, stages, state)
		if found.PrimaryRegion != "" {
			replicas, err = s.vault.Replicas(ctx, tx, arn)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	out := described(&e)
	out.ReplicationStatus = replicationStatus(replicas)
	return out, nil
}

func described(e *types.SecretListEntry) *sm.DescribeSecretOutput {
	return &sm.DescribeSecretOutput{ARN: e.ARN, Name: e.Name, Description: e.Description, KmsKeyId: e.KmsKeyId,
		Type: e.Type, OwningService: e.OwningService, CreatedDate: e.CreatedDate, LastChangedDate: e.LastChangedDate,
		LastAccessedDate: e.LastAccessedDate, DeletedDate: e.DeletedDate, Tags: e.Tags,
		VersionIdsToStages: e.SecretVersionsToStages, RotationEnabled: e.RotationEnabled,
		RotationLambdaARN: e.RotationLambdaARN, RotationRules: e.RotationRules,
		LastRotatedDate: e.LastRotatedDate, NextRotationDate: e.NextRotationDate, PrimaryRegion: e.PrimaryRegion,
		ExternalSecretRotationMetadata: e.ExternalSecretRotationMetadata,
		ExternalSecretRotationRoleArn:  e.ExternalSecretRotationRoleArn}
}

// replicationStatus is the ReplicationStatus member; nil leaves it out.
func replicationStatus(replicas []secret.Replica) (all []types.ReplicationStatusType) {
	for _, r := range replicas {
		key := r.KMSKeyID
		if key == "" {
			key = defaultKey
		}
		all = append(all, types.ReplicationStatusType{Region: &r.Region, KmsKeyId: &key, Status: types.StatusType(r.Status),
			StatusMessage: ifSet(r.Message), LastAccessedDate: r.Accessed})
	}
	return all
}
