package deploy_test

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	rdstypes "github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/keyturn/keyturn/deploy"
	"github.com/keyturn/keyturn/keyturntest"
)

// A cluster that was deleted and is made again listens elsewhere: secret and
// config.yml follow it, also if the deploy that made it was cut off before.
func TestDeployFollowsANewDatabase(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "again")
	w.deploy(t)
	w.removeCluster(t)

	cut := &lossy{at: "PutSecretValue"}
	cfg := w.Config
	cfg.HTTPClient, cfg.RetryMaxAttempts = cut, 1
	_, err := deploy.Run(t.Context(), deploy.Options{ConfigPath: w.path, Clients: clients(cfg)})
	if !cut.broken {
		t.Errorf("the secret was not brought up to date: %v", err)
	}

	report := w.deploy(t)
	if got := outcomes(report); got != "unchanged unchanged unchanged unchanged unchanged updated unchanged updated" {
		t.Errorf("the deploy of a new database: %s", got)
	}
	w.check(t, report)
	if got := outcomes(w.deploy(t)); got != "unchanged unchanged unchanged unchanged unchanged unchanged unchanged unchanged" {
		t.Errorf("the deploy after it: %s", got)
	}
}

// removeCluster deletes instance and cluster, and waits until they are gone.
func (w *world) removeCluster(t *testing.T) {
	t.Helper()
	client := clients(w.Config).RDS
	_, err := client.DeleteDBInstance(t.Context(), &rds.DeleteDBInstanceInput{DBInstanceIdentifier: aws.String(w.name + "-instance-1"), SkipFinalSnapshot: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.DeleteDBCluster(t.Context(), &rds.DeleteDBClusterInput{DBClusterIdentifier: &w.name, SkipFinalSnapshot: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	for !errors.As(err, new(*rdstypes.DBClusterNotFoundFault)) {
		_, err = client.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{DBClusterIdentifier: &w.name})
	}
}
