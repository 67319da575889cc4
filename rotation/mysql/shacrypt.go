package mysql

import (
	"crypto/sha256"
	"crypto/subtle"
	"strconv"
	"strings"
)

// What MySQL stores for a password, in mysql.user.authentication_string, is made by the
// function that "Unix crypt using SHA-256 and SHA-512" by U. Drepper describes, with a
// salt of 20 bytes, of which libraries for crypt(3) would take 16. By plugin (serialize in sha2_password.cc, my_make_scrambled_password):
//
//	caching_sha2_password   $A$ROUNDS$ + salt + digest, ROUNDS in hex and thousands
//	sha256_password         $5$ + salt + $ + digest, of 5000 rounds
//	mysql_native_password   as MariaDB's, see hash
const (
	saltLength    = 20
	digestLength  = 43
	usualRounds   = 5000
	roundsInAUnit = 1000
)

// storedFor tells whether stored is what MySQL keeps for a password. known is false for
// a form that is none of the above.
func storedFor(stored, password string) (is, known bool) {
	if strings.HasPrefix(stored, "*") {
		return equal(stored, hash(password)), true
	}
	salt, digest, rounds, ok := parseStored(stored)
	if !ok {
		return false, false
	}
	return equal(digest, crypt(password, salt, rounds)), true
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func parseStored(stored string) (salt, digest string, rounds int, ok bool) {
	rounds = usualRounds
	rest, ok := strings.CutPrefix(stored, "$5$")
	if !ok {
		var number string
		if rest, ok = strings.CutPrefix(stored, "$A$"); !ok {
			return "", "", 0, false
		}
		number, rest, _ = strings.Cut(rest, "$")
		units, err := strconv.ParseUint(number, 16, 12)
		if err != nil || units == 0 {
			return "", "", 0, false
		}
		rounds = int(units) * roundsInAUnit
	} else if len(rest) == saltLength+1+digestLength {
		rest = rest[:saltLength] + rest[saltLength+1:]
	}
	if len(rest) != saltLength+digestLength {
		return "", "", 0, false
	}
	return rest[:saltLength], rest[saltLength:], rounds, true
}

// crypt is the digest of a password, in the alphabet of crypt(3).
func crypt(password, salt string, rounds int) string {
	p, s := []byte(password), []byte(salt)
	sum := first(p, s)
	pp := stretch(sum256(repeat(p, len(p))), len(p))
	ss := stretch(sum256(repeat(s, 16+int(sum[0]))), len(s))
	for i := range rounds {
		sum = next(i, sum, pp, ss)
	}
	return encode(sum)
}

// first is the sum that the rounds begin with.
func first(p, s []byte) []byte {
	other := sum256(p, s, p)
	parts := [][]byte{p, s, stretch(other, len(p))}
	for n := len(p); n > 0; n >>= 1 {
		if n&1 == 1 {
			parts = append(parts, other)
		} else {
			parts = append(parts, p)
		}
	}
	return sum256(parts...)
}

// next is one round.
func next(i int, sum, p, s []byte) []byte {
	begin, end := sum, p
	if i%2 == 1 {
		begin, end = p, sum
	}
	parts := [][]byte{begin}
	if i%3 != 0 {
		parts = append(parts, s)
	}
	if i%7 != 0 {
		parts = append(parts, p)
	}
	return sum256(append(parts, end)...)
}

func sum256(parts ...[]byte) []byte {
	h := sha256.New()
	for _, part := range parts {
		h.Write(part)
	}
	return h.Sum(nil)
}

func repeat(b []byte, times int) []byte {
	return []byte(strings.Repeat(string(b), times))
}

// stretch repeats a sum until it has a length.
func stretch(sum []byte, length int) []byte {
	return repeat(sum, length/len(sum)+1)[:length]
}

// encode writes three bytes as four characters, in the order that crypt(3) has.
func encode(sum []byte) string {
	const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var text strings.Builder
	write := func(bits uint32, characters int) {
		for range characters {
			text.WriteByte(alphabet[bits&0x3f])
			bits >>= 6
		}
	}
	for i := range 10 {
		a, b, c := i*21%30, (i*21+10)%30, (i*21+20)%30
		write(uint32(sum[a])<<16|uint32(sum[b])<<8|uint32(sum[c]), 4)
	}
	write(uint32(sum[31])<<8|uint32(sum[30]), 3)
	return text.String()
}
