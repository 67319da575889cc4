// Package stsapi is the slice of AWS's Security Token Service (version
// 2011-06-15) that clients ask to learn who they are.
package stsapi

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/wire"
)

// The service's version and the namespace of its XML.
const (
	Version   = "2011-06-15"
	Namespace = "https://sts.amazonaws.com/doc/2011-06-15/"
)

var accessKeyID = wire.NewPattern(`[\w]*`)

// AccessKeys knows whose the access keys are.
type AccessKeys interface {
	// Account returns the account of an access key, of 12 digits, or "" for a
	// key that nobody has.
	Account(accessKeyID string) string
}

// Ops returns the operations that this server knows.
func Ops(keys AccessKeys) []wire.Op {
	return []wire.Op{
		// AWS: "No permissions are required to perform this operation. If an
		// administrator attaches a policy that explicitly denies access to the
		// sts:GetCallerIdentity action, you can still perform this operation."
		wire.On("GetCallerIdentity", func(context.Context, *sts.GetCallerIdentityInput) (iam.Resource, error) {
			return iam.Resource{ARN: "*"}, nil
		}, callerIdentity).ForEveryone(),
		wire.On("GetAccessKeyInfo", func(_ context.Context, in *sts.GetAccessKeyInfoInput) (iam.Resource, error) {
			return iam.Resource{ARN: "*"}, checkKeyInfo(in)
		}, func(_ context.Context, in *sts.GetAccessKeyInfoInput) (*sts.GetAccessKeyInfoOutput, error) {
			return keyInfo(keys, *in.AccessKeyId)
		}),
	}
}

func callerIdentity(ctx context.Context, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	c := iam.CallerOf(ctx)
	return &sts.GetCallerIdentityOutput{Account: &c.Account, Arn: &c.ARN, UserId: &c.UserID}, nil
}

func checkKeyInfo(in *sts.GetAccessKeyInfoInput) error {
	var v wire.Violations
	v.Required("accessKeyId", in.AccessKeyId != nil)
	v.Length("accessKeyId", in.AccessKeyId, 16, 128)
	v.Pattern("accessKeyId", in.AccessKeyId, accessKeyID)
	return v.Err()
}

func keyInfo(keys AccessKeys, id string) (*sts.GetAccessKeyInfoOutput, error) {
	account := keys.Account(id)
	if account == "" {
		return nil, iam.ErrUnrecognizedClient.Errorf("The security token included in the request is invalid")
	}
	return &sts.GetAccessKeyInfoOutput{Account: &account}, nil
}
