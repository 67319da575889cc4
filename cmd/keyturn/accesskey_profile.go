package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/keyturn/keyturn/keyturnapi"
)

// credentialsFile is an AWS credentials file to which a profile is added.
//
// Form: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
type credentialsFile struct {
	path    string
	profile string
	text    string // what it holds already
}

var profileName = regexp.MustCompile(`^[\w+=,.@:/-]+$`)

// openCredentialsFile reads the file, before there is a key that could be lost,
// and refuses a profile that it has already.
func openCredentialsFile(path, profile string) (*credentialsFile, error) {
	if !profileName.MatchString(profile) {
		return nil, usagef("--write-profile: %q is no name of a profile", profile)
	}
	path, err := credentialsPath(path)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the credentials file: %w", err)
	}
	f := &credentialsFile{path: path, profile: profile, text: string(text)}
	if f.holds(profile) {
		return nil, usagef("%s has a profile %s already: choose another --write-profile or --credentials-file", path, profile)
	}
	return f, nil
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
	for line := range strings.Lines(f.text) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "[")
		name, _, closed := strings.Cut(name, "]")
		if ok && closed && strings.TrimSpace(name) == profile {
			return true
		}
	}
	return false
}

// add appends a profile. The file is replaced as a whole and by one that only
// its owner may read, so a crash leaves the old one or the new one.
func (f *credentialsFile) add(profile string) error {
	text := f.text
	if text != "" {
		text = strings.TrimRight(text, "\n") + "\n\n"
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return fmt.Errorf("writing the credentials file: %w", err)
	}
	part, err := os.CreateTemp(filepath.Dir(f.path), ".credentials-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing the credentials file: %w", err)
	}
	_, err = part.WriteString(text + profile)
	if err = errors.Join(err, part.Sync(), part.Close()); err == nil {
		err = os.Rename(part.Name(), f.path)
	}
	if err != nil {
		return fmt.Errorf("writing the credentials file: %w", errors.Join(err, os.Remove(part.Name())))
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
