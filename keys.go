package keyturn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/keyapi"
)

// ErrPassphrase says that the key file is wrapped by a passphrase, and that
// Keys.Passphrase is empty or not it.
var ErrPassphrase = envelope.ErrPassphrase

// Keys says where a server's encryption keys are. The zero value is the key file
// root.key in the data folder, made if missing. It prints as [redacted].
type Keys struct {
	// File is the path of the key file, made with mode 0600 if missing; empty
	// means root.key in the data folder.
	File string
	// Content is a key file by itself, instead of File: it can't be changed while
	// the server runs. From says where it came from, such as "file descriptor 3".
	Content, From string
	// Passphrase wraps the key file, in the age format; empty: it is not wrapped.
	Passphrase string
	// AWSKMSKey is the ARN of the AWS KMS key that becomes the default key of a new
	// key file; empty: a new local key does.
	AWSKMSKey string
}

// Format keeps keys and passphrases out of whatever prints them.
func (Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// openKeys reads the key file, or makes one for a new folder. A folder with
// secrets but without its key file is refused: a new key could open none of
// them.
func (s *Server) openKeys(ctx context.Context) (err error) {
	c := s.config.Keys
	if s.config.Data == InMemory && c == (Keys{}) {
		key, err := envelope.NewLocal()
		s.keys = envelope.NewKeyring(key)
		return err
	}
	source := envelope.Source{Path: c.File, Text: c.Content, From: c.From, Passphrase: envelope.Passphrase(c.Passphrase),
		First: c.AWSKMSKey, AWS: s.kmsConfig, Now: s.now}
	if source.Path == "" {
		source.Path = filepath.Join(s.folder, keyFile)
	}
	if err := s.refuseLostKeys(source); err != nil {
		return err
	}
	s.keys, err = envelope.Open(ctx, source)
	return err
}

func (s *Server) refuseLostKeys(source envelope.Source) error {
	if source.Text != "" || s.config.Data == InMemory {
		return nil
	}
	_, noFile := os.Stat(source.Path)
	_, noDB := os.Stat(filepath.Join(s.folder, databaseFile))
	if errors.Is(noFile, os.ErrNotExist) && noDB == nil {
		return fmt.Errorf("the key file %s is missing, and without it no secret in this folder can be opened: put it back from your backup", source.Path)
	}
	return nil
}

// kmsConfig is the AWS settings of the server's own process, for AWS KMS.
func (s *Server) kmsConfig(ctx context.Context) (aws.Config, error) {
	return awsconfig.LoadDefaultConfig(ctx, awsconfig.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(5*time.Second)))
}

// stores are all places where something sealed lies: what is missing here is not
// re-wrapped when a key is rotated, and lost when old key material is retired.
func stores() []keyapi.Store {
	return []keyapi.Store{
		{Table: "secret_versions", Key: []string{"secret", "id"}, Place: "(SELECT arn FROM secrets WHERE number = secret) || '|' || id"},
		{Table: "access_keys", Key: []string{"id"}, Place: "'access-key|' || id"},
		{Table: "audit_keys", Key: []string{"id"}, Place: "'audit-key|' || id"},
		{Table: "databases", Key: []string{"owner"}, Place: "owner || ' " + dbserver.Admin + "'", Document: "admin_password"},
		{Table: "databases", Key: []string{"owner"}, Place: "owner || ' ' || master_user", Document: "master_password"},
		{Table: "functions", Key: []string{"arn"}, Place: "'function|' || arn", Document: "environment"},
	}
}
