package lambdaapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

// maxPayload is the largest payload of an invocation, in bytes ("Lambda
// quotas" in AWS's developer guide).
const maxPayload = 6 << 20

// Ops returns the operations that this server knows.
func (s *Service) Ops() []wire.Op {
	const (
		functions = "/2015-03-31/functions"
		tags      = "/2017-03-31/tags/{Resource}"
	)
	return []wire.Op{
		wire.On("ListFunctions", func(_ context.Context, in *lambda.ListFunctionsInput) (iam.Resource, error) {
			return iam.Resource{ARN: "*"}, checkMaxItems(in.MaxItems)
		}, s.list).At("GET " + functions + "?FunctionVersion&Marker&MasterRegion&MaxItems"),
		wire.On("GetFunction", func(ctx context.Context, in *lambda.GetFunctionInput) (iam.Resource, error) {
			return target(ctx, &in.FunctionName, in.Qualifier)
		}, s.get).At("GET " + functions + "/{FunctionName}?Qualifier"),
		wire.On("ListVersionsByFunction", func(ctx context.Context, in *lambda.ListVersionsByFunctionInput) (iam.Resource, error) {
			if err := checkMaxItems(in.MaxItems); err != nil {
				return iam.Resource{}, err
			}
			return target(ctx, &in.FunctionName, nil)
		}, s.listVersions).At("GET " + functions + "/{FunctionName}/versions?Marker&MaxItems"),
		wire.On("GetFunctionCodeSigningConfig", func(ctx context.Context, in *lambda.GetFunctionCodeSigningConfigInput) (iam.Resource, error) {
			return target(ctx, &in.FunctionName, nil)
		}, s.codeSigning).At("GET /2020-06-30/functions/{FunctionName}/code-signing-config"),
		wire.On("AddPermission", func(ctx context.Context, in *lambda.AddPermissionInput) (iam.Resource, error) {
			return wholeTarget(ctx, &in.FunctionName, in.Qualifier, "We currently do not support adding policies for $LATEST.")
		}, s.addPermission).At("POST " + functions + "/{FunctionName}/policy?Qualifier").Status(http.StatusCreated),
		wire.On("GetPolicy", func(ctx context.Context, in *lambda.GetPolicyInput) (iam.Resource, error) {
			return target(ctx, &in.FunctionName, in.Qualifier)
		}, s.getPolicy).At("GET " + functions + "/{FunctionName}/policy?Qualifier"),
		wire.On("RemovePermission", func(ctx context.Context, in *lambda.RemovePermissionInput) (iam.Resource, error) {
			return target(ctx, &in.FunctionName, in.Qualifier)
		}, s.removePermission).At("DELETE " + functions + "/{FunctionName}/policy/{StatementId}?Qualifier&RevisionId").Status(http.StatusNoContent),
		wire.On("InvokeFunction", func(ctx context.Context, in *lambda.InvokeInput) (iam.Resource, error) {
			return target(ctx, &in.FunctionName, in.Qualifier)
		}, s.invoke).At("POST " + functions + "/{FunctionName}/invocations?Qualifier").MaxBody(maxPayload),
		wire.On("CreateFunction", createTarget, s.create).At("POST " + functions).Status(http.StatusCreated).MaxBody(maxUpload),
		wire.On("GetFunctionConfiguration", func(ctx context.Context, in *lambda.GetFunctionConfigurationInput) (iam.Resource, error) {
			return target(ctx, &in.FunctionName, in.Qualifier)
		}, s.getConfiguration).At("GET " + functions + "/{FunctionName}/configuration?Qualifier"),
		wire.On("UpdateFunctionConfiguration", func(ctx context.Context, in *lambda.UpdateFunctionConfigurationInput) (iam.Resource, error) {
			return target(ctx, &in.FunctionName, nil)
		}, s.updateConfiguration).At("PUT " + functions + "/{FunctionName}/configuration"),
		wire.On("UpdateFunctionCode", func(ctx context.Context, in *lambda.UpdateFunctionCodeInput) (iam.Resource, error) {
			return target(ctx, &in.FunctionName, nil)
		}, s.updateCode).At("PUT " + functions + "/{FunctionName}/code").MaxBody(maxUpload),
		wire.On("DeleteFunction", func(ctx context.Context, in *lambda.DeleteFunctionInput) (iam.Resource, error) {
			return wholeTarget(ctx, &in.FunctionName, in.Qualifier, "$LATEST version cannot be deleted without deleting the function.")
		}, s.remove).At("DELETE " + functions + "/{FunctionName}?Qualifier").Status(http.StatusNoContent),
		wire.On("TagResource", func(ctx context.Context, in *lambda.TagResourceInput) (iam.Resource, error) {
			return target(ctx, &in.Resource, nil)
		}, s.tag).At("POST " + tags).Status(http.StatusNoContent),
		wire.On("UntagResource", func(ctx context.Context, in *lambda.UntagResourceInput) (iam.Resource, error) {
			return target(ctx, &in.Resource, nil)
		}, s.untag).At("DELETE " + tags + "?tagKeys").Status(http.StatusNoContent),
		wire.On("ListTags", func(ctx context.Context, in *lambda.ListTagsInput) (iam.Resource, error) {
			return target(ctx, &in.Resource, nil)
		}, s.listTags).At("GET " + tags),
	}
}

// target turns a function's name into its ARN, once. There are no versions and
// aliases besides $LATEST.
func target(ctx context.Context, name **string, qualifier *string) (iam.Resource, error) {
	if *name == nil {
		empty := ""
		*name = &empty
	}
	a, err := parse(ctx, **name)
	if err != nil {
		return iam.Resource{}, err
	}
	text := a.String()
	if q := orEmpty(qualifier); q != "" && q != "$LATEST" {
		return iam.Resource{}, ErrNotFound.Errorf("Function not found: %s:%s", text, clip(q))
	}
	*name = &text
	return iam.Resource{ARN: text}, nil
}

// wholeTarget is target for what is done to a function, not to a version: a
// caller that names $LATEST is refused.
func wholeTarget(ctx context.Context, name **string, qualifier *string, refusal string) (iam.Resource, error) {
	if orEmpty(qualifier) == "$LATEST" || strings.HasSuffix(orEmpty(*name), ":$LATEST") {
		return iam.Resource{}, ErrInvalidValue.Errorf("%s", refusal)
	}
	return target(ctx, name, qualifier)
}

func checkMaxItems(most *int32) error {
	var v wire.Violations
	v.Range("maxItems", wide(most), 1, 10000)
	return v.Err()
}

func (s *Service) addPermission(ctx context.Context, in *lambda.AddPermissionInput) (*lambda.AddPermissionOutput, error) {
	a, err := s.existing(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	if in.PrincipalOrgID != nil || in.EventSourceToken != nil || in.FunctionUrlAuthType != "" {
		return nil, ErrInvalidValue.Errorf("This server restricts a permission by SourceArn and SourceAccount only: leave PrincipalOrgID, EventSourceToken and FunctionUrlAuthType out.")
	}
	st, err := newStatement(a, in)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, a, in.RevisionId, func(tx *sqldb.Tx, _ []json.RawMessage) error {
		_, err := tx.Exec(ctx, `INSERT INTO function_permissions (position, function, sid, statement)
			VALUES ((SELECT COALESCE(MAX(position), 0) + 1 FROM function_permissions), $1, $2, $3)`, a.String(), st.Sid, string(text))
		if sqldb.IsUnique(err) {
			return ErrConflict.Errorf("The statement id (%s) provided already exists. Please provide a new statement id, or remove the existing statement.", st.Sid)
		}
		return err
	})
	return &lambda.AddPermissionOutput{Statement: new(string(text))}, err
}

// change changes a function's policy, if it still is the revision that the
// caller has seen. do is given the statements that there are.
func (s *Service) change(ctx context.Context, a arn, seen *string, do func(*sqldb.Tx, []json.RawMessage) error) error {
	return s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		all, err := statements(ctx, tx, a)
		if err != nil {
			return err
		}
		_, revision, err := render(all)
		if err != nil {
			return err
		}
		if seen != nil && *seen != revision {
			return ErrPrecondition.Errorf("The RevisionId provided does not match the latest RevisionId. Call the GetPolicy API to retrieve the latest RevisionId")
		}
		return do(tx, all)
	})
}

func (s *Service) getPolicy(ctx context.Context, in *lambda.GetPolicyInput) (*lambda.GetPolicyOutput, error) {
	a, err := s.existing(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	all, err := s.statements(ctx, a)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, ErrNotFound.Errorf("The resource you requested does not exist.")
	}
	text, revision, err := render(all)
	return &lambda.GetPolicyOutput{Policy: &text, RevisionId: &revision}, err
}

func (s *Service) removePermission(ctx context.Context, in *lambda.RemovePermissionInput) (*lambda.RemovePermissionOutput, error) {
	a, err := s.existing(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, a, in.RevisionId, func(tx *sqldb.Tx, all []json.RawMessage) error {
		if len(all) == 0 {
			return ErrNotFound.Errorf("No policy is associated with the given resource.")
		}
		res, err := tx.Exec(ctx, `DELETE FROM function_permissions WHERE function = $1 AND sid = $2`, a.String(), orEmpty(in.StatementId))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return ErrNotFound.Errorf("Statement %s is not found in resource policy.", clip(orEmpty(in.StatementId)))
	})
	return &lambda.RemovePermissionOutput{}, err
}

// invoke answers 200 also when the function failed: the failure is the payload,
// and a header says so.
func (s *Service) invoke(ctx context.Context, in *lambda.InvokeInput) (*wire.Raw, error) {
	a, err := s.existing(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	payload := in.Payload
	if len(payload) == 0 {
		payload = []byte("{}")
	}
	if !json.Valid(payload) {
		return nil, ErrInvalidContent.Errorf("Could not parse request body into json: the payload is not valid JSON.")
	}
	switch in.InvocationType {
	case types.InvocationTypeDryRun:
		return &wire.Raw{Status: http.StatusNoContent}, nil
	case types.InvocationTypeEvent:
		return &wire.Raw{Status: http.StatusAccepted}, s.runAsync(ctx, a, payload)
	case "", types.InvocationTypeRequestResponse:
		return s.answer(ctx, a, payload, in.LogType)
	}
	var v wire.Violations
	v.Enum("invocationType", string(in.InvocationType), "RequestResponse", "Event", "DryRun")
	return nil, v.Err()
}

func (s *Service) answer(ctx context.Context, a arn, payload []byte, log types.LogType) (*wire.Raw, error) {
	d, err := s.find(ctx, a)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Content-Type": {"application/json"}, "X-Amz-Executed-Version": {"$LATEST"}}
	body, tail, err := s.call(ctx, d, a, payload)
	if failure, ok := err.(*Failure); ok { //nolint:errorlint // call returns it as it is
		header.Set("X-Amz-Function-Error", "Unhandled")
		body, err = failure.payload(), nil
	}
	if err != nil {
		return nil, err
	}
	if log == types.LogTypeTail {
		header.Set("X-Amz-Log-Result", base64.StdEncoding.EncodeToString(tail))
	}
	return &wire.Raw{Status: http.StatusOK, Header: header, Body: body}, nil
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
