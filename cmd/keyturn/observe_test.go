package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/keyturntest"
)

var observed atomic.Int64

// TestObserveScripts runs scripts about rotations of a real account, whose
// login is in login.json and admin.json. The command sql acts as the
// administrator; USER in its statement is the account.
func TestObserveScripts(t *testing.T) {
	admin := dbtest.Server(t, dbserver.MariaDB)
	cmds := map[string]func(*testscript.TestScript, bool, []string){
		"sql": func(ts *testscript.TestScript, _ bool, args []string) {
			admin.Exec(t, strings.ReplaceAll(strings.Join(args, " "), "USER()", ts.Getenv("ACCOUNT")))
		},
	}
	maps.Copy(cmds, scriptCommands)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/observe", Cmds: cmds,
		Setup: func(env *testscript.Env) error { return setUpAccount(t, env, admin) },
	})
}

func setUpAccount(t *testing.T, env *testscript.Env, admin dbtest.Admin) error {
	server := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Dev = true })
	_, err := server.Lambda.AddPermission(t.Context(), &lambda.AddPermissionInput{FunctionName: aws.String("keyturn-rotate-mysql"),
		StatementId: aws.String("rotation"), Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com")})
	if err != nil {
		return err
	}
	user := fmt.Sprintf("observed%d", observed.Add(1))
	admin.Exec(t, fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY 'swordfish'", user))
	admin.Exec(t, fmt.Sprintf("GRANT CREATE USER ON *.* TO '%s'@'%%'", user))
	env.Setenv("ACCOUNT", fmt.Sprintf("'%s'@'%%'", user))
	env.Setenv("AWS_ENDPOINT_URL", server.URL)
	env.Setenv("AWS_SHARED_CREDENTIALS_FILE", server.CredentialsFile())
	if err := login(env, "admin.json", admin, admin.User, admin.Password, ""); err != nil {
		return err
	}
	if err := login(env, "login.json", admin, user, "swordfish", `, "masterarn": "prod/admin"`); err != nil {
		return err
	}
	return setUp(env)
}

func login(env *testscript.Env, file string, at dbtest.Admin, user, password, more string) error {
	text := fmt.Sprintf(`{"engine": "mariadb", "host": %q, "port": %d, "username": %q, "password": %q%s}`, at.Host, at.Port, user, password, more)
	return os.WriteFile(filepath.Join(env.WorkDir, file), []byte(text), 0o600)
}
