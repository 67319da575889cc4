package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/transfer"
)

// archiveKeys are the flags that say how an archive is encrypted: to age
// recipients, or with a passphrase.
type archiveKeys struct {
	recipients     []string
	recipientsFile string
	identity       string
	passphraseFile string
}

const noPassphrase = "An archive is always encrypted. Name a recipient (age1…, from \"age-keygen\"), a file with a\n" +
	"passphrase, or run the command on a terminal, where it asks for one."

// encrypt returns a writer that encrypts for whoever the flags name. Close ends
// the archive.
func (a *app) encrypt(ctx context.Context, keys archiveKeys, out io.Writer) (io.WriteCloser, error) {
	recipients, err := keys.readRecipients()
	if err != nil {
		return nil, err
	}
	if len(recipients) == 0 {
		text, err := a.archivePassphrase(ctx, keys.passphraseFile, a.askPassphraseTwice)
		if err != nil {
			return nil, err
		}
		one, err := age.NewScryptRecipient(string(text))
		if err != nil {
			return nil, usagef("the passphrase is empty")
		}
		recipients = []age.Recipient{one}
	}
	w, err := age.Encrypt(out, recipients...)
	if err != nil {
		return nil, fmt.Errorf("encrypting the archive: %w", err)
	}
	return w, nil
}

func (k archiveKeys) readRecipients() (all []age.Recipient, err error) {
	if (len(k.recipients) > 0 || k.recipientsFile != "") && k.passphraseFile != "" {
		return nil, usagef("either recipients or a passphrase, not both")
	}
	for _, text := range k.recipients {
		one, err := age.ParseRecipients(bytes.NewReader([]byte(text)))
		if err != nil {
			return nil, usagef("--recipient: %q is no age recipient, such as age1…", text)
		}
		all = append(all, one...)
	}
	if k.recipientsFile == "" {
		return all, nil
	}
	f, err := os.Open(k.recipientsFile)
	if err != nil {
		return nil, fmt.Errorf("reading the recipients: %w", err)
	}
	defer f.Close()
	more, err := age.ParseRecipients(f)
	if err != nil {
		return nil, usagef("--recipients-file: %v", err)
	}
	return append(all, more...), nil
}

// decrypt returns a reader of what an archive holds.
func (a *app) decrypt(ctx context.Context, keys archiveKeys, in io.Reader) (io.Reader, error) {
	identities, err := a.identities(ctx, keys)
	if err != nil {
		return nil, err
	}
	r, err := age.Decrypt(in, identities...)
	if errors.As(err, new(*age.NoIdentityMatchError)) {
		return nil, errors.New("the archive does not open with this identity or passphrase")
	}
	if err != nil {
		return nil, fmt.Errorf("decrypting the archive: %w", err)
	}
	return r, nil
}

func (a *app) identities(ctx context.Context, keys archiveKeys) ([]age.Identity, error) {
	if keys.identity == "" {
		text, err := a.archivePassphrase(ctx, keys.passphraseFile, func(ctx context.Context) ([]byte, error) { return a.askHidden(ctx, "Passphrase: ") })
		if err != nil {
			return nil, err
		}
		one, err := age.NewScryptIdentity(string(text))
		if err != nil {
			return nil, usagef("the passphrase is empty")
		}
		return []age.Identity{one}, nil
	}
	if keys.passphraseFile != "" {
		return nil, usagef("either --identity or --passphrase-file, not both")
	}
	f, err := os.Open(keys.identity)
	if err != nil {
		return nil, fmt.Errorf("reading the identity: %w", err)
	}
	defer f.Close()
	all, err := age.ParseIdentities(f)
	if err != nil { // its text may repeat a line of the file
		return nil, usagef("--identity: %s is no file of age identities, as \"age-keygen\" writes it", keys.identity)
	}
	return all, nil
}

// archivePassphrase comes from a file or from the keyboard, never from an argument.
func (a *app) archivePassphrase(ctx context.Context, file string, ask func(context.Context) ([]byte, error)) ([]byte, error) {
	if file == "" && !isTerminal(a.stdin) {
		return nil, usageError{message: "no key for the archive is named", hint: noPassphrase}
	}
	if file == "" {
		return ask(ctx)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	return bytes.TrimRight(text, "\r\n"), nil
}

func (a *app) askPassphraseTwice(ctx context.Context) ([]byte, error) {
	first, err := a.askHidden(ctx, "Passphrase for the archive: ")
	if err != nil {
		return nil, err
	}
	again, err := a.askHidden(ctx, "Again: ")
	if err == nil && !bytes.Equal(first, again) {
		err = errors.New("the two passphrases differ; nothing was written")
	}
	return first, err
}

// newFile is a file that gets its name only when it is complete.
type newFile struct {
	*os.File
	path string
}

func createFile(path string, replace bool) (*newFile, error) {
	switch info, err := os.Lstat(path); {
	case err == nil && !info.Mode().IsRegular(): // to replace /dev/stdout or /dev/null breaks other programs
		return nil, usagef("%s is no file that could be replaced; \"-\" is stdout", path)
	case err == nil && !replace:
		return nil, usagef("%s exists; --force replaces it", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".keyturn-*") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("making the archive: %w", err)
	}
	return &newFile{File: f, path: path}, nil
}

// keep makes the file durable and gives it its name.
func (f *newFile) keep() error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	if err := os.Rename(f.Name(), f.path); err != nil {
		return fmt.Errorf("naming the archive: %w", err)
	}
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return fmt.Errorf("syncing the folder: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (f *newFile) drop() {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// transferred is a line of the report of an export or import.
type transferred struct {
	Name   string          `json:"name"`
	Action transfer.Action `json:"action"`
	Detail string          `json:"detail,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// transferReport is the whole report, for -o json.
type transferReport struct {
	Summary transfer.Summary `json:"summary"`
	Secrets []transferred    `json:"secrets"`
	DryRun  bool             `json:"dryRun"`
}

// listTransfer shows each secret as it comes: lines for people, and for -o json
// one document at the end.
func (a *app) listTransfer(to io.Writer, dry bool) (report func(transfer.Event), end func(transfer.Summary) error) {
	all := []transferred{}
	would := ""
	if dry {
		would = "would be "
	}
	report = func(e transfer.Event) {
		one := transferred{Name: e.Name, Action: e.Action, Detail: e.Detail}
		if e.Err != nil {
			one.Error = messageOfTransfer(e.Err)
		}
		if a.flags.output == outputJSON {
			all = append(all, one)
			return
		}
		fmt.Fprint(to, line([]string{one.Name + ": " + would + string(one.Action) + comma(one.Detail) + comma(one.Error)}))
	}
	end = func(sum transfer.Summary) error {
		if a.flags.output == outputJSON {
			e := json.NewEncoder(to)
			e.SetIndent("", "  ")
			return e.Encode(transferReport{Summary: sum, Secrets: all, DryRun: dry})
		}
		_, err := fmt.Fprintln(to, summaryText(sum))
		return err
	}
	return report, end
}

// messageOfTransfer keeps the step that failed before the service's sentence.
func messageOfTransfer(err error) string {
	call, ok := errors.AsType[*smithy.OperationError](err)
	if !ok {
		return err.Error()
	}
	step, _ := strings.CutSuffix(err.Error(), call.Error())
	return step + message(call)
}

func isRefusal(err error) bool {
	_, refused := errors.AsType[smithy.APIError](err)
	return refused
}

// withStep keeps the step that failed, where the service's sentence alone does not tell
// which of several secrets it is about.
func withStep(err error) error {
	if !isRefusal(err) {
		return err
	}
	return guided{err: errors.New(messageOfTransfer(err)), hint: hintFor(err), code: exitCode(err)}
}

func comma(text string) string {
	if text == "" {
		return ""
	}
	return ", " + text
}

func summaryText(sum transfer.Summary) string {
	text := counted(sum.Secrets, "secret") + ", " + counted(sum.Versions, "version")
	for _, action := range []transfer.Action{transfer.Exported, transfer.Created, transfer.Completed, transfer.Unchanged, transfer.Skipped, transfer.Failed, transfer.Interrupted} {
		if n := sum.Actions[action]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, action)
		}
	}
	if sum.Hash != "" {
		text += "; SHA-256 " + sum.Hash
	}
	return text
}

// counted is a number of things whose plural ends in s.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func addArchiveCompletion(cmd *cobra.Command, files ...string) {
	for _, name := range files {
		_ = cmd.MarkFlagFilename(name)
	}
}
