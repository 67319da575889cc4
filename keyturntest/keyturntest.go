// Package keyturntest starts keyturn servers for tests: the real server, with
// its state in a temporary folder, behind a real listener.
package keyturntest

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn"
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
	listener := httptest.NewServer(server)
	t.Cleanup(func() {
		listener.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("running the server: %v", err)
		}
		if err := server.Close(); err != nil {
			t.Errorf("closing the server: %v", err)
		}
	})
	return clients(t, server, listener.URL)
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
