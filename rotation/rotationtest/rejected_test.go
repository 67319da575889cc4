package rotationtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// rejected runs a setSecret whose password the database has to reject.
func (w *world) rejected(token string, texts ...string) {
	w.t.Helper()
	_, err := w.step(token, rotation.StepSet)
	var e *rotation.Error
	if !errors.As(err, &e) || e.ErrorType() != rotation.TypeRejected || !errors.Is(err, rotation.ErrRejected) {
		w.t.Fatalf("setSecret: %v of class %q, want one that says %q", err, rotation.ClassOf(err), rotation.TypeRejected)
	}
	w.refused(token, rotation.StepSet, rotation.ClassPolicy, texts...)
	w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
	w.want("AWSPENDING", false, w.login("AWSPENDING").Password)
}

// again begins with a new version after n rejections, as the scheduler does.
func (w *world) again(token string, n int64) {
	w.t.Helper()
	w.store.begin(secretID, token)
	_, err := w.f.Handle(w.t.Context(), rotation.Event{Step: rotation.StepCreate, SecretID: secretID, ClientRequestToken: token, Rejections: n})
	if err != nil {
		w.t.Fatalf("createSecret: %v", err)
	}
}

// TestRejectedPasswordsGetLonger until they satisfy the server.
func TestRejectedPasswordsGetLonger(t *testing.T) {
	for _, kind := range []accountKind{plain, privileged} {
		w := newWorld(t, dbserver.MySQL, kind)
		w.sql("INSTALL COMPONENT 'file://component_validate_password'")
		uninstall := sync.OnceFunc(func() { w.sql("UNINSTALL COMPONENT 'file://component_validate_password'") })
		t.Cleanup(uninstall)
		w.sql("SET GLOBAL validate_password.length = 60")
		w.sql("SET GLOBAL validate_password.special_char_count = 3")
		for n := range int64(2) {
			token := fmt.Sprint("version-", n)
			w.again(token+"x", n)
			w.rejected(token+"x", "1819", "--password-length")
		}
		token := w.untilAccepted(2)
		for _, step := range rotationSteps[1:] {
			w.must(token, step)
		}
		w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
		uninstall()
	}
}

// untilAccepted goes on after n rejections, as the scheduler does. Of the passwords
// that are as long as they get, one in 23 has fewer than three special characters.
func (w *world) untilAccepted(n int64) (token string) {
	w.t.Helper()
	for ; n < 12; n++ {
		token = fmt.Sprint("version-after-", n)
		w.again(token, n)
		_, err := w.step(token, rotation.StepSet)
		if err == nil {
			return token
		}
		if !errors.Is(err, rotation.ErrRejected) {
			w.t.Fatal(err)
		}
	}
	w.t.Fatal("ten passwords in a row were rejected")
	return ""
}

// TestPasswordOfTheHistoryIsRejected: somebody has staged an old one by hand.
func TestPasswordOfTheHistoryIsRejected(t *testing.T) {
	for _, kind := range []accountKind{plain, privileged} {
		w := newWorld(t, dbserver.MySQL, kind)
		w.sql("ALTER USER '%s'@'%%' PASSWORD HISTORY 5", w.first.Username)
		w.rotate("version-1")
		w.must("version-1", rotation.StepRetire)
		w.rotate("version-2")
		w.must("version-2", rotation.StepRetire)
		w.forge("version-3", w.store.value(secretID, "AWSPREVIOUS"))
		w.rejected("version-3", "3638")
		w.again("version-4", 1)
		w.must("version-4", rotation.StepSet)
	}
}

// TestPostgresModuleRejects: the module passwordcheck compares even a verifier
// with the role's name.
func TestPostgresModuleRejects(t *testing.T) {
	w := newWorld(t, dbserver.Postgres, plain)
	w.sql("ALTER ROLE %s SET session_preload_libraries = 'passwordcheck'", w.first.Username)
	w.forge("version-1", strings.Replace(w.value(), w.first.Password, w.first.Username, 1))
	// The error names the role, which is the password: so no look for passwords.
	_, err := w.step("version-1", rotation.StepSet)
	var e *rotation.Error
	if !errors.As(err, &e) || e.ErrorType() != rotation.TypeRejected || e.Class != rotation.ClassPolicy {
		t.Fatalf("setSecret: %v", err)
	}
	w.holds("version-0")
	w.again("version-2", 1)
	w.must("version-2", rotation.StepSet)
	w.holds("version-2")
}

// TestPasswordsAsTagsSay keep to that after rejections too.
func TestPasswordsAsTagsSay(t *testing.T) {
	w := newWorld(t, dbserver.MariaDB, plain)
	for _, c := range []struct {
		length, exclude string
		want            map[int64]int // :: rejections → characters
	}{
		{"", "", map[int64]int{0: 32, 1: 48, 2: 64, 9: 64}},
		{"20", "", map[int64]int{0: 20, 1: 20, 9: 20}},
		{"", "xyz._", map[int64]int{0: 32, 1: 48, 9: 64}},
		{"12", "0123456789_abcdefghijklmnopqrstuvwxyz", map[int64]int{0: 12}},
	} {
		w.store.secrets[secretID].tags = nil
		w.store.secrets[secretID].tag(rotation.TagPasswordLength, c.length)
		w.store.secrets[secretID].tag(rotation.TagPasswordExclude, c.exclude)
		for n, length := range c.want {
			w.again(fmt.Sprintf("version-%s-%d-%d", c.length, len(c.exclude), n), n)
			p := w.login("AWSPENDING").Password
			if len(p) != length || strings.ContainsAny(p, c.exclude) {
				t.Errorf("length %q without %q: after %d rejections the password has %d characters, want %d", c.length, c.exclude, n, len(p), length)
			}
		}
	}
}

// counting is a database that counts refused logins in a row, as servers do.
type counting struct {
	rotation.Engine
	row, longest int
}

func (c *counting) Connect(ctx context.Context, l rotation.Login) (rotation.Session, error) {
	s, err := c.Engine.Connect(ctx, l)
	if rotation.ClassOf(err) == rotation.ClassAuth {
		c.row++
		c.longest = max(c.longest, c.row)
	} else {
		c.row = 0
	}
	return s, err
}

// TestNobodyIsLockedOut on a server that locks an account after four refused
// logins in a row: a rotation makes one and then one that is let in, and three if
// no password works.
func TestNobodyIsLockedOut(t *testing.T) {
	eachSQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.lockAfter(4)
		c := &counting{Engine: w.direct}
		w.f.Engine = c
		for i := range 5 {
			w.rotate(fmt.Sprint("version-", i+1))
			if c.longest != 1 || c.row != 0 {
				t.Errorf("rotation %d was refused %d logins in a row, and %d at its end", i, c.longest, c.row)
			}
		}
		w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)

		w.changeBehind("Other_1aA")
		w.store.begin(secretID, "version-9")
		w.must("version-9", rotation.StepCreate)
		w.refused("version-9", rotation.StepSet, rotation.ClassAuth)
		if c.row != 3 {
			t.Errorf("setSecret was refused %d logins, want 3", c.row)
		}
		w.want("the password that somebody set", true, "Other_1aA")
	})
}

// lockAfter makes the server lock the account after n refused logins in a row;
// PostgreSQL knows no such thing.
func (w *world) lockAfter(n int) {
	w.t.Helper()
	switch w.product {
	case dbserver.MySQL:
		w.sql("ALTER USER '%s'@'%%' FAILED_LOGIN_ATTEMPTS %d PASSWORD_LOCK_TIME UNBOUNDED", w.first.Username, n)
	case dbserver.MariaDB:
		w.sql("SET GLOBAL max_password_errors = %d", n)
		w.t.Cleanup(func() { w.sql("SET GLOBAL max_password_errors = DEFAULT"); w.sql("FLUSH PRIVILEGES") })
	}
}

// TestLockIsNoRejection: a locked account is not mended by another password.
func TestLockIsNoRejection(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.sql("ALTER USER '%s'@'%%' ACCOUNT LOCK", w.first.Username)
		_, err := w.direct.Connect(t.Context(), w.first)
		var e *rotation.Error
		if !errors.As(err, &e) || e.ErrorType() != string(rotation.ClassPolicy) {
			t.Errorf("logging in to a locked account: %v", err)
		}
	})
}
