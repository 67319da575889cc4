package keyturn_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
	"github.com/keyturn/keyturn/rotation/mysql"
)

// The workflow of the document that started the project, by the clients that
// people have: boto3 and the AWS CLI, unchanged but for the endpoint.
func TestClients(t *testing.T) {
	for _, client := range [][]string{{"python3", "testdata/seed.py"}, {"bash", "testdata/seed.sh"}} {
		t.Run(client[0], func(t *testing.T) {
			s := keyturntest.NewServer(t)
			const user, password = "admin_login", "First.Password_1"
			newCluster(t, s, "aurora-mysql", user, password)
			value := runClient(t, s, password, append(client, "mydb-cluster", "keyturn-rotate-mysql", "MySecretName", user)...)
			login, err := rotation.ParseLogin(value)
			if err != nil {
				t.Fatal(err)
			}
			session, err := mysql.Engine{}.Connect(t.Context(), login)
			if err != nil {
				t.Fatalf("logging in with what the client read: %v", err)
			}
			if err := session.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Every operation by boto3, and an everyday's work by the AWS CLI.
func TestClientsOperations(t *testing.T) {
	t.Parallel()
	for _, client := range [][]string{{"python3", "testdata/operations.py"}, {"bash", "testdata/everyday.sh"}} {
		t.Run(client[0], func(t *testing.T) {
			t.Parallel()
			s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = keyturn.InMemory })
			t.Log(runClient(t, s, "", client...))
		})
	}
}

// Every operation by the AWS SDK for JavaScript v3.
func TestJavaScriptOperations(t *testing.T) {
	t.Parallel()
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = keyturn.InMemory })
	_, err := s.Lambda.AddPermission(t.Context(), &lambda.AddPermissionInput{FunctionName: aws.String("keyturn-rotate-mysql"),
		StatementId: aws.String("rotation"), Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com")})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(runClient(t, s, "", "node", filepath.Join(installJavaScript(t), "operations.mjs")))
}

// installJavaScript returns a copy of testdata/javascript with the packages of its lock file.
func installJavaScript(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/javascript")); err != nil {
		t.Fatal(err)
	}
	npm := exec.CommandContext(t.Context(), "npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}

func newCluster(t *testing.T, s *keyturntest.Server, engine, user, password string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // making a data folder of MySQL takes its time
	defer cancel()
	_, err := s.RDS.CreateDBCluster(ctx, &rds.CreateDBClusterInput{DBClusterIdentifier: aws.String("mydb-cluster"),
		Engine: &engine, MasterUsername: aws.String(user), MasterUserPassword: aws.String(password)})
	if err != nil {
		t.Fatal(err)
	}
	instance := aws.String("mydb-instance-1")
	_, err = s.RDS.CreateDBInstance(ctx, &rds.CreateDBInstanceInput{DBClusterIdentifier: aws.String("mydb-cluster"),
		DBInstanceIdentifier: instance, DBInstanceClass: aws.String("db.t4g.medium"), Engine: &engine})
	if err != nil {
		t.Fatal(err)
	}
	waiter := rds.NewDBInstanceAvailableWaiter(s.RDS, func(o *rds.DBInstanceAvailableWaiterOptions) {
		o.MinDelay, o.MaxDelay = 100*time.Millisecond, 200*time.Millisecond
	})
	if err := waiter.Wait(ctx, &rds.DescribeDBInstancesInput{DBInstanceIdentifier: instance}, 5*time.Minute); err != nil {
		t.Fatal(err)
	}
}

// runClient returns the last line that the client prints.
func runClient(t *testing.T, s *keyturntest.Server, stdin string, command ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = s.Env()
	cmd.Stdin = strings.NewReader(stdin + "\n")
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatal(fmt.Errorf("%s: %w\n%s", command[1], err, log.String()))
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[len(lines)-1]
}
