package rotationtest

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// grantWorld is what the grants of these tests are about.
func grantWorld(t *testing.T, p dbserver.Product) *world {
	w := newTurns(t, p)
	db := w.adminDB()
	for _, statement := range []string{
		"CREATE DATABASE IF NOT EXISTS shop", "CREATE DATABASE IF NOT EXISTS `we``ird?'x`",
		"CREATE TABLE IF NOT EXISTS shop.t (a INT, `b,)` INT)", "CREATE OR REPLACE VIEW shop.v AS SELECT 1 AS one",
		"DROP PROCEDURE IF EXISTS shop.p", "CREATE PROCEDURE shop.p() SELECT 1", "DROP FUNCTION IF EXISTS shop.f",
		"CREATE FUNCTION shop.f() RETURNS INT DETERMINISTIC RETURN 1", "CREATE ROLE IF NOT EXISTS reader", "CREATE ROLE IF NOT EXISTS writer",
	} {
		w.run(db, statement)
	}
	w.mayPassProxy(db)
	t.Cleanup(func() {
		for _, statement := range []string{"DROP DATABASE shop", "DROP DATABASE `we``ird?'x`", "DROP ROLE reader", "DROP ROLE writer"} {
			w.sql("%s", statement)
		}
	})
	return w
}

// mayPassProxy gives the administrator the right to let anybody be anybody's proxy,
// which is root's alone after the installation.
func (w *world) mayPassProxy(db *sql.DB) {
	w.run(db, `INSERT INTO mysql.proxies_priv (Host, User, Proxied_host, Proxied_user, With_grant, Grantor)
		SELECT Host, User, '', '', 1, '' FROM mysql.user u WHERE User = SUBSTRING_INDEX(CURRENT_USER(), '@', 1)
		AND NOT EXISTS (SELECT 1 FROM mysql.proxies_priv p WHERE p.User = u.User AND p.Host = u.Host AND Proxied_user = '')`)
	w.run(db, "FLUSH PRIVILEGES")
}

// grantables are what both products know; {user} stands for user@host.
var grantables = map[dbserver.Product][]string{
	"": {
		"GRANT SELECT, INSERT ON *.* TO {user}", "GRANT PROCESS ON *.* TO {user} WITH GRANT OPTION", "GRANT ALL ON shop.* TO {user}",
		"GRANT SELECT, CREATE TEMPORARY TABLES ON shop.* TO {user} WITH GRANT OPTION", "GRANT SELECT ON `we``ird?'x`.* TO {user}",
		"GRANT SELECT (a), UPDATE (a, `b,)`), DELETE ON shop.t TO {user}", "GRANT SELECT ON shop.t TO {user} WITH GRANT OPTION",
		"GRANT SHOW VIEW ON shop.v TO {user}", "GRANT EXECUTE ON PROCEDURE shop.p TO {user}", "GRANT ALTER ROUTINE ON FUNCTION shop.f TO {user} WITH GRANT OPTION",
		"GRANT USAGE ON `sh\\_%`.* TO {user} WITH GRANT OPTION", "GRANT reader TO {user}", "GRANT writer TO {user} WITH ADMIN OPTION",
		"GRANT PROXY ON 'we`ird'@'%' TO {user}", "GRANT PROXY ON ''@'' TO {user} WITH GRANT OPTION", "REVOKE PROXY ON 'we`ird'@'%' FROM {user}",
		"ALTER USER {user} REQUIRE SSL", "ALTER USER {user} REQUIRE SUBJECT '/CN=o\\'\\\\b' AND ISSUER 'x'", "ALTER USER {user} REQUIRE NONE",
		"ALTER USER {user} WITH MAX_USER_CONNECTIONS 7 MAX_QUERIES_PER_HOUR 9", "ALTER USER {user} WITH MAX_USER_CONNECTIONS 0",
		"ALTER USER {user} PASSWORD EXPIRE INTERVAL 90 DAY", "ALTER USER {user} PASSWORD EXPIRE NEVER", "ALTER USER {user} ACCOUNT LOCK", "ALTER USER {user} ACCOUNT UNLOCK",
		"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {user}",
	},
	dbserver.MySQL: {
		"GRANT BACKUP_ADMIN ON *.* TO {user}", "GRANT ROLE_ADMIN, XA_RECOVER_ADMIN ON *.* TO {user} WITH GRANT OPTION", "GRANT ALL ON *.* TO {user}",
		"ALTER USER {user} FAILED_LOGIN_ATTEMPTS 3 PASSWORD_LOCK_TIME UNBOUNDED", "ALTER USER {user} FAILED_LOGIN_ATTEMPTS 0 PASSWORD_LOCK_TIME 0",
		"ALTER USER {user} PASSWORD HISTORY 5 PASSWORD REUSE INTERVAL 3 DAY PASSWORD REQUIRE CURRENT", "ALTER USER {user} PASSWORD REQUIRE CURRENT OPTIONAL",
		"REVOKE IF EXISTS SELECT ON mysql.* FROM {user} IGNORE UNKNOWN USER", "ALTER USER {user} DEFAULT ROLE ALL",
	},
	dbserver.MariaDB: {
		"GRANT BINLOG MONITOR, DELETE HISTORY ON *.* TO {user}", "ALTER USER {user} WITH MAX_STATEMENT_TIME 3.5", "SET DEFAULT ROLE NONE FOR {user}",
		"SET DEFAULT ROLE reader FOR {user}", "GRANT ALL ON *.* TO {user} WITH GRANT OPTION",
	},
}

// times is how many sequences of statements are tried.
const times = 12

// TestGrantsAreCopiedExactly gives and takes random rights between copies, and
// compares what the server says of both users.
func TestGrantsAreCopiedExactly(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := grantWorld(t, p)
		if p == dbserver.MySQL {
			w.sql("SET GLOBAL partial_revokes = ON")
		}
		copier := w.copier()
		db := w.adminDB()
		statements := append(append([]string{}, grantables[""]...), grantables[p]...)
		sequences := rapid.SliceOfN(rapid.SampledFrom(statements), 1, 12)
		for seed := range times {
			some := sequences.Example(seed)
			for _, statement := range some {
				user := fmt.Sprintf("'%s'@'%%'", w.first.Username)
				_, err := db.ExecContext(t.Context(), strings.ReplaceAll(statement, "{user}", user))
				if err != nil && !strings.Contains(statement, "DEFAULT ROLE") { // of a role that is not granted
					t.Fatalf("%s: %v", statement, err)
				}
			}
			if err := copier.CopyUser(t.Context(), w.first, w.clone()); err != nil {
				t.Fatal(err)
			}
			w.equal("after " + strings.Join(some, "; "))
		}
	})
}

func (w *world) copier() rotation.UserCopier {
	w.t.Helper()
	l := w.first
	l.Host, l.Port, l.Username, l.Password = w.admin.Host, w.admin.Port, w.admin.User, w.admin.Password
	session, err := w.direct.Connect(w.t.Context(), l)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = session.Close() })
	return session.(rotation.UserCopier)
}

// TestHostsFollow: rows come and go with those of the current user.
func TestHostsFollow(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := grantWorld(t, p)
		w.sql("CREATE USER '%s'@'10.0.0.0/255.0.0.0' IDENTIFIED BY 'First_1aA'", w.first.Username)
		drop := func(user string) { w.sql("DROP USER '%s'@'10.0.0.0/255.0.0.0'", user) }
		w.sql("GRANT SELECT ON shop.t TO '%s'@'10.0.0.0/255.0.0.0'", w.first.Username)
		w.rotate("version-1")
		w.equal("with two rows")
		drop(w.clone())
		w.rotate("version-2")
		w.equal("with one row")
		w.wantIn("at the end", "AWSCURRENT", "AWSPREVIOUS")
	})
}

// TestRightsOnWhatIsGone: the servers keep the grants of what is dropped, and give them no
// more. Those of a table come back with it; the others are on nothing, and stay behind.
func TestRightsOnWhatIsGone(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := grantWorld(t, p)
		user := fmt.Sprintf("'%s'@'%%'", w.first.Username)
		for _, statement := range []string{
			"CREATE DATABASE gone", "CREATE TABLE gone.t (a INT)", "CREATE PROCEDURE gone.p() SELECT 1",
			"GRANT CREATE, SELECT ON gone.t TO " + user, "GRANT UPDATE ON shop.v TO " + user + " WITH GRANT OPTION",
			"GRANT EXECUTE ON PROCEDURE gone.p TO " + user, "GRANT UPDATE (a) ON gone.t TO " + user, "GRANT UPDATE (`b,)`) ON shop.t TO " + user,
			"DROP DATABASE gone", "DROP VIEW shop.v", "ALTER TABLE shop.t DROP COLUMN `b,)`",
		} {
			w.sql("%s", statement)
		}
		w.rotate("version-1")
		for _, right := range []string{"GRANT SELECT ON `gone`.`t`", "GRANT UPDATE ON `shop`.`v`", "GRANT GRANT OPTION ON `shop`.`v`"} {
			if !slices.Contains(w.rights(w.clone()), "at '%': "+right) {
				t.Errorf("the other user lacks %s, and has %q", right, w.rights(w.clone()))
			}
		}
		w.rotate("version-2")
		w.equal("with both users' turns over")
	})
}

// TestRestrictedGrantOption: SHOW GRANTS leaves GRANT OPTION out of a partial revoke.
func TestRestrictedGrantOption(t *testing.T) {
	w := grantWorld(t, dbserver.MySQL)
	w.sql("SET GLOBAL partial_revokes = ON")
	restrictions := func(user string) string {
		return strings.Join(w.column("SELECT COALESCE(User_attributes -> '$.Restrictions', '') FROM mysql.user WHERE User = '"+user+"'"), " ")
	}
	user := fmt.Sprintf("'%s'@'%%'", w.first.Username)
	for _, statement := range []string{
		"GRANT SELECT ON *.* TO " + user + " WITH GRANT OPTION", "REVOKE GRANT OPTION ON `we``ird?'x`.* FROM " + user,
		"REVOKE SELECT ON `we``ird?'x`.* FROM " + user, "GRANT USAGE ON `we``ird?'x`.* TO " + user + " WITH GRANT OPTION",
	} {
		w.sql("%s", statement)
		w.check(w.copier().CopyUser(t.Context(), w.first, w.clone()))
		if diff := cmp.Diff(restrictions(w.first.Username), restrictions(w.clone())); diff != "" {
			t.Errorf("after %s: %s", statement, diff)
		}
		w.equal("after " + statement)
	}
}

// TestLimitsOfMariaDB: one that lets nobody in, and a time that mysql.user shows cut off.
func TestLimitsOfMariaDB(t *testing.T) {
	w := newTurns(t, dbserver.MariaDB)
	w.sql("ALTER USER '%s'@'%%' WITH MAX_USER_CONNECTIONS -1 MAX_STATEMENT_TIME 31536000.5", w.first.Username)
	w.check(w.copier().CopyUser(t.Context(), w.first, w.clone()))
	w.equal("after the copy")
}

// TestRoutineRightsAreTakenBack: from MariaDB 11.3 on the last of them goes with the others.
func TestRoutineRightsAreTakenBack(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := grantWorld(t, p)
		w.sql("GRANT ALL ON PROCEDURE shop.p TO '%s'@'%%'", w.first.Username)
		w.rotate("version-1")
		w.sql("REVOKE ALL ON PROCEDURE shop.p FROM '%s'@'%%'", w.clone())
		w.rotate("version-2")
		w.equal("after the rotation")
	})
}

// TestMandatoryRole: one that everybody has can't be taken from the other user.
func TestMandatoryRole(t *testing.T) {
	w := grantWorld(t, dbserver.MySQL)
	w.rotate("version-1")
	w.sql("GRANT reader TO '%s'@'%%'", w.first.Username)
	w.sql("SET GLOBAL mandatory_roles = 'reader'")
	t.Cleanup(func() { w.sql("SET GLOBAL mandatory_roles = ''") })
	w.rotate("version-2")
	w.wantIn("after the rotation", "AWSCURRENT", "AWSPREVIOUS")
}

// weakAdmin is an administrator who has no rights but CREATE USER and reading mysql.
func (w *world) weakAdmin() (account string) {
	weak := newWorld(w.t, w.product, plain)
	account = fmt.Sprintf("'%s'@'%%'", weak.first.Username)
	w.sql("GRANT CREATE USER ON *.* TO %s", account)
	w.sql("GRANT SELECT ON mysql.* TO %s", account)
	w.store.create(adminID, fmt.Sprintf(`{"username":%q,"password":%q}`, weak.first.Username, weak.first.Password))
	return account
}

// TestMissingGrantIsNamed: the administrator lacks one right of the user.
func TestMissingGrantIsNamed(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		w := grantWorld(t, p)
		admin := w.weakAdmin()
		w.sql("GRANT DELETE ON shop.t TO '%s'@'%%'", w.first.Username)
		w.store.begin(secretID, "version-1")
		w.must("version-1", rotation.StepCreate)
		w.refused("version-1", rotation.StepSet, rotation.ClassPrivilege, "GRANT DELETE ON `shop`.`t` TO "+admin+" WITH GRANT OPTION")
		w.sql("GRANT DELETE ON shop.t TO %s WITH GRANT OPTION", admin)
		w.until("version-1", rotation.StepFinish)
		w.equal("at the end")
	})
}

// TestMissingGrantForDefaultRoles: MariaDB asks for another one than MySQL.
func TestMissingGrantForDefaultRoles(t *testing.T) {
	w := grantWorld(t, dbserver.MariaDB)
	admin := w.weakAdmin()
	w.sql("GRANT reader TO '%s'@'%%', %s WITH ADMIN OPTION", w.first.Username, admin)
	w.sql("SET DEFAULT ROLE reader FOR '%s'@'%%'", w.first.Username)
	w.store.begin(secretID, "version-1")
	w.must("version-1", rotation.StepCreate)
	w.refused("version-1", rotation.StepSet, rotation.ClassPrivilege, "GRANT UPDATE ON mysql.* TO "+admin)
	w.sql("GRANT UPDATE ON mysql.* TO %s", admin)
	w.until("version-1", rotation.StepFinish)
	w.equal("at the end")
}

// TestNamesThatAreTooLong are refused before anything happens.
func TestNamesThatAreTooLong(t *testing.T) {
	for engine, limit := range map[string]int{"mysql": 32, "mariadb": 128, "postgres": 63} {
		l := rotation.Login{Engine: engine, Username: strings.Repeat("u", limit-len(rotation.CloneSuffix))}
		if _, err := rotation.OtherUser(l); err != nil {
			t.Error(err)
		}
		l.Username += "u"
		if _, err := rotation.OtherUser(l); rotation.ClassOf(err) != rotation.ClassSecret {
			t.Errorf("%s: %v", engine, err)
		}
		l.Username = "u" + rotation.CloneSuffix
		if other, err := rotation.OtherUser(l); other != "u" || err != nil {
			t.Errorf("%s: %q, %v", engine, other, err)
		}
	}
}
