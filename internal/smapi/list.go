package smapi

import (
	"context"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

func checkList(in *sm.ListSecretsInput) error {
	var v wire.Violations
	checkPage(&v, in.MaxResults, 100, in.NextToken)
	v.Enum("sortOrder", string(in.SortOrder), "asc", "desc")
	v.Enum("sortBy", string(in.SortBy), "created-date", "last-accessed-date", "last-changed-date", "name")
	return checkFilters(&v, in.Filters)
}

func checkPage(v *wire.Violations, maxResults *int32, most int64, token *string) {
	if maxResults != nil {
		v.Range("maxResults", new(int64(*maxResults)), 1, most)
	}
	v.Length("nextToken", token, 1, 4096)
}

// filterValue is the pattern of FilterValueStringType in AWS's model.
var filterValue = wire.NewPattern(`^\!?[a-zA-Z0-9 :_@\/\+\=\.\-\!]*$`)

// checkFilters adds what AWS's front end says of filters, and then says what the
// service does.
func checkFilters(v *wire.Violations, filters []types.Filter) error {
	v.Count("filters", filters != nil, len(filters), 0, 10)
	for i, f := range filters {
		at := wire.Member("filters", i)
		v.Enum(at+".key", string(f.Key), filterKeys()...)
		v.Count(at+".values", f.Values != nil, len(f.Values), 1, 10)
		for j := range f.Values {
			v.Length(wire.Member(at+".values", j), &f.Values[j], 1, 512)
			v.Pattern(wire.Member(at+".values", j), &f.Values[j], filterValue)
		}
	}
	if err := v.Err(); err != nil {
		return err
	}
	for _, f := range filters {
		if f.Key == "" {
			return secret.ErrInvalidParameter.Errorf("Invalid filter key")
		}
		if len(f.Values) == 0 {
			return secret.ErrInvalidParameter.Errorf("Invalid filter values for key: %s", f.Key)
		}
	}
	return nil
}

func filterKeys() []string {
	all := make([]string, len(secret.FilterKeys))
	for i, k := range secret.FilterKeys {
		all[i] = string(k)
	}
	return all
}

func filtersOf(filters []types.Filter) []secret.Filter {
	all := make([]secret.Filter, len(filters))
	for i, f := range filters {
		all[i] = secret.Filter{Key: secret.FilterKey(f.Key), Values: f.Values}
	}
	return all
}

var orders = map[types.SortByType]secret.Order{
	types.SortByTypeLastAccessedDate: secret.ByAccessed,
	types.SortByTypeLastChangedDate:  secret.ByChanged,
	types.SortByTypeName:             secret.ByName,
}

func (s *Service) list(ctx context.Context, in *sm.ListSecretsInput) (*sm.ListSecretsOutput, error) {
	page := secret.Page{At: here(ctx), Filters: filtersOf(in.Filters), WithDeleted: isTrue(in.IncludePlannedDeletion),
		By: orders[in.SortBy], Descending: in.SortOrder == types.SortOrderTypeDesc,
		Limit: orMost(in.MaxResults, 100), Token: orEmpty(in.NextToken)}
	if page.By == secret.ByChanged {
		if err := s.vault.OrderChanges(ctx); err != nil {
			return nil, err
		}
	}
	out := &sm.ListSecretsOutput{}
	err := s.db.Read(ctx, func(tx *sqldb.Tx) error {
		found, next, err := s.vault.List(ctx, tx, page)
		if err != nil {
			return err
		}
		out.NextToken = ifSet(next)
		out.SecretList, err = s.entries(ctx, tx, found)
		return err
	})
	return out, err
}

// entries shows a page of secrets; what belongs to them is read for all at once.
func (s *Service) entries(ctx context.Context, tx *sqldb.Tx, found []*secret.Secret) ([]types.SecretListEntry, error) {
	all := make([]types.SecretListEntry, 0, len(found))
	if len(found) == 0 {
		return all, nil
	}
	primaries := make([]secret.ARN, 0, len(found))
	for _, f := range found {
		primaries = append(primaries, f.PrimaryARN())
	}
	states, err := s.sched.States(ctx, tx, primaries)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		stages, err := f.Stages()
		if err != nil {
			return nil, err
		}
		all = append(all, s.entry(f, stages, states[f.PrimaryARN()]))
	}
	return all, nil
}

// orMost is the size of a page: AWS fills it unless told otherwise.
func orMost(n *int32, most int) int {
	if n == nil {
		return most
	}
	return int(*n)
}

func isTrue(b *bool) bool { return b != nil && *b }
