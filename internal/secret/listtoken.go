package secret

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
)

// A token is base64 of 2|QUERY|AT|ARN: a digest of what was asked for, and the
// position of the last secret that was looked at. It holds no state of the
// server's, so it lasts, and writes between two pages move nothing. It is not
// authenticated: a made-up one begins the list elsewhere, and no more.

// token returns the token that continues the list after a position.
func (p Page) token(after position) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(
		[]string{"2", p.digest(), strconv.FormatInt(after.at, 10), string(after.arn)}, "|")))
}

// digest identifies a list: a token of one is of no use in another. The page's
// size may change.
func (p Page) digest() string {
	p.Token, p.Limit = "", 0
	text, _ := json.Marshal(p) // strings, numbers and flags: it does not fail
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// start returns the position after which the page begins.
func (p Page) start() (position, error) {
	if p.Token == "" {
		return p.first(), nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(p.Token)
	if err != nil {
		return position{}, errToken()
	}
	f := strings.SplitN(string(raw), "|", 4)
	if len(f) != 4 {
		return position{}, errToken()
	}
	at, err := strconv.ParseInt(f[2], 10, 64)
	after := position{at: at, arn: ARN(f[3])}
	if err != nil || p.token(after) != p.Token { // another query, or not as we write it
		return position{}, errToken()
	}
	return after, nil
}

func errToken() error { return ErrInvalidNextToken.Errorf("The NextToken value is invalid.") }
