package keyturn

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/lambdaapi"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/rotation"
)

// secretsClient is Secrets Manager as this server's own rotation functions use
// it: the operations that others call over the network, with the same checks,
// permissions and record, for a principal that need not prove who it is. A
// rotation makes a dozen calls; signing, writing and reading them again took
// longer than what they do.
type secretsClient struct {
	wire.Local
	own secret.ARN
	// asAdmin returns the principal that may also read the admin secret. Most steps
	// have no use for it, and finding that secret takes a look at the value.
	asAdmin func(context.Context) (iam.Principal, error)
}

var _ rotation.Secrets = secretsClient{}

// secretsOf returns a client that acts for the secret of an invocation.
func (s *Server) secretsOf(inv lambdaapi.Invocation, arn secret.ARN) (secretsClient, error) {
	p, err := s.rotatorOf(inv.Account, arn, "")
	local := wire.Local{Handler: s.handler, TargetPrefix: "secretsmanager", UserAgent: "keyturn-rotation",
		Caller: iam.Caller{Principal: p, Region: inv.Region}}
	return secretsClient{local, arn, func(ctx context.Context) (iam.Principal, error) {
		admin, err := s.adminSecret(ctx, arn)
		if err != nil {
			return iam.Principal{}, err
		}
		return s.rotatorOf(inv.Account, arn, admin)
	}}, err
}

type smOptions = func(*secretsmanager.Options)

// DescribeSecret implements rotation.Secrets.
func (c secretsClient) DescribeSecret(ctx context.Context, in *secretsmanager.DescribeSecretInput, _ ...smOptions) (*secretsmanager.DescribeSecretOutput, error) {
	return callSecrets[secretsmanager.DescribeSecretOutput](ctx, c, "DescribeSecret", in)
}

// GetSecretValue implements rotation.Secrets.
func (c secretsClient) GetSecretValue(ctx context.Context, in *secretsmanager.GetSecretValueInput, _ ...smOptions) (*secretsmanager.GetSecretValueOutput, error) {
	if aws.ToString(in.SecretId) != string(c.own) {
		var err error
		if c.Caller.Principal, err = c.asAdmin(ctx); err != nil {
			return nil, err
		}
	}
	return callSecrets[secretsmanager.GetSecretValueOutput](ctx, c, "GetSecretValue", in)
}

// GetRandomPassword implements rotation.Secrets.
func (c secretsClient) GetRandomPassword(ctx context.Context, in *secretsmanager.GetRandomPasswordInput, _ ...smOptions) (*secretsmanager.GetRandomPasswordOutput, error) {
	return callSecrets[secretsmanager.GetRandomPasswordOutput](ctx, c, "GetRandomPassword", in)
}

// PutSecretValue implements rotation.Secrets.
func (c secretsClient) PutSecretValue(ctx context.Context, in *secretsmanager.PutSecretValueInput, _ ...smOptions) (*secretsmanager.PutSecretValueOutput, error) {
	return callSecrets[secretsmanager.PutSecretValueOutput](ctx, c, "PutSecretValue", in)
}

// UpdateSecretVersionStage implements rotation.Secrets.
func (c secretsClient) UpdateSecretVersionStage(ctx context.Context, in *secretsmanager.UpdateSecretVersionStageInput, _ ...smOptions) (*secretsmanager.UpdateSecretVersionStageOutput, error) {
	return callSecrets[secretsmanager.UpdateSecretVersionStageOutput](ctx, c, "UpdateSecretVersionStage", in)
}

// callSecrets calls an operation on a copy of its input: the server changes it.
func callSecrets[Out, In any](ctx context.Context, c secretsClient, action string, in *In) (*Out, error) {
	copied := *in
	out, err := c.Call(ctx, action, &copied)
	if err != nil {
		return nil, &smithy.OperationError{ServiceID: secretsmanager.ServiceID, OperationName: action, Err: sdkError(err)}
	}
	answer, ok := out.(*Out)
	if !ok {
		return nil, fmt.Errorf("%s answers with a %T", action, out)
	}
	return answer, nil
}

// sdkError is a failure as the SDK would tell it.
func sdkError(err error) error {
	f, ok := errors.AsType[*fault.Fault](err)
	switch {
	case !ok:
		return err
	case f.Kind == secret.ErrNotFound:
		return &types.ResourceNotFoundException{Message: &f.Message}
	}
	return &smithy.GenericAPIError{Code: f.Kind.Code, Message: f.Message, Fault: smithy.FaultClient}
}
