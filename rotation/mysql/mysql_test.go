package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/rotation"
)

func TestClasses(t *testing.T) {
	server := func(number uint16, text string) error {
		return fmt.Errorf("statement: %w", &mysqldriver.MySQLError{Number: number, Message: text})
	}
	for _, tc := range []struct {
		err  error
		want rotation.Class
	}{
		{server(1045, "Access denied for user"), rotation.ClassAuth},
		{server(1698, "Access denied for user"), rotation.ClassAuth},
		{server(1044, "Access denied to database"), rotation.ClassPrivilege},
		{server(1130, "Host is not allowed to connect"), rotation.ClassPrivilege},
		{server(1142, "SELECT command denied"), rotation.ClassPrivilege},
		{server(1227, "Access denied; you need"), rotation.ClassPrivilege},
		{server(1819, "does not satisfy the current policy requirements"), rotation.ClassPolicy},
		{server(3638, "contradict the password history policy"), rotation.ClassPolicy},
		{server(1290, "running with the --strict-password-validation option"), rotation.ClassPolicy},
		{server(1290, "running with the --read-only option"), rotation.ClassDatabase},
		{server(3118, "Account is locked"), rotation.ClassPolicy},
		{server(3159, "Connections using insecure transport are prohibited"), rotation.ClassTLS},
		{server(1053, "Server shutdown in progress"), rotation.ClassTCP},
		{server(1040, "Too many connections"), rotation.ClassDatabase},
		{server(1064, "You have an error in your SQL syntax"), rotation.ClassDatabase},
		{mysqldriver.ErrNoTLS, rotation.ClassTLS},
		{mysqldriver.ErrInvalidConn, rotation.ClassTCP},
		{driver.ErrBadConn, rotation.ClassTCP},
		{mysqldriver.ErrCleartextPassword, rotation.ClassDatabase},
		{errors.New("anything"), rotation.ClassDatabase},
	} {
		class, shown := classify(context.Background(), tc.err)
		if class != tc.want || shown == nil {
			t.Errorf("%v: class %q, want %q", tc.err, class, tc.want)
		}
	}
}

func TestServerTextIsRedacted(t *testing.T) {
	for _, number := range []uint16{1064, 1819, 1396} {
		_, err := classify(context.Background(), &mysqldriver.MySQLError{Number: number, Message: "near 'hunter2' RETAIN"}, "", "hunter2")
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error %v", err)
		}
	}
}

func TestParseAlternatives(t *testing.T) {
	const h = "*6BB4837EB74329105EE4568DDA7DC67ED2CA2AD9"
	for _, tc := range []struct {
		created string
		want    []alternative
	}{
		{"CREATE USER `u`@`%` IDENTIFIED BY PASSWORD '" + h + "'", []alternative{{native, h}}},
		{"CREATE USER \"u\"@\"%\" IDENTIFIED BY PASSWORD '" + h + "' WITH MAX_USER_CONNECTIONS 5", []alternative{{native, h}}},
		{"CREATE USER `u`@`%` IDENTIFIED VIA mysql_native_password USING '" + h + "' OR mysql_native_password USING '*X' REQUIRE SSL",
			[]alternative{{native, h}, {native, "*X"}}},
		{"CREATE USER `u`@`%` IDENTIFIED VIA unix_socket OR mysql_native_password USING '" + h + "' ACCOUNT LOCK",
			[]alternative{{"unix_socket", ""}, {native, h}}},
		{"CREATE USER `u`@`%` IDENTIFIED VIA ed25519 USING 'abc'", []alternative{{"ed25519", "abc"}}},
		{"CREATE USER `a`` IDENTIFIED VIA ed25519`@`%` IDENTIFIED BY PASSWORD '" + h + "'", []alternative{{native, h}}},
		{"CREATE USER `u`@`%`", nil},
		{"CREATE USER u@% IDENTIFIED BY PASSWORD '" + h + "'", []alternative{{native, h}}},
		{"CREATE USER `a@b`@10.0.0.0/255.0.0.0 IDENTIFIED VIA ed25519 USING 'abc'", []alternative{{"ed25519", "abc"}}},
	} {
		got := parseAlternatives(tc.created)
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(alternative{})); diff != "" {
			t.Errorf("%s: %s", tc.created, diff)
		}
	}
}

// TestHash compares with PASSWORD('123456') of MySQL 5.7 and MariaDB, and with
// ed25519_password('secret') of MariaDB's manual, "Authentication Plugin - ed25519".
func TestHash(t *testing.T) {
	if got := publicKey("secret"); got != "ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY" {
		t.Errorf("public key %s", got)
	}
	if got := hash("123456"); got != "*6BB4837EB74329105EE4568DDA7DC67ED2CA2AD9" {
		t.Errorf("hash %s", got)
	}
}

func TestParseAccount(t *testing.T) {
	for text, want := range map[string]account{
		"app@%": {"app", "%"}, "a@b@10.0.0.%": {"a@b", "10.0.0.%"}, "@localhost": {"", "localhost"}, "odd": {"odd", ""},
	} {
		if got := parseAccount(text); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestConfigIsStrict(t *testing.T) {
	cfg, err := config(rotation.Login{Host: "db.example.com", Username: "u", Password: "p"}, defaultTimeout)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.TLS == nil || cfg.TLS.InsecureSkipVerify || cfg.TLS.ServerName != "db.example.com" {
		t.Error("a remote server must be verified")
	}
	if cfg.AllowFallbackToPlaintext || cfg.AllowCleartextPasswords || !cfg.InterpolateParams {
		t.Error("the driver's settings are not strict")
	}
}
