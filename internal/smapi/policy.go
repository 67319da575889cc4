package smapi

import (
	"context"
	"errors"
	"unicode/utf8"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/iam/policy"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

var (
	errMalformedPolicy = fault.Kind{Code: "MalformedPolicyDocumentException", Status: 400}
	errPublicPolicy    = fault.Kind{Code: "PublicPolicyException", Status: 400}
)

// maxPolicy is the longest resource policy, in characters.
const maxPolicy = 20480

func checkPolicyText(v *wire.Violations, text *string) error {
	v.Required("resourcePolicy", text != nil)
	if text != nil {
		v.SensitiveLength("resourcePolicy", utf8.RuneCountInString(*text), 1, maxPolicy)
	}
	return v.Err()
}

func checkPutPolicy(v *wire.Violations, in *sm.PutResourcePolicyInput) error {
	return checkPolicyText(v, in.ResourcePolicy)
}

// objection is what speaks against a policy. Its check is how
// ValidateResourcePolicy names it; AWS's names are not recorded.
type objection struct {
	check string
	err   error
}

// objections looks for all that speaks against a policy for res, of which res
// has the keys.
func objections(ctx context.Context, text string, res iam.Resource) (all []objection) {
	doc, err := parsePolicy(text)
	if err != nil {
		return []objection{{"Syntax", err}}
	}
	if doc.IsPublic() {
		all = append(all, objection{publicAccess, errPublicPolicy.Errorf("You can't attach a resource-based policy that allows broad access to the secret.")})
	}
	res.Policy = doc
	if iam.LocksOut(iam.CallerOf(ctx), "secretsmanager:PutResourcePolicy", res) {
		all = append(all, objection{"Lockout", errMalformedPolicy.Errorf("Your requested changes will not allow you to manage this secret in the future.")})
	}
	return all
}

const publicAccess = "PublicAccess"

func parsePolicy(text string) (*policy.Document, error) {
	doc, err := policy.ParseResource(text)
	switch {
	case errors.Is(err, policy.ErrPrincipal):
		return nil, errMalformedPolicy.Errorf("This resource policy contains an unsupported principal.")
	case errors.Is(err, policy.ErrServicePrincipal):
		return nil, errMalformedPolicy.Errorf("This resource policy contains an invalid service principal.")
	case err != nil:
		return nil, errMalformedPolicy.Errorf("This resource policy contains a syntax error.")
	}
	return doc, nil
}

func (s *Service) putPolicy(ctx context.Context, in *sm.PutResourcePolicyInput) (*sm.PutResourcePolicyOutput, error) {
	res, err := s.found(ctx, in, &in.SecretId)
	if err != nil {
		return nil, err
	}
	var refusal error
	for _, o := range objections(ctx, *in.ResourcePolicy, res) {
		if refusal == nil && (o.check != publicAccess || isTrue(in.BlockPublicPolicy)) {
			refusal = o.err
		}
	}
	name, err := s.setPolicy(ctx, arnOf(in.SecretId), *in.ResourcePolicy, refusal)
	return &sm.PutResourcePolicyOutput{ARN: in.SecretId, Name: name}, err
}

func (s *Service) deletePolicy(ctx context.Context, in *sm.DeleteResourcePolicyInput) (*sm.DeleteResourcePolicyOutput, error) {
	name, err := s.setPolicy(ctx, arnOf(in.SecretId), "", nil)
	return &sm.DeleteResourcePolicyOutput{ARN: in.SecretId, Name: name}, err
}

// setPolicy stores a policy unless refusal speaks against it, which is told only of
// secrets that may be changed.
func (s *Service) setPolicy(ctx context.Context, arn secret.ARN, text string, refusal error) (name *string, err error) {
	err = s.edit(ctx, arn, func(tx *sqldb.Tx, found *secret.Secret) error {
		if name = &found.Name; refusal != nil {
			return refusal
		}
		return s.vault.SetPolicy(ctx, tx, arn, text)
	})
	return name, err
}

func (s *Service) getPolicy(ctx context.Context, in *sm.GetResourcePolicyInput) (*sm.GetResourcePolicyOutput, error) {
	out := &sm.GetResourcePolicyOutput{ARN: in.SecretId}
	err := s.db.Read(ctx, func(tx *sqldb.Tx) error {
		found, err := s.vault.FindLive(ctx, tx, arnOf(in.SecretId))
		if err == nil {
			out.Name, out.ResourcePolicy = &found.Name, ifSet(found.Policy)
		}
		return err
	})
	return out, err
}

// found is target for an operation that was allowed: *id is an ARN.
func (s *Service) found(ctx context.Context, in any, id **string) (iam.Resource, error) {
	if arnOf(*id).Missing() {
		return iam.Resource{}, secret.ErrNotFound.Errorf("Secrets Manager can't find the specified secret.")
	}
	return s.target(ctx, in, id)
}

// validateTarget is any secret when the request names none.
func (s *Service) validateTarget(ctx context.Context, in *sm.ValidateResourcePolicyInput) (iam.Resource, error) {
	var v wire.Violations
	if in.SecretId != nil {
		checkID(&v, in.SecretId)
	}
	if err := checkPolicyText(&v, in.ResourcePolicy); err != nil || in.SecretId == nil {
		return iam.Resource{ARN: "*"}, err
	}
	return s.target(ctx, in, &in.SecretId)
}

// validated is ValidateResourcePolicyOutput, whose flag cannot tell false from
// absent.
type validated struct {
	PolicyValidationPassed *bool
	ValidationErrors       []types.ValidationErrorsEntry
}

func (s *Service) validatePolicy(ctx context.Context, in *sm.ValidateResourcePolicyInput) (*validated, error) {
	res := iam.Resource{ARN: "*"}
	if in.SecretId != nil {
		var err error
		if res, err = s.found(ctx, in, &in.SecretId); err != nil {
			return nil, err
		}
	}
	if err := s.may(ctx, "PutResourcePolicy", res); err != nil {
		return nil, err
	}
	out := &validated{ValidationErrors: []types.ValidationErrorsEntry{}}
	for _, o := range objections(ctx, *in.ResourcePolicy, res) {
		out.ValidationErrors = append(out.ValidationErrors, types.ValidationErrorsEntry{
			CheckName: &o.check, ErrorMessage: &fault.Of(o.err).Message})
	}
	out.PolicyValidationPassed = new(len(out.ValidationErrors) == 0)
	return out, nil
}
