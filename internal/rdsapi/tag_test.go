package rdsapi_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyturn/keyturn/internal/dbserver"
)

func (w *world) wantTags(arn string, want ...types.Tag) {
	w.t.Helper()
	out, err := w.ListTagsForResource(w.t.Context(), &rds.ListTagsForResourceInput{ResourceName: &arn})
	check(w.t, err)
	if diff := cmp.Diff(want, out.TagList, cmpopts.IgnoreUnexported(types.Tag{}), cmpopts.EquateEmpty()); diff != "" {
		w.t.Error(diff)
	}
}

func (w *world) addTags(arn string, tags ...types.Tag) error {
	_, err := w.AddTagsToResource(w.t.Context(), &rds.AddTagsToResourceInput{ResourceName: &arn, Tags: tags})
	return err
}

func TestTags(t *testing.T) {
	w := newWorld(t)
	arn := *w.createCluster("mydb", "aurora-mysql").DBClusterArn
	a, b := types.Tag{Key: aws.String("a"), Value: aws.String("1")}, types.Tag{Key: aws.String("b"), Value: aws.String("2")}
	w.wantTags(arn)
	check(t, w.addTags(arn, a, b))
	a.Value = aws.String("3")
	check(t, w.addTags(arn, a))
	w.wantTags(arn, a, b)
	if shown := w.cluster("mydb").TagList; len(shown) != 2 {
		t.Errorf("the description shows %v", shown)
	}
	_, err := w.RemoveTagsFromResource(t.Context(), &rds.RemoveTagsFromResourceInput{ResourceName: &arn, TagKeys: []string{"a", "none"}})
	check(t, err)
	w.wantTags(arn, b)
}

func TestLengthsOfTagsAreInCharacters(t *testing.T) {
	w := newWorld(t)
	arn := *w.createCluster("mydb", "aurora-mysql").DBClusterArn
	longest := tags(strings.Repeat("ü", 128), strings.Repeat("ö", 256))
	check(t, w.addTags(arn, longest...))
	w.wantTags(arn, longest...)
	wantError(t, w.addTags(arn, tags(strings.Repeat("ü", 129), "")...), "InvalidParameterValue", "Invalid tag")
}

func TestTagsOfInstance(t *testing.T) {
	w := newWorld(t)
	port := freePort(t) // nobody answers there; it makes no difference to tags
	w.createCluster("mydb", "aurora-mysql", func(in *rds.CreateDBClusterInput) {
		in.Tags = tags("keyturn:endpoint", "127.0.0.1:"+strconv.Itoa(port))
	})
	w.createInstance("one", "mydb", "aurora-mysql")
	arn := *w.instance("one").DBInstanceArn
	tag := types.Tag{Key: aws.String("team"), Value: aws.String("search")}
	check(t, w.addTags(arn, tag))
	w.wantTags(arn, tag)
	if shown := w.instance("one").TagList; len(shown) != 1 {
		t.Errorf("the description shows %v", shown)
	}
}

func TestTagsRefused(t *testing.T) {
	w := newWorld(t)
	arn := *w.createCluster("mydb", "aurora-mysql").DBClusterArn
	many := make([]types.Tag, 51)
	for i := range many {
		many[i] = types.Tag{Key: aws.String("k" + strconv.Itoa(i))}
	}
	for _, tc := range []struct {
		name, arn  string
		tags       []types.Tag
		code, text string
	}{
		{"NoARN", "mydb", tags("a", "b"), "InvalidParameterValue", "Invalid resource name: mydb"},
		{"OtherRegion", "arn:aws:rds:eu-west-1:000000000000:cluster:mydb", tags("a", "b"), "InvalidParameterValue", "The specified resource name does not match an RDS resource in this region."},
		{"OtherKind", "arn:aws:rds:us-east-1:000000000000:snapshot:mydb", tags("a", "b"), "InvalidParameterValue", "does not match an RDS resource"},
		{"NoCluster", arn + "x", tags("a", "b"), "DBClusterNotFoundFault", "DBCluster mydbx not found."},
		{"NoInstance", "arn:aws:rds:us-east-1:000000000000:db:none", tags("a", "b"), "DBInstanceNotFound", "DBInstance none not found."},
		{"NoTags", arn, []types.Tag{}, "MissingParameter", "Tags"},
		{"Reserved", arn, tags("aws:x", "y"), "InvalidParameterValue", "Invalid tag"},
		{"TooMany", arn, many, "InvalidParameterValue", "at most 50 tags"},
		{"Endpoint", arn, tags("keyturn:endpoint", "db:3306"), "InvalidParameterCombination", "read when a DB cluster is created"},
	} {
		t.Run(tc.name, func(t *testing.T) { wantError(t, w.addTags(tc.arn, tc.tags...), tc.code, tc.text) })
	}
	w.wantTags(arn)
}

func TestModifyMember(t *testing.T) {
	w := newWorld(t)
	w.createCluster("mydb", "aurora-mysql", func(in *rds.CreateDBClusterInput) {
		in.Tags = tags("keyturn:endpoint", "127.0.0.1:"+strconv.Itoa(freePort(t)))
	})
	w.createInstance("one", "mydb", "aurora-mysql")
	modify := func(change func(*rds.ModifyDBInstanceInput)) error {
		in := &rds.ModifyDBInstanceInput{DBInstanceIdentifier: aws.String("ONE")}
		change(in)
		_, err := w.ModifyDBInstance(t.Context(), in)
		return err
	}
	check(t, modify(func(in *rds.ModifyDBInstanceInput) {
		in.DBInstanceClass, in.PromotionTier = aws.String("db.r6g.large"), aws.Int32(3)
	}))
	if i := w.instance("one"); *i.DBInstanceClass != "db.r6g.large" || *i.PromotionTier != 3 {
		t.Errorf("got %s, %d", *i.DBInstanceClass, *i.PromotionTier)
	}
	const combination = "InvalidParameterCombination"
	wantError(t, modify(func(in *rds.ModifyDBInstanceInput) { in.DeletionProtection = aws.Bool(true) }), combination,
		"The specified DB Instance is a member of a cluster. Modify deletion protection for the DB Cluster using the ModifyDbCluster API")
	wantError(t, modify(func(in *rds.ModifyDBInstanceInput) { in.MasterUserPassword = aws.String("Another-1") }), combination, "member of a cluster")
	wantError(t, modify(func(in *rds.ModifyDBInstanceInput) { in.NewDBInstanceIdentifier = aws.String("two") }), combination, "does not offer")
	wantError(t, modify(func(in *rds.ModifyDBInstanceInput) { in.DBInstanceIdentifier = aws.String("none") }), "DBInstanceNotFound", "none")
}

func TestModifyInstanceAlone(t *testing.T) {
	w := newWorld(t)
	_, err := w.CreateDBInstance(t.Context(), &rds.CreateDBInstanceInput{DBInstanceIdentifier: aws.String("alone"), Engine: aws.String("mysql"),
		DBInstanceClass: aws.String("db.t4g.medium"), MasterUsername: aws.String("boss"), MasterUserPassword: aws.String(masterPassword)})
	check(t, err)
	const next = "Another-Password-1"
	change := &rds.ModifyDBInstanceInput{DBInstanceIdentifier: aws.String("alone"), MasterUserPassword: aws.String(next), BackupRetentionPeriod: aws.Int32(5)}
	i := w.awaitStatus("alone", "available")
	_, err = w.ModifyDBInstance(t.Context(), change)
	check(t, err)
	if got := *w.instance("alone").BackupRetentionPeriod; got != 5 {
		t.Errorf("BackupRetentionPeriod = %d", got)
	}
	if err := login(t, dbserver.MySQL, *i.Endpoint.Port, next); err != nil {
		t.Error(err)
	}
	if err := login(t, dbserver.MySQL, *i.Endpoint.Port, masterPassword); err == nil {
		t.Error("the old password still logs in")
	}
}

func TestNoGlobalClusters(t *testing.T) {
	w := newWorld(t)
	out, err := w.DescribeGlobalClusters(t.Context(), &rds.DescribeGlobalClustersInput{
		Filters: []types.Filter{{Name: aws.String("db-cluster-id"), Values: []string{"arn:aws:rds:us-east-1:000000000000:cluster:mydb"}}}})
	if err != nil || len(out.GlobalClusters) != 0 {
		t.Errorf("got %v, %v", out, err)
	}
	_, err = w.DescribeGlobalClusters(t.Context(), &rds.DescribeGlobalClustersInput{GlobalClusterIdentifier: aws.String("world")})
	wantError(t, err, "GlobalClusterNotFoundFault", "world")
}

func TestFilterByResourceID(t *testing.T) {
	w := newWorld(t)
	id := *w.createCluster("mydb", "aurora-mysql").DbClusterResourceId
	w.createCluster("other", "aurora-mysql")
	out, err := w.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{
		Filters: []types.Filter{{Name: aws.String("db-cluster-resource-id"), Values: []string{id}}}})
	if err != nil || len(out.DBClusters) != 1 || *out.DBClusters[0].DBClusterIdentifier != "mydb" {
		t.Errorf("got %v, %v", out, err)
	}
}
