package rotationtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/rotation"
)

// validating makes the test's MariaDB one that has plugins. It takes no hashes once
// one is installed: strict_password_validation is the default.
func validating(t *testing.T) {
	t.Helper()
	folder := os.Getenv("KEYTURN_TEST_MARIADB_PLUGINS")
	if folder == "" {
		t.Fatal("KEYTURN_TEST_MARIADB_PLUGINS names no folder with MariaDB's plugins; scripts/test.sh does it")
	}
	binary, err := dbserver.Find(dbserver.MariaDB)
	must(t, err)
	dir := dbtest.Dir(t)
	wrapper := filepath.Join(dir, "mariadbd")
	must(t, os.WriteFile(wrapper, fmt.Appendf(nil, "#!/bin/sh\nexec %s \"$@\" --plugin-dir=%s\n", binary.Path, folder), 0o755))
	binary.Path = wrapper
	port, err := dbserver.FreePort(func(int) bool { return false })
	must(t, err)
	password := rand.Text()
	server, err := dbserver.New(dbserver.Config{Binary: binary, Dir: filepath.Join(dir, "server"), Port: port, AdminPassword: dbserver.Password(password)})
	must(t, err)
	must(t, server.Init(t.Context(), dbserver.Setup{MasterUser: "master", MasterPassword: dbserver.Password(rand.Text())}))
	must(t, server.Start(t.Context()))
	t.Cleanup(func() { must(t, server.Stop(context.Background())) })
	t.Setenv("KEYTURN_TEST_MARIADB", fmt.Sprintf("mariadb://%s:%s@%s:%d", dbserver.Admin, password, dbserver.Host, port))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestValidatedPasswords(t *testing.T) { t.Run(string(dbserver.MariaDB), testValidated) }

func testValidated(t *testing.T) {
	validating(t)
	w := newWorld(t, dbserver.MariaDB, plain)
	w.sql("INSTALL SONAME 'simple_password_check'")
	t.Run("one user", validatedPasswords)
	t.Run("two users", validatedPasswordsOfTwoUsers)
	t.Run("rejected", validatedPasswordIsRejected)
	t.Run("rehearsal", validatedRehearsal)
	w.sql("UNINSTALL SONAME 'simple_password_check'")
	w.sql("INSTALL SONAME 'password_reuse_check'")
	t.Run("history", historyOfPasswords)
	w.sql("UNINSTALL SONAME 'password_reuse_check'")
}

// TestEd25519 is MariaDB's plugin for passwords beside mysql_native_password.
func TestEd25519(t *testing.T) { t.Run(string(dbserver.MariaDB), testEd25519) }

func testEd25519(t *testing.T) {
	validating(t)
	w := newWorld(t, dbserver.MariaDB, plain)
	w.sql("INSTALL SONAME 'auth_ed25519'")
	t.Run("hashes", ed25519Passwords)
	w.sql("INSTALL SONAME 'simple_password_check'")
	t.Run("clear text", ed25519Passwords)
}

func ed25519Passwords(t *testing.T) {
	const alone = "ed25519 USING PASSWORD('First_1aA')"
	const either = "mysql_native_password USING PASSWORD('First_1aA') OR " + alone
	for _, w := range []*world{newWorld(t, dbserver.MariaDB, plain), newWorld(t, dbserver.MariaDB, privileged)} {
		w.via(alone)
		w.rotatesBy("version-1", rotation.StrategySingleUser)
		w.rotatesBy("version-2", rotation.StrategySingleUser)
		w.want("AWSPREVIOUS", false, w.login("AWSPREVIOUS").Password)
	}
	w := newWorld(t, dbserver.MariaDB, privileged)
	w.via(either)
	w.rotatesBy("version-1", rotation.StrategySingleUser)
	w.want("AWSPREVIOUS", false, w.login("AWSPREVIOUS").Password)
	w.via("mysql_native_password USING PASSWORD('" + w.login("AWSCURRENT").Password + "')")
	w.rotatesBy("version-2", rotation.StrategyDualPassword)
	w.via(alone + " OR mysql_native_password USING PASSWORD('First_1aA')")
	w.store.begin(secretID, "version-3")
	w.must("version-3", rotation.StepCreate)
	w.refused("version-3", rotation.StepSet, rotation.ClassDatabase, "mysql_native_password must be the first")
	w.via(alone) // the server asks unknown users as it would some known one
	turns := newTurns(t, dbserver.MariaDB)
	turns.via(either)
	turns.must("version-0", rotation.StepRehearse)
	turns.rotate("version-1")
	if a, b := turns.rights(turns.first.Username), turns.rights(turns.clone()); !slices.Equal(a, b) || !slices.Contains(a, "at '%': may log in by mysql_native_password OR ed25519") {
		t.Errorf("the users have %q and %q", a, b)
	}
	turns.rotate("version-2")
	turns.wantIn("after the second rotation", "AWSCURRENT", "AWSPREVIOUS")
}

// via makes the account log in by other plugins.
func (w *world) via(ways string) {
	w.sql("ALTER USER '%s'@'%%' IDENTIFIED VIA "+ways, w.first.Username)
}

func validatedPasswords(t *testing.T) {
	for kind, strategy := range map[accountKind]string{plain: rotation.StrategySingleUser, privileged: rotation.StrategyDualPassword} {
		w := newWorld(t, dbserver.MariaDB, kind)
		w.rotatesBy("version-1", strategy)
		w.want("AWSPREVIOUS", strategy == rotation.StrategyDualPassword, w.login("AWSPREVIOUS").Password)
		w.must("version-1", rotation.StepRetire)
		w.want("AWSCURRENT after the retirement", true, w.login("AWSCURRENT").Password)
		w.want("AWSPREVIOUS after the retirement", false, w.login("AWSPREVIOUS").Password)
	}
}

func (w *world) rotatesBy(token, strategy string) {
	w.t.Helper()
	if set, _ := w.rotate(token); set.Strategy != strategy {
		w.t.Errorf("%s: strategy %s, want %s", token, set.Strategy, strategy)
	}
	w.want("AWSCURRENT after "+token, true, w.login("AWSCURRENT").Password)
}

func validatedPasswordsOfTwoUsers(t *testing.T) {
	w := newTurns(t, dbserver.MariaDB)
	for n := range 3 {
		w.rotate(fmt.Sprint("version-", n+1))
		w.wantIn(fmt.Sprint("after rotation ", n+1), "AWSCURRENT")
	}
	w.wantIn("in the end", "AWSPREVIOUS")
}

// validatedPasswordIsRejected until it is long enough. The one of AWSCURRENT
// fits the new rules no more, and so can't stay beside it.
func validatedPasswordIsRejected(t *testing.T) {
	for _, w := range []*world{newWorld(t, dbserver.MariaDB, plain), newWorld(t, dbserver.MariaDB, privileged)} {
		w.sql("SET GLOBAL simple_password_check_minimal_length = 40")
		w.again("version-1", 0)
		w.rejected("version-1", "1819", "simple_password_check", "--password-length")
		w.again("version-2", 1)
		for _, step := range rotationSteps[1:] {
			w.must("version-2", step)
		}
		w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
		w.want("AWSPREVIOUS", false, w.login("AWSPREVIOUS").Password)
		w.sql("SET GLOBAL simple_password_check_minimal_length = 8")
	}
}

// historyOfPasswords: the server knows the one that would stay.
func historyOfPasswords(t *testing.T) {
	w := newWorld(t, dbserver.MariaDB, privileged)
	w.rotatesBy("version-1", rotation.StrategySingleUser)
	w.rotatesBy("version-2", rotation.StrategySingleUser)
	if r := w.must("version-2", rotation.StepPlan); r.Plan.Strategy != rotation.StrategySingleUser {
		t.Errorf("the plan says %s", r.Plan.Strategy)
	}
	explicit := newWorld(t, dbserver.MariaDB, privileged, `"rotationStrategy":"DualPassword"`)
	explicit.again("version-1", 0)
	explicit.refused("version-1", rotation.StepSet, rotation.ClassPolicy, "password_reuse_check", rotation.ErrNoDualPassword.Error())
	explicit.want("AWSCURRENT", true, explicit.login("AWSCURRENT").Password)
}

func validatedRehearsal(t *testing.T) {
	w := newTurns(t, dbserver.MariaDB)
	w.must("version-0", rotation.StepRehearse)
}
