package smapi

import (
	"context"
	"errors"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

// maxBatch is the most secrets of one BatchGetSecretValue.
const maxBatch = 20

func checkBatch(in *sm.BatchGetSecretValueInput) error {
	var v wire.Violations
	v.Count("secretIdList", in.SecretIdList != nil, len(in.SecretIdList), 1, maxBatch)
	for i := range in.SecretIdList {
		v.Length(wire.Member("secretIdList", i), &in.SecretIdList[i], 1, 2048)
	}
	checkPage(&v, in.MaxResults, maxBatch, in.NextToken)
	if err := checkFilters(&v, in.Filters); err != nil {
		return err
	}
	switch {
	case (in.SecretIdList == nil) == (len(in.Filters) == 0):
		return secret.ErrInvalidParameter.Errorf("Either 'SecretIdList' or 'Filters' must be provided, but not both.")
	case len(in.Filters) == 0 && in.MaxResults != nil:
		return secret.ErrInvalidParameter.Errorf("'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.")
	case len(in.Filters) == 0 && in.NextToken != nil:
		return secret.ErrInvalidNextToken.Errorf("The NextToken value is invalid.")
	}
	return nil
}

// batch reads many secrets. What hinders one of them stands in Errors; a secret
// that is named twice is read once.
func (s *Service) batch(ctx context.Context, in *sm.BatchGetSecretValueInput) (*sm.BatchGetSecretValueOutput, error) {
	out := &sm.BatchGetSecretValueOutput{SecretValues: []types.SecretValueEntry{}, Errors: []types.APIErrorType{}}
	ids, err := s.batchIDs(ctx, in, out)
	if err != nil {
		return nil, err
	}
	done := map[string]bool{}
	for _, id := range ids {
		if done[id] {
			continue
		}
		done[id] = true
		value, err := s.batchOne(ctx, id)
		if err != nil {
			f, err := s.perSecret(id, err)
			if err != nil {
				return nil, err
			}
			out.Errors = append(out.Errors, f)
			continue
		}
		out.SecretValues = append(out.SecretValues, types.SecretValueEntry{ARN: value.ARN, Name: value.Name, VersionId: value.VersionId,
			SecretString: value.SecretString, SecretBinary: value.SecretBinary, VersionStages: value.VersionStages, CreatedDate: value.CreatedDate})
	}
	return out, nil
}

// batchIDs are the secrets of the request's list, or a page of those that its
// filters find.
func (s *Service) batchIDs(ctx context.Context, in *sm.BatchGetSecretValueInput, out *sm.BatchGetSecretValueOutput) (ids []string, err error) {
	if in.SecretIdList != nil {
		return in.SecretIdList, nil
	}
	if err := s.may(ctx, "ListSecrets", iam.Resource{ARN: "*"}); err != nil {
		return nil, err
	}
	page := secret.Page{At: here(ctx), Filters: filtersOf(in.Filters), Limit: orMost(in.MaxResults, maxBatch), Token: orEmpty(in.NextToken)}
	err = s.db.Read(ctx, func(tx *sqldb.Tx) error {
		found, next, err := s.vault.List(ctx, tx, page)
		for _, f := range found {
			ids = append(ids, string(f.ARN))
		}
		out.NextToken = ifSet(next)
		return err
	})
	return ids, err
}

// errNotRecorded says that the audit log has no line for a value, which then
// must not be given away.
var errNotRecorded = errors.New("a call was not recorded")

// batchOne is one GetSecretValue, with a line of its own in the audit log.
func (s *Service) batchOne(ctx context.Context, id string) (*sm.GetSecretValueOutput, error) {
	event := *audit.Of(ctx)
	event.Name, event.Resource, event.VersionID = "GetSecretValue", id, ""
	ctx = audit.WithEvent(ctx, &event)
	in := &sm.GetSecretValueInput{SecretId: &id}
	value, err := s.getAllowed(ctx, in)
	event.Resource = *in.SecretId
	if err != nil {
		f := fault.Of(err)
		event.ErrorCode, event.ErrorText = f.Kind.Code, f.Message
	} else {
		event.VersionID = *value.VersionId
	}
	if lost := s.record(&event); lost != nil {
		return nil, errors.Join(errNotRecorded, lost)
	}
	return value, err
}

// getAllowed is GetSecretValue behind its permission.
func (s *Service) getAllowed(ctx context.Context, in *sm.GetSecretValueInput) (*sm.GetSecretValueOutput, error) {
	res, err := s.target(ctx, in, &in.SecretId)
	if err != nil {
		return nil, err
	}
	if err := s.may(ctx, "GetSecretValue", res); err != nil {
		return nil, err
	}
	if err := s.foreignKey(ctx, in.SecretId); err != nil {
		return nil, err
	}
	return s.getValue(ctx, in)
}

// perSecret shows what hindered one secret.
func (s *Service) perSecret(id string, err error) (types.APIErrorType, error) {
	if errors.Is(err, errNotRecorded) {
		return types.APIErrorType{}, err
	}
	f := fault.Of(err)
	if f.Kind == fault.Internal {
		s.log.Error("reading a secret of a batch", "secret", id, "error", err)
	}
	return types.APIErrorType{SecretId: &id, ErrorCode: &f.Kind.Code, Message: &f.Message}, nil
}

// record writes a line of its own to the audit log, if there is one.
func (s *Service) record(e *audit.Event) error {
	if s.audit == nil {
		return nil
	}
	return s.audit.Record(e)
}
