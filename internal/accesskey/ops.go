package accesskey

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keyturnapi"
)

var (
	account  = wire.NewPattern(`[0-9]{12}`)
	accounts = wire.NewPattern(`([0-9]{12}|\*)`)
	userName = wire.NewPattern(`[\w+=,.@-]+`)
)

// The bounds that AWS has for users, managed policies and session durations.
const (
	maxUserName  = 64
	maxPolicies  = 10
	maxPolicy    = 6144         // characters
	minDuration  = 900          // seconds
	maxDuration  = 36 * 60 * 60 // seconds
	maxItems     = 1000
	usualItems   = 100
	anyUser      = "*"      // stands for all users of an account in an ARN
	unknownUser  = "??????" // whom a key belongs to that nobody has
	maxKeyLength = 128
)

// Ops returns the operations on access keys, which AWS's IAM calls by the same
// names.
func (s *Service) Ops() []wire.Op {
	return []wire.Op{
		wire.On("CreateAccessKey", s.createTarget, s.createKey),
		wire.On("ListAccessKeys", s.listTarget, s.listKeys),
		wire.On("UpdateAccessKey", s.updateTarget, s.updateKey),
		wire.On("DeleteAccessKey", s.deleteTarget, s.deleteKey),
	}
}

// user is what an operation on a user's keys touches. Administrators of the
// operators' account come to the users of others by a resource policy that all
// users have, as between accounts of AWS.
func (s *Service) user(account, name string) iam.Resource {
	res := iam.Resource{ARN: "arn:aws:iam::" + account + ":user/" + name}
	if account != s.operators {
		res.Policy = s.trust
	}
	return res
}

func (s *Service) createTarget(ctx context.Context, in *keyturnapi.CreateAccessKeyInput) (iam.Resource, error) {
	if in.AccountID == "" {
		in.AccountID = iam.CallerOf(ctx).Account
	}
	var v wire.Violations
	v.Pattern("accountId", &in.AccountID, account)
	v.Length("userName", &in.UserName, 1, maxUserName)
	v.Pattern("userName", &in.UserName, userName)
	v.Count("policyDocuments", true, len(in.PolicyDocuments), 0, maxPolicies)
	for i := range in.PolicyDocuments {
		v.SensitiveLength(wire.Member("policyDocuments", i), utf8.RuneCountInString(in.PolicyDocuments[i]), 1, maxPolicy)
	}
	if in.DurationSeconds != 0 {
		v.Range("durationSeconds", &in.DurationSeconds, minDuration, maxDuration)
	}
	return s.user(in.AccountID, in.UserName), v.Err()
}

func (s *Service) createKey(ctx context.Context, in *keyturnapi.CreateAccessKeyInput) (*keyturnapi.CreateAccessKeyOutput, error) {
	k := Key{Account: in.AccountID, UserName: in.UserName, Policies: in.PolicyDocuments}
	c, err := s.Create(ctx, &k, time.Duration(in.DurationSeconds)*time.Second)
	if err != nil {
		return nil, err
	}
	return &keyturnapi.CreateAccessKeyOutput{AccessKey: k.shown(),
		Credentials: keyturnapi.Credentials{SecretAccessKey: c.Secret, SessionToken: c.SessionToken}}, nil
}

func (s *Service) listTarget(ctx context.Context, in *keyturnapi.ListAccessKeysInput) (iam.Resource, error) {
	if in.AccountID == "" {
		in.AccountID = iam.CallerOf(ctx).Account
	}
	if in.MaxItems == 0 {
		in.MaxItems = usualItems
	}
	var v wire.Violations
	v.Pattern("accountId", &in.AccountID, accounts)
	v.Length("userName", &in.UserName, 0, maxUserName)
	v.Range("maxItems", &in.MaxItems, 1, maxItems)
	v.Length("marker", &in.Marker, 0, maxKeyLength)
	name := in.UserName
	if name == "" {
		name = anyUser
	}
	return s.user(in.AccountID, name), v.Err()
}

func (s *Service) listKeys(ctx context.Context, in *keyturnapi.ListAccessKeysInput) (*keyturnapi.ListAccessKeysOutput, error) {
	f := filter{account: in.AccountID, user: in.UserName, after: in.Marker, limit: int(in.MaxItems) + 1}
	if f.account == keyturnapi.AllAccounts {
		f.account = ""
	}
	keys, err := s.list(ctx, f)
	if err != nil {
		return nil, err
	}
	out := &keyturnapi.ListAccessKeysOutput{AccessKeys: []keyturnapi.AccessKey{}}
	for i := range keys {
		if i == int(in.MaxItems) {
			out.IsTruncated, out.Marker = true, keys[i-1].ID
			break
		}
		out.AccessKeys = append(out.AccessKeys, keys[i].shown())
	}
	return out, nil
}

// shown is a key as the API tells it.
func (k *Key) shown() keyturnapi.AccessKey {
	out := keyturnapi.AccessKey{AccessKeyID: k.ID, AccountID: k.Account, UserName: k.UserName, Status: keyturnapi.StatusInactive,
		CreateDate: k.Created, Expiration: k.Expires, PolicyDocuments: k.Policies}
	if k.Active {
		out.Status = keyturnapi.StatusActive
	}
	if u := k.LastUsed; u != nil {
		out.AccessKeyLastUsed = &keyturnapi.AccessKeyLastUsed{LastUsedDate: u.At, Region: u.Region, ServiceName: u.Service}
	}
	return out
}

// keyTarget finds whose key an id is. A key that nobody has, and one of another
// account to all but the operators, is judged as one of the caller's account.
func (s *Service) keyTarget(ctx context.Context, id string, v *wire.Violations) (iam.Resource, error) {
	v.Length("accessKeyId", &id, 16, maxKeyLength)
	if err := v.Err(); err != nil {
		return iam.Resource{}, err
	}
	if e := s.visible(ctx, id); e != nil {
		return s.user(e.account, e.user), nil
	}
	return s.user(iam.CallerOf(ctx).Account, unknownUser), nil
}

// visible returns a key that the caller may know of, or nil.
func (s *Service) visible(ctx context.Context, id string) *entry {
	e, here := s.find(id), iam.CallerOf(ctx).Account
	if e == nil || e.account != here && here != s.operators {
		return nil
	}
	return e
}

func (s *Service) updateTarget(ctx context.Context, in *keyturnapi.UpdateAccessKeyInput) (iam.Resource, error) {
	var v wire.Violations
	v.Required("status", in.Status != "")
	v.Enum("status", in.Status, keyturnapi.StatusActive, keyturnapi.StatusInactive)
	return s.keyTarget(ctx, in.AccessKeyID, &v)
}

func (s *Service) updateKey(ctx context.Context, in *keyturnapi.UpdateAccessKeyInput) (*keyturnapi.UpdateAccessKeyOutput, error) {
	if s.visible(ctx, in.AccessKeyID) == nil {
		return nil, notFound(in.AccessKeyID)
	}
	return nil, s.SetActive(ctx, in.AccessKeyID, in.Status == keyturnapi.StatusActive)
}

func (s *Service) deleteTarget(ctx context.Context, in *keyturnapi.DeleteAccessKeyInput) (iam.Resource, error) {
	return s.keyTarget(ctx, in.AccessKeyID, new(wire.Violations))
}

func (s *Service) deleteKey(ctx context.Context, in *keyturnapi.DeleteAccessKeyInput) (*keyturnapi.DeleteAccessKeyOutput, error) {
	if s.visible(ctx, in.AccessKeyID) == nil {
		return nil, notFound(in.AccessKeyID)
	}
	return nil, s.Delete(ctx, in.AccessKeyID)
}
