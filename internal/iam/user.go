package iam

import (
	"crypto/sha256"
	"encoding/base32"
)

// userIDLetters is how many letters and digits follow the prefix of a unique id.
const userIDLetters = 17

// User returns the principal of a user of an account, without any permission.
// Its UserID (AIDA…) follows from its ARN, so it is the same for every key of
// the user and after every restart.
//
// Forms: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
func User(account, name string) Principal {
	arn := "arn:aws:iam::" + account + ":user/" + name
	sum := sha256.Sum256([]byte(arn))
	return Principal{ARN: arn, Account: account, UserID: "AIDA" + base32.StdEncoding.EncodeToString(sum[:])[:userIDLetters]}
}
