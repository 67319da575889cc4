package deploy_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/keyturntest"
)

// Another name in config.yml would make a second secret for the same user.
func TestDeployRefusesASecondSecret(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "renamed")
	w.deploy(t)
	w.edit(t, "name: renamed_login", "name: other")
	for _, dry := range []bool{true, false} {
		_, seen, err := w.noted(t, dry)
		if err == nil || len(seen) > 0 || !strings.Contains(err.Error(), "the secret renamed_login holds the login of cluster renamed") {
			t.Errorf("dry run %v: asked for %v; %v", dry, seen, err)
		}
	}
	if _, err := w.SecretsManager.CancelRotateSecret(t.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: aws.String("renamed_login")}); err != nil {
		t.Fatal(err)
	}
	w.deploy(t)
}

// A replica holds the login of a cluster of the same name in another region.
func TestDeployBesideAReplica(t *testing.T) {
	east := newWorld(t, keyturntest.NewServer(t), "twin")
	east.deploy(t)
	_, err := east.SecretsManager.ReplicateSecretToRegions(t.Context(), &secretsmanager.ReplicateSecretToRegionsInput{
		SecretId: aws.String("twin_login"), AddReplicaRegions: []smtypes.ReplicaRegionType{{Region: aws.String("us-west-2")}}})
	if err != nil {
		t.Fatal(err)
	}
	there := *east.Server
	there.Config.Region = "us-west-2"
	west := newWorld(t, &there, "twin")
	west.edit(t, "name: twin_login", "name: twin_west")
	_, err = rds.NewFromConfig(there.Config).CreateDBCluster(t.Context(), &rds.CreateDBClusterInput{DBClusterIdentifier: aws.String("twin"),
		Engine: aws.String("aurora-mysql"), MasterUsername: aws.String("admin"), MasterUserPassword: aws.String("swordfish")})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := west.noted(t, true); err != nil && strings.Contains(err.Error(), "twin_login") {
		t.Error(err)
	}
}
