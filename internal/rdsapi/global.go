package rdsapi

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/keyturn/keyturn/internal/iam"
)

func targetDescribeGlobalClusters(ctx context.Context, _ *rds.DescribeGlobalClustersInput) (iam.Resource, error) {
	return iam.Resource{ARN: "arn:aws:rds::" + iam.CallerOf(ctx).Account + ":global-cluster:*"}, nil
}

// describeGlobalClusters answers what is true here: there are none. Terraform
// asks about every cluster whether it belongs to one.
func (s *Service) describeGlobalClusters(_ context.Context, in *rds.DescribeGlobalClustersInput) (*rds.DescribeGlobalClustersOutput, error) {
	if _, err := readFilters(in.Filters, "db-cluster-id", "region"); err != nil {
		return nil, err
	}
	if id := value(in.GlobalClusterIdentifier); id != "" {
		return nil, ErrGlobalClusterNotFound.Errorf("Global cluster %s not found.", clip(id))
	}
	return &rds.DescribeGlobalClustersOutput{GlobalClusters: []types.GlobalCluster{}}, nil
}
