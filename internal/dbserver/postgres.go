package dbserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// postgresEngine runs postgres.
type postgresEngine struct{}

// SIGINT is PostgreSQL's fast shutdown. SIGTERM would wait for the clients.
func (postgresEngine) stopSignal() syscall.Signal { return syscall.SIGINT }

// accessRules (pg_hba.conf) let nobody in without a password, and the
// administrator from this machine only.
const accessRules = `# Written by keyturn.
host all ` + Admin + ` 127.0.0.1/32 scram-sha-256
host all ` + Admin + ` all reject
host all all all scram-sha-256
`

// quietLog: statements, which may hold passwords that clients send, stay out of
// the log even when they fail.
var quietLog = []string{"-c", "log_statement=none", "-c", "log_min_error_statement=panic"}

func (postgresEngine) arguments(c Config, data string) []string {
	return append([]string{
		"-D", data,
		"-c", "listen_addresses=" + Host, "-c", fmt.Sprintf("port=%d", c.Port),
		"-c", "unix_socket_directories=", // clients come by TCP
		"-c", "external_pid_file=" + filepath.Join(c.Dir, pidFile),
		"-c", "password_encryption=scram-sha-256",
		"-c", "shared_buffers=32MB", "-c", "logging_collector=off", "-c", "log_destination=stderr",
	}, quietLog...)
}

// clear removes the postmaster.pid of our own dead server. PostgreSQL would
// take the process id in it for alive when it belongs to another process by
// now, or to a dead one that nobody reaped. The lock, which every process of
// our server holds, knows better. A file that somebody else's server wrote stays.
func (postgresEngine) clear(c Config, noted int) error {
	path := filepath.Join(c.Dir, dataFolder, "postmaster.pid")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading postmaster.pid: %w", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	if noted == 0 || strings.TrimSpace(first) != strconv.Itoa(noted) {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing a stale postmaster.pid: %w", err)
	}
	return nil
}

// initialise makes the data folder with initdb, which lets nobody in, and gives
// it its accounts in single-user mode: no port, no socket, and verifiers in
// place of passwords.
func (e postgresEngine) initialise(ctx context.Context, in *installation, setup Setup) error {
	_, err := in.run(ctx, "", in.config.Binary.Installer, "-D", in.folder, "-U", Admin,
		"--auth=reject", "--encoding=UTF8", "--locale=C")
	if err != nil {
		return err
	}
	rules := filepath.Join(in.folder, "pg_hba.conf")
	if err := os.WriteFile(rules, []byte(accessRules), 0o600); err != nil {
		return fmt.Errorf("writing the access rules: %w", err)
	}
	script, err := accountScript(in.config.AdminPassword, setup)
	if err != nil {
		return err
	}
	args := append([]string{"--single", "-D", in.folder}, quietLog...)
	printed, err := in.run(ctx, script, in.config.Binary.Path, append(args, "postgres")...)
	if err != nil {
		return err
	}
	if strings.Contains(printed, "ERROR:") { // single-user mode goes on after one
		return errors.New("creating the accounts: a statement was refused")
	}
	return nil
}

// accountScript has one statement a line, as single-user mode wants it. The
// names were checked by checkSetup.
func accountScript(admin Password, setup Setup) (string, error) {
	adminProof, err := scramVerifier(admin)
	if err != nil {
		return "", err
	}
	masterProof, err := scramVerifier(setup.MasterPassword)
	if err != nil {
		return "", err
	}
	lines := []string{
		fmt.Sprintf(`ALTER ROLE %s PASSWORD '%s';`, Admin, adminProof),
		// The role and its rights are those of Amazon RDS for PostgreSQL.
		`CREATE ROLE rds_superuser NOLOGIN;`,
		`GRANT pg_monitor, pg_signal_backend TO rds_superuser WITH ADMIN OPTION;`,
		fmt.Sprintf(`CREATE ROLE "%s" LOGIN CREATEDB CREATEROLE IN ROLE rds_superuser PASSWORD '%s';`, setup.MasterUser, masterProof),
		fmt.Sprintf(`ALTER DATABASE postgres OWNER TO "%s";`, setup.MasterUser),
	}
	if setup.Database != "" && setup.Database != "postgres" {
		lines = append(lines, fmt.Sprintf(`CREATE DATABASE "%s" OWNER "%s";`, setup.Database, setup.MasterUser))
	}
	return strings.Join(lines, "\n") + "\n", nil
}

func (postgresEngine) login(ctx context.Context, c Config) error {
	conn, err := connect(ctx, c)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func (postgresEngine) setPassword(ctx context.Context, c Config, user string, next Password) error {
	conn, err := connect(ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	proof, err := scramVerifier(next)
	if err != nil {
		return err
	}
	statement := fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", pgx.Identifier{user}.Sanitize(), proof)
	if _, err := conn.Exec(ctx, statement); err != nil {
		if known, ok := errors.AsType[*pgconn.PgError](err); ok {
			return fmt.Errorf("error %s of the database server", known.Code)
		}
		return err
	}
	return nil
}

func connect(ctx context.Context, c Config) (*pgx.Conn, error) {
	// Every setting is given, so that no PG… variable of keyturn's environment
	// or password file of its user has a say.
	config, err := pgx.ParseConfig(fmt.Sprintf(
		"host=%s port=%d user=%s dbname=postgres sslmode=disable connect_timeout=5 target_session_attrs=any passfile= servicefile= password=-", Host, c.Port, Admin))
	if err != nil {
		return nil, fmt.Errorf("preparing a login: %w", err)
	}
	config.Password = string(c.AdminPassword)
	config.ConnectTimeout = 5 * time.Second
	config.RuntimeParams = map[string]string{"application_name": "keyturn"}
	return pgx.ConnectConfig(ctx, config)
}
