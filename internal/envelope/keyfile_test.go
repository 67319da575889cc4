package envelope

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"
)

// What parses, prints back as a file that says the same, and that prints the
// same again.
func FuzzKeyFile(f *testing.F) {
	const secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for _, text := range []string{
		"keyturn-key-1 0123456789abcdef " + secret + "\n",
		"keyturn-key-1 a " + secret,
		"keyturn-key-2 k - m 2026-01-02T03:04:05Z " + secret + "\r\n\n",
		"keyturn-key-1 a " + secret + "\nkeyturn-key-2 b pay/ments m - " + secret + "\nkeyturn-key-2 a - n 2026-01-02T03:04:05+07:00 " + secret + "\n",
		"keyturn-key-2 k x arn:aws:kms:us-east-1:111122223333:key/1 - aws-kms\n",
	} {
		f.Add(text)
	}
	remote := newAWSKMS(func(context.Context) (aws.Config, error) { return aws.Config{}, nil })
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := parseKeys(text, remote)
		if err != nil {
			return
		}
		printed := printKeys(keys)
		again, err := parseKeys(printed, remote)
		if err != nil {
			t.Fatalf("%q: %v", printed, err)
		}
		if d := cmp.Diff(told(keys), told(again)); d != "" {
			t.Error(d)
		}
		if twice := printKeys(again); twice != printed {
			t.Errorf("%q printed again is %q", printed, twice)
		}
		if !isKeyFile(printed) {
			t.Errorf("%q is not known as a key file", printed)
		}
	})
}

// told is all that keys say.
func told(keys []*key) (all []KeyInfo) {
	for i, k := range keys {
		all = append(all, k.info(i == 0))
	}
	return all
}
