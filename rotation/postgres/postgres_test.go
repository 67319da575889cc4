package postgres

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keyturn/keyturn/rotation"
)

func TestClasses(t *testing.T) {
	server := func(code, text string) error {
		return fmt.Errorf("statement: %w", &pgconn.PgError{Code: code, Message: text})
	}
	for _, tc := range []struct {
		err  error
		want rotation.Class
	}{
		{server("28P01", "password authentication failed for user"), rotation.ClassAuth},
		{server("08P01", "SASL authentication failed"), rotation.ClassAuth},
		{server("08P01", "no such user"), rotation.ClassAuth},
		{server("08P01", "no such database: shop"), rotation.ClassDatabase},
		{server("XX000", "no possible grantors"), rotation.ClassPrivilege},
		{server("08P01", "protocol violation"), rotation.ClassDatabase},
		{server("28000", "no pg_hba.conf entry for host"), rotation.ClassPrivilege},
		{server("42501", "permission denied"), rotation.ClassPrivilege},
		{server("22023", "password is too short"), rotation.ClassPolicy},
		{server("25006", "cannot execute ALTER ROLE in a read-only transaction"), rotation.ClassDatabase},
		{server("57014", "canceling statement due to statement timeout"), rotation.ClassTimeout},
		{server("57P01", "terminating connection due to unexpected postmaster exit"), rotation.ClassTCP},
		{server("57P03", "the database system is starting up"), rotation.ClassTCP},
		{pgconn.ErrConnClosed, rotation.ClassTCP},
		{errors.New("anything"), rotation.ClassDatabase},
	} {
		if class, _ := classify(context.Background(), tc.err); class != tc.want {
			t.Errorf("%v: class %q, want %q", tc.err, class, tc.want)
		}
	}
}

// TestVerifier compares with what PostgreSQL 15 stored for the password
// "pencil" under the same salt.
func TestVerifier(t *testing.T) {
	const want = "SCRAM-SHA-256$4096:in02z6pteEcc6w2FVZMZXg==$LClJTbRlFXhsTOWc+O+chVRHG43HqXnQXolUip0RPc0=:0vE/rI07NM66fgUFOeo2ICfsbjd4tnXGmF//K2hQQKQ="
	salt, err := base64.StdEncoding.DecodeString("in02z6pteEcc6w2FVZMZXg==")
	if err != nil {
		t.Fatal(err)
	}
	got, err := verifier("pencil", salt, usualIterations)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("verifier %s, want %s", got, want)
	}
}

func TestVerifiersDiffer(t *testing.T) {
	one, err := newVerifier("pencil", usualIterations)
	if err != nil {
		t.Fatal(err)
	}
	if two, err := newVerifier("pencil", usualIterations); err != nil || one == two {
		t.Errorf("the salt is not new: %v", err)
	}
}

func TestConfigIsStrict(t *testing.T) {
	t.Setenv("PGHOST", "elsewhere")
	t.Setenv("PGUSER", "somebody")
	t.Setenv("PGSSLMODE", "prefer")
	t.Setenv("PGOPTIONS", "-c role=postgres")
	cfg, err := config(rotation.Login{Host: "db.example.com", Username: "u", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.TLSConfig == nil || cfg.TLSConfig.InsecureSkipVerify || cfg.TLSConfig.ServerName != "db.example.com" || cfg.Fallbacks != nil {
		t.Error("a remote server must be verified, without a fallback")
	}
	if cfg.Host != "db.example.com" || cfg.User != "u" || cfg.RuntimeParams["options"] != "" {
		t.Error("the environment changes where and how to connect")
	}
}
