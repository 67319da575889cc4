package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
)

const (
	keyFileVariable        = "KEYTURN_KEY_FILE"
	keyFileContentVariable = "KEYTURN_KEY_FILE_CONTENT"
	passphraseFileVariable = "KEYTURN_KEY_PASSPHRASE_FILE"
	awsKMSKeyVariable      = "KEYTURN_AWS_KMS_KEY"
	keyCredential          = "keyturn.key" // in $CREDENTIALS_DIRECTORY, see systemd.exec(5)
)

// maxKeyFile bounds what is read as a key file or a passphrase, in bytes.
const maxKeyFile = 1 << 20

const noDescriptor = -1

// passphraseFlags say where the passphrase of a key file comes from; it is never
// an argument, which every process on the machine could read.
type passphraseFlags struct {
	ask  bool
	file string
	fd   int
}

func (p *passphraseFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&p.ask, "key-passphrase", false, "ask on the terminal for a passphrase that wraps the key file")
	f.StringVar(&p.file, "key-passphrase-file", "", "file with the passphrase that wraps the key file ("+passphraseFileVariable+")")
	f.IntVar(&p.fd, "key-passphrase-fd", noDescriptor, "file descriptor from which to read that passphrase")
	_ = cmd.MarkFlagFilename("key-passphrase-file")
}

// keyFlags say where the keys of a server come from.
type keyFlags struct {
	file       string
	fd         int
	awsKMS     string
	passphrase passphraseFlags
}

func (k *keyFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&k.file, "key-file", "", "key file, which serve makes if it is missing ("+keyFileVariable+"; DATA/root.key)")
	f.IntVar(&k.fd, "key-fd", noDescriptor, "file descriptor from which to read the key file")
	f.StringVar(&k.awsKMS, "aws-kms-key", "", "ARN of the AWS KMS key that is the default key of a new key file ("+awsKMSKeyVariable+")")
	_ = cmd.MarkFlagFilename("key-file")
	k.passphrase.add(cmd)
}

// keys finds the keys: a flag goes before a variable, a variable before what
// systemd gives.
func (a *app) keys(ctx context.Context, flags keyFlags) (keyturn.Keys, error) {
	if flags.file != "" && flags.fd != noDescriptor {
		return keyturn.Keys{}, usagef("--key-file and --key-fd do not go together")
	}
	keys := keyturn.Keys{File: flags.file, AWSKMSKey: orVariable(flags.awsKMS, awsKMSKeyVariable)}
	var err error
	if keys.Passphrase, err = a.keyPassphrase(ctx, flags.passphrase); err != nil {
		return keys, err
	}
	content, file := os.Getenv(keyFileContentVariable), os.Getenv(keyFileVariable)
	// Database servers, which this process starts, have no need to know it.
	if err := os.Unsetenv(keyFileContentVariable); err != nil {
		return keys, err
	}
	switch {
	case keys.File != "":
	case flags.fd != noDescriptor:
		keys.From = fmt.Sprintf("file descriptor %d", flags.fd)
		keys.Content, err = readDescriptor("--key-fd", flags.fd)
	case content != "":
		keys.Content, keys.From = content, "the variable "+keyFileContentVariable
	case file != "":
		keys.File = file
	default:
		keys.Content, keys.From, err = readCredential()
	}
	return keys, err
}

func orVariable(flag, variable string) string {
	if flag != "" {
		return flag
	}
	return os.Getenv(variable)
}

func readCredential() (content, from string, err error) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", "", nil
	}
	path := filepath.Join(dir, keyCredential)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("reading the key file: %w", err)
	}
	defer f.Close()
	content, err = readAll(f)
	return content, "the systemd credential " + keyCredential, err
}

// keyPassphrase reads the passphrase that flags or the environment name; empty
// without any.
func (a *app) keyPassphrase(ctx context.Context, flags passphraseFlags) (string, error) {
	file := orVariable(flags.file, passphraseFileVariable)
	switch {
	case flags.ask && (flags.file != "" || flags.fd != noDescriptor), flags.file != "" && flags.fd != noDescriptor:
		return "", usagef("--key-passphrase, --key-passphrase-file and --key-passphrase-fd do not go together")
	case flags.ask:
		return a.askPassphrase(ctx)
	case flags.fd != noDescriptor:
		text, err := readDescriptor("--key-passphrase-fd", flags.fd)
		return onePassphrase(text, err)
	case file == "":
		return "", nil
	}
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("reading the passphrase: %w", err)
	}
	defer f.Close()
	return onePassphrase(readAll(f))
}

// onePassphrase is the text without the newline with which a line ends.
func onePassphrase(text string, err error) (string, error) {
	line := bytes.TrimSuffix(bytes.TrimSuffix([]byte(text), []byte("\n")), []byte("\r"))
	if err == nil && len(line) == 0 {
		err = errors.New("the passphrase is empty")
	}
	return string(line), err
}

func (a *app) askPassphrase(ctx context.Context) (string, error) {
	if !isTerminal(a.stdin) {
		return "", usagef("--key-passphrase asks on a terminal, and there is none: use --key-passphrase-file or --key-passphrase-fd")
	}
	first, err := a.askHidden(ctx, "Passphrase for the key file: ")
	if err != nil || len(first) == 0 {
		return onePassphrase("", err)
	}
	second, err := a.askHidden(ctx, "Again: ")
	if err == nil && !bytes.Equal(first, second) {
		err = errors.New("the two passphrases differ")
	}
	return string(first), err
}

// readDescriptor reads and closes a file descriptor: nothing that this process
// starts inherits it.
func readDescriptor(flag string, fd int) (string, error) {
	if fd < 0 || fd == 1 || fd == 2 {
		return "", usagef("%s is the number of a file descriptor that is open for reading, such as 3", flag)
	}
	f := os.NewFile(uintptr(fd), flag)
	if f == nil {
		return "", usagef("%s: there is no file descriptor %d", flag, fd)
	}
	defer f.Close()
	return readAll(f)
}

func readAll(f *os.File) (string, error) {
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", f.Name(), err)
	}
	if len(text) == 0 || len(text) > maxKeyFile {
		return "", fmt.Errorf("reading %s: it is empty or larger than a key file", f.Name())
	}
	return string(text), nil
}

// openServer opens a server, and asks for the passphrase of its key file if
// there is somebody to ask.
func (a *app) openServer(ctx context.Context, c keyturn.Config) (*keyturn.Server, error) {
	server, err := keyturn.Open(ctx, c)
	if !errors.Is(err, keyturn.ErrPassphrase) || c.Keys.Passphrase != "" {
		return server, ofStart(err)
	}
	if !isTerminal(a.stdin) {
		return nil, guided{err: err, hint: "Name a file that holds it with --key-passphrase-file, or a file descriptor with --key-passphrase-fd."}
	}
	text, err := a.askHidden(ctx, "Passphrase of the key file: ")
	if c.Keys.Passphrase, err = onePassphrase(string(text), err); err != nil {
		return nil, err
	}
	server, err = keyturn.Open(ctx, c)
	return server, ofStart(err)
}

func ofStart(err error) error {
	if err == nil {
		return nil
	}
	return startError{err}
}
