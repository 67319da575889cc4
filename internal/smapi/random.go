package smapi

import (
	"context"
	"crypto/rand"
	"math/big"
	"strings"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/wire"
)

// The character types of GetRandomPassword. A space is of no type: it never
// has to be there.
const (
	lowercase   = "abcdefghijklmnopqrstuvwxyz"
	uppercase   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	numbers     = "0123456789"
	punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
)

const defaultLength = 32

func checkRandom(in *sm.GetRandomPasswordInput) error {
	var v wire.Violations
	v.Range("passwordLength", in.PasswordLength, 1, 4096)
	v.Length("excludeCharacters", in.ExcludeCharacters, 0, 4096)
	return v.Err()
}

func randomPassword(_ context.Context, in *sm.GetRandomPasswordInput) (*sm.GetRandomPasswordOutput, error) {
	types, pool := alphabet(in)
	length := defaultLength
	if in.PasswordLength != nil {
		length = int(*in.PasswordLength)
	}
	if pool == "" {
		return nil, secret.ErrInvalidParameter.Errorf("All characters have been excluded from selection.")
	}
	if in.RequireEachIncludedType != nil && !*in.RequireEachIncludedType {
		types = nil
	}
	if length < len(types) {
		return nil, secret.ErrInvalidParameter.Errorf("Password length is too short based on the required types.")
	}
	password, err := draw(types, pool, length)
	return &sm.GetRandomPasswordOutput{RandomPassword: &password}, err
}

// alphabet returns the included types, each less the excluded characters, and
// all characters to draw from.
func alphabet(in *sm.GetRandomPasswordInput) (types []string, pool string) {
	for _, t := range []struct {
		excluded   *bool
		characters string
	}{
		{in.ExcludeLowercase, lowercase}, {in.ExcludeUppercase, uppercase},
		{in.ExcludeNumbers, numbers}, {in.ExcludePunctuation, punctuation},
	} {
		if t.excluded == nil || !*t.excluded {
			left := without(t.characters, orEmpty(in.ExcludeCharacters))
			types, pool = append(types, left), pool+left
		}
	}
	if in.IncludeSpace != nil && *in.IncludeSpace {
		pool += without(" ", orEmpty(in.ExcludeCharacters))
	}
	return types, pool
}

func without(characters, excluded string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(excluded, r) {
			return -1
		}
		return r
	}, characters)
}

// draw takes one character of each required type, the rest from the whole pool,
// and shuffles.
func draw(required []string, pool string, length int) (string, error) {
	password := make([]byte, 0, length)
	for _, t := range required {
		if t == "" {
			return "", secret.ErrInvalidParameter.Errorf("All characters of the desired type have been excluded.")
		}
		password = append(password, t[below(len(t))])
	}
	for len(password) < length {
		password = append(password, pool[below(len(pool))])
	}
	for i := len(password) - 1; i > 0; i-- {
		j := below(i + 1)
		password[i], password[j] = password[j], password[i]
	}
	return string(password), nil
}

// below returns a random number from 0 to n-1, each as likely as the others.
func below(n int) int {
	i, _ := rand.Int(rand.Reader, big.NewInt(int64(n))) // crypto/rand never fails
	return int(i.Int64())
}
