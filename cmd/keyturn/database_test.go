package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/keyturntest"
)

// TestDatabaseScripts runs each script against a server of its own and an
// account of a real MariaDB, which may change its own password and no more. The
// files account.json and admin.json hold the logins of the account and of an
// administrator; bare.json lacks host and port.
func TestDatabaseScripts(t *testing.T) {
	at := dbtest.Server(t, dbserver.MariaDB)
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/database",
		Cmds: scriptCommands,
		Setup: func(env *testscript.Env) error {
			server := keyturntest.NewServer(t)
			env.Setenv("AWS_ENDPOINT_URL", server.URL)
			env.Setenv("AWS_SHARED_CREDENTIALS_FILE", server.CredentialsFile())
			user := "app_" + strings.ToLower(strings.TrimPrefix(filepath.Base(env.WorkDir), "script-"))
			env.Setenv("DB_USER", user)
			at.Exec(t, "CREATE USER ?@'%' IDENTIFIED BY 'swordfish'", user)
			for name, value := range map[string]any{
				"account.json": map[string]any{"engine": "mariadb", "host": at.Host, "port": at.Port, "username": user, "password": "swordfish"},
				"admin.json":   map[string]any{"username": at.User, "password": at.Password},
				"bare.json":    map[string]any{"username": user, "password": "swordfish", "dbClusterIdentifier": "c"},
				"endpoint":     map[string]any{"host": at.Host, "port": at.Port},
			} {
				text, err := json.Marshal(value)
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), text, 0o600); err != nil {
					return err
				}
			}
			return setUp(env)
		},
	})
}
