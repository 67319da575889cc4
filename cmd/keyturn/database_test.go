package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/keyturntest"
)

// TestDatabaseScripts runs each script against a server of its own and an
// account of a real MariaDB, which may change its own password and no more. The
// files account.json and admin.json hold the logins of the account and of an
// administrator; redis.json that of an account of a real Redis; bare.json lacks
// host and port, as filled.json does, whose cluster the server knows; deploy.yml
// is for that cluster, with a wrong password. At
// AWS_LIKE_URL the server answers what AWS does and nothing of its own.
func TestDatabaseScripts(t *testing.T) {
	at, cache := dbtest.Server(t, dbserver.MariaDB), dbtest.Server(t, dbserver.Redis)
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/database",
		Cmds: withLogins(at),
		Setup: func(env *testscript.Env) error {
			server := keyturntest.NewServer(t)
			like := httptest.NewServer(likeAWS{server})
			env.Defer(like.Close)
			env.Setenv("AWS_ENDPOINT_URL", server.URL)
			env.Setenv("AWS_LIKE_URL", like.URL)
			env.Setenv("AWS_SHARED_CREDENTIALS_FILE", server.CredentialsFile())
			user := "app_" + strings.ToLower(strings.TrimPrefix(filepath.Base(env.WorkDir), "script-"))
			env.Setenv("DB_USER", user)
			at.Exec(t, "CREATE OR REPLACE USER ?@'%' IDENTIFIED BY 'swordfish'", user) // with -count there is one
			cache.Exec(t, "ACL SETUSER "+user+" on >swordfish -@all +multi +exec +acl|setuser +acl|getuser +acl|save")
			if err := adoptCluster(t.Context(), server.RDS, at, user); err != nil {
				return err
			}
			return errors.Join(writeLogins(env.WorkDir, user, at, cache), setUp(env))
		},
	})
}

func writeLogins(dir, user string, at, cache dbtest.Admin) error {
	for name, value := range map[string]any{
		"account.json": map[string]any{"engine": "mariadb", "host": at.Host, "port": at.Port, "username": user, "password": "swordfish"},
		"redis.json":   map[string]any{"engine": "redis", "host": cache.Host, "port": cache.Port, "username": user, "password": "swordfish"},
		"admin.json":   map[string]any{"username": at.User, "password": at.Password},
		"bare.json":    map[string]any{"username": user, "password": "swordfish", "dbClusterIdentifier": "c"},
		"filled.json":  map[string]any{"username": user, "password": "swordfish", "dbClusterIdentifier": "elsewhere"},
		"endpoint":     map[string]any{"host": at.Host, "port": at.Port},
		"deploy.yml": map[string]any{"secretsmanager": map[string]any{"name": "elsewhere_login", "rotatePasswordInDays": 30, "password": "not-swordfish"},
			"rds": map[string]any{"clusterIdentifier": "elsewhere", "engine": "mariadb", "masterUsername": user}},
	} {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// adoptCluster makes a server known as the cluster elsewhere, with the account as
// its master user.
func adoptCluster(ctx context.Context, client *rds.Client, at dbtest.Admin, user string) error {
	_, err := client.CreateDBCluster(ctx, &rds.CreateDBClusterInput{DBClusterIdentifier: aws.String("elsewhere"), Engine: aws.String("mariadb"),
		MasterUsername: &user, MasterUserPassword: aws.String("swordfish"),
		Tags: []types.Tag{{Key: aws.String("keyturn:endpoint"), Value: aws.String(fmt.Sprintf("%s:%d", at.Host, at.Port))}}})
	return err
}

// likeAWS does not know keyturn's own operations.
type likeAWS struct{ http.Handler }

func (l likeAWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Target"), "keyturn.") {
		l.Handler.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = io.WriteString(w, `{"__type":"UnknownOperationException"}`)
}

// withLogins adds the command login: it tries the script's account.
func withLogins(at dbtest.Admin) map[string]func(*testscript.TestScript, bool, []string) {
	commands := maps.Clone(scriptCommands)
	commands["login"] = func(ts *testscript.TestScript, neg bool, args []string) {
		if len(args) != 1 {
			ts.Fatalf("usage: [!] login PASSWORD")
		}
		if err := at.Login(context.Background(), ts.Getenv("DB_USER"), args[0]); (err != nil) != neg {
			ts.Fatalf("the login ended with %v", err)
		}
	}
	return commands
}
