package rdsapi_test

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
)

func TestCreateClusterRefused(t *testing.T) {
	w := newWorld(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer taken.Close()
	_, text, _ := net.SplitHostPort(taken.Addr().String())
	port, err := strconv.Atoi(text)
	check(t, err)
	type input = rds.CreateDBClusterInput
	for name, tc := range map[string]struct {
		change     func(*input)
		code, part string
	}{
		"unknown engine":  {func(in *input) { in.Engine = aws.String("oracle") }, "InvalidParameterValue", "Invalid DB engine: oracle"},
		"no engine":       {func(in *input) { in.Engine = aws.String("") }, "MissingParameter", "Engine"},
		"bad identifier":  {func(in *input) { in.DBClusterIdentifier = aws.String("two--hyphens") }, "InvalidParameterValue", "consecutive hyphens"},
		"path":            {func(in *input) { in.DBClusterIdentifier = aws.String("../../etc") }, "InvalidParameterValue", "not a valid identifier"},
		"no user":         {func(in *input) { in.MasterUsername = nil }, "MissingParameter", "MasterUsername"},
		"reserved user":   {func(in *input) { in.MasterUsername = aws.String("rdsadmin") }, "InvalidParameterValue", "reserved word"},
		"quote in user":   {func(in *input) { in.MasterUsername = aws.String("a'b") }, "InvalidParameterValue", "MasterUsername"},
		"no password":     {func(in *input) { in.MasterUserPassword = nil }, "MissingParameter", "MasterUserPassword"},
		"short password":  {func(in *input) { in.MasterUserPassword = aws.String("1234") }, "InvalidParameterValue", "shorter than 8"},
		"managed":         {func(in *input) { in.ManageMasterUserPassword = aws.Bool(true) }, "InvalidParameterCombination", "mutually exclusive"},
		"privileged port": {func(in *input) { in.Port = aws.Int32(80) }, "InvalidParameterValue", "1150-65535"},
		"taken port":      {func(in *input) { in.Port = aws.Int32(int32(port)) }, "InvalidParameterValue", "is taken by another process"},
		"bad endpoint":    {func(in *input) { in.Tags = tags("keyturn:endpoint", "localhost") }, "InvalidParameterValue", "host:port"},
		"reserved tag":    {func(in *input) { in.Tags = tags("aws:x", "y") }, "InvalidParameterValue", "aws:"},
		"bad database":    {func(in *input) { in.DatabaseName = aws.String("a-b") }, "InvalidParameterValue", "DatabaseName"},
	} {
		t.Run(name, func(t *testing.T) {
			in := &input{DBClusterIdentifier: aws.String("c"), Engine: aws.String("mariadb"), MasterUsername: aws.String("boss"), MasterUserPassword: aws.String(masterPassword)}
			tc.change(in)
			_, err := w.CreateDBCluster(t.Context(), in)
			wantError(t, err, tc.code, tc.part)
		})
	}
}

func tags(key, value string) []types.Tag {
	return []types.Tag{{Key: &key, Value: &value}}
}

func TestAdoptedIPv6(t *testing.T) {
	w := newWorld(t)
	// An adopted server needs no program on this machine.
	w.createCluster("elsewhere", "aurora-mysql", func(in *rds.CreateDBClusterInput) { in.Tags = tags("keyturn:endpoint", "[::1]:3306") })
	c := w.cluster("elsewhere")
	if *c.Endpoint != "::1" || *c.Port != 3306 {
		t.Errorf("endpoint %s, port %d", *c.Endpoint, *c.Port)
	}
}

func TestNotFound(t *testing.T) {
	w := newWorld(t)
	ctx, id := t.Context(), aws.String("Nope")
	_, err := w.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{DBClusterIdentifier: id})
	wantError(t, err, "DBClusterNotFoundFault", "DBCluster nope not found.")
	_, err = w.ModifyDBCluster(ctx, &rds.ModifyDBClusterInput{DBClusterIdentifier: id})
	wantError(t, err, "DBClusterNotFoundFault", "DBCluster nope not found.")
	_, err = w.DeleteDBCluster(ctx, &rds.DeleteDBClusterInput{DBClusterIdentifier: id, SkipFinalSnapshot: aws.Bool(true)})
	wantError(t, err, "DBClusterNotFoundFault", "DBCluster nope not found.")
	_, err = w.DeleteDBInstance(ctx, &rds.DeleteDBInstanceInput{DBInstanceIdentifier: id})
	wantError(t, err, "DBInstanceNotFound", "DBInstance nope not found.")
	_, err = w.CreateDBInstance(ctx, &rds.CreateDBInstanceInput{DBInstanceIdentifier: id, DBClusterIdentifier: id, Engine: aws.String("mysql"), DBInstanceClass: aws.String("db.x")})
	wantError(t, err, "DBClusterNotFoundFault", "DBCluster nope not found.")
}

// A list that is empty is in the answer: boto3 has no key for one that is not.
func TestEmptyListsAreShown(t *testing.T) {
	w := newWorld(t)
	clusters, err := w.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{})
	check(t, err)
	instances, err := w.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{})
	check(t, err)
	if clusters.DBClusters == nil || instances.DBInstances == nil {
		t.Errorf("without any: %v, %v", clusters.DBClusters == nil, instances.DBInstances == nil)
	}
	c := w.createCluster("c", "mysql", func(in *rds.CreateDBClusterInput) { in.Tags = nil })
	if c.DBClusterMembers == nil || c.AssociatedRoles == nil || c.ReadReplicaIdentifiers == nil || c.DomainMemberships == nil || c.VpcSecurityGroups == nil || c.TagList == nil {
		t.Errorf("a cluster lacks a list: %+v", c)
	}
	w.createInstance("i", "c", "mysql")
	i := w.instance("i")
	if i.DBSecurityGroups == nil || i.ReadReplicaDBInstanceIdentifiers == nil || i.AssociatedRoles == nil || i.DomainMemberships == nil || i.VpcSecurityGroups == nil || i.TagList == nil {
		t.Errorf("an instance lacks a list: %+v", i)
	}
}

func TestRegionsAndPaging(t *testing.T) {
	w := newWorld(t)
	elsewhere := func(in *rds.CreateDBClusterInput) { in.Tags = tags("keyturn:endpoint", "db.example.com:3306") }
	for i := range 25 {
		w.createCluster(fmt.Sprintf("c%02d", i), "mysql", elsewhere)
	}
	other := w.client("eu-west-1")
	list, err := other.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{})
	check(t, err)
	_, err = other.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{DBClusterIdentifier: w.cluster("c00").DBClusterArn})
	wantError(t, err, "DBClusterNotFoundFault", "")
	if len(list.DBClusters) != 0 {
		t.Error("another region shows this region's clusters")
	}
	var seen []string
	pages := rds.NewDescribeDBClustersPaginator(w.Client, &rds.DescribeDBClustersInput{MaxRecords: aws.Int32(20)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		check(t, err)
		for _, c := range page.DBClusters {
			seen = append(seen, *c.DBClusterIdentifier)
		}
	}
	if len(seen) != 25 || !strings.HasPrefix(strings.Join(seen, " "), "c00 c01 c02") {
		t.Errorf("pages held %v", seen)
	}
	_, err = w.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{MaxRecords: aws.Int32(5)})
	wantError(t, err, "InvalidParameterValue", "Invalid value 5 for MaxRecords. Must be between 20 and 100")
	_, err = w.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{Filters: []types.Filter{{Name: aws.String("x"), Values: []string{"y"}}}})
	wantError(t, err, "InvalidParameterValue", "Unrecognized filter name: x")
	for _, name := range []string{"domain", "clone-group-id"} { // no cluster has one
		none, err := w.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{Filters: []types.Filter{{Name: &name, Values: []string{"x"}}}})
		check(t, err)
		if len(none.DBClusters) != 0 {
			t.Errorf("%s took %d clusters", name, len(none.DBClusters))
		}
	}
	byARN, err := w.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{Filters: []types.Filter{{Name: aws.String("db-cluster-id"), Values: []string{"c03", *w.cluster("c04").DBClusterArn}}}})
	check(t, err)
	if len(byARN.DBClusters) != 2 {
		t.Errorf("filtered: %d", len(byARN.DBClusters))
	}
}
