package envelope

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"
)

// ErrPassphrase says that a key file is wrapped by a passphrase, and that none
// or a wrong one was given.
var ErrPassphrase = errors.New("the key file is wrapped by a passphrase")

// Passphrase wraps a key file. It prints as [redacted].
type Passphrase string

// String hides the passphrase.
func (Passphrase) String() string { return "[redacted]" }

// GoString hides the passphrase.
func (Passphrase) GoString() string { return "[redacted]" }

// Source says where the keys of a server are.
type Source struct {
	// Path is a key file, made with mode 0600 if missing.
	Path string
	// Text is a key file by itself, which can't be changed; From says where it
	// came from, in words that follow "comes from". Path is then not used.
	Text, From string
	// Passphrase wraps the key file; one that is not wrapped yet is wrapped, if it
	// can be changed. Empty: none.
	Passphrase Passphrase
	// First is the ARN of the AWS KMS key that is the default key of a new key
	// file; empty: new local material.
	First string
	// AWS gives the settings of AWS KMS's clients; nil: AWS KMS is not used.
	AWS func(context.Context) (aws.Config, error)
	// Now dates new material; nil is time.Now.
	Now func() time.Time
}

// Open reads the keys, or makes a new key file. It returns ErrPassphrase, and
// refuses a file that group or others may read.
func Open(ctx context.Context, s Source) (*Keyring, error) {
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Text != "" {
		return s.openText()
	}
	file := &keyFile{path: s.Path, passphrase: s.Passphrase}
	text, err := file.read()
	if errors.Is(err, fs.ErrNotExist) {
		return s.create(ctx, file)
	}
	if err != nil {
		return nil, err
	}
	k, err := s.keyring(text)
	if err != nil {
		return nil, fmt.Errorf("reading the key file %s: %w", s.Path, err)
	}
	k.save = file.replace
	if s.Passphrase != "" && isKeyFile(string(file.last)) {
		return k, file.replace(text)
	}
	return k, nil
}

func (s Source) openText() (*Keyring, error) {
	text, err := unlock([]byte(s.Text), s.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("reading the key file of %s: %w", s.From, err)
	}
	k, err := s.keyring(text)
	if err != nil {
		return nil, fmt.Errorf("reading the key file of %s: %w", s.From, err)
	}
	k.save = func(string) error {
		return fmt.Errorf("%w: it comes from %s. Change a copy with \"keyturn key rotate --key-file FILE\" or \"keyturn key create --key-file FILE\", "+
			"put that in its place, and start the server again", ErrReadOnly, s.From)
	}
	return k, nil
}

func (s Source) keyring(text string) (*Keyring, error) {
	remote := newAWSKMS(s.AWS)
	all, err := parseKeys(text, remote)
	if err != nil {
		return nil, err
	}
	if first := all[0].newest().ID(); s.First != "" && first != s.First {
		return nil, fmt.Errorf("the default key is of the material %s, not of %s: start without naming an AWS KMS key, then change it with \"keyturn key rotate --aws-kms ARN\"", first, s.First)
	}
	return newKeyring(all, remote, s.Now), nil
}

// create makes a new key file with one key.
func (s Source) create(ctx context.Context, file *keyFile) (*Keyring, error) {
	remote := newAWSKMS(s.AWS)
	empty := newKeyring([]*key{{}}, remote, s.Now)
	m, err := empty.newMaterial(ctx, s.First)
	if err != nil {
		return nil, fmt.Errorf("making the first key: %w", err)
	}
	first := &key{id: uuid.NewString(), materials: []material{m}}
	if err := file.create(printKeys([]*key{first})); err != nil {
		return nil, fmt.Errorf("creating the key file: %w", err)
	}
	k := newKeyring([]*key{first}, remote, s.Now)
	k.save = file.replace
	return k, nil
}

// keyFile is a key file on a disk.
type keyFile struct {
	path       string
	passphrase Passphrase
	last       []byte // what lay there when it was read or written last
}

func (f *keyFile) read() (string, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return "", fmt.Errorf("reading the key file: %w", err)
	}
	if readByOthers(info) {
		return "", fmt.Errorf("key file %s may be read by others: run chmod 600 %s", f.path, f.path)
	}
	if info.Size() > maxKeyFile {
		return "", fmt.Errorf("reading the key file %s: not a keyturn key file", f.path)
	}
	if f.last, err = os.ReadFile(f.path); err != nil {
		return "", fmt.Errorf("reading the key file: %w", err)
	}
	text, err := unlock(f.last, f.passphrase)
	if err != nil {
		return "", fmt.Errorf("reading the key file %s: %w", f.path, err)
	}
	return text, nil
}

// create writes a new key file under a second name first, so that a crash never
// leaves half a key, and syncs the folder, so that no value is ever sealed under
// a key that a power cut can take back.
func (f *keyFile) create(text string) error {
	locked, err := lock(text, f.passphrase)
	if err != nil {
		return err
	}
	part := f.path + partSuffix
	defer os.Remove(part) //nolint:errcheck // after the link it is a second name
	if err := writeNew(part, locked); err != nil {
		return err
	}
	if err := os.Link(part, f.path); err != nil { // unlike rename, never replaces a key
		return err
	}
	f.last = locked
	return syncDir(filepath.Dir(f.path))
}

// replace puts text in the place of what the file holds, in one step. It refuses
// to when somebody else has changed the file: those keys would be lost.
func (f *keyFile) replace(text string) error {
	path, err := filepath.EvalSymlinks(f.path) // the file itself is replaced, not a link to it
	if err != nil {
		return fmt.Errorf("writing the key file: %w", err)
	}
	there, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("writing the key file: %w", err)
	}
	if !bytes.Equal(there, f.last) {
		return fmt.Errorf("%w: the key file %s was changed by something else; start the server again to read it", ErrRefused, f.path)
	}
	if err := f.swap(path, text); err != nil {
		return fmt.Errorf("writing the key file: %w", err)
	}
	return nil
}

func (f *keyFile) swap(path, text string) error {
	locked, err := lock(text, f.passphrase)
	if err != nil {
		return err
	}
	if len(locked) > maxKeyFile {
		return fmt.Errorf("%w: it would be too large to be read; retire old materials first", ErrRefused)
	}
	old, err := os.Stat(path)
	if err != nil {
		return err
	}
	part := path + partSuffix
	if err := writeNew(part, locked); err != nil {
		return err
	}
	if err := keepOwner(part, old); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	if err := os.Rename(part, path); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	f.last = locked
	return syncDir(filepath.Dir(path))
}

// partSuffix is that of a key file that is being written. What a crash left
// there is written over.
const partSuffix = ".part"

// writeNew writes a file that nobody else has open, and syncs it.
func writeNew(path string, data []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Sync(), file.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// workFactor is scrypt's, as a power of two: age's own, which takes a second and
// 256 MB.
var workFactor = 18

// lock wraps a key file by a passphrase, in the age format: `age -d` unwraps it.
func lock(text string, p Passphrase) ([]byte, error) {
	if p == "" {
		return []byte(text), nil
	}
	to, err := age.NewScryptRecipient(string(p))
	if err != nil {
		return nil, fmt.Errorf("wrapping the key file: %w", err)
	}
	to.SetWorkFactor(workFactor)
	defer debug.FreeOSMemory() // scrypt's, at once: it is more than all the rest of a server
	var b bytes.Buffer
	lines := armor.NewWriter(&b)
	w, err := age.Encrypt(lines, to)
	if err != nil {
		return nil, fmt.Errorf("wrapping the key file: %w", err)
	}
	_, err = io.WriteString(w, text)
	if err := errors.Join(err, w.Close(), lines.Close()); err != nil {
		return nil, fmt.Errorf("wrapping the key file: %w", err)
	}
	return b.Bytes(), nil
}

// ageIntro begins every age file that is not armored.
const ageIntro = "age-encryption.org/v1\n"

func unlock(data []byte, p Passphrase) (string, error) {
	var from io.Reader = bytes.NewReader(data)
	switch {
	case strings.HasPrefix(strings.TrimSpace(string(data)), armor.Header):
		from = armor.NewReader(from)
	case !bytes.HasPrefix(data, []byte(ageIntro)):
		return string(data), nil
	}
	if p == "" {
		return "", fmt.Errorf("%w, and none was given", ErrPassphrase)
	}
	identity, err := age.NewScryptIdentity(string(p))
	if err != nil {
		return "", fmt.Errorf("unwrapping the key file: %w", err)
	}
	defer debug.FreeOSMemory() // see lock
	plain, err := age.Decrypt(from, identity)
	if _, wrong := errors.AsType[*age.NoIdentityMatchError](err); wrong {
		return "", fmt.Errorf("%w, and the one given is not it", ErrPassphrase)
	}
	if err != nil {
		return "", fmt.Errorf("unwrapping the key file: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(plain, maxKeyFile))
	if err != nil {
		return "", fmt.Errorf("unwrapping the key file: %w", err)
	}
	return string(text), nil
}
