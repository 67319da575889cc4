package deploy_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/deploy"
	"github.com/keyturn/keyturn/keyturntest"
)

// RDS manages the master user: no function, no permission, and a secret that
// deploy finds, not makes.
func TestManagedMasterUser(t *testing.T) {
	w := newWorld(t, keyturntest.NewServer(t), "managed")
	w.write(t, `rds:
  clusterIdentifier: managed
  engine: mariadb
  masterUsername: admin
  manageMasterUserPassword: true
secretsmanager:
  host: "not yet known"
`)
	report := w.deploy(t)
	if got := outcomes(report); got != "unchanged unchanged unchanged created created unchanged unchanged updated" {
		t.Errorf("the first deploy: %s", got)
	}
	if report.RotateAfterDays != 7 || report.NextRotation == nil || !strings.HasPrefix(report.SecretName, "rds!cluster-") || report.FunctionARN != "" {
		t.Errorf("report %+v", report)
	}
	if text := w.read(t); !strings.Contains(text, "username: admin") || !strings.Contains(text, "password: ") || !strings.Contains(text, "port: ") {
		t.Error("config.yml does not hold the login")
	}
	if got := outcomes(w.deploy(t)); strings.TrimSpace(strings.ReplaceAll(got, "unchanged", "")) != "" {
		t.Errorf("the second deploy: %s", got)
	}

	w.edit(t, "secretsmanager:", "secretsmanager:\n  rotatePasswordInDays: 30")
	changed, err := deploy.Run(t.Context(), w.options(func(e deploy.Event) {
		if strings.Contains(e.Status, "rotating") {
			t.Errorf("another schedule: nothing rotates, and the progress is %q", e.Status)
		}
	}))
	if got := outcomes(changed); err != nil || got != "unchanged unchanged unchanged unchanged unchanged unchanged updated unchanged" {
		t.Errorf("another schedule: %s, %v", got, err)
	}
	s, err := w.SecretsManager.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &report.SecretARN})
	if err != nil || *s.RotationRules.AutomaticallyAfterDays != 30 || s.RotationLambdaARN != nil {
		t.Errorf("the secret rotates by %+v, %v", s.RotationRules, err)
	}
	w.turnOff(t)
	if got := outcomes(w.deploy(t)); !strings.HasPrefix(got, "unchanged unchanged unchanged updated unchanged") {
		t.Errorf("turned on again: %s", got)
	}
}

func (w *world) turnOff(t *testing.T) {
	t.Helper()
	_, err := w.RDS.ModifyDBCluster(t.Context(), &rds.ModifyDBClusterInput{DBClusterIdentifier: &w.name,
		ManageMasterUserPassword: aws.Bool(false), MasterUserPassword: aws.String("Own.Password_2026"), ApplyImmediately: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
}
