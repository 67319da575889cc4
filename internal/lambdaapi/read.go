package lambdaapi

import (
	"cmp"
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/sqldb"
)

func (s *Service) get(ctx context.Context, in *lambda.GetFunctionInput) (*lambda.GetFunctionOutput, error) {
	d, shown, err := s.look(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	// Clients want to see Code, but there is nothing to download.
	return &lambda.GetFunctionOutput{Configuration: shown, Code: &types.FunctionCodeLocation{}, Tags: d.tags}, nil
}

func (s *Service) getConfiguration(ctx context.Context, in *lambda.GetFunctionConfigurationInput) (*types.FunctionConfiguration, error) {
	_, shown, err := s.look(ctx, in.FunctionName)
	return shown, err
}

// look returns a function, and what callers see of it.
func (s *Service) look(ctx context.Context, functionARN *string) (*definition, *types.FunctionConfiguration, error) {
	a, err := split(*functionARN)
	if err != nil {
		return nil, nil, err
	}
	d, err := s.find(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	shown, err := s.describe(ctx, d)
	return d, &shown, err
}

// page is how many functions ListFunctions shows at once, at most.
const page = 50

// list shows the functions of the caller's account and region, in the order of
// their names. A Marker is the name of the last one shown.
func (s *Service) list(ctx context.Context, in *lambda.ListFunctionsInput) (*lambda.ListFunctionsOutput, error) {
	most := page
	if in.MaxItems != nil {
		most = min(int(*in.MaxItems), page)
	}
	all, err := s.after(ctx, orEmpty(in.Marker), most+1)
	if err != nil {
		return nil, err
	}
	out := &lambda.ListFunctionsOutput{Functions: []types.FunctionConfiguration{}}
	for _, d := range all[:min(most, len(all))] {
		shown, err := s.describe(ctx, d)
		if err != nil {
			return nil, err
		}
		shown.State, shown.LastUpdateStatus = "", "" // as on AWS, GetFunction tells
		out.Functions = append(out.Functions, shown)
	}
	if len(all) > most {
		out.NextMarker = out.Functions[most-1].FunctionName
	}
	return out, nil
}

// after returns functions whose names follow marker, most at most.
func (s *Service) after(ctx context.Context, marker string, most int) (all []*definition, err error) {
	c := iam.CallerOf(ctx)
	at := func(name string) arn { return arn{region: c.Region, account: c.Account, name: name} }
	err = s.config.DB.ReadOne(ctx, func(tx *sqldb.Tx) error {
		all, err = following(ctx, tx, at(marker), most)
		return err
	})
	for _, f := range s.config.BuiltIns {
		if f.Internal {
			continue
		}
		if f.Name > marker {
			all = append(all, s.findBuiltIn(at(f.Name)))
		}
	}
	slices.SortFunc(all, func(a, b *definition) int { return cmp.Compare(a.arn.name, b.arn.name) })
	return all[:min(most, len(all))], err
}

// following returns the functions of an account and region after a, which need
// not be there.
func following(ctx context.Context, tx *sqldb.Tx, a arn, most int) ([]*definition, error) {
	last := arn{region: a.region, account: a.account, name: "~"} // after every name
	rows, err := tx.Query(ctx, `SELECT `+columns+` FROM functions WHERE arn > $1 AND arn < $2 ORDER BY arn LIMIT $3`, a.String(), last.String(), most)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []*definition
	for rows.Next() {
		d, err := scan(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, rows.Err()
}

// listVersions shows the one version there is.
func (s *Service) listVersions(ctx context.Context, in *lambda.ListVersionsByFunctionInput) (*lambda.ListVersionsByFunctionOutput, error) {
	d, latest, err := s.look(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	latest.FunctionArn = new(d.arn.String() + ":$LATEST")
	return &lambda.ListVersionsByFunctionOutput{Versions: []types.FunctionConfiguration{*latest}}, nil
}

// codeSigning: as for every function on AWS that has none, the answer names the
// function and no configuration.
func (s *Service) codeSigning(ctx context.Context, in *lambda.GetFunctionCodeSigningConfigInput) (*lambda.GetFunctionCodeSigningConfigOutput, error) {
	a, err := s.existing(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	return &lambda.GetFunctionCodeSigningConfigOutput{FunctionName: &a.name}, nil
}

func (s *Service) existing(ctx context.Context, functionARN *string) (arn, error) {
	a, err := split(*functionARN)
	if err != nil {
		return a, err
	}
	_, err = s.find(ctx, a)
	return a, err
}
