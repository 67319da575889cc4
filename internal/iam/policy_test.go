package iam

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam/policy"
)

func statusOf(err error) int { return fault.Of(err).Kind.Status }

const (
	own    = "111122223333"
	other  = "444455556666"
	getter = "secretsmanager:GetSecretValue"
)

func secretOf(account string) string {
	return "arn:aws:secretsmanager:us-east-1:" + account + ":secret:prod/db-a1b2c3"
}

// may returns an identity policy of one statement.
func may(t testing.TB, effect, action, resource, condition string) *policy.Document {
	t.Helper()
	d, err := policy.ParseIdentity(fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":%q,"Action":%q,"Resource":%q,"Condition":%s}}`,
		effect, action, resource, condition))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// lets returns a resource policy of one statement.
func lets(t testing.TB, effect, principal string) *policy.Document {
	t.Helper()
	d, err := policy.ParseResource(fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":%q,"Action":"*","Resource":"*","Principal":{"AWS":%q}}}`,
		effect, principal))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func userOf(account string, policies ...*policy.Document) Caller {
	c := Caller{Principal: User(account, "app"), Region: "us-east-1", SourceIP: "10.1.2.3", UserAgent: "test/1",
		Now: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)}
	c.Policies = policies
	return c
}

// Identity and resource policies, within an account and across accounts.
func TestCheck(t *testing.T) {
	const identityAllows, identityDenies = "because no identity-based policy allows the " + getter + " action", "with an explicit deny in an identity-based policy"
	const resourceAllows, resourceDenies = "because no resource-based policy allows the " + getter + " action", "with an explicit deny in a resource-based policy"
	anything, nothing := may(t, "Allow", "*", "*", "{}"), may(t, "Deny", "*", "*", "{}")
	user, root := "arn:aws:iam::"+own+":user/app", "arn:aws:iam::"+own+":root"
	for _, tc := range []struct {
		name     string
		owner    string
		identity []*policy.Document
		resource *policy.Document
		want     string // the end of the denial; empty: allowed
	}{
		{"NoPolicies", own, nil, nil, identityAllows},
		{"Identity", own, []*policy.Document{anything}, nil, ""},
		{"SecondOfTwo", own, []*policy.Document{may(t, "Allow", "rds:*", "*", "{}"), anything}, nil, ""},
		{"OtherAction", own, []*policy.Document{may(t, "Allow", "rds:*", "*", "{}")}, nil, identityAllows},
		{"IdentityDenies", own, []*policy.Document{anything, nothing}, nil, identityDenies},
		{"ResourceForUser", own, nil, lets(t, "Allow", user), ""},
		{"ResourceForEverybody", own, nil, lets(t, "Allow", "*"), ""},
		{"ResourceForAccountOnly", own, nil, lets(t, "Allow", root), identityAllows},
		{"ResourceForAccountAndIdentity", own, []*policy.Document{anything}, lets(t, "Allow", own), ""},
		{"ResourceForSomebodyElse", own, nil, lets(t, "Allow", "arn:aws:iam::"+own+":user/bob"), identityAllows},
		{"IdentityDeniesWhatResourceAllows", own, []*policy.Document{nothing}, lets(t, "Allow", user), identityDenies},
		{"ResourceDeniesWhatIdentityAllows", own, []*policy.Document{anything}, lets(t, "Deny", user), resourceDenies},
		{"ResourceDeniesTheAccount", own, []*policy.Document{anything}, lets(t, "Deny", root), resourceDenies},
		{"BothDeny", own, []*policy.Document{nothing}, lets(t, "Deny", "*"), identityDenies},
		{"NothingOfTheKind", "", nil, nil, identityAllows},
		{"NothingInParticular", "", []*policy.Document{anything}, nil, ""},

		{"AcrossNoPolicies", other, nil, nil, resourceAllows},
		{"AcrossIdentityOnly", other, []*policy.Document{anything}, nil, resourceAllows},
		{"AcrossResourceOnly", other, nil, lets(t, "Allow", user), identityAllows},
		{"AcrossResourceForEverybodyOnly", other, nil, lets(t, "Allow", "*"), identityAllows},
		{"AcrossBoth", other, []*policy.Document{anything}, lets(t, "Allow", user), ""},
		{"AcrossBothByAccount", other, []*policy.Document{anything}, lets(t, "Allow", own), ""},
		{"AcrossForOthers", other, []*policy.Document{anything}, lets(t, "Allow", other), resourceAllows},
		{"AcrossIdentityDenies", other, []*policy.Document{anything, nothing}, lets(t, "Allow", user), identityDenies},
		{"AcrossResourceDenies", other, []*policy.Document{anything}, lets(t, "Deny", root), resourceDenies},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, res := userOf(own, tc.identity...), Resource{ARN: "*", Policy: tc.resource}
			if tc.owner != "" {
				res.ARN = secretOf(tc.owner)
			}
			err := new(Guard).Check(context.Background(), c, getter, res)
			if tc.want != "" {
				checkFault(t, err, ErrAccessDenied, "User: "+user+" is not authorized to perform: "+getter+" on resource: "+res.ARN+" "+tc.want)
				return
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// The root of an account needs no policies for what is its account's.
func TestRoot(t *testing.T) {
	root := Caller{Principal: Principal{ARN: "arn:aws:iam::" + own + ":root", Account: own}}
	for _, tc := range []struct {
		name string
		res  Resource
		want bool
	}{
		{"Own", Resource{ARN: secretOf(own)}, true},
		{"OwnDenied", Resource{ARN: secretOf(own), Policy: lets(t, "Deny", own)}, false},
		{"Others", Resource{ARN: secretOf(other)}, false},
		{"OthersShared", Resource{ARN: secretOf(other), Policy: lets(t, "Allow", own)}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := allows(root, getter, tc.res); got != tc.want {
				t.Errorf("judge = %v", got)
			}
		})
	}
}

func TestSessionOfARole(t *testing.T) {
	session := Caller{Principal: Principal{ARN: "arn:aws:sts::" + own + ":assumed-role/reader/one", Account: own}}
	for principal, want := range map[string]bool{
		"arn:aws:iam::" + own + ":role/reader":             true,
		"arn:aws:sts::" + own + ":assumed-role/reader/one": true,
		"arn:aws:sts::" + own + ":assumed-role/reader/two": false,
		"arn:aws:iam::" + own + ":root":                    false,
	} {
		if got := allows(session, getter, Resource{ARN: secretOf(own), Policy: lets(t, "Allow", principal)}); got != want {
			t.Errorf("%s: %v", principal, got)
		}
	}
}

func TestGlobalKeys(t *testing.T) {
	user := userOf(own)
	root := Caller{Principal: Principal{ARN: "arn:aws:iam::" + own + ":root", Account: own}}
	session := Caller{Principal: Principal{ARN: "arn:aws:sts::" + own + ":assumed-role/reader/one", Account: own, UserID: "AROAX:one",
		Issued: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}}
	federated := Caller{Principal: Principal{ARN: "arn:aws:sts::" + own + ":federated-user/bob", Account: own}}
	for _, tc := range []struct {
		key    string
		caller Caller
		want   string // empty: the request does not have it
	}{
		{"aws:SourceIp", user, "10.1.2.3"},
		{"aws:SourceIp", root, ""},
		{"aws:CurrentTime", user, "2026-02-03T04:05:06Z"},
		{"aws:EpochTime", user, "1770091506"},
		{"aws:EpochTime", root, ""},
		{"aws:PrincipalArn", user, "arn:aws:iam::" + own + ":user/app"},
		{"aws:PrincipalArn", session, "arn:aws:iam::" + own + ":role/reader"},
		{"aws:PrincipalAccount", user, own},
		{"aws:PrincipalType", user, "User"},
		{"aws:PrincipalType", root, "Account"},
		{"aws:PrincipalType", session, "AssumedRole"},
		{"aws:PrincipalType", federated, "FederatedUser"},
		{"aws:PrincipalType", Caller{}, ""},
		{"aws:userid", user, user.UserID},
		{"aws:userid", root, own},
		{"aws:userid", session, "AROAX:one"},
		{"aws:username", user, "app"},
		{"aws:username", root, ""},
		{"aws:username", session, ""},
		{"aws:SecureTransport", user, "false"},
		{"aws:UserAgent", user, "test/1"},
		{"aws:RequestedRegion", user, "us-east-1"},
		{"aws:ResourceAccount", user, other},
		{"aws:PrincipalIsAWSService", user, "false"},
		{"aws:ViaAWSService", user, "false"},
		{"aws:TokenIssueTime", session, "2026-01-01T00:00:00Z"},
		{"aws:TokenIssueTime", user, ""},
		{"secretsmanager:SecretId", user, "prod/db"},
		{"secretsmanager:VersionId", user, ""},
		{"aws:Nonsense", user, ""},
	} {
		t.Run(tc.key+" "+tc.caller.kind(), func(t *testing.T) {
			condition := fmt.Sprintf(`{"StringEquals":{%q:%q}}`, tc.key, tc.want)
			if tc.want == "" {
				condition = fmt.Sprintf(`{"Null":{%q:"true"}}`, tc.key)
			}
			c := tc.caller
			c.Policies = []*policy.Document{may(t, "Deny", "*", "*", condition)}
			res := Resource{ARN: secretOf(other), Keys: func(key string) ([]string, bool) {
				return []string{"prod/db"}, key == "secretsmanager:secretid"
			}}
			err := new(Guard).Check(context.Background(), c, getter, res)
			if err == nil || !strings.HasSuffix(err.Error(), "with an explicit deny in an identity-based policy") {
				t.Errorf("not %q: %v", tc.want, err)
			}
		})
	}
}

// A list is the caller's own account's: a policy that keeps its user to that account
// lets it list.
func TestResourceAccountOfNoSingleResource(t *testing.T) {
	c := userOf(own)
	c.Policies = []*policy.Document{may(t, "Allow", "*", "*", fmt.Sprintf(`{"StringEquals":{"aws:ResourceAccount":%q}}`, own))}
	for _, arn := range []string{"*", ""} {
		if err := new(Guard).Check(t.Context(), c, "secretsmanager:ListSecrets", Resource{ARN: arn}); err != nil {
			t.Errorf("on %q: %v", arn, err)
		}
	}
}

func TestEveryGlobalKeyIsInLowerCase(t *testing.T) {
	for _, k := range globalKeys {
		if k.name != strings.ToLower(k.name) {
			t.Error(k.name)
		}
	}
}

func TestLocksOut(t *testing.T) {
	c := userOf(own)
	for effect, want := range map[string]bool{"Deny": true, "Allow": false} {
		res := Resource{ARN: secretOf(own), Policy: lets(t, effect, "*")}
		if got := LocksOut(c, "secretsmanager:PutResourcePolicy", res); got != want {
			t.Errorf("%s: %v", effect, got)
		}
	}
	if LocksOut(c, "secretsmanager:PutResourcePolicy", Resource{ARN: secretOf(own)}) {
		t.Error("no policy locks out")
	}
}

func TestMatch(t *testing.T) {
	if !Match("lambda:Invoke*", "lambda:InvokeFunction") || Match("lambda:invoke*", "lambda:InvokeFunction") {
		t.Error("Match must know wildcards and regard case")
	}
}

func TestAdministratorMayDoEverything(t *testing.T) {
	c := Caller{Principal: Administrator(own)}
	if !allows(c, getter, Resource{ARN: secretOf(own)}) || !allows(c, "rds:CreateDBCluster", Resource{}) {
		t.Error("denied")
	}
	if allows(c, getter, Resource{ARN: secretOf(other)}) {
		t.Error("allowed in another account")
	}
}

// The examples of docs/authorization.md do what it says of them.
func TestDocumentedExamples(t *testing.T) {
	page, err := os.ReadFile("../../docs/authorization.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d examples", len(blocks))
	}
	identity, err := policy.ParseIdentity(string(blocks[0][1]))
	if err != nil {
		t.Fatal(err)
	}
	sharing, err := policy.ParseResource(string(blocks[1][1]))
	if err != nil {
		t.Fatal(err)
	}
	key := func(name, value string) func(string) ([]string, bool) {
		return func(asked string) ([]string, bool) { return []string{value}, asked == name }
	}
	everything := may(t, "Allow", "*", "*", "{}")
	report := Caller{Principal: User(other, "report")}
	report.Policies = []*policy.Document{everything}
	for _, tc := range []struct {
		name   string
		caller Caller
		action string
		res    Resource
		want   bool
	}{
		{"Tagged", userOf(own, identity), getter, Resource{ARN: secretOf(own), Keys: key("secretsmanager:resourcetag/app", "shop")}, true},
		{"OtherTag", userOf(own, identity), getter, Resource{ARN: secretOf(own), Keys: key("secretsmanager:resourcetag/app", "bank")}, false},
		{"NoTag", userOf(own, identity), getter, Resource{ARN: secretOf(own)}, false},
		{"OtherAction", userOf(own, identity), "secretsmanager:DeleteSecret", Resource{ARN: secretOf(own), Keys: key("secretsmanager:resourcetag/app", "shop")}, false},
		{"Shared", report, getter, Resource{ARN: secretOf(own), Policy: sharing, Keys: key("secretsmanager:versionstage", "AWSCURRENT")}, true},
		{"SharedCurrentOnly", report, getter, Resource{ARN: secretOf(own), Policy: sharing, Keys: key("secretsmanager:versionstage", "AWSPREVIOUS")}, false},
		{"Kept", userOf(own, everything), "secretsmanager:DeleteSecret", Resource{ARN: secretOf(own), Policy: sharing}, false},
		{"DeletedByAdmin", Caller{Principal: Administrator(own)}, "secretsmanager:DeleteSecret", Resource{ARN: secretOf(own), Policy: sharing}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := allows(tc.caller, tc.action, tc.res); got != tc.want {
				t.Errorf("judge = %v", got)
			}
		})
	}
}

// A decision must not leave anything of one request for the next.
func TestQuestionsAreForgotten(t *testing.T) {
	q := ask(new(userOf(own)), getter, &Resource{ARN: secretOf(own)})
	q.keys("aws:sourceip")
	q.done()
	if q.caller.ARN != "" || q.resource.ARN != "" || slices.ContainsFunc(q.values, func(s string) bool { return s != "" }) {
		t.Error("a question is kept")
	}
}

// The hot path: what is allowed must not allocate.
func BenchmarkCheck(b *testing.B) {
	statement := func(effect, action, arn, condition string) string {
		return fmt.Sprintf(`{"Effect":%q,"Action":%s,"Resource":%q,"Condition":%s}`, effect, action, arn, condition)
	}
	five, err := policy.ParseIdentity(`{"Version":"2012-10-17","Statement":[` + strings.Join([]string{
		statement("Allow", `["rds:Describe*","rds:List*"]`, "*", `{}`),
		statement("Deny", `"secretsmanager:*"`, "*", `{"NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","192.168.0.0/16"]}}`),
		statement("Deny", `["secretsmanager:Delete*","secretsmanager:PutResourcePolicy"]`, "*", `{}`),
		statement("Allow", `["secretsmanager:Describe*","secretsmanager:Get*"]`, "arn:aws:secretsmanager:*:*:secret:prod/*", `{"StringEquals":{"secretsmanager:VersionStage":"AWSCURRENT"}}`),
		statement("Deny", `"*"`, "*", `{"StringNotEquals":{"aws:RequestedRegion":["us-east-1","eu-west-1"]}}`),
	}, ",") + `]}`)
	if err != nil {
		b.Fatal(err)
	}
	stage := []string{"AWSCURRENT"}
	res := Resource{ARN: secretOf(own), Keys: func(key string) ([]string, bool) { return stage, key == "secretsmanager:versionstage" }}
	for name, c := range map[string]Caller{"Administrator": {Principal: Administrator(own)}, "FiveStatements": userOf(own, five)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var g Guard
			for b.Loop() {
				if err := g.Check(context.Background(), c, getter, res); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// An administrator and a policy with conditions are decided without allocating. The
// race detector makes a sync.Pool drop a quarter of what it is given, by chance: so
// there are many runs.
func TestCheckDoesNotAllocate(t *testing.T) {
	c := userOf(own, may(t, "Allow", "secretsmanager:Get*", "*", `{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"StringLike":{"aws:username":"a*"}}`))
	for _, c := range []Caller{c, {Principal: Administrator(own)}} {
		res := Resource{ARN: secretOf(own)}
		var g Guard
		n := testing.AllocsPerRun(10_000, func() {
			if err := g.Check(context.Background(), c, getter, res); err != nil {
				t.Fatal(err)
			}
		})
		if n >= 1 {
			t.Errorf("%s: %v allocations", c.ARN, n)
		}
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
	if c.Region != "eu-west-1" || c.Service != "" || !allows(c, "any:Thing", Resource{ARN: "x"}) {
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

// allows tells whether c may do action on res.
func allows(c Caller, action string, res Resource) bool { return judge(&c, action, &res) == allowed }
