package keyturn_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
	"github.com/keyturn/keyturn/rotation/mysql"
	"github.com/keyturn/keyturn/rotation/postgres"
	"github.com/keyturn/keyturn/rotation/redis"
)

func TestMain(m *testing.M) {
	code := dbtest.Main(m)
	_ = os.RemoveAll(built)
	os.Exit(code)
}

// times is how often a test repeats itself: more in `make soak`.
func times(t testing.TB, variable string, usual int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// account is a login of a real database whose password is in a secret.
type account struct {
	product  dbserver.Product
	strategy string // SingleUser, DualPassword or AlternatingUsers
	user     string
	value    string // the secret's first value
	master   string // the value of its administrator's secret; empty without one
	engine   rotation.Engine
}

func (a account) String() string { return string(a.product) + "/" + a.strategy }

func (a account) function() string {
	switch a.product {
	case dbserver.Postgres:
		return "keyturn-rotate-postgres"
	case dbserver.Redis:
		return "keyturn-rotate-redis"
	}
	return "keyturn-rotate-mysql"
}

var accounts atomic.Int64

// newAccount makes a user that may do what its strategy needs and no more.
func newAccount(t testing.TB, p dbserver.Product, strategy string) account {
	t.Helper()
	admin := dbtest.Server(t, p)
	a := account{product: p, strategy: strategy, user: fmt.Sprintf("app%d", accounts.Add(1)), engine: mysql.Engine{}}
	const first = "First.Password_1"
	a.value = fmt.Sprintf(`{"engine": "%s", "host": "%s", "port": %d, "username": "%s", "password": "%s", "rotationStrategy": "%s"}`,
		p, admin.Host, admin.Port, a.user, first, strategy)
	switch p {
	case dbserver.Postgres:
		a.engine = postgres.Engine{}
		a.value = strings.Replace(a.value, "}", `, "dbname": "postgres"}`, 1)
		admin.Exec(t, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", a.user, first))
	case dbserver.Redis:
		a.engine = redis.Engine{}
		admin.Exec(t, fmt.Sprintf("ACL SETUSER %s on >%s -@all +multi +exec +acl|setuser +acl|getuser +acl|save", a.user, first))
	default:
		admin.Exec(t, fmt.Sprintf("CREATE USER %s@'%%' IDENTIFIED BY '%s'", a.user, first))
	}
	if grant := map[dbserver.Product]string{dbserver.MySQL: "APPLICATION_PASSWORD_ADMIN", dbserver.MariaDB: "CREATE USER"}[p]; grant != "" && strategy == rotation.StrategyDualPassword {
		admin.Exec(t, fmt.Sprintf("GRANT %s ON *.* TO %s@'%%'", grant, a.user))
	}
	if strategy == rotation.StrategyAlternatingUsers {
		a.master = masterOf(admin)
	}
	return a
}

// masterOf is the value of a secret that masterarn may name.
func masterOf(admin dbtest.Admin) string {
	return fmt.Sprintf(`{"username": "%s", "password": "%s"}`, admin.User, admin.Password)
}

// everyStrategy is each strategy on each product on which it is possible.
func everyStrategy(t testing.TB) (all []account) {
	t.Helper()
	for _, p := range dbtest.Products() {
		all = append(all, newAccount(t, p, rotation.StrategySingleUser))
		if p != dbserver.Postgres {
			all = append(all, newAccount(t, p, rotation.StrategyDualPassword))
		}
		all = append(all, newAccount(t, p, rotation.StrategyAlternatingUsers))
	}
	return append(all, newAccount(t, dbserver.Redis, rotation.StrategyDualPassword))
}

// pollEvery is the time between two looks at a rotation: each takes a processor
// that the databases want.
const pollEvery = 10 * time.Millisecond

// world is a server with a secret for an account.
type world struct {
	secrets *secretsmanager.Client
	records *keyturnapi.Client
	account account
	secret  string
}

func newWorld(t testing.TB, cfg aws.Config, a account) *world {
	t.Helper()
	w := &world{secrets: secretsmanager.NewFromConfig(cfg), records: keyturnapi.New(cfg), account: a, secret: "app/" + a.user}
	_, err := lambda.NewFromConfig(cfg).AddPermission(t.Context(), &lambda.AddPermissionInput{FunctionName: aws.String(a.function()),
		StatementId: aws.String("rotation-" + a.user), Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com")})
	if err != nil {
		t.Fatal(err)
	}
	value := a.value
	if a.master != "" {
		master, err := w.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("master/" + a.user), SecretString: &a.master})
		if err != nil {
			t.Fatal(err)
		}
		value = strings.Replace(value, "}", fmt.Sprintf(`, "masterarn": "%s"}`, *master.ARN), 1)
	}
	if _, err := w.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &w.secret, SecretString: &value}); err != nil {
		t.Fatal(err)
	}
	return w
}

// rotate begins a rotation and returns the version to be.
func (w *world) rotate(ctx context.Context) (string, error) {
	out, err := w.secrets.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: &w.secret,
		RotationLambdaARN: aws.String("arn:aws:lambda:us-east-1:000000000000:function:" + w.account.function())})
	if err != nil {
		return "", err
	}
	return *out.VersionId, nil
}

// settled waits until no rotation is under way and returns the current version.
func (w *world) settled(ctx context.Context) (current string, err error) {
	for {
		out, err := w.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &w.secret})
		if err != nil {
			return "", err
		}
		holders := map[string]string{}
		for id, labels := range out.VersionIdsToStages {
			for _, l := range labels {
				if holders[l] != "" {
					return "", fmt.Errorf("%s is on two versions", l)
				}
				holders[l] = id
			}
		}
		if holders["AWSCURRENT"] == "" {
			return "", fmt.Errorf("no version has AWSCURRENT")
		}
		if p := holders["AWSPENDING"]; p == "" || p == holders["AWSCURRENT"] {
			return holders["AWSCURRENT"], nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for a rotation: %w", ctx.Err())
		case <-time.After(pollEvery):
		}
	}
}

// recorded waits until the rotation to a version has ended, and returns its
// records, newest first. A near-atomic rotation has its labels before that.
func (w *world) recorded(ctx context.Context, version string) ([]keyturnapi.RotationRun, error) {
	for {
		out, err := w.records.ListRotations(ctx, &keyturnapi.ListRotationsInput{SecretID: w.secret, MaxResults: 20})
		if err != nil {
			return nil, err
		}
		runs := slices.DeleteFunc(out.Runs, func(r keyturnapi.RotationRun) bool { return r.VersionID != version || r.Kind != "rotation" })
		if len(runs) > 0 && runs[0].Step == rotation.StepFinish && runs[0].Outcome == "succeeded" {
			return runs, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for a rotation: %w", ctx.Err())
		case <-time.After(pollEvery):
		}
	}
}

// login logs in over a new connection with what GetSecretValue says now.
func (w *world) login(ctx context.Context) error {
	out, err := w.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &w.secret})
	if err != nil {
		return fmt.Errorf("fetching the secret: %w", err)
	}
	l, err := rotation.ParseLogin(*out.SecretString)
	if err != nil {
		return err
	}
	session, err := w.account.engine.Connect(ctx, l)
	if err != nil {
		return err
	}
	return session.Close()
}
