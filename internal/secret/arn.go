package secret

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// ARN names a secret for ever: arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-XXXXXX.
type ARN string

// Place is the account and region in which names are looked up.
type Place struct{ Account, Region string }

// unknownSuffix ends the ARN that a missing secret would have. No real suffix
// has a question mark.
const unknownSuffix = "-??????"

var (
	legalName = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]{1,512}$`)
	complete  = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)
)

func (p Place) prefix() string {
	return fmt.Sprintf("arn:aws:secretsmanager:%s:%s:secret:", p.Region, p.Account)
}

// placeName is the column place_name of a secret: what tells it from others in its
// ARN, without the suffix.
func (p Place) placeName(name string) string {
	return p.Region + ":" + p.Account + ":secret:" + name
}

// CheckName returns ErrValidation for a name that AWS does not allow.
func CheckName(name string) error {
	if !legalName.MatchString(name) {
		return ErrValidation.Errorf("Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
	}
	return nil
}

// NewARN returns an ARN for a new secret; the suffix is drawn anew each time,
// so that permission for a deleted secret does not extend to its successor.
func NewARN(p Place, name string) ARN {
	return ARN(p.prefix() + name + "-" + newSuffix())
}

// newSuffix returns six random letters and digits.
func newSuffix() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	suffix := make([]byte, 6)
	_, _ = rand.Read(suffix) // never fails
	for i, b := range suffix {
		suffix[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(suffix)
}

// UnknownARN returns the ARN by which permission for a name is judged as long
// as no secret has it.
func UnknownARN(p Place, name string) ARN { return ARN(p.prefix() + name + unknownSuffix) }

// Missing reports whether the ARN is one that no secret has, as UnknownARN makes
// it.
func (a ARN) Missing() bool { return strings.HasSuffix(string(a), unknownSuffix) }

// Name returns the name inside an ARN, without the suffix.
func (a ARN) Name() string {
	_, rest, _ := strings.Cut(string(a), ":secret:")
	if len(rest) < len(unknownSuffix) {
		return rest
	}
	return rest[:len(rest)-len(unknownSuffix)]
}

// Place returns account and region of an ARN.
func (a ARN) Place() Place {
	var field [7]string // the last takes what is left
	rest, more := string(a), true
	for i := range field {
		if !more {
			return Place{}
		}
		field[i], rest, more = strings.Cut(rest, ":")
	}
	return Place{Region: field[3], Account: field[4]}
}

// In returns the ARN that the secret's replica in another region has: the same,
// with the region replaced.
func (a ARN) In(region string) ARN {
	f := strings.SplitN(string(a), ":", 7)
	if len(f) < 7 {
		return a
	}
	f[3] = region
	return ARN(strings.Join(f, ":"))
}

// Resolve turns a SecretId (name, ARN or partial ARN) into an ARN. A secret
// that does not exist gets the ARN it would have, so that permission is judged
// before existence is told. It returns ErrValidation for an illegal name.
//
// An ARN that ends in a hyphen and six letters or digits counts as complete,
// even if it is the partial ARN of a name that ends so ("Secrets Manager
// troubleshooting: partial ARNs" in the AWS guide).
func (v *Vault) Resolve(ctx context.Context, tx *sqldb.Tx, at Place, id string) (ARN, error) {
	name := id
	if strings.HasPrefix(id, "arn:") {
		rest, ok := strings.CutPrefix(id, ARN(id).Place().prefix())
		name = complete.ReplaceAllString(rest, "")
		if err := CheckName(name); !ok || err != nil {
			return "", CheckName("")
		}
		if name != rest || ARN(id).Place().Region != at.Region {
			return foreign(at, ARN(id)), nil
		}
		at = ARN(id).Place()
	}
	if err := CheckName(name); err != nil {
		return "", err
	}
	return lookUp(ctx, tx, at, name)
}

// foreign makes the ARN of another region's secret one that does not exist
// here: regions are name-spaces.
func foreign(at Place, arn ARN) ARN {
	if arn.Place().Region != at.Region {
		return arn + unknownSuffix
	}
	return arn
}

func lookUp(ctx context.Context, tx *sqldb.Tx, at Place, name string) (ARN, error) {
	var arn ARN
	err := tx.QueryRow(ctx, `SELECT arn FROM secrets WHERE place_name = $1`, at.placeName(name)).Scan(&arn)
	if errors.Is(err, sql.ErrNoRows) {
		return UnknownARN(at, name), nil
	}
	return arn, err
}
