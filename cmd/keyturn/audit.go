package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/audit"
)

func newAuditCommand(a *app) *cobra.Command {
	cmd := newGroup("audit", "Verify, follow and search the server's audit log",
		newAuditVerifyCommand(a), newAuditTailCommand(a), newAuditSearchCommand(a))
	cmd.Long = `The audit log of a keyturn server, DATA/audit: a line of JSON for every call,
allowed or refused, and for what the server does by itself. These commands read
its files, whether the server runs or not; none of them asks it.`
	return cmd
}

// addData adds the flag that says where the log is.
func addData(cmd *cobra.Command, data *string) {
	cmd.Flags().StringVar(data, "data", "./keyturn-data", "folder of the server's state")
	_ = cmd.MarkFlagDirname("data")
}

func auditDir(data string) string { return filepath.Join(data, keyturn.AuditDir) }

// noLog tells the way out when a folder has no log.
func noLog(err error, data string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return guided{err: fmt.Errorf("there is no audit log in %s", auditDir(data)), hint: "Name the folder of the server's state with --data.", code: exitUsage}
	}
	return err
}

// momentOf reads a moment: a time, a date, or how long ago it was.
func (a *app) momentOf(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	ago, err := parseDuration(text)
	if err != nil {
		return time.Time{}, usagef("%s is a time such as 2026-01-31T12:00:00Z, a date, or how long ago it was, such as 24h or 7d, not %q", flag, text)
	}
	return a.now().Add(-ago), nil
}

// auditHead is the head of the table; its columns have the widths of auditRow.
var auditHead = []string{"TIME", "EVENT", "OUTCOME", "PRINCIPAL", "RESOURCE", "VERSION", "SOURCE"}

func auditRow(e *audit.Entry) []string {
	return []string{e.Time, e.Name, outcomeOf(e), callerOf(e), orDash(e.Resource()), orDash(e.VersionID), orDash(e.SourceIP)}
}

func outcomeOf(e *audit.Entry) string {
	if e.ErrorCode == "" {
		return "ok"
	}
	return e.ErrorCode
}

// callerOf is who called: of a call that could not be verified, whoever it
// claimed to be.
func callerOf(e *audit.Entry) string {
	switch {
	case e.Identity.InvokedBy != "":
		return e.Identity.InvokedBy
	case e.Identity.ARN != "":
		return e.Identity.ARN
	case e.Identity.AccessKeyID != "":
		return "unverified " + e.Identity.AccessKeyID
	}
	return "-"
}

// auditPrinter writes lines as they come: nothing is held back to find out how
// wide a column will be.
type auditPrinter struct {
	app    *app
	headed bool
}

func (p *auditPrinter) print(raw []byte, e *audit.Entry) error {
	switch p.app.flags.output {
	case outputJSON:
		return p.app.println(string(raw))
	case outputText:
		return p.app.println(strings.TrimSuffix(line(auditRow(e)), "\n"))
	}
	if !p.headed {
		p.headed = true
		if err := p.app.println(padded(auditHead)); err != nil {
			return err
		}
	}
	return p.app.println(padded(auditRow(e)))
}

func padded(cells []string) string {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = printable(cell)
	}
	return strings.TrimRight(fmt.Sprintf("%-24s  %-24s  %-26s  %-44s  %-80s  %-36s  %s", row[0], row[1], row[2], row[3], row[4], row[5], row[6]), " ")
}
