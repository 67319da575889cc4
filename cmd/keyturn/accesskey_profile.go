package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/keyturn/keyturn/deploy/lockedfile"
	"github.com/keyturn/keyturn/keyturnapi"
)

// credentialsFile is an AWS credentials file to which a profile is added.
//
// Form: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
type credentialsFile struct {
	path    string
	profile string
	file    *lockedfile.File // locked, so that of two commands none overwrites the other's key
	made    bool             // it was not there, and is empty
}

var profileName = regexp.MustCompile(`^[\w+=,.@:/-]+$`)

// openCredentialsFile locks and reads the file, before there is a key that could
// be lost, and refuses a profile that it has already. The caller closes it.
func openCredentialsFile(path, profile string) (*credentialsFile, error) {
	if !profileName.MatchString(profile) {
		return nil, usagef("--write-profile: %q is no name of a profile", profile)
	}
	path, err := credentialsPath(path)
	if err != nil {
		return nil, err
	}
	f := &credentialsFile{path: path, profile: profile}
	if err := f.open(); err != nil {
		return nil, err
	}
	if f.holds(profile) {
		return nil, errors.Join(f.close(), usagef("%s has a profile %s already: choose another --write-profile or --credentials-file", path, profile))
	}
	return f, nil
}

func (f *credentialsFile) open() error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return fmt.Errorf("writing the credentials file: %w", err)
	}
	if info, err := os.Stat(f.path); err == nil && !info.Mode().IsRegular() {
		return usagef("--credentials-file: %s is not a regular file", f.path)
	}
	empty, err := os.OpenFile(f.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	f.made = err == nil
	if err == nil {
		err = empty.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("writing the credentials file: %w", err)
	}
	if f.file, err = lockedfile.Open(f.path); err != nil {
		return fmt.Errorf("reading the credentials file: %w", err)
	}
	return nil
}

// close gives the lock back. A file that was made for a key that there is not is
// removed.
func (f *credentialsFile) close() error {
	var err error
	if f.made && len(f.file.Bytes()) == 0 {
		err = os.Remove(f.path)
	}
	return errors.Join(err, f.file.Close())
}

// credentialsPath is where the SDKs look, unless told otherwise. It follows
// links, so that the file itself is replaced and not the link.
func credentialsPath(path string) (string, error) {
	if path == "" {
		path = os.Getenv("AWS_SHARED_CREDENTIALS_FILE")
	}
	if path == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("looking for ~/.aws/credentials: %w", err)
		}
		path = filepath.Join(home, ".aws", "credentials")
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path, nil
}

func (f *credentialsFile) holds(profile string) bool {
	for line := range strings.Lines(string(f.file.Bytes())) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "[")
		name, _, closed := strings.Cut(name, "]")
		if ok && closed && strings.TrimSpace(name) == profile {
			return true
		}
	}
	return false
}

// add appends a profile. The file is replaced as a whole and by one that only
// its owner may read, who stays the same, so a crash leaves the old one or the
// new one.
func (f *credentialsFile) add(profile string) error {
	text := string(f.file.Bytes())
	if text != "" {
		text = strings.TrimRight(text, "\n") + "\n\n"
	}
	if err := f.file.Replace([]byte(text+profile), true); err != nil {
		return fmt.Errorf("writing the credentials file: %w", err)
	}
	return nil
}

// profileText is a key as a profile of a credentials file.
func profileText(name string, out *keyturnapi.CreateAccessKeyOutput, region string) string {
	c := out.Credentials
	text := fmt.Sprintf("[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", name, out.AccessKey.AccessKeyID, c.SecretAccessKey)
	if c.SessionToken != "" {
		text += "aws_session_token = " + c.SessionToken + "\n"
	}
	return text + "region = " + region + "\n"
}
