package main

import (
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturntest"
)

// TestServerScripts runs each script against a server of its own.
func TestServerScripts(t *testing.T) {
	runWithServers(t, "testdata/server", func(*keyturn.Config) {})
}

// TestDevServerScripts does so with servers in dev mode.
func TestDevServerScripts(t *testing.T) {
	runWithServers(t, "testdata/dev", func(c *keyturn.Config) { c.Dev = true })
}

func runWithServers(t *testing.T, dir string, change func(*keyturn.Config)) {
	testscript.Run(t, testscript.Params{
		Dir:  dir,
		Cmds: scriptCommands,
		Setup: func(env *testscript.Env) error {
			server := keyturntest.NewServer(t, change)
			_, err := server.Lambda.AddPermission(t.Context(), &lambda.AddPermissionInput{FunctionName: aws.String("keyturn-rotate-mysql"),
				StatementId: aws.String("rotation"), Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com")})
			if err != nil {
				return err
			}
			env.Setenv("AWS_ENDPOINT_URL", server.URL)
			env.Setenv("AWS_SHARED_CREDENTIALS_FILE", server.CredentialsFile())
			env.Setenv("DATA", filepath.Dir(server.CredentialsFile()))
			return setUp(env)
		},
	})
}
