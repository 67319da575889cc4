package rdsapi_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
)

// What has no effect is shown as it was asked for, and as it was changed.
func TestKeptIsShown(t *testing.T) {
	w := newWorld(t)
	w.createCluster("c", "mysql", func(in *rds.CreateDBClusterInput) {
		in.EnableIAMDatabaseAuthentication, in.BacktrackWindow, in.NetworkType = aws.Bool(true), aws.Int64(60), aws.String("IPV4")
		in.EnableCloudwatchLogsExports = []string{"error", "audit"}
		in.ServerlessV2ScalingConfiguration = &types.ServerlessV2ScalingConfiguration{MinCapacity: aws.Float64(0.5), MaxCapacity: aws.Float64(1)}
	})
	_, err := w.ModifyDBCluster(t.Context(), &rds.ModifyDBClusterInput{
		DBClusterIdentifier: aws.String("c"), BacktrackWindow: aws.Int64(90), EnableHttpEndpoint: aws.Bool(true),
		CloudwatchLogsExportConfiguration: &types.CloudwatchLogsExportConfiguration{DisableLogTypes: []string{"audit"}, EnableLogTypes: []string{"error", "general"}},
		ServerlessV2ScalingConfiguration:  &types.ServerlessV2ScalingConfiguration{MaxCapacity: aws.Float64(2)},
	})
	check(t, err)
	c := w.cluster("c")
	if !*c.IAMDatabaseAuthenticationEnabled || !*c.HttpEndpointEnabled || *c.BacktrackWindow != 90 || *c.NetworkType != "IPV4" {
		t.Errorf("the cluster shows %v %v %v", *c.IAMDatabaseAuthenticationEnabled, *c.HttpEndpointEnabled, c.BacktrackWindow)
	}
	if logs := strings.Join(c.EnabledCloudwatchLogsExports, " "); logs != "error general" {
		t.Errorf("exported logs: %s", logs)
	}
	if s := c.ServerlessV2ScalingConfiguration; *s.MinCapacity != 0.5 || *s.MaxCapacity != 2 {
		t.Errorf("capacity from %v to %v", *s.MinCapacity, *s.MaxCapacity)
	}
	w.checkKeptOfInstance()
}

func (w *world) checkKeptOfInstance() {
	ctx, id := w.t.Context(), aws.String("i")
	_, err := w.CreateDBInstance(ctx, &rds.CreateDBInstanceInput{
		DBInstanceIdentifier: id, DBClusterIdentifier: aws.String("c"), Engine: aws.String("mysql"), DBInstanceClass: aws.String("db.t4g.medium"),
		MonitoringInterval: aws.Int32(60), EnablePerformanceInsights: aws.Bool(true), DBSubnetGroupName: aws.String("s"),
		DBParameterGroupName: aws.String("p")})
	check(w.t, err)
	_, err = w.ModifyDBInstance(ctx, &rds.ModifyDBInstanceInput{DBInstanceIdentifier: id, MonitoringInterval: aws.Int32(30), DBParameterGroupName: aws.String("q")})
	check(w.t, err)
	i := w.instance("i")
	if *i.MonitoringInterval != 30 || !*i.PerformanceInsightsEnabled || *i.DBSubnetGroup.DBSubnetGroupName != "s" ||
		*i.DBParameterGroups[0].DBParameterGroupName != "q" || *i.CACertificateIdentifier != "rds-ca-rsa2048-g1" {
		w.t.Errorf("the instance shows %+v", i)
	}
}
