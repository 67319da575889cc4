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
}

// New returns a Service.
func New(c Config) *Service {
	return &Service{db: c.DB, vault: c.Vault, sched: c.Scheduler, functions: c.Functions, guard: c.Guard, audit: c.Audit, log: c.Log}
}

// Ops returns the operations of the API that this server knows. All others are
// UnknownOperationException.
func (s *Service) Ops() []wire.Op {
	return []wire.Op{
		wire.On("CancelRotateSecret", func(ctx context.Context, in *sm.CancelRotateSecretInput) (iam.Resource, error) {
			return s.target(ctx, &in.SecretId, nil)
		}, s.cancelRotate),
		wire.On("CreateSecret", s.createTarget, s.create),
		wire.On("DeleteSecret", func(ctx context.Context, in *sm.DeleteSecretInput) (iam.Resource, error) {
			return s.target(ctx, &in.SecretId, nil)
		}, s.delete),
		wire.On("DescribeSecret", func(ctx context.Context, in *sm.DescribeSecretInput) (iam.Resource, error) {
			return s.target(ctx, &in.SecretId, nil)
		}, s.describe),
		wire.On("GetRandomPassword", func(_ context.Context, in *sm.GetRandomPasswordInput) (iam.Resource, error) {
			return iam.Resource{ARN: "*"}, checkRandom(in)
		}, randomPassword),
		wire.On("GetSecretValue", func(ctx context.Context, in *sm.GetSecretValueInput) (iam.Resource, error) {
			return s.target(ctx, &in.SecretId, checkGet(in))
		}, s.getValue),
		wire.On("ListSecrets", func(_ context.Context, in *sm.ListSecretsInput) (iam.Resource, error) {
			return iam.Resource{ARN: "*"}, checkList(in)
		}, s.list),
		wire.On("PutSecretValue", func(ctx context.Context, in *sm.PutSecretValueInput) (iam.Resource, error) {
			return s.target(ctx, &in.SecretId, checkPut(in))
		}, s.putValue),
		wire.On("RestoreSecret", func(ctx context.Context, in *sm.RestoreSecretInput) (iam.Resource, error) {
			return s.target(ctx, &in.SecretId, nil)
		}, s.restore),
		wire.On("RotateSecret", func(ctx context.Context, in *sm.RotateSecretInput) (iam.Resource, error) {
			return s.target(ctx, &in.SecretId, checkRotate(in))
		}, s.rotate),
		wire.On("UpdateSecret", func(ctx context.Context, in *sm.UpdateSecretInput) (iam.Resource, error) {
			return s.target(ctx, &in.SecretId, checkUpdate(in))
		}, s.update),
		wire.On("UpdateSecretVersionStage", func(ctx context.Context, in *sm.UpdateSecretVersionStageInput) (iam.Resource, error) {
			return s.target(ctx, &in.SecretId, checkStage(in))
		}, s.updateStage),
	}
}

func here(ctx context.Context) secret.Place {
	c := iam.CallerOf(ctx)
	return secret.Place{Account: c.Account, Region: c.Region}
}

// target turns the name in *id into an ARN, once: behind this point there are
// only ARNs. checked is the failure of what AWS checks before it looks for the
// secret.
func (s *Service) target(ctx context.Context, id **string, checked error) (iam.Resource, error) {
	var v wire.Violations
	v.Required("secretId", *id != nil)
	v.Length("secretId", *id, 1, 2048)
	if err := v.Err(); err != nil {
		return iam.Resource{}, err
	}
	if checked != nil {
		return iam.Resource{}, checked
	}
	entry, err := s.vault.Lookup(ctx, here(ctx), **id)
	if err != nil {
		return iam.Resource{}, err
	}
	text := string(entry.ARN)
	*id = &text
	return iam.Resource{ARN: text, Policy: entry.Policy}, nil
}

func arnOf(id *string) secret.ARN { return secret.ARN(*id) }

func ptr[T any](v T) *T { return &v }

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
