package rdsapi

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// show is a cluster as it is now. The first member that is not being deleted is
// the writer.
func (c *clusterRow) show(members []*instanceRow) types.DBCluster {
	shown := c.shown
	shown.Status = new(c.status)
	showEmpty(&shown.DBClusterMembers)
	showEmpty(&shown.AssociatedRoles)
	showEmpty(&shown.ReadReplicaIdentifiers)
	showEmpty(&shown.DomainMemberships)
	showEmpty(&shown.VpcSecurityGroups)
	showEmpty(&shown.TagList)
	writer := true
	for _, m := range members {
		isWriter := writer && m.status != deleting
		shown.DBClusterMembers = append(shown.DBClusterMembers, types.DBClusterMember{
			DBInstanceIdentifier: m.shown.DBInstanceIdentifier, IsClusterWriter: &isWriter,
			DBClusterParameterGroupStatus: new("in-sync"), PromotionTier: m.shown.PromotionTier,
		})
		writer = writer && !isWriter
		if m.reason != "" && shown.StatusInfos == nil {
			shown.StatusInfos = []types.DBClusterStatusInfo{{StatusType: new("instance"), Status: new(m.status), Normal: new(false), Message: new(m.reason)}}
		}
	}
	return shown
}

// showEmpty makes a list one that an answer has also when nothing is in it, as RDS
// does with most of them: boto3 leaves out what the answer lacks.
func showEmpty[T any](list *[]T) {
	if *list == nil {
		*list = []T{}
	}
}

// show is an instance as it is now. Like AWS it has no endpoint while it is
// being created.
func (i *instanceRow) show() types.DBInstance {
	shown := i.shown
	shown.DBInstanceStatus = new(i.status)
	showEmpty(&shown.DBSecurityGroups)
	showEmpty(&shown.ReadReplicaDBInstanceIdentifiers)
	showEmpty(&shown.AssociatedRoles)
	showEmpty(&shown.DomainMemberships)
	showEmpty(&shown.VpcSecurityGroups)
	showEmpty(&shown.TagList)
	if i.status == creating {
		shown.Endpoint = nil
	}
	if i.reason != "" {
		shown.StatusInfos = []types.DBInstanceStatusInfo{{StatusType: new("instance"), Status: new(i.status), Normal: new(false), Message: new(i.reason)}}
	}
	return shown
}

func (s *Service) describeClusters(ctx context.Context, in *rds.DescribeDBClustersInput) (*rds.DescribeDBClustersOutput, error) {
	f, err := readFilters(in.Filters, "db-cluster-id", "db-cluster-resource-id", "engine", "domain", "clone-group-id")
	if err != nil {
		return nil, err
	}
	shown := []types.DBCluster{}
	err = s.config.DB.Read(ctx, func(tx *sqldb.Tx) error {
		list, err := clustersFor(ctx, tx, in.DBClusterIdentifier)
		if err != nil {
			return err
		}
		for _, c := range list {
			if !f.takeCluster(c) {
				continue
			}
			members, err := instances(ctx, tx, c.arn, "")
			if err != nil {
				return err
			}
			one := c.show(members)
			if err := s.showMaster(ctx, tx, &one.MasterUserSecret, c.status); err != nil {
				return err
			}
			shown = append(shown, one)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	page, marker, err := paged(shown, func(c types.DBCluster) string { return *c.DBClusterIdentifier }, in.Marker, in.MaxRecords)
	return &rds.DescribeDBClustersOutput{DBClusters: page, Marker: marker}, err
}

func clustersFor(ctx context.Context, tx *sqldb.Tx, arn *string) ([]*clusterRow, error) {
	if arn == nil {
		return allClusters(ctx, tx, cluster.prefix(ctx))
	}
	c, err := findCluster(ctx, tx, *arn)
	return []*clusterRow{c}, err
}

func (s *Service) describeInstances(ctx context.Context, in *rds.DescribeDBInstancesInput) (*rds.DescribeDBInstancesOutput, error) {
	f, err := readFilters(in.Filters, "db-cluster-id", "db-instance-id", "dbi-resource-id", "engine", "domain")
	if err != nil {
		return nil, err
	}
	shown := []types.DBInstance{}
	err = s.config.DB.Read(ctx, func(tx *sqldb.Tx) error {
		list, err := instancesFor(ctx, tx, in.DBInstanceIdentifier)
		if err != nil {
			return err
		}
		for _, i := range list {
			if !f.takeInstance(i) {
				continue
			}
			one := i.show()
			if err := s.showMaster(ctx, tx, &one.MasterUserSecret, i.status); err != nil {
				return err
			}
			shown = append(shown, one)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	page, marker, err := paged(shown, func(i types.DBInstance) string { return *i.DBInstanceIdentifier }, in.Marker, in.MaxRecords)
	return &rds.DescribeDBInstancesOutput{DBInstances: page, Marker: marker}, err
}

func instancesFor(ctx context.Context, tx *sqldb.Tx, arn *string) ([]*instanceRow, error) {
	if arn == nil {
		return instances(ctx, tx, "", instance.prefix(ctx))
	}
	i, err := findInstance(ctx, tx, *arn)
	return []*instanceRow{i}, err
}

// filters hold the accepted values by filter name. Several filters must all
// fit; of several values one must.
type filters map[string][]string

func readFilters(given []types.Filter, known ...string) (filters, error) {
	f := filters{}
	for _, filter := range given {
		name := value(filter.Name)
		if !slices.Contains(known, name) {
			return nil, ErrParameterValue.Errorf("Unrecognized filter name: %s", clip(name))
		}
		if len(filter.Values) == 0 {
			return nil, ErrParameterCombination.Errorf("The filter %s has no values.", name)
		}
		for _, v := range filter.Values {
			f[name] = append(f[name], idOf(strings.ToLower(v))) // an identifier, or an ARN with it
		}
	}
	return f, nil
}

func (f filters) take(name, is string) bool {
	values, set := f[name]
	return !set || slices.Contains(values, is)
}

func (f filters) takeCluster(c *clusterRow) bool {
	return f.take("domain", "") && f.take("clone-group-id", "") && // none has them
		f.take("db-cluster-id", idOf(c.arn)) && f.take("engine", value(c.shown.Engine)) &&
		f.take("db-cluster-resource-id", strings.ToLower(value(c.shown.DbClusterResourceId)))
}

func (f filters) takeInstance(i *instanceRow) bool {
	return f.take("domain", "") &&
		f.take("db-cluster-id", value(i.shown.DBClusterIdentifier)) && f.take("db-instance-id", idOf(i.arn)) &&
		f.take("engine", value(i.shown.Engine)) && f.take("dbi-resource-id", strings.ToLower(value(i.shown.DbiResourceId)))
}

// Bounds of MaxRecords.
const minRecords, maxRecords = 20, 100

// paged cuts one page out of a list. The marker is the last identifier that was
// shown, so a page is right even when something was created or deleted between
// two requests.
func paged[T any](all []T, id func(T) string, marker *string, limit *int32) ([]T, *string, error) {
	count := int(value(orElse(limit, maxRecords)))
	if count < minRecords || count > maxRecords {
		return nil, nil, ErrParameterValue.Errorf("Invalid value %d for MaxRecords. Must be between %d and %d", count, minRecords, maxRecords)
	}
	slices.SortFunc(all, func(a, b T) int { return strings.Compare(id(a), id(b)) })
	all = slices.DeleteFunc(all, func(one T) bool { return marker != nil && id(one) <= *marker })
	if len(all) <= count {
		return all, nil, nil
	}
	return all[:count], new(id(all[count-1])), nil
}
