package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/audit"
)

type auditVerifyFlags struct {
	data, publicKey string
	from            uint64
	known           []string
	keys            keyFlags
}

func newAuditVerifyCommand(a *app) *cobra.Command {
	var flags auditVerifyFlags
	cmd := &cobra.Command{
		Use:   "verify [FILE…]",
		Short: "Prove that no line of the audit log was changed or removed",
		Long: `Check that each line of the audit log carries the hash of the line before it, up to
the one that the log's head names, which is signed: so none was changed, moved,
added or removed. The first place where that is not so is told, with code 1.

The log is that of the data folder, whose server may be running, or the files
given, oldest first, with the file "head" beside the first of them.

The head's signature is compared with the server's key, which is opened with the
key file of the data folder; or with --public-key, which needs no secret at all.
--known tells a line that was noted elsewhere: it must still be there. That also
finds a log that was put back to an earlier state with all its files.`,
		Example: `  keyturn audit verify
  keyturn audit verify --data /var/lib/keyturn -o json
  keyturn audit verify --public-key 6kp…A= --known 81025:9f86…0a08
  keyturn audit verify --from 81026 audit-000003.jsonl audit-000004.jsonl`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"jsonl"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, files []string) error {
			return a.verifyAudit(cmd.Context(), flags, files)
		},
	}
	addData(cmd, &flags.data)
	f := cmd.Flags()
	f.StringVar(&flags.publicKey, "public-key", "", "public key that the head must be signed with, in base64")
	f.Uint64Var(&flags.from, "from", 1, "sequence number of the first line to look at, when what is before it is kept elsewhere or was explained")
	f.StringArrayVar(&flags.known, "known", nil, "SEQUENCE:HASH of a line that must be there; may be repeated")
	flags.keys.add(cmd)
	return cmd
}

const (
	auditWhole    = "whole"
	auditUnsigned = "unsigned" // a whole chain, which whoever could write it could have made
	auditBroken   = "broken"
)

// auditVerdict is the JSON form of "audit verify".
type auditVerdict struct {
	Result      string            // whole, unsigned or broken
	Break       *audit.BreakError `json:",omitzero"`
	Report      *audit.Report     `json:",omitzero"` // when broken: of what is before
	PublicKey   string            `json:",omitzero"` // with which the head is signed
	KeyCompared bool              `json:",omitzero"` // that key is known to be the server's
}

func (a *app) verifyAudit(ctx context.Context, flags auditVerifyFlags, files []string) error {
	known, err := knownLines(flags.known)
	if err != nil {
		return err
	}
	key, err := a.auditKey(ctx, flags, len(files) > 0)
	if err != nil {
		return err
	}
	report, head, err := proveAudit(audit.Proof{Files: files, Key: key, From: flags.from, Known: known}, flags.data)
	broken, isBroken := errors.AsType[*audit.BreakError](err)
	if err != nil && !isBroken && len(files) == 0 {
		return noLog(err, flags.data)
	}
	if err != nil && !isBroken {
		return err
	}
	verdict := auditVerdict{Result: auditWhole, Break: broken, Report: report, KeyCompared: key != nil && head != nil}
	switch {
	case isBroken:
		verdict.Result = auditBroken
	case head == nil:
		verdict.Result = auditUnsigned
	}
	if head != nil {
		verdict.PublicKey = head.PublicKey
	}
	if err := errors.Join(a.writeVerdict(verdict), err); err != nil {
		return err
	}
	return a.warnUnsigned(verdict)
}

// proveAudit verifies the files, or those of the data folder if there are none.
// The head is read first: lines are added meanwhile.
func proveAudit(p audit.Proof, data string) (report *audit.Report, head *audit.Head, err error) {
	dir := auditDir(data)
	if len(p.Files) > 0 {
		dir = filepath.Dir(p.Files[0])
	}
	there, err := audit.Folder(dir)
	if err != nil {
		return nil, nil, err
	}
	p.Head = there.Head
	if len(p.Files) == 0 {
		p.Files = there.Files
	}
	if len(p.Files) == 0 && p.Head == nil {
		return nil, nil, fs.ErrNotExist
	}
	report, err = audit.Verify(p)
	return report, p.Head, err
}

// auditKey finds the key that the head must be signed with; nil: it is not known.
func (a *app) auditKey(ctx context.Context, flags auditVerifyFlags, onlyFiles bool) (audit.PublicKey, error) {
	if flags.publicKey != "" {
		key, err := audit.ParsePublicKey(flags.publicKey)
		if err != nil {
			return nil, usagef("--public-key: %v", err)
		}
		return key, nil
	}
	if onlyFiles {
		return nil, nil
	}
	keys, err := a.keys(ctx, flags.keys)
	if err != nil {
		return nil, err
	}
	text, err := keyturn.AuditPublicKey(ctx, flags.data, keys)
	switch {
	case errors.Is(err, keyturn.ErrNoAuditKey), errors.Is(err, fs.ErrPermission):
		return nil, nil // warnUnsigned tells
	case errors.Is(err, keyturn.ErrPassphrase):
		return nil, guided{err: err, hint: "Name a file that holds the passphrase with --key-passphrase-file, or the public key with --public-key."}
	case err != nil:
		return nil, guided{err: fmt.Errorf("finding the key of the audit log: %w", err), hint: "With --public-key no other key is needed."}
	}
	return audit.ParsePublicKey(text)
}

func knownLines(texts []string) (lines []audit.Line, err error) {
	for _, text := range texts {
		number, hash, _ := strings.Cut(text, ":")
		sequence, err := strconv.ParseUint(number, 10, 64)
		if err != nil || len(hash) != 64 {
			return nil, usagef("--known is SEQUENCE:HASH, with a hash of 64 digits, not %q", text)
		}
		lines = append(lines, audit.Line{Sequence: sequence, Hash: strings.ToLower(hash)})
	}
	return lines, nil
}

func (a *app) writeVerdict(v auditVerdict) error {
	if a.flags.output == outputJSON {
		return a.writeJSON(v)
	}
	if v.Result == auditBroken {
		return nil // the error says it
	}
	r := v.Report
	var f facts
	whole := "Whole"
	if v.Result == auditUnsigned {
		whole = "Whole, but unsigned"
	}
	f.add(whole, fmt.Sprintf("%d lines, %d to %d", r.Lines, r.First, r.Last.Sequence))
	f.add("Files", strconv.Itoa(r.Files))
	if r.Signed > 0 {
		f.add("Signed", fmt.Sprintf("up to line %d", r.Signed))
	}
	if r.Last.Sequence > r.Signed && r.Signed > 0 {
		f.add("Not signed yet", fmt.Sprintf("%d lines", r.Last.Sequence-r.Signed))
	}
	if r.Mended > 0 {
		f.add("Torn by a crash", fmt.Sprintf("%d unfinished lines, mended", r.Mended))
	}
	f.add("Public key", v.PublicKey)
	f.add("Last line", fmt.Sprintf("%d:%s", r.Last.Sequence, r.Last.Hash))
	return a.writeTable(f)
}

// warnUnsigned says what was not proved.
func (a *app) warnUnsigned(v auditVerdict) error {
	text := ""
	switch {
	case v.Result == auditUnsigned:
		return guided{err: errors.New("there is no head file, so nothing is signed: whoever could write these files could have made the whole chain anew, or cut off its end"),
			hint: "A copy needs the head file beside the first of its files. A running server writes it every second.", code: exitFailure}
	case !v.KeyCompared:
		text = "WARNING: whether the public key is the server's was not checked: compare it, or name it\n" +
			"with --public-key. Whoever could write these files could sign them with another key.\n"
	}
	_, err := fmt.Fprint(a.stderr, text)
	return err
}
