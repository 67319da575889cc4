package rotation

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// SafeExclusions leaves letters, digits, "." and "_": 64 characters, so that
// 32 of them carry about 190 bits. Such a password needs no quoting in URLs,
// DSNs, JDBC and libpq connection strings, shells, .env files, YAML, my.cnf
// and pgpass.
const SafeExclusions = "!\"#$%&'()*+,-/:;<=>?@[\\]^`{|}~"

// widerExclusions allow + , - = and ~ beside the characters of SafeExclusions.
const widerExclusions = "!\"#$%&'()*/:;<>?@[\\]^`{|}"

// How many characters a password has: by itself, and as TagPasswordLength may say.
const (
	defaultLength    = 32
	shortestPassword = 8
	longestPassword  = 128
)

// fewestCharacters is how many of those that SafeExclusions leaves must be left.
const fewestCharacters = 16

// passwordRules are what a secret's tags say about its passwords.
type passwordRules struct {
	length  int64  // 0: defaultLength
	exclude string // beside what is excluded anyway
}

// ParsePasswordLength reads a length in characters, from 8 to 128.
func ParsePasswordLength(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < shortestPassword || n > longestPassword {
		return 0, fmt.Errorf("a password's length is a number from %d to %d", shortestPassword, longestPassword)
	}
	return n, nil
}

// CheckPasswordExclude refuses to exclude so many characters that a password
// could be guessed.
func CheckPasswordExclude(characters string) error {
	left := 0
	for c := '!'; c <= '~'; c++ {
		if !strings.ContainsRune(SafeExclusions+characters, c) {
			left++
		}
	}
	if left < fewestCharacters {
		return fmt.Errorf("passwords have letters, digits, a dot and an underscore, and %d different ones of these must be left", fewestCharacters)
	}
	return nil
}

// after returns the rules for the password that follows n rejected ones: it is
// longer, unless a tag says how long, and from the second on it has more
// punctuation.
func (r passwordRules) after(n int64) passwordRules {
	if r.length == 0 {
		r.length = defaultLength + min(n, 2)*defaultLength/2
	}
	if n < 2 {
		r.exclude += SafeExclusions
	} else {
		r.exclude += widerExclusions
	}
	return r
}

// excludesAll tells whether of a type no character is left.
func (r passwordRules) excludesAll(isType func(rune) bool) *bool {
	for c := '!'; c <= '~'; c++ {
		if isType(c) && !strings.ContainsRune(r.exclude, c) {
			return aws.Bool(false)
		}
	}
	return aws.Bool(true)
}

func isPunctuation(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }

// randomPassword returns a new password after some that the database has rejected.
func (f *Function) randomPassword(ctx context.Context, rejections int64) (string, error) {
	r := f.settings.password.after(rejections)
	out, err := f.Secrets.GetRandomPassword(ctx, &secretsmanager.GetRandomPasswordInput{
		PasswordLength:    aws.Int64(r.length),
		ExcludeCharacters: aws.String(r.exclude),
		// Secrets Manager refuses a type whose characters are all excluded.
		ExcludeNumbers:     r.excludesAll(unicode.IsDigit),
		ExcludeUppercase:   r.excludesAll(unicode.IsUpper),
		ExcludeLowercase:   r.excludesAll(unicode.IsLower),
		ExcludePunctuation: r.excludesAll(isPunctuation),
	})
	if err != nil {
		return "", Errorf(ClassAPI, "asking for a random password: %w", err)
	}
	if aws.ToString(out.RandomPassword) == "" {
		return "", Errorf(ClassAPI, "Secrets Manager answered with an empty random password")
	}
	return *out.RandomPassword, nil
}
