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
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
)

// TestRepairOf is the table of docs/state-machine.md, a line for each row.
func TestRepairOf(t *testing.T) {
	const live, refused, unknown = rotation.LoginLive, rotation.LoginRefused, rotation.LoginUnknown
	for _, tc := range []struct {
		row  string
		when repairFacts
		want repairAction
	}{
		{"a", repairFacts{enabled: true, current: unknown}, repairWait},
		{"a, pending", repairFacts{enabled: true, pending: "v", next: unknown, current: live}, repairWait},
		{"b", repairFacts{enabled: true, current: live}, repairNothing},
		{"c", repairFacts{enabled: true, current: refused, previous: live}, repairRotate},
		{"d", repairFacts{enabled: true, current: refused, previous: refused}, repairRotate},
		{"e", repairFacts{enabled: true, pending: "v", next: live, current: live}, repairFinish},
		{"e, cancelled", repairFacts{pending: "v", next: live, current: live}, repairFinish},
		{"f", repairFacts{enabled: true, pending: "v", next: live, current: refused}, repairFinish},
		{"f, cancelled", repairFacts{pending: "v", next: live, current: refused}, repairFinish},
		{"n", repairFacts{enabled: true, pending: "v", next: live, current: refused, lastClass: "secret"}, repairHeal},
		{"g", repairFacts{pending: "v", next: refused, current: live}, repairDrop},
		{"g, no value", repairFacts{pending: "v", current: live}, repairDrop},
		{"h", repairFacts{enabled: true, pending: "v", current: live}, repairFinish},
		{"i", repairFacts{enabled: true, pending: "v", next: refused, current: refused, previous: live}, repairFinish},
		{"j", repairFacts{enabled: true, pending: "v", next: refused, current: refused, previous: refused}, repairFinish},
		{"k", repairFacts{enabled: true, pending: "v", next: refused, current: live, lastClass: "policy"}, repairRecreate},
		{"k, beside AWSCURRENT", repairFacts{enabled: true, pending: "v", next: live, current: live, lastClass: "secret"}, repairRecreate},
		{"k, cancelled", repairFacts{pending: "v", next: live, current: live, lastClass: "secret"}, repairRecreate},
		{"k, AWSPREVIOUS logs in", repairFacts{enabled: true, pending: "v", next: refused, current: refused, previous: live, lastClass: "secret"}, repairRecreate},
		{"k, none logs in", repairFacts{enabled: true, pending: "v", next: refused, current: refused, previous: refused, lastClass: "secret"}, repairRecreate},
		{"k, no login at all", repairFacts{enabled: true, pending: "v", next: refused, current: live, lastClass: "secret"}, repairRecreate},
		{"l", repairFacts{enabled: true, pending: "v", next: refused, current: live}, repairRecreate},
		{"m", repairFacts{enabled: true, pending: "v", next: refused, current: live, lastClass: "privilege"}, repairFinish},
	} {
		got, why := repairOf(tc.when)
		if got != tc.want || why == "" {
			t.Errorf("row %s: %s (%s), want %s", tc.row, got, why, tc.want)
		}
	}
}

var repaired atomic.Int64

// TestRepairScripts repairs rotations of a real account. The command sql acts
// as the administrator; USER() in its statement is the account. The command cancel is
// CancelRotateSecret.
func TestRepairScripts(t *testing.T) {
	admin := dbtest.Server(t, dbserver.MariaDB)
	cmds := map[string]func(*testscript.TestScript, bool, []string){
		"cancel": func(ts *testscript.TestScript, _ bool, args []string) {
			_, err := ts.Value("server").(*keyturntest.Server).SecretsManager.CancelRotateSecret(t.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: &args[0]})
			ts.Check(err)
		},
		"sql": func(ts *testscript.TestScript, _ bool, args []string) {
			admin.Exec(t, strings.ReplaceAll(strings.Join(args, " "), "USER()", ts.Getenv("ACCOUNT")))
		},
	}
	maps.Copy(cmds, scriptCommands)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/repair", Cmds: cmds,
		Setup: func(env *testscript.Env) error { return setUpRepair(t, env, admin) },
	})
}

func setUpRepair(t *testing.T, env *testscript.Env, admin dbtest.Admin) error {
	server := keyturntest.NewServer(t)
	for _, function := range []string{mysqlFunction, redisFunction} {
		_, err := server.Lambda.AddPermission(t.Context(), &lambda.AddPermissionInput{FunctionName: &function,
			StatementId: aws.String("rotation"), Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com")})
		if err != nil {
			return err
		}
	}
	user := fmt.Sprintf("repaired%d", repaired.Add(1))
	admin.Exec(t, fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY 'swordfish'", user))
	env.Values["server"] = server
	env.Setenv("ACCOUNT", fmt.Sprintf("'%s'@'%%'", user))
	env.Setenv("AWS_ENDPOINT_URL", server.URL)
	env.Setenv("AWS_SHARED_CREDENTIALS_FILE", server.CredentialsFile())
	for file, rest := range map[string]string{"login.json": `"swordfish"`, "pending.json": `"never-set"`, "ssl.json": `"never-set", "ssl": false`} {
		text := fmt.Sprintf(`{"engine": "mariadb", "host": %q, "port": %d, "username": %q, "password": %s}`, admin.Host, admin.Port, user, rest)
		if err := os.WriteFile(filepath.Join(env.WorkDir, file), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return setUp(env)
}
