package rotationtest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestPlanIsWhatIsSent compares what a plan tells with what the server has written
// into its general log.
func TestPlanIsWhatIsSent(t *testing.T) {
	eachMySQL(t, func(t *testing.T, p dbserver.Product) {
		for _, tc := range []struct {
			kind     accountKind
			admin    bool
			strategy string
		}{
			{plain, true, rotation.StrategySingleUser},
			{privileged, false, rotation.StrategyDualPassword},
			{plain, true, rotation.StrategyAlternatingUsers},
		} {
			t.Run(fmt.Sprintf("%s, by an administrator %t", tc.strategy, tc.admin), func(t *testing.T) {
				w := newWorld(t, p, tc.kind)
				if tc.admin {
					w.addAdmin(w.admin.User, w.admin.Password)
				}
				w.store.secrets[secretID].tag(rotation.TagStrategy, tc.strategy)
				w.addRights()
				w.compare(tc.strategy)
			})
		}
	})
}

// addRights gives the account a second row, rights and limits.
func (w *world) addRights() {
	db := "plan_" + w.first.Username
	w.sql("CREATE DATABASE %s", db)
	w.t.Cleanup(func() { w.sql("DROP DATABASE %s", db) })
	w.sql("CREATE USER '%s'@'192.0.2.1' IDENTIFIED BY 'Elsewhere_1'", w.first.Username)
	w.sql("GRANT SELECT, INSERT ON %s.* TO '%s'@'%%' WITH GRANT OPTION", db, w.first.Username)
	w.sql("ALTER USER '%s'@'%%' WITH MAX_USER_CONNECTIONS 20", w.first.Username)
}

// compare rotates twice: a second user is made, and then is there.
func (w *world) compare(strategy string) {
	w.sql("SET GLOBAL log_output = 'TABLE'")
	w.sql("SET GLOBAL general_log = ON")
	w.t.Cleanup(func() { w.sql("SET GLOBAL general_log = OFF"); w.sql("TRUNCATE mysql.general_log") })
	for _, version := range []string{"version-1", "version-2"} {
		told := w.foretold()
		w.sql("TRUNCATE mysql.general_log")
		w.rotate(version)
		if strategy == rotation.StrategyDualPassword {
			w.must(version, rotation.StepRetire)
		}
		if sent := w.sent(); !slices.Equal(told, sent) {
			w.t.Errorf("%s: the plan tells of\n%s\nand the server was sent\n%s", version, strings.Join(told, "\n"), strings.Join(sent, "\n"))
		}
	}
}

func (w *world) foretold() (all []string) {
	for _, s := range w.must("", rotation.StepPlan).Plan.Statements {
		all = append(all, w.plainly(s.Text))
	}
	return all
}

func (w *world) sent() (all []string) {
	w.t.Helper()
	rows, err := w.adminDB().QueryContext(w.t.Context(), `SELECT argument FROM mysql.general_log
		WHERE argument RLIKE '^(ALTER|CREATE|DROP|GRANT|REVOKE|SET PASSWORD|SET DEFAULT)' ORDER BY event_time`)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			w.t.Fatal(err)
		}
		all = append(all, w.plainly(text))
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return all
}

var (
	hidden = regexp.MustCompile(`<secret>|RANDOM PASSWORD|'\*[0-9A-F]{40}'`)
	quotes = regexp.MustCompile("[`']")
)

// plainly is a statement in the one way: MySQL writes some in its own words.
func (w *world) plainly(text string) string {
	text = hidden.ReplaceAllString(text, rotation.Redacted)
	text = strings.ReplaceAll(text, "], ", "],")
	text = strings.ReplaceAll(text, "USER()", w.first.Username+"@%")
	return quotes.ReplaceAllString(text, "")
}
