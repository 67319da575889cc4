package deploy_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

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
