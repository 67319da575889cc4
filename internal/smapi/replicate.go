package smapi

import (
	"context"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

// regionName is the pattern that AWS's model gives for a region.
var regionName = wire.NewPattern(`^([a-z]+-)+\d+$`)

func checkReplicas(v *wire.Violations, regions []types.ReplicaRegionType) {
	v.Count("addReplicaRegions", regions != nil, len(regions), 1, len(regions))
	for i, r := range regions {
		at := wire.Member("addReplicaRegions", i)
		v.Length(at+".region", r.Region, 1, 128)
		v.Pattern(at+".region", r.Region, regionName)
		v.Length(at+".kmsKeyId", r.KmsKeyId, 0, 2048)
	}
}

// checkRegions refuses what is no region to replicate to, before anything is
// written.
func checkRegions(at secret.Place, regions []types.ReplicaRegionType) error {
	for _, r := range regions {
		if err := secret.CheckReplicaRegion(at, orEmpty(r.Region)); err != nil {
			return err
		}
	}
	return nil
}

func replicaRegions(regions []types.ReplicaRegionType, overwrite bool) (all []secret.ReplicaRegion) {
	for _, r := range regions {
		all = append(all, secret.ReplicaRegion{Region: *r.Region, KMSKeyID: keyOf(r.KmsKeyId), Overwrite: overwrite})
	}
	return all
}

// replicas is the ReplicationStatus of a secret; nil when it has no replicas.
func (s *Service) replicas(ctx context.Context, arn secret.ARN) (all []types.ReplicationStatusType, err error) {
	err = s.db.Read(ctx, func(tx *sqldb.Tx) error {
		replicas, err := s.vault.Replicas(ctx, tx, arn)
		all = replicationStatus(replicas)
		return err
	})
	return all, err
}

func checkReplicate(v *wire.Violations, in *sm.ReplicateSecretToRegionsInput) error {
	v.Required("addReplicaRegions", in.AddReplicaRegions != nil)
	checkReplicas(v, in.AddReplicaRegions)
	return v.Err()
}

func (s *Service) replicate(ctx context.Context, in *sm.ReplicateSecretToRegionsInput) (*sm.ReplicateSecretToRegionsOutput, error) {
	arn := arnOf(in.SecretId)
	out := &sm.ReplicateSecretToRegionsOutput{ARN: in.SecretId}
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		if _, err := s.primary(ctx, tx, arn); err != nil {
			return err
		}
		if err := checkRegions(arn.Place(), in.AddReplicaRegions); err != nil {
			return err
		}
		if err := s.vault.AddReplicas(ctx, tx, arn, replicaRegions(in.AddReplicaRegions, in.ForceOverwriteReplicaSecret)); err != nil {
			return err
		}
		replicas, err := s.vault.Replicas(ctx, tx, arn)
		out.ReplicationStatus = replicationStatus(replicas)
		return err
	})
	return out, err
}

func checkRemoveRegions(v *wire.Violations, in *sm.RemoveRegionsFromReplicationInput) error {
	v.Required("removeReplicaRegions", in.RemoveReplicaRegions != nil)
	v.Count("removeReplicaRegions", in.RemoveReplicaRegions != nil, len(in.RemoveReplicaRegions), 1, len(in.RemoveReplicaRegions))
	for i := range in.RemoveReplicaRegions {
		v.Length(wire.Member("removeReplicaRegions", i), &in.RemoveReplicaRegions[i], 1, 128)
		v.Pattern(wire.Member("removeReplicaRegions", i), &in.RemoveReplicaRegions[i], regionName)
	}
	return v.Err()
}

func (s *Service) removeRegions(ctx context.Context, in *sm.RemoveRegionsFromReplicationInput) (*sm.RemoveRegionsFromReplicationOutput, error) {
	arn := arnOf(in.SecretId)
	out := &sm.RemoveRegionsFromReplicationOutput{ARN: in.SecretId}
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		if _, err := s.primary(ctx, tx, arn); err != nil {
			return err
		}
		if err := s.vault.RemoveReplicas(ctx, tx, arn, in.RemoveReplicaRegions); err != nil {
			return err
		}
		replicas, err := s.vault.Replicas(ctx, tx, arn)
		if out.ReplicationStatus = replicationStatus(replicas); replicas == nil {
			out.ReplicationStatus = []types.ReplicationStatusType{}
		}
		return err
	})
	return out, err
}

// stopReplication promotes a replica. What its primary had before the call is
// copied first, if that can be opened: a replica is promoted above all when the
// primary's region, with its key, is out of reach.
func (s *Service) stopReplication(ctx context.Context, in *sm.StopReplicationToReplicaInput) (*sm.StopReplicationToReplicaOutput, error) {
	arn := arnOf(in.SecretId)
	entry, err := s.vault.LookupARN(ctx, arn)
	if err != nil {
		return nil, err
	}
	if entry.Secret != nil && entry.Secret.IsReplica() {
		if err := s.copy(ctx, secret.Copying{Primary: entry.Secret.PrimaryARN(), Region: arn.Place().Region}); err != nil {
			s.log.Warn("promoting a replica without the last changes of its primary", "error", err)
		}
	}
	err = s.db.Write(ctx, func(tx *sqldb.Tx) error { return s.vault.Promote(ctx, tx, arn) })
	return &sm.StopReplicationToReplicaOutput{ARN: in.SecretId}, err
}
