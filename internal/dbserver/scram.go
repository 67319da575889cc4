package dbserver

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // what mysql_native_password is made of
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// scramIterations is PostgreSQL's own default (scram_iterations).
const scramIterations = 4096

// scramVerifier returns what PostgreSQL stores of a password under
// scram-sha-256 (RFC 5803 in PostgreSQL's spelling). Sending it instead of the
// password keeps the password out of the server's statements and log. The
// password is printable ASCII, for which SASLprep changes nothing.
func scramVerifier(password Password) (string, error) {
	salt := make([]byte, 16)
	rand.Read(salt) // never fails: crypto/rand ends the program instead
	salted, err := pbkdf2.Key(sha256.New, string(password), salt, scramIterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("deriving a SCRAM verifier: %w", err)
	}
	stored := sha256.Sum256(keyedHash(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s",
		scramIterations, b64(salt), b64(stored[:]), b64(keyedHash(salted, "Server Key"))), nil
}

func keyedHash(key []byte, message string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(message))
	return mac.Sum(nil)
}

// nativeHash returns what MariaDB stores of a password under
// mysql_native_password: the SHA-1 of the SHA-1, in hexadecimal.
func nativeHash(password Password) string {
	once := sha1.Sum([]byte(password)) //nolint:gosec // the protocol wants it
	twice := sha1.Sum(once[:])         //nolint:gosec // the protocol wants it
	return "*" + strings.ToUpper(hex.EncodeToString(twice[:]))
}
