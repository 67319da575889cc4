package rdsapi

import (
	"context"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/rds"

	"github.com/keyturn/keyturn/internal/iam"
)

// kind is a sort of resource in an ARN.
type kind struct {
	name      string // in the ARN: cluster, db
	parameter string // how requests call its identifier
	notFound  func(arn string) error
}

var (
	cluster  = kind{"cluster", "DBClusterIdentifier", clusterNotFound}
	instance = kind{"db", "DBInstanceIdentifier", instanceNotFound}
)

func clusterNotFound(arn string) error {
	return ErrClusterNotFound.Errorf("DBCluster %s not found.", clip(idOf(arn)))
}

func instanceNotFound(arn string) error {
	return ErrInstanceNotFound.Errorf("DBInstance %s not found.", clip(idOf(arn)))
}

// prefix is the ARN of the caller's resources up to the identifier.
func (k kind) prefix(ctx context.Context) string {
	c := iam.CallerOf(ctx)
	return "arn:aws:rds:" + c.Region + ":" + c.Account + ":" + k.name + ":"
}

// target turns an identifier or ARN into an ARN, once; behind it there are only
// ARNs. Identifiers do not depend on upper and lower case.
func (k kind) target(ctx context.Context, id **string) (iam.Resource, error) {
	if *id == nil || **id == "" {
		return iam.Resource{}, missing(k.parameter)
	}
	arn := strings.ToLower(**id)
	if !strings.HasPrefix(arn, "arn:") {
		arn = k.prefix(ctx) + arn
	}
	if !strings.HasPrefix(arn, k.prefix(ctx)) { // of another account, region or kind
		return iam.Resource{}, k.notFound(arn)
	}
	*id = &arn
	return iam.Resource{ARN: arn}, nil
}

func missing(parameter string) error {
	return ErrMissingParameter.Errorf("The request must contain the parameter %s.", parameter)
}

// idOf returns the identifier in an ARN.
func idOf(arn string) string { return arn[strings.LastIndexByte(arn, ':')+1:] }

var identifier = regexp.MustCompile(`^[a-z](-?[a-z0-9])*$`)

const maxIdentifier = 63

// fresh checks the identifier of something that is to be created.
func (k kind) fresh(ctx context.Context, id **string) (iam.Resource, error) {
	if *id != nil && **id != "" {
		name := strings.ToLower(**id)
		if len(name) > maxIdentifier || !identifier.MatchString(name) {
			return iam.Resource{}, ErrParameterValue.Errorf("The parameter %s is not a valid identifier. Identifiers must begin with a letter; "+
				"must contain only ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens.", k.parameter)
		}
	}
	return k.target(ctx, id)
}

func required(parameter string, value *string) error {
	if value == nil || *value == "" {
		return missing(parameter)
	}
	return nil
}

func targetCreateCluster(ctx context.Context, in *rds.CreateDBClusterInput) (iam.Resource, error) {
	target, err := cluster.fresh(ctx, &in.DBClusterIdentifier)
	if err != nil {
		return target, err
	}
	return target, required("Engine", in.Engine)
}

func targetDescribeClusters(ctx context.Context, in *rds.DescribeDBClustersInput) (iam.Resource, error) {
	if in.DBClusterIdentifier == nil {
		return iam.Resource{ARN: cluster.prefix(ctx) + "*"}, nil
	}
	return cluster.target(ctx, &in.DBClusterIdentifier)
}

func targetModifyCluster(ctx context.Context, in *rds.ModifyDBClusterInput) (iam.Resource, error) {
	return cluster.target(ctx, &in.DBClusterIdentifier)
}

func targetDeleteCluster(ctx context.Context, in *rds.DeleteDBClusterInput) (iam.Resource, error) {
	return cluster.target(ctx, &in.DBClusterIdentifier)
}

func targetCreateInstance(ctx context.Context, in *rds.CreateDBInstanceInput) (iam.Resource, error) {
	target, err := instance.fresh(ctx, &in.DBInstanceIdentifier)
	if err != nil {
		return target, err
	}
	if in.DBClusterIdentifier != nil {
		if _, err := cluster.target(ctx, &in.DBClusterIdentifier); err != nil {
			return target, err
		}
	}
	if err := required("DBInstanceClass", in.DBInstanceClass); err != nil {
		return target, err
	}
	return target, required("Engine", in.Engine)
}

func targetDescribeInstances(ctx context.Context, in *rds.DescribeDBInstancesInput) (iam.Resource, error) {
	if in.DBInstanceIdentifier == nil {
		return iam.Resource{ARN: instance.prefix(ctx) + "*"}, nil
	}
	return instance.target(ctx, &in.DBInstanceIdentifier)
}

func targetDeleteInstance(ctx context.Context, in *rds.DeleteDBInstanceInput) (iam.Resource, error) {
	return instance.target(ctx, &in.DBInstanceIdentifier)
}
