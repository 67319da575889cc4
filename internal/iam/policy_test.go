package iam

import (
	"context"
	"errors"
	"net/http/httptest"
	"path"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/fault"
)

func statusOf(err error) int { return fault.Of(err).Kind.Status }

func TestDecide(t *testing.T) {
	const arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:prod/db-a1b2c3"
	for _, tc := range []struct {
		name, action, resource, allowAction, allowResource string
		want                                               bool
	}{
		{"Exact", "secretsmanager:GetSecretValue", arn, "secretsmanager:GetSecretValue", arn, true},
		{"ActionCase", "secretsmanager:GetSecretValue", arn, "SecretsManager:getsecretvalue", "*", true},
		{"ActionStar", "secretsmanager:GetSecretValue", arn, "secretsmanager:Get*", "*", true},
		{"OtherService", "rds:CreateDBCluster", "*", "secretsmanager:*", "*", false},
		{"StarCrossesSlash", "a:B", arn, "*", "arn:aws:secretsmanager:*:secret:prod*", true},
		{"QuestionMarks", "a:B", arn, "*", strings.TrimSuffix(arn, "a1b2c3") + "??????", true},
		{"TooFewQuestionMarks", "a:B", arn, "*", strings.TrimSuffix(arn, "a1b2c3") + "?????", false},
		{"ResourceCase", "a:B", arn, "*", strings.ToUpper(arn), false},
		{"NothingTouched", "a:B", "", "*", "*", true},
		{"NothingTouchedNarrowGrant", "a:B", "", "*", arn, false},
		{"EmptyPattern", "a:B", arn, "", "", false},
		{"OtherAccount", "a:B", "arn:aws:secretsmanager:us-east-1:111111111111:secret:prod/db-a1b2c3", "*", "*", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Caller{Principal: Principal{Account: "000000000000", Allow: []Allow{{Actions: []string{tc.allowAction}, Resources: []string{tc.allowResource}}}}}
			if got := Decide(c, tc.action, Resource{ARN: tc.resource}); got != tc.want {
				t.Errorf("Decide = %v, want %v", got, tc.want)
			}
		})
	}
}

// An action of one statement and a resource of another grant nothing.
func TestDecideStatementsDoNotMix(t *testing.T) {
	c := Caller{Principal: Principal{Allow: []Allow{
		{Actions: []string{"a:Read"}, Resources: []string{"one"}},
		{Actions: []string{"a:Write"}, Resources: []string{"two"}},
	}}}
	if Decide(c, "a:Read", Resource{ARN: "two"}) || !Decide(c, "a:Write", Resource{ARN: "two"}) {
		t.Error("statements are mixed")
	}
}

// Without slashes path.Match knows the same wildcards.
func TestMatchesAgreesWithPathMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab*?]{0,8}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[ab]{0,8}`).Draw(t, "s")
		want, err := path.Match(pattern, s)
		if err != nil {
			t.Fatal(err)
		}
		if got := matches(pattern, s, false); got != want {
			t.Fatalf("matches(%q, %q) = %v", pattern, s, got)
		}
	})
}

func TestMatch(t *testing.T) {
	if !Match("lambda:Invoke*", "lambda:InvokeFunction") || Match("lambda:invoke*", "lambda:InvokeFunction") {
		t.Error("Match must know wildcards and regard case")
	}
}

func TestGuardDeniesInAWSWords(t *testing.T) {
	c := Caller{Principal: Principal{ARN: "arn:aws:iam::000000000000:user/bob"}}
	err := new(Guard).Check(context.Background(), c, "secretsmanager:ListSecrets", Resource{})
	checkFault(t, err, ErrAccessDenied, "User: arn:aws:iam::000000000000:user/bob is not authorized to perform: secretsmanager:ListSecrets"+
		" on resource: * because no identity-based policy allows the secretsmanager:ListSecrets action")
	c.Principal = Administrator("000000000000")
	if err := new(Guard).Check(context.Background(), c, "secretsmanager:ListSecrets", Resource{}); err != nil {
		t.Error(err)
	}
}

func TestSessions(t *testing.T) {
	ctx := context.Background()
	var s Sessions
	id, secret, token := s.Issue(Administrator("111122223333"))
	if len(id) != 20 || !strings.HasPrefix(id, "ASIA") || len(secret) != 40 || token == "" {
		t.Errorf("issued %d, %d and %d characters", len(id), len(secret), len(token))
	}
	c, err := s.Lookup(ctx, id)
	if err != nil || c.Secret != secret || c.SessionToken != token || c.Principal.Account != "111122223333" {
		t.Errorf("Lookup = %v, %v", c, err)
	}
	s.Revoke(id)
	if _, err := s.Lookup(ctx, id); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("after Revoke: %v", err)
	}
}

func TestTrust(t *testing.T) {
	r := httptest.NewRequest("POST", "/", nil)
	c := Trust(r, "000000000000", "eu-west-1")
	if c.Region != "eu-west-1" || c.Service != "" || !Decide(c, "any:Thing", Resource{ARN: "x"}) {
		t.Errorf("unsigned: %+v", c)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260304/us-west-2/rds/aws4_request, SignedHeaders=host, Signature=x")
	c = Trust(r, "000000000000", "eu-west-1")
	if c.Region != "us-west-2" || c.Service != "rds" || c.AccessKeyID != "test" {
		t.Errorf("signed: %+v", c)
	}
	r = httptest.NewRequest("GET", "/?X-Amz-Credential=test%2F20260304%2Fus-west-1%2Flambda%2Faws4_request", nil)
	if c = Trust(r, "000000000000", "eu-west-1"); c.Region != "us-west-1" || c.Service != "lambda" {
		t.Errorf("presigned: %+v", c)
	}
}
