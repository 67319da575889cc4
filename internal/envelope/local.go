package envelope

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Local is a Key held in this process, read from a key file.
type Local struct {
	id   string
	aead cipher.AEAD
}

// The key file is one line: "keyturn-key-1 ID BASE64(32 bytes)".
const fileFormat = "keyturn-key-1"

// LoadOrCreate reads the key file at path, or makes a new one with mode 0600.
// It refuses a file that group or others may read.
func LoadOrCreate(path string) (*Local, error) {
	key, err := Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := create(path); err != nil {
		return nil, fmt.Errorf("creating the key file: %w", err)
	}
	return Load(path)
}

// Load reads the key file at path.
func Load(path string) (*Local, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading the key file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key file %s may be read by others: run chmod 600 %s", path, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the key file: %w", err)
	}
	key, err := parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("reading the key file %s: %w", path, err)
	}
	return key, nil
}

func parse(text string) (*Local, error) {
	f := strings.Fields(text)
	if len(f) != 3 || f[0] != fileFormat {
		return nil, errors.New("not a keyturn key file")
	}
	raw, err := base64.StdEncoding.DecodeString(f[2])
	if err != nil || len(raw) != 32 {
		return nil, errors.New("the key is damaged")
	}
	aead, err := gcm(raw)
	if err != nil {
		return nil, err
	}
	return &Local{id: f[1], aead: aead}, nil
}

// create writes a new key under a temporary name first, so that a crash never
// leaves half a key, and syncs the folder, so that no value is ever sealed
// under a key that a power cut can take back.
func create(path string) error {
	raw, id := make([]byte, 32), make([]byte, 8)
	rand.Read(raw)
	rand.Read(id)
	line := fmt.Sprintf("%s %s %s\n", fileFormat, hex.EncodeToString(id), base64.StdEncoding.EncodeToString(raw))
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // after the link it is a second name
	if err := writeSynced(f, line); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // unlike rename, never replaces a key
		return err
	}
	return syncDir(filepath.Dir(path))
}

func writeSynced(f *os.File, text string) error {
	_, err := f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// NewLocal returns a key that lives in memory only.
func NewLocal() (*Local, error) {
	raw := make([]byte, 32)
	rand.Read(raw)
	aead, err := gcm(raw)
	if err != nil {
		return nil, err
	}
	return &Local{id: "memory", aead: aead}, nil
}

// ID returns the key's name, as the key file gives it.
func (l *Local) ID() string { return l.id }

// Wrap encrypts dataKey.
func (l *Local) Wrap(_ context.Context, dataKey, boundTo []byte) ([]byte, error) {
	return l.aead.Seal(nil, nil, dataKey, boundTo), nil
}

// Unwrap decrypts what Wrap made, or returns ErrWrongPlace.
func (l *Local) Unwrap(_ context.Context, wrapped, boundTo []byte) ([]byte, error) {
	dataKey, err := l.aead.Open(nil, nil, wrapped, boundTo)
	if err != nil {
		return nil, ErrWrongPlace
	}
	return dataKey, nil
}

// String hides the key.
func (l *Local) String() string { return "[redacted]" }

// GoString hides the key.
func (l *Local) GoString() string { return "[redacted]" }
