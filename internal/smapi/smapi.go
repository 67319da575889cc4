// Package smapi is the AWS Secrets Manager API (version 2017-10-17): it checks
// what a request says, and leaves what a secret is to package secret and when
// it rotates to package scheduler.
package smapi

import (
	"context"
	"log/slog"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

// Functions tells whether a rotation function may be used.
type Functions interface {
	// Permits reports whether the function exists and its policy lets
	// secretsmanager.amazonaws.com invoke it for the secret.
	Permits(ctx context.Context, function string, arn secret.ARN) (bool, error)
}

// Config is what New needs; all of it.
type Config struct {
	DB        *sqldb.DB
	Vault     *secret.Vault
	Scheduler *scheduler.Scheduler
	Functions Functions
	// Guard decides what wire cannot ask, since it touches more than one secret.
	Guard *iam.Guard
	// Audit takes what has a line of its own beside that of the call.
	Audit audit.Recorder
	Log   *slog.Logger
}

// Service answers the API. It is safe for concurrent use.
type Service struct {
	db        *sqldb.DB
	vault     *secret.Vault
	sched     *scheduler.Scheduler
	functions Functions
	guard     *iam.Guard
	audit     audit.Recorder
	log       *slog.Logger
	accesses  accesses
}

// New returns a Service.
func New(c Config) *Service {
	return &Service{db: c.DB, vault: c.Vault, sched: c.Scheduler, functions: c.Functions, guard: c.Guard, audit: c.Audit, log: c.Log}
}

// Ops returns the operations of the API that this server knows. All others are
// UnknownOperationException.
func (s *Service) Ops() []wire.Op {
	return []wire.Op{
		onNone("BatchGetSecretValue", checkBatch, s.batch),
		on(s, "CancelRotateSecret", func(in *sm.CancelRotateSecretInput) **string { return &in.SecretId }, nil, s.cancelRotate),
		wire.On("CreateSecret", s.creating, after(s.creatable, s.create)),
		on(s, "DeleteResourcePolicy", func(in *sm.DeleteResourcePolicyInput) **string { return &in.SecretId }, nil, s.deletePolicy),
		on(s, "DeleteSecret", func(in *sm.DeleteSecretInput) **string { return &in.SecretId }, nil, s.delete),
		on(s, "DescribeSecret", func(in *sm.DescribeSecretInput) **string { return &in.SecretId }, nil, s.describe),
		onNone("GetRandomPassword", checkRandom, randomPassword),
		on(s, "GetResourcePolicy", func(in *sm.GetResourcePolicyInput) **string { return &in.SecretId }, nil, s.getPolicy),
		on(s, "GetSecretValue", func(in *sm.GetSecretValueInput) **string { return &in.SecretId }, checkGet, after(s.gettable, s.getValue)),
		on(s, "ListSecretVersionIds", func(in *sm.ListSecretVersionIdsInput) **string { return &in.SecretId }, checkListVersions, s.listVersions),
		onNone("ListSecrets", checkList, s.list),
		on(s, "PutResourcePolicy", func(in *sm.PutResourcePolicyInput) **string { return &in.SecretId }, checkPutPolicy, s.putPolicy),
		on(s, "PutSecretValue", func(in *sm.PutSecretValueInput) **string { return &in.SecretId }, checkPut, after(s.puttable, s.putValue)),
		on(s, "RemoveRegionsFromReplication", func(in *sm.RemoveRegionsFromReplicationInput) **string { return &in.SecretId }, checkRemoveRegions, s.removeRegions),
		on(s, "ReplicateSecretToRegions", func(in *sm.ReplicateSecretToRegionsInput) **string { return &in.SecretId }, checkReplicate, s.replicate),
		on(s, "RestoreSecret", func(in *sm.RestoreSecretInput) **string { return &in.SecretId }, nil, s.restore),
		on(s, "RotateSecret", func(in *sm.RotateSecretInput) **string { return &in.SecretId }, checkRotate, after(s.rotatable, s.rotate)),
		on(s, "StopReplicationToReplica", func(in *sm.StopReplicationToReplicaInput) **string { return &in.SecretId }, nil, s.stopReplication),
		on(s, "TagResource", func(in *sm.TagResourceInput) **string { return &in.SecretId }, checkTagResource, s.tag),
		on(s, "UntagResource", func(in *sm.UntagResourceInput) **string { return &in.SecretId }, checkUntagResource, s.untag),
		on(s, "UpdateSecret", func(in *sm.UpdateSecretInput) **string { return &in.SecretId }, checkUpdate, after(s.updatable, s.update)),
		on(s, "UpdateSecretVersionStage", func(in *sm.UpdateSecretVersionStageInput) **string { return &in.SecretId }, checkStage, s.updateStage),
		wire.On("ValidateResourcePolicy", s.validateTarget, s.validatePolicy),
	}
}

// onNone makes an operation that touches no secret in particular. check is what
// AWS checks before it asks for permission.
func onNone[In, Out any](action string, check func(*In) error, do func(context.Context, *In) (*Out, error)) wire.Op {
	return wire.On(action, func(_ context.Context, in *In) (iam.Resource, error) {
		return iam.Resource{ARN: "*"}, check(in)
	}, do)
}

// on makes an operation on the secret whose SecretId is at id. check, if there
// is one, is what AWS checks before it looks for the secret: it adds to what is
// wrong with the SecretId.
func on[In, Out any](s *Service, action string, id func(*In) **string, check func(*wire.Violations, *In) error,
	do func(context.Context, *In) (*Out, error),
) wire.Op {
	return wire.On(action, func(ctx context.Context, in *In) (iam.Resource, error) {
		var v wire.Violations
		checkID(&v, *id(in))
		err := v.Err()
		if check != nil {
			err = check(&v, in)
		}
		if err != nil {
			return iam.Resource{}, err
		}
		return s.target(ctx, in, id(in))
	}, do)
}

func checkID(v *wire.Violations, id *string) {
	v.Required("secretId", id != nil)
	v.Length("secretId", id, 1, 2048)
}

func here(ctx context.Context) secret.Place {
	c := iam.CallerOf(ctx)
	return secret.Place{Account: c.Account, Region: c.Region}
}

// target turns the name in *id, which is in's SecretId, into an ARN, once:
// behind this point there are only ARNs.
func (s *Service) target(ctx context.Context, in any, id **string) (iam.Resource, error) {
	lookup := s.vault.Lookup
	if _, reads := in.(*sm.GetSecretValueInput); reads {
		lookup = s.vault.LookupToRead
	}
	entry, err := lookup(ctx, here(ctx), **id)
	if err != nil {
		return iam.Resource{}, err
	}
	named, text := **id, string(entry.ARN)
	*id = &text
	return iam.Resource{ARN: text, Named: named, Policy: entry.Policy, Keys: func(key string) ([]string, bool) {
		return s.keys(ctx, entry, in, key)
	}}, nil
}

func arnOf(id *string) secret.ARN { return secret.ARN(*id) }

// ifSet is nil for an empty string: AWS leaves out what is not set.
func ifSet(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
