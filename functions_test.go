package keyturn

import (
	"testing"

	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/iam/policy"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/rotation"
)

// A rotation function touches its secret, reads its admin secret, and that is all.
func TestRotatorPolicy(t *testing.T) {
	const own, admin, other = secret.ARN("arn:aws:secretsmanager:us-east-1:000000000000:secret:app-a1b2c3"),
		secret.ARN("arn:aws:secretsmanager:us-east-1:000000000000:secret:admin-a1b2c3"),
		secret.ARN("arn:aws:secretsmanager:us-east-1:000000000000:secret:app-a1b2c4")
	for _, tc := range []struct {
		action             string
		own, admin, others bool
	}{
		{"DescribeSecret", true, true, false},
		{"GetSecretValue", true, true, false},
		{"PutSecretValue", true, false, false},
		{"UpdateSecretVersionStage", true, false, false},
		{"DeleteSecret", false, false, false},
		{"PutResourcePolicy", false, false, false},
		{"GetRandomPassword", true, true, true},
	} {
		t.Run(tc.action, func(t *testing.T) {
			d, err := rotatorPolicy(own, admin)
			if err != nil {
				t.Fatal(err)
			}
			c := iam.Caller{Principal: iam.Principal{Account: "000000000000", Policies: []*policy.Document{d}}}
			for arn, want := range map[secret.ARN]bool{own: tc.own, admin: tc.admin, other: tc.others} {
				err := new(iam.Guard).Check(t.Context(), c, "secretsmanager:"+tc.action, iam.Resource{ARN: string(arn)})
				if (err == nil) != want {
					t.Errorf("%s: %v", arn, err)
				}
			}
		})
	}
}

// The SecretId of an event is written by whoever may invoke the function, who is told
// what is wrong with it.
func TestRotatorPolicyRefusesPatterns(t *testing.T) {
	for _, arn := range []secret.ARN{"*", "arn:aws:secretsmanager:us-east-1:000000000000:secret:*", "arn:aws:secretsmanager:us-east-1:000000000000:secret:app-??????",
		"arn:aws:secretsmanager:us-east-1:000000000000:secret:${aws:username}", "app"} {
		if _, err := rotatorPolicy(arn, ""); rotation.ClassOf(err) != rotation.ClassSecret {
			t.Errorf("%s: %v", arn, err)
		}
	}
}
