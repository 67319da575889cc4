package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/text/unicode/norm"

	"github.com/keyturn/keyturn/rotation"
)

const (
	usualIterations = 4096 // PostgreSQL's own default
	saltLength      = 16
)

// iterations is a session's scram_iterations, which servers from 16 on report. A
// pooler may keep it to itself.
func iterations(c *pgx.Conn) int {
	n, err := strconv.Atoi(c.PgConn().ParameterStatus("scram_iterations"))
	if err != nil || n < 1 {
		return usualIterations
	}
	return n
}

// newVerifier returns what PostgreSQL stores for a password, under a new salt.
// A password outside printable ASCII is refused: SASLprep would have to
// normalize it, as every client does in its own way.
func newVerifier(password string, iterations int) (string, error) {
	if password == "" {
		return "", rotation.Errorf(rotation.ClassPolicy, "%w: it is empty", rotation.ErrRejected)
	}
	for _, r := range password {
		if r < ' ' || r > '~' {
			return "", rotation.Errorf(rotation.ClassPolicy, "%w: it has characters outside printable ASCII", rotation.ErrRejected)
		}
	}
	salt := make([]byte, saltLength)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("making a salt: %w", err)
	}
	return verifier(password, salt, iterations)
}

// verifier computes SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey, by RFC
// 5803 in PostgreSQL's spelling.
func verifier(password string, salt []byte, iterations int) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("deriving a key: %w", err)
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(mac(salted, "Server Key"))), nil
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}

// normalized is a password as SASLprep (RFC 4013) maps it: so the server and libpq do.
// The driver leaves compatibility characters, such as ½ and ², as they are.
func normalized(password string) string {
	mapped := strings.Map(func(r rune) rune {
		switch {
		case r == '\u200b':
			return ' '
		case strings.ContainsRune(unmapped, r):
			return -1
		}
		return r
	}, password)
	return norm.NFKC.String(mapped)
}

// unmapped is "Commonly mapped to nothing", table B.1 of RFC 3454.
const unmapped = "\u00ad\u034f\u1806\u180b\u180c\u180d\u200c\u200d\u2060\ufeff" +
	"\ufe00\ufe01\ufe02\ufe03\ufe04\ufe05\ufe06\ufe07\ufe08\ufe09\ufe0a\ufe0b\ufe0c\ufe0d\ufe0e\ufe0f"
