// Package keyturntest starts keyturn servers for tests: the real server, with
// its state in a temporary folder, behind a real listener.
package keyturntest

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturnapi"
)

// Server is a running server with clients that act as its administrator.
type Server struct {
	*keyturn.Server
	URL            string // http://127.0.0.1:PORT
	Config         aws.Config
	SecretsManager *secretsmanager.Client
	RDS            *rds.Client
	Lambda         *lambda.Client
}

// NewServer starts a server that ends with the test. Each change may adjust its
// configuration; Data is a temporary folder unless a change names another.
func NewServer(t testing.TB, changes ...func(*keyturn.Config)) *Server {
	t.Helper()
	cfg := keyturn.Config{Data: dataFolder(t), Log: slog.New(slog.DiscardHandler)}
	for _, change := range changes {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	server, err := keyturn.Open(ctx, cfg)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	front := httptest.NewUnstartedServer(server)
	quick := server.Listen(front.Listener, front.Config)
	front.Listener = quick
	front.Start()
	t.Cleanup(func() {
		front.Close()
		if err := quick.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("ending the requests: %v", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("running the server: %v", err)
		}
		if err := server.Close(); err != nil {
			t.Errorf("closing the server: %v", err)
		}
	})
	return clients(t, server, front.URL)
}

// dataFolder is a temporary folder that a PostgreSQL server, which runs as
// another user, may enter: t.TempDir lies below folders that it may not.
func dataFolder(t testing.TB) string {
	t.Helper()
	root := os.Getenv("KEYTURN_TEST_DIR")
	if root == "" {
		root = os.TempDir()
	}
	if err := os.MkdirAll(root, 0o711); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(root, "server-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("removing the server's folder: %v", err)
		}
	})
	return dir
}

func clients(t testing.TB, server *keyturn.Server, url string) *Server {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context(),
		config.WithSharedCredentialsFiles([]string{server.CredentialsFile()}),
		config.WithSharedConfigFiles(nil),
		config.WithRegion(keyturn.DefaultRegion),
		config.WithBaseEndpoint(url))
	if err != nil {
		t.Fatal(err)
	}
	return &Server{Server: server, URL: url, Config: cfg,
		SecretsManager: secretsmanager.NewFromConfig(cfg), RDS: rds.NewFromConfig(cfg), Lambda: lambda.NewFromConfig(cfg)}
}

// As returns a configuration for clients that act as a user of an account of 12
// digits, with a new access key that has these identity policies (JSON texts).
// keyturnapi.AdministratorPolicy is one of them that allows everything.
func (s *Server) As(t testing.TB, account, user string, policies ...string) aws.Config {
	t.Helper()
	out, err := keyturnapi.New(s.AWSConfig()).CreateAccessKey(t.Context(), &keyturnapi.CreateAccessKeyInput{
		AccountID: account, UserName: user, PolicyDocuments: policies})
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.Config.Copy()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(out.AccessKey.AccessKeyID, out.Credentials.SecretAccessKey, out.Credentials.SessionToken)
	return cfg
}

// Env returns the environment of the test with the settings by which another
// program finds this server and acts as its administrator. Settings of AWS and
// Terraform that the machine has are left out.
func (s *Server) Env() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") || strings.HasPrefix(v, "TF_") })
	return append(env, "AWS_ENDPOINT_URL="+s.URL, "AWS_SHARED_CREDENTIALS_FILE="+s.CredentialsFile(),
		"AWS_REGION="+keyturn.DefaultRegion, "AWS_DEFAULT_REGION="+keyturn.DefaultRegion,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null")
}
