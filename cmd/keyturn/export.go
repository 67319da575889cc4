package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/transfer"
)

type exportFlags struct {
	archiveKeys
	to     string
	prefix string
	dryRun bool
	force  bool
}

func newExportCommand(a *app) *cobra.Command {
	var flags exportFlags
	cmd := &cobra.Command{
		Use:   "export [NAME...]",
		Short: "Write secrets with all labelled versions into an encrypted archive",
		Long: `Write secrets into an archive that "keyturn import" reads: every version that has
a staging label, with its id, labels and value, byte for byte; tags, description,
resource policy and rotation rules. The archive is encrypted with age
(https://age-encryption.org), to recipients or with a passphrase.

The secrets come from wherever the ordinary AWS settings point: from AWS or from
a keyturn server. Secrets that another service manages, and replicas, are left
out and listed as skipped.`,
		Example: `  keyturn export --to secrets.age
  keyturn export prod/db prod/queue --to two.age --recipient age1qyqs…
  keyturn export --prefix prod/ --to prod.age --passphrase-file phrase.txt
  keyturn export --profile aws --to - --recipient age1qyqs… |
    keyturn import - --endpoint-url http://127.0.0.1:4566 --identity key.txt`,
		ValidArgsFunction: a.completeManyNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.export(cmd.Context(), flags, args) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.to, "to", "", "the archive to write; - is stdout")
	f.StringVar(&flags.prefix, "prefix", "", "only secrets whose names begin so")
	f.StringArrayVarP(&flags.recipients, "recipient", "r", nil, "encrypt to this age recipient (may be repeated)")
	f.StringVarP(&flags.recipientsFile, "recipients-file", "R", "", "encrypt to the age recipients in this file")
	f.StringVar(&flags.passphraseFile, "passphrase-file", "", "encrypt with the passphrase in this file; without any of these, it is asked for")
	f.BoolVar(&flags.dryRun, "dry-run", false, "list what would be exported; read no value, write nothing")
	f.BoolVar(&flags.force, "force", false, "replace an archive that exists")
	addArchiveCompletion(cmd, "to", "recipients-file", "passphrase-file")
	return cmd
}

func (f exportFlags) check(names []string) error {
	switch {
	case f.to == "" && !f.dryRun:
		return usagef("--to is missing: the archive to write, or - for stdout")
	case f.prefix != "" && len(names) > 0:
		return usagef("either names or --prefix, not both")
	}
	return nil
}

func (a *app) export(ctx context.Context, flags exportFlags, names []string) error {
	if err := flags.check(names); err != nil {
		return err
	}
	if flags.to == "-" && !flags.dryRun && isTerminal(a.stdout) {
		return usagef("an archive is not for a terminal: name a file with --to, or pipe it on")
	}
	client, err := a.secrets(ctx)
	if err != nil {
		return err
	}
	lines := a.stdout
	if flags.to == "-" {
		lines = a.stderr
	}
	report, end := a.listTransfer(lines, flags.dryRun)
	options := transfer.ExportOptions{IDs: names, Prefix: flags.prefix, DryRun: flags.dryRun, Report: report, Now: a.now()}
	sum, err := a.exportTo(ctx, flags, func(out io.Writer) (transfer.Summary, error) {
		return transfer.Export(ctx, client, out, options)
	})
	if err != nil {
		return withStep(err)
	}
	return end(sum)
}

// exportTo opens what the archive is written to, and leaves no half of one.
func (a *app) exportTo(ctx context.Context, flags exportFlags, export func(io.Writer) (transfer.Summary, error)) (sum transfer.Summary, err error) {
	switch {
	case flags.dryRun:
		return export(io.Discard)
	case flags.to == "-":
		return a.exportEncrypted(ctx, flags, a.stdout, export)
	}
	file, err := createFile(flags.to, flags.force)
	if err != nil {
		return sum, err
	}
	if sum, err = a.exportEncrypted(ctx, flags, file, export); err != nil {
		file.drop()
		return sum, err
	}
	return sum, file.keep()
}

func (a *app) exportEncrypted(ctx context.Context, flags exportFlags, out io.Writer, export func(io.Writer) (transfer.Summary, error)) (transfer.Summary, error) {
	sealed, err := a.encrypt(ctx, flags.archiveKeys, out)
	if err != nil {
		return transfer.Summary{}, err
	}
	sum, err := export(sealed)
	if err != nil {
		return sum, err // without its end, what was written is recognised as half an archive
	}
	if err := sealed.Close(); err != nil {
		return sum, fmt.Errorf("writing the archive: %w", err)
	}
	return sum, nil
}
