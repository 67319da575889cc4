package keyturn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// CredentialsFile returns the path of the file with the server's first access
// key, in the form that AWS_SHARED_CREDENTIALS_FILE names.
func (s *Server) CredentialsFile() string { return filepath.Join(s.folder, credentialsFile) }

// openCredentials writes that file if it is not there, or empty after a power cut,
// as long as the key exists.
func (s *Server) openCredentials(ctx context.Context) error {
	id, c, err := s.accessKeys.First(ctx)
	if err != nil || id == "" {
		return err
	}
	info, err := os.Stat(s.CredentialsFile())
	if err == nil && info.Size() > 0 || err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\nregion = %s\n", id, c.Secret, DefaultRegion)
	part := s.CredentialsFile() + ".part" // a crash never leaves half a file under the real name
	if err := os.WriteFile(part, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the credentials: %w", err)
	}
	return os.Rename(part, s.CredentialsFile())
}
