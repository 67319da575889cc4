package rdsapi

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
)

// What has no effect on a server of this machine is kept, and shown as it was
// asked for: Terraform takes any difference for drift, and mends it for ever.

func keepOfCluster(to *types.DBCluster, in *rds.CreateDBClusterInput) {
	to.IAMDatabaseAuthenticationEnabled = orElse(in.EnableIAMDatabaseAuthentication, false)
	to.HttpEndpointEnabled = orElse(in.EnableHttpEndpoint, false)
	to.EnabledCloudwatchLogsExports = in.EnableCloudwatchLogsExports
	to.BacktrackWindow, to.NetworkType, to.EngineLifecycleSupport = in.BacktrackWindow, in.NetworkType, in.EngineLifecycleSupport
	to.DBClusterInstanceClass, to.AllocatedStorage, to.Iops = in.DBClusterInstanceClass, in.AllocatedStorage, in.Iops
	to.MonitoringInterval, to.MonitoringRoleArn = in.MonitoringInterval, in.MonitoringRoleArn
	to.PerformanceInsightsEnabled, to.DatabaseInsightsMode = in.EnablePerformanceInsights, in.DatabaseInsightsMode
	to.PerformanceInsightsKMSKeyId, to.PerformanceInsightsRetentionPeriod = in.PerformanceInsightsKMSKeyId, in.PerformanceInsightsRetentionPeriod
	scale(&to.ServerlessV2ScalingConfiguration, in.ServerlessV2ScalingConfiguration)
}

func changeKeptOfCluster(to *types.DBCluster, in *rds.ModifyDBClusterInput) {
	set(&to.IAMDatabaseAuthenticationEnabled, in.EnableIAMDatabaseAuthentication)
	set(&to.HttpEndpointEnabled, in.EnableHttpEndpoint)
	export(&to.EnabledCloudwatchLogsExports, in.CloudwatchLogsExportConfiguration)
	set(&to.BacktrackWindow, in.BacktrackWindow)
	set(&to.NetworkType, in.NetworkType)
	set(&to.DBClusterInstanceClass, in.DBClusterInstanceClass)
	set(&to.AllocatedStorage, in.AllocatedStorage)
	set(&to.Iops, in.Iops)
	set(&to.MonitoringInterval, in.MonitoringInterval)
	set(&to.MonitoringRoleArn, in.MonitoringRoleArn)
	set(&to.PerformanceInsightsEnabled, in.EnablePerformanceInsights)
	set(&to.PerformanceInsightsKMSKeyId, in.PerformanceInsightsKMSKeyId)
	set(&to.PerformanceInsightsRetentionPeriod, in.PerformanceInsightsRetentionPeriod)
	if in.DatabaseInsightsMode != "" {
		to.DatabaseInsightsMode = in.DatabaseInsightsMode
	}
	scale(&to.ServerlessV2ScalingConfiguration, in.ServerlessV2ScalingConfiguration)
}

func keepOfInstance(to *types.DBInstance, in *rds.CreateDBInstanceInput) {
	to.IAMDatabaseAuthenticationEnabled = orElse(in.EnableIAMDatabaseAuthentication, false)
	to.EnabledCloudwatchLogsExports = in.EnableCloudwatchLogsExports
	to.CACertificateIdentifier = orElse(in.CACertificateIdentifier, "rds-ca-rsa2048-g1") // AWS's default
	to.NetworkType, to.EngineLifecycleSupport = in.NetworkType, in.EngineLifecycleSupport
	to.MaxAllocatedStorage, to.Iops, to.StorageThroughput = in.MaxAllocatedStorage, in.Iops, in.StorageThroughput
	to.MonitoringInterval, to.MonitoringRoleArn = orElse(in.MonitoringInterval, 0), in.MonitoringRoleArn
	to.PerformanceInsightsEnabled, to.DatabaseInsightsMode = orElse(in.EnablePerformanceInsights, false), in.DatabaseInsightsMode
	to.PerformanceInsightsKMSKeyId, to.PerformanceInsightsRetentionPeriod = in.PerformanceInsightsKMSKeyId, in.PerformanceInsightsRetentionPeriod
	to.DBParameterGroups = parameterGroup(in.DBParameterGroupName)
	if in.DBSubnetGroupName != nil {
		to.DBSubnetGroup = &types.DBSubnetGroup{DBSubnetGroupName: in.DBSubnetGroupName}
	}
}

func changeKeptOfInstance(to *types.DBInstance, in *rds.ModifyDBInstanceInput) {
	set(&to.IAMDatabaseAuthenticationEnabled, in.EnableIAMDatabaseAuthentication)
	export(&to.EnabledCloudwatchLogsExports, in.CloudwatchLogsExportConfiguration)
	set(&to.CACertificateIdentifier, in.CACertificateIdentifier)
	set(&to.NetworkType, in.NetworkType)
	set(&to.MaxAllocatedStorage, in.MaxAllocatedStorage)
	set(&to.Iops, in.Iops)
	set(&to.StorageThroughput, in.StorageThroughput)
	set(&to.MonitoringInterval, in.MonitoringInterval)
	set(&to.MonitoringRoleArn, in.MonitoringRoleArn)
	set(&to.PerformanceInsightsEnabled, in.EnablePerformanceInsights)
	set(&to.PerformanceInsightsKMSKeyId, in.PerformanceInsightsKMSKeyId)
	set(&to.PerformanceInsightsRetentionPeriod, in.PerformanceInsightsRetentionPeriod)
	if in.DatabaseInsightsMode != "" {
		to.DatabaseInsightsMode = in.DatabaseInsightsMode
	}
	if in.DBParameterGroupName != nil {
		to.DBParameterGroups = parameterGroup(in.DBParameterGroupName)
	}
}

func parameterGroup(name *string) []types.DBParameterGroupStatus {
	if name == nil {
		return nil
	}
	return []types.DBParameterGroupStatus{{DBParameterGroupName: name, ParameterApplyStatus: new("in-sync")}}
}

// export turns the export of logs on and off; what is not named stays.
func export(logs *[]string, c *types.CloudwatchLogsExportConfiguration) {
	if c == nil {
		return
	}
	*logs = slices.DeleteFunc(*logs, func(log string) bool {
		return slices.Contains(c.DisableLogTypes, log) || slices.Contains(c.EnableLogTypes, log)
	})
	*logs = append(*logs, c.EnableLogTypes...)
}

// scale takes over the given limits of capacity; the others stay.
func scale(to **types.ServerlessV2ScalingConfigurationInfo, given *types.ServerlessV2ScalingConfiguration) {
	if given == nil {
		return
	}
	if *to == nil {
		*to = &types.ServerlessV2ScalingConfigurationInfo{}
	}
	set(&(*to).MinCapacity, given.MinCapacity)
	set(&(*to).MaxCapacity, given.MaxCapacity)
	set(&(*to).SecondsUntilAutoPause, given.SecondsUntilAutoPause)
}
