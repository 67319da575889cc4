package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/transfer"
)

type importFlags struct {
	archiveKeys
	transfer.ImportOptions
}

func newImportCommand(a *app) *cobra.Command {
	var flags importFlags
	cmd := &cobra.Command{
		Use:   "import ARCHIVE",
		Short: "Create the secrets of an archive, and compare what was written",
		Long: `Create the secrets of an archive that "keyturn export" wrote: on AWS or on a
keyturn server, wherever the ordinary AWS settings point. Every secret is read
back and compared by its hash.

A secret that exists already is never changed: it is left alone when it is the
same, and an error when anything differs. Only one that an interrupted import of
the same secret made is completed; until then its description says so. So a
failed import is just run again.

Rotation is configured with --with-rotation only, by the function of the same
name in this account and region. End the rotation at the source before: two
servers that rotate one account lock each other out.`,
		Example: `  keyturn import secrets.age --dry-run
  keyturn import secrets.age
  keyturn import prod.age --identity key.txt --with-rotation`,
		Args: positional("ARCHIVE"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.importArchive(cmd.Context(), flags, args[0]) },
	}
	f := cmd.Flags()
	f.StringVarP(&flags.identity, "identity", "i", "", "file with the age identity that opens the archive")
	f.StringVar(&flags.passphraseFile, "passphrase-file", "", "file with the passphrase; without either, it is asked for")
	f.StringVar(&flags.KMSKeyID, "kms-key-id", "", "encrypt the new secrets with this key instead of the default one")
	f.BoolVar(&flags.WithRotation, "with-rotation", false, "configure rotation where the archive has it enabled")
	f.BoolVar(&flags.DryRun, "dry-run", false, "compare and list; write nothing")
	addArchiveCompletion(cmd, "identity", "passphrase-file")
	return cmd
}

func (a *app) importArchive(ctx context.Context, flags importFlags, path string) error {
	client, err := a.secrets(ctx)
	if err != nil {
		return err
	}
	file, err := a.openArchive(path)
	if err != nil {
		return err
	}
	defer file.Close()
	plain, err := a.decrypt(ctx, flags.archiveKeys, file)
	if err != nil {
		return err
	}
	report, end := a.listTransfer(a.stdout, flags.DryRun)
	flags.Report = report
	sum, err := transfer.Import(ctx, client, plain, flags.ImportOptions)
	switch {
	case errors.Is(err, transfer.ErrIncomplete):
		err = guided{err: err, hint: "Mend what is said above and run the same command again: what was imported stays as it is.", code: exitFailure}
	case errors.Is(err, transfer.ErrArchive) && !flags.DryRun:
		err = guided{err: err, hint: "What is listed above was imported before the damage was met.", code: exitFailure}
	}
	return errors.Join(end(sum), err)
}

func (a *app) openArchive(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(a.stdin), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	return f, nil
}
