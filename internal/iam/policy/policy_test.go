package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	account  = "111122223333"
	secret   = "arn:aws:secretsmanager:us-east-1:111122223333:secret:prod/db-a1b2c3"
	getValue = "secretsmanager:GetSecretValue"
)

// asking returns a request by a user; fields name keys and their values.
func asking(keys map[string][]string) *Request {
	return &Request{Action: getValue, Resource: secret,
		Principal: Principal{ARN: "arn:aws:iam::" + account + ":user/app", Account: account},
		Keys: func(key string) ([]string, bool) {
			values, ok := keys[key]
			return values, ok
		}}
}

func identity(t testing.TB, text string) *Document {
	t.Helper()
	d, err := ParseIdentity(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return d
}

func resource(t testing.TB, text string) *Document {
	t.Helper()
	d, err := ParseResource(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return d
}

func inPolicy(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

func TestActionsAndResources(t *testing.T) {
	const arns = "arn:aws:secretsmanager:us-east-1:111122223333:secret:"
	for _, tc := range []struct {
		name, elements string
		want           Effect
	}{
		{"Everything", `"Action":"*","Resource":"*"`, Allow},
		{"Exact", `"Action":"secretsmanager:GetSecretValue","Resource":"` + secret + `"`, Allow},
		{"ActionInOtherCase", `"Action":"SecretsManager:getSECRETvalue","Resource":"*"`, Allow},
		{"ActionStar", `"Action":"secretsmanager:Get*","Resource":"*"`, Allow},
		{"ActionStarInside", `"Action":"secretsmanager:*Value","Resource":"*"`, Allow},
		{"ActionQuestionMark", `"Action":"secretsmanager:?etSecretValue","Resource":"*"`, Allow},
		{"ActionQuestionMarkIsOne", `"Action":"secretsmanager:GetSecretValue?","Resource":"*"`, None},
		{"AllOfAService", `"Action":"secretsmanager:*","Resource":"*"`, Allow},
		{"AllOfAllServices", `"Action":"*:*","Resource":"*"`, Allow},
		{"OtherService", `"Action":"rds:*","Resource":"*"`, None},
		{"OneOfTheActions", `"Action":["rds:*","secretsmanager:GetSecretValue"],"Resource":"*"`, Allow},
		{"ResourceInOtherCase", `"Action":"*","Resource":"` + arns + `PROD/db-a1b2c3"`, None},
		{"ResourceStar", `"Action":"*","Resource":"` + arns + `prod/*"`, Allow},
		{"StarCrossesSlash", `"Action":"*","Resource":"` + arns + `p*3"`, Allow},
		{"StarCrossesColon", `"Action":"*","Resource":"arn:aws:secretsmanager:*:secret:prod/db-??????"`, Allow},
		{"SixQuestionMarks", `"Action":"*","Resource":"` + arns + `prod/db-??????"`, Allow},
		{"FiveQuestionMarks", `"Action":"*","Resource":"` + arns + `prod/db-?????"`, None},
		{"OneOfTheResources", `"Action":"*","Resource":["` + arns + `x","` + arns + `prod/*"]`, Allow},
		{"NotActionOfOthers", `"NotAction":["rds:*","lambda:*"],"Resource":"*"`, Allow},
		{"NotActionOfThis", `"NotAction":["rds:*","secretsmanager:Get*"],"Resource":"*"`, None},
		{"NotResourceOfOthers", `"Action":"*","NotResource":["` + arns + `dev/*","` + arns + `test/*"]`, Allow},
		{"NotResourceOfThis", `"Action":"*","NotResource":["` + arns + `dev/*","` + arns + `prod/*"]`, None},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := identity(t, inPolicy(`{"Effect":"Allow",`+tc.elements+`}`))
			if got := d.Decide(asking(nil)); got != tc.want {
				t.Errorf("Allow: Decide = %v, want %v", got, tc.want)
			}
			d = identity(t, inPolicy(`{"Effect":"Allow","Action":"*","Resource":"*"}`, `{"Effect":"Deny",`+tc.elements+`}`))
			if got := d.Decide(asking(nil)); (got == Deny) != (tc.want == Allow) {
				t.Errorf("Deny: Decide = %v", got)
			}
		})
	}
}

// An action of one statement and a resource of another grant nothing.
func TestStatementsDoNotMix(t *testing.T) {
	d := identity(t, inPolicy(`{"Effect":"Allow","Action":"secretsmanager:Get*","Resource":"arn:aws:secretsmanager:*:*:secret:dev*"}`,
		`{"Effect":"Allow","Action":"secretsmanager:Put*","Resource":"*"}`))
	if got := d.Decide(asking(nil)); got != None {
		t.Errorf("Decide = %v", got)
	}
}

func TestNilDocumentSaysNothing(t *testing.T) {
	var d *Document
	if got := d.Decide(asking(nil)); got != None {
		t.Errorf("Decide = %v", got)
	}
}

func TestPrincipals(t *testing.T) {
	user := Principal{ARN: "arn:aws:iam::" + account + ":user/app", Account: account}
	root := Principal{ARN: "arn:aws:iam::" + account + ":root", Account: account}
	session := Principal{ARN: "arn:aws:sts::" + account + ":assumed-role/reader/one", Account: account}
	service := Principal{Service: "rds.amazonaws.com"}
	for _, tc := range []struct {
		name, element string
		who           Principal
		allow, deny   Effect
	}{
		{"Everybody", `"Principal":"*"`, user, Allow, Deny},
		{"EverybodyOfAWS", `"Principal":{"AWS":"*"}`, user, Allow, Deny},
		{"TheUser", `"Principal":{"AWS":"arn:aws:iam::111122223333:user/app"}`, user, Allow, Deny},
		{"UserInOtherCase", `"Principal":{"AWS":"arn:aws:iam::111122223333:user/App"}`, user, None, None},
		{"OtherUser", `"Principal":{"AWS":"arn:aws:iam::111122223333:user/bob"}`, user, None, None},
		{"OneOfTheUsers", `"Principal":{"AWS":["444455556666","arn:aws:iam::111122223333:user/app"]}`, user, Allow, Deny},
		{"ItsAccount", `"Principal":{"AWS":"111122223333"}`, user, AllowAccount, Deny},
		{"ItsAccountAsARN", `"Principal":{"AWS":"arn:aws:iam::111122223333:root"}`, user, AllowAccount, Deny},
		{"OtherAccount", `"Principal":{"AWS":"444455556666"}`, user, None, None},
		{"RootByItsAccount", `"Principal":{"AWS":"111122223333"}`, root, Allow, Deny},
		{"TheSession", `"Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/reader/one"}`, session, Allow, Deny},
		{"OtherSession", `"Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/reader/two"}`, session, None, None},
		{"SessionByItsRole", `"Principal":{"AWS":"arn:aws:iam::111122223333:role/reader"}`, session, Allow, Deny},
		{"SessionByItsRoleWithPath", `"Principal":{"AWS":"arn:aws:iam::111122223333:role/team/a/reader"}`, session, Allow, Deny},
		{"SessionByOtherRole", `"Principal":{"AWS":"arn:aws:iam::111122223333:role/read"}`, session, None, None},
		{"SessionByRoleOfOtherAccount", `"Principal":{"AWS":"arn:aws:iam::444455556666:role/reader"}`, session, None, None},
		{"SessionByItsAccount", `"Principal":{"AWS":"111122223333"}`, session, AllowAccount, Deny},
		{"UserNamedAsTheRole", `"Principal":{"AWS":"arn:aws:iam::111122223333:role/app"}`, user, None, None},
		{"Service", `"Principal":{"Service":"rds.amazonaws.com"}`, service, Allow, Deny},
		{"OtherService", `"Principal":{"Service":["lambda.amazonaws.com","ecs.amazonaws.com.cn"]}`, service, None, None},
		{"ServiceAndAccount", `"Principal":{"Service":"rds.amazonaws.com","AWS":"111122223333"}`, user, AllowAccount, Deny},
		{"Federated", `"Principal":{"Federated":"cognito-identity.amazonaws.com"}`, user, None, None},
		{"CanonicalUser", `"Principal":{"CanonicalUser":"79a59df900b949e55d96a1e698fbaced"}`, user, None, None},
		{"NotTheUser", `"NotPrincipal":{"AWS":"arn:aws:iam::111122223333:user/app"}`, user, None, None},
		{"NotAnotherUser", `"NotPrincipal":{"AWS":"arn:aws:iam::111122223333:user/bob"}`, user, Allow, Deny},
		{"NotTheRole", `"NotPrincipal":{"AWS":"arn:aws:iam::111122223333:role/reader"}`, session, None, None},
		{"NotTheAccount", `"NotPrincipal":{"AWS":"111122223333"}`, user, None, Deny},
		{"NotTheAccountOfRoot", `"NotPrincipal":{"AWS":"111122223333"}`, root, None, None},
		{"NotAnotherAccount", `"NotPrincipal":{"AWS":"444455556666"}`, user, Allow, Deny},
		{"NotTheUserNorTheAccount", `"NotPrincipal":{"AWS":["arn:aws:iam::111122223333:root","arn:aws:iam::111122223333:user/app"]}`, user, None, None},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for effect, want := range map[string]Effect{"Allow": tc.allow, "Deny": tc.deny} {
				d := resource(t, inPolicy(`{"Effect":"`+effect+`","Action":"*","Resource":"*",`+tc.element+`}`))
				if got := d.Decide(&Request{Action: getValue, Resource: secret, Principal: tc.who}); got != want {
					t.Errorf("%s: Decide = %v, want %v", effect, got, want)
				}
			}
		})
	}
}

func TestVariables(t *testing.T) {
	keys := map[string][]string{"aws:username": {"app"}, "aws:principaltag/team": {"a*"}, "aws:tagkeys": {"x", "y"}, "aws:useragent": {"\xff"}}
	const arns = "arn:aws:secretsmanager:us-east-1:111122223333:secret:"
	for _, tc := range []struct {
		name, resource, asked string
		want                  Effect
	}{
		{"Value", "${aws:username}/*", "app/x", Allow},
		{"OtherValue", "${aws:username}/*", "bob/x", None},
		{"NameInOtherCase", "${AWS:UserName}/*", "app/x", Allow},
		{"Spaces", "${ aws:username }/*", "app/x", Allow},
		{"InTheMiddle", "x-${aws:username}-y?", "x-app-yz", Allow},
		{"Twice", "${aws:username}${aws:username}", "appapp", Allow},
		{"WildcardOfAValueIsNone", "${aws:PrincipalTag/team}", "ab", None},
		{"WildcardOfAValueIsItself", "${aws:PrincipalTag/team}", "a*", Allow},
		{"NoValue", "${aws:userid}*", "x", None},
		{"NoValueInPlace", "${aws:userid}", "${aws:userid}", None},
		{"Default", "${aws:userid, 'nobody'}/*", "nobody/x", Allow},
		{"DefaultWithoutSpace", "${aws:userid,'nobody'}", "nobody", Allow},
		{"EmptyDefault", "${aws:userid, ''}x", "x", Allow},
		{"DefaultUnused", "${aws:username, 'nobody'}", "nobody", None},
		{"DefaultHasNoWildcards", "${aws:userid, '*'}", "ab", None},
		{"SeveralValues", "${aws:tagkeys}", "x", None},
		{"BytesThatAreNoText", "${aws:useragent}", "x", None},
		{"Asterisk", "a${*}", "a*", Allow},
		{"AsteriskIsNoWildcard", "a${*}", "ab", None},
		{"QuestionMark", "a${?}", "a?", Allow},
		{"QuestionMarkIsNoWildcard", "a${?}", "ab", None},
		{"Dollar", "${$}{aws:username}", "${aws:username}", Allow},
		{"LoneDollar", "a$b", "a$b", Allow},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := identity(t, inPolicy(`{"Effect":"Allow","Action":"*","Resource":"`+arns+tc.resource+`"}`))
			r := asking(keys)
			r.Resource = arns + tc.asked
			if got := d.Decide(r); got != tc.want {
				t.Errorf("Decide = %v, want %v", got, tc.want)
			}
		})
	}
}

// A NotResource that has a variable without a value grants nothing, and spares nothing.
func TestNotResourceWithoutValue(t *testing.T) {
	for effect, want := range map[string]Effect{"Allow": None, "Deny": Deny} {
		d := identity(t, inPolicy(`{"Effect":"`+effect+`","Action":"*","NotResource":"arn:aws:s3:::${aws:userid}"}`))
		if got := d.Decide(asking(nil)); got != want {
			t.Errorf("%s: Decide = %v", effect, got)
		}
	}
}

func TestOldVersionHasNoVariables(t *testing.T) {
	for _, version := range []string{`"Version":"2008-10-17",`, ``} {
		d := identity(t, `{`+version+`"Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:username}"}}`)
		r := asking(map[string][]string{"aws:username": {"app"}})
		for name, want := range map[string]Effect{"app": None, "${aws:username}": Allow} {
			r.Resource = "arn:aws:s3:::" + name
			if got := d.Decide(r); got != want {
				t.Errorf("%s %s: Decide = %v", version, name, got)
			}
		}
	}
}

// The properties below are over policies of a few statements from few parts, so
// that statements often meet.
var (
	someActions   = []string{"*", "secretsmanager:*", "secretsmanager:Get*", "secretsmanager:PutSecretValue", "rds:*"}
	someResources = []string{"*", "arn:aws:secretsmanager:*:secret:a*", "arn:aws:secretsmanager:::secret:ab", "arn:aws:secretsmanager:::secret:${aws:username}"}
	someWho       = []string{`"*"`, `{"AWS":"arn:aws:iam::111122223333:user/app"}`, `{"AWS":"arn:aws:iam::111122223333:user/bob"}`}
	someConds     = []string{`{}`, `{"StringEquals":{"aws:username":"app"}}`, `{"StringNotLike":{"aws:username":"a*"}}`,
		`{"Null":{"aws:tagkeys":"true"}}`, `{"ForAllValues:StringLike":{"aws:tagkeys":["a","b*"]}}`}
)

func aStatement(t *rapid.T, effects ...string) string {
	pick := func(from []string) string { return rapid.SampledFrom(from).Draw(t, "part") }
	not := func(element, value string) string {
		return `"` + rapid.SampledFrom([]string{"", "Not"}).Draw(t, "not") + element + `":` + value
	}
	return fmt.Sprintf(`{"Effect":%q,%s,%s,%s,"Condition":%s}`, pick(effects), not("Action", `"`+pick(someActions)+`"`),
		not("Resource", `"`+pick(someResources)+`"`), not("Principal", pick(someWho)), pick(someConds))
}

func aRequest(t *rapid.T) *Request {
	keys := map[string][]string{}
	if rapid.Bool().Draw(t, "has a name") {
		keys["aws:username"] = []string{rapid.SampledFrom([]string{"app", "ab", "bob"}).Draw(t, "name")}
	}
	if tags := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "bc", "z", ""}), 0, 3).Draw(t, "tags"); len(tags) > 0 {
		keys["aws:tagkeys"] = tags
	}
	r := asking(keys)
	r.Action = rapid.SampledFrom([]string{getValue, "secretsmanager:PutSecretValue", "rds:CreateDBCluster"}).Draw(t, "action")
	r.Resource = rapid.SampledFrom([]string{"*", "arn:aws:secretsmanager:::secret:ab", "arn:aws:secretsmanager:::secret:b"}).Draw(t, "resource")
	return r
}

func someStatements(t *rapid.T) []string {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return aStatement(t, "Allow", "Deny") }), 1, 6).Draw(t, "statements")
}

func TestDenyNeverAllowsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		statements, r := someStatements(t), aRequest(t)
		before := mustResource(inPolicy(statements...)).Decide(r)
		after := mustResource(inPolicy(append(statements, aStatement(t, "Deny"))...)).Decide(r)
		if after != before && after != Deny {
			t.Fatalf("before %v, after %v", before, after)
		}
	})
}

func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		statements, r := someStatements(t), aRequest(t)
		shuffled := rapid.Permutation(statements).Draw(t, "shuffled")
		if a, b := mustResource(inPolicy(statements...)).Decide(r), mustResource(inPolicy(shuffled...)).Decide(r); a != b {
			t.Fatalf("%v and %v", a, b)
		}
	})
}

// A policy says the strongest of what its statements say alone.
func TestStatementsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		statements, r := someStatements(t), aRequest(t)
		want := None
		for _, s := range statements {
			want = max(want, mustResource(inPolicy(s)).Decide(r))
		}
		if got := mustResource(inPolicy(statements...)).Decide(r); got != want {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

// Of a statement and the one that differs in NotAction, NotResource or
// NotPrincipal, exactly one applies.
func TestNotIsTheComplement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		elements := map[string]string{"Action": `"` + rapid.SampledFrom(someActions).Draw(t, "action") + `"`,
			"Resource":  `"` + rapid.SampledFrom(someResources[:3]).Draw(t, "resource") + `"`,
			"Principal": rapid.SampledFrom(someWho).Draw(t, "principal")}
		negated := rapid.SampledFrom([]string{"Action", "Resource", "Principal"}).Draw(t, "negated")
		write := func(not string) string {
			text := `{"Effect":"Allow"`
			for element, value := range elements {
				if element != negated {
					text += `,"` + element + `":"*"`
					continue
				}
				text += `,"` + not + element + `":` + value
			}
			return inPolicy(text + `}`)
		}
		r := aRequest(t)
		if a, b := mustResource(write("")).Decide(r), mustResource(write("Not")).Decide(r); a == b {
			t.Fatalf("both %v", a)
		}
	})
}

func mustResource(text string) *Document {
	d, err := ParseResource(text)
	if err != nil {
		panic(err)
	}
	return d
}

const allowed = `"Effect":"Allow","Action":"s3:*","Resource":"*"`

// texts of policies, with the error of ParseIdentity and that of ParseResource.
var parseTests = []struct {
	name, text         string
	identity, resource error
}{
	{"Identity", inPolicy(`{` + allowed + `}`), nil, ErrSyntax},
	{"Resource", inPolicy(`{` + allowed + `,"Principal":"*"}`), ErrSyntax, nil},
	{"NotPrincipal", inPolicy(`{` + allowed + `,"NotPrincipal":{"AWS":"111122223333"}}`), ErrSyntax, nil},
	{"OneStatement", `{"Statement":{` + allowed + `}}`, nil, ErrSyntax},
	{"ID", `{"Id":"x y","Statement":{` + allowed + `,"Principal":"*"}}`, ErrSyntax, nil},
	{"IDOfAnIdentity", `{"Id":"x","Statement":{` + allowed + `}}`, ErrSyntax, ErrSyntax},
	{"SidOfAResource", inPolicy(`{"Sid":"a-b_c","Principal":"*",` + allowed + `}`), ErrSyntax, nil},
	{"SidWithSpace", inPolicy(`{"Sid":"a b","Principal":"*",` + allowed + `}`), ErrSyntax, ErrSyntax},
	{"SidTwice", inPolicy(`{"Sid":"a",`+allowed+`}`, `{"Sid":"a",`+allowed+`}`), ErrSyntax, ErrSyntax},
	{"EmptySidTwice", inPolicy(`{"Sid":"",`+allowed+`}`, `{"Sid":"",`+allowed+`}`), nil, ErrSyntax},
	{"ConditionValues", inPolicy(`{` + allowed + `,"Condition":{"NumericEquals":{"a:b":[1,"2",3.5]},"Bool":{"a:c":true}}}`), nil, ErrSyntax},
	{"NoConditions", inPolicy(`{` + allowed + `,"Condition":{}}`), nil, ErrSyntax},
	{"NoConditionValues", inPolicy(`{` + allowed + `,"Condition":{"StringEquals":{"a:b":[]}}}`), nil, ErrSyntax},

	{"Nothing", ``, ErrSyntax, ErrSyntax},
	{"NotJSON", `{`, ErrSyntax, ErrSyntax},
	{"NotAnObject", `[]`, ErrSyntax, ErrSyntax},
	{"InvalidUTF8", inPolicy("{" + allowed + ",\"Sid\":\"\xff\"}"), ErrSyntax, ErrSyntax},
	{"TrailingGarbage", inPolicy(`{`+allowed+`}`) + `x`, ErrSyntax, ErrSyntax},
	{"TwoPolicies", inPolicy(`{`+allowed+`}`) + inPolicy(`{`+allowed+`}`), ErrSyntax, ErrSyntax},
	{"UnknownMember", `{"Extra":1,"Statement":{` + allowed + `}}`, ErrSyntax, ErrSyntax},
	{"UnknownElement", inPolicy(`{` + allowed + `,"Comment":"x"}`), ErrSyntax, ErrSyntax},
	{"ElementInOtherCase", `{"statement":{` + allowed + `}}`, ErrSyntax, ErrSyntax},
	{"RepeatedElement", inPolicy(`{` + allowed + `,"Effect":"Allow"}`), ErrSyntax, ErrSyntax},
	{"RepeatedOperator", inPolicy(`{` + allowed + `,"Condition":{"Bool":{"a:b":"true"},"Bool":{"a:c":"true"}}}`), ErrSyntax, ErrSyntax},
	{"Null", `{"Version":null,"Statement":{` + allowed + `}}`, ErrSyntax, ErrSyntax},
	{"Version", `{"Version":"2020-01-01","Statement":{` + allowed + `}}`, ErrSyntax, ErrSyntax},
	{"NumberForVersion", `{"Version":20121017,"Statement":{` + allowed + `}}`, ErrSyntax, ErrSyntax},
	{"NoStatement", `{"Version":"2012-10-17"}`, ErrSyntax, ErrSyntax},
	{"EmptyStatements", inPolicy(), ErrSyntax, ErrSyntax},
	{"NoEffect", inPolicy(`{"Action":"*","Resource":"*"}`), ErrSyntax, ErrSyntax},
	{"EffectInOtherCase", inPolicy(`{"Effect":"allow","Action":"*","Resource":"*"}`), ErrSyntax, ErrSyntax},
	{"NoAction", inPolicy(`{"Effect":"Allow","Resource":"*"}`), ErrSyntax, ErrSyntax},
	{"EmptyAction", inPolicy(`{"Effect":"Allow","Action":[],"Resource":"*"}`), ErrSyntax, ErrSyntax},
	{"ActionAndNotAction", inPolicy(`{` + allowed + `,"NotAction":"rds:*"}`), ErrSyntax, ErrSyntax},
	{"ActionWithoutService", inPolicy(`{"Effect":"Allow","Action":"GetSecretValue","Resource":"*"}`), ErrSyntax, ErrSyntax},
	{"NumberForAction", inPolicy(`{"Effect":"Allow","Action":1,"Resource":"*"}`), ErrSyntax, ErrSyntax},
	{"NoResource", inPolicy(`{"Effect":"Allow","Action":"*"}`), ErrSyntax, ErrSyntax},
	{"EmptyResource", inPolicy(`{"Effect":"Allow","Action":"*","Resource":[]}`), ErrSyntax, ErrSyntax},
	{"ResourceIsNoARN", inPolicy(`{"Effect":"Allow","Action":"*","Resource":"prod/db"}`), ErrSyntax, ErrSyntax},
	{"ResourceAndNotResource", inPolicy(`{` + allowed + `,"NotResource":"*"}`), ErrSyntax, ErrSyntax},
	{"VariableInAccount", inPolicy(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3::${aws:PrincipalAccount}:x"}`), ErrSyntax, ErrSyntax},
	{"VariableWithoutEnd", inPolicy(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:username"}`), ErrSyntax, ErrSyntax},
	{"VariableWithoutName", inPolicy(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${}"}`), ErrSyntax, ErrSyntax},
	{"DefaultWithoutQuotes", inPolicy(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:username, x}"}`), ErrSyntax, ErrSyntax},
	{"UnknownOperator", inPolicy(`{` + allowed + `,"Condition":{"StringIs":{"a:b":"c"}}}`), ErrSyntax, ErrSyntax},
	{"NullIfExists", inPolicy(`{` + allowed + `,"Condition":{"NullIfExists":{"a:b":"true"}}}`), ErrSyntax, ErrSyntax},
	{"NullOfASet", inPolicy(`{` + allowed + `,"Condition":{"ForAnyValue:Null":{"a:b":"true"}}}`), ErrSyntax, ErrSyntax},
	{"KeyWithoutPrefix", inPolicy(`{` + allowed + `,"Condition":{"Bool":{"b":"true"}}}`), ErrSyntax, ErrSyntax},
	{"NotANumber", inPolicy(`{` + allowed + `,"Condition":{"NumericEquals":{"a:b":"x"}}}`), ErrSyntax, ErrSyntax},
	{"NotADate", inPolicy(`{` + allowed + `,"Condition":{"DateEquals":{"a:b":"today"}}}`), ErrSyntax, ErrSyntax},
	{"NotABoolean", inPolicy(`{` + allowed + `,"Condition":{"Bool":{"a:b":"1"}}}`), ErrSyntax, ErrSyntax},
	{"NotAnAddress", inPolicy(`{` + allowed + `,"Condition":{"IpAddress":{"a:b":"1.2.3"}}}`), ErrSyntax, ErrSyntax},
	{"NotARange", inPolicy(`{` + allowed + `,"Condition":{"IpAddress":{"a:b":"1.2.3.4/33"}}}`), ErrSyntax, ErrSyntax},
	{"NotBase64", inPolicy(`{` + allowed + `,"Condition":{"BinaryEquals":{"a:b":"?"}}}`), ErrSyntax, ErrSyntax},
	{"ObjectForValue", inPolicy(`{` + allowed + `,"Condition":{"Bool":{"a:b":{}}}}`), ErrSyntax, ErrSyntax},
	{"ListsInValues", inPolicy(`{` + allowed + `,"Condition":{"Bool":{"a:b":[["true"]]}}}`), ErrSyntax, ErrSyntax},

	{"PrincipalIsText", inPolicy(`{` + allowed + `,"Principal":"111122223333"}`), ErrSyntax, ErrSyntax},
	{"PrincipalOfUnknownType", inPolicy(`{` + allowed + `,"Principal":{"GCP":"*"}}`), ErrSyntax, ErrSyntax},
	{"PrincipalOfNobody", inPolicy(`{` + allowed + `,"Principal":{"AWS":[]}}`), ErrSyntax, ErrSyntax},
	{"PrincipalTwice", inPolicy(`{` + allowed + `,"Principal":"*","NotPrincipal":"*"}`), ErrSyntax, ErrSyntax},
	{"PrincipalGroup", inPolicy(`{` + allowed + `,"Principal":{"AWS":"arn:aws:iam::111122223333:group/g"}}`), ErrSyntax, ErrPrincipal},
	{"PrincipalPattern", inPolicy(`{` + allowed + `,"Principal":{"AWS":"arn:aws:iam::111122223333:user/*"}}`), ErrSyntax, ErrPrincipal},
	{"PrincipalID", inPolicy(`{` + allowed + `,"Principal":{"AWS":"AIDAJQABLZS4A3QDU576Q"}}`), ErrSyntax, ErrPrincipal},
	{"AccountOf11Digits", inPolicy(`{` + allowed + `,"Principal":{"AWS":"11112222333"}}`), ErrSyntax, ErrPrincipal},
	{"FederatedPattern", inPolicy(`{` + allowed + `,"Principal":{"Federated":"*"}}`), ErrSyntax, ErrPrincipal},
	{"EveryService", inPolicy(`{` + allowed + `,"Principal":{"Service":"*"}}`), ErrSyntax, ErrServicePrincipal},
	{"ServiceOfStrangers", inPolicy(`{` + allowed + `,"Principal":{"Service":"rds.example.com"}}`), ErrSyntax, ErrServicePrincipal},
	{"SyntaxBeforePrincipals", inPolicy(`{`+allowed+`,"Principal":{"AWS":"x"}}`, `{"Effect":"Permit"}`), ErrSyntax, ErrSyntax},
}

func TestParse(t *testing.T) {
	for _, tc := range parseTests {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := ParseIdentity(tc.text); !errors.Is(err, tc.identity) {
				t.Errorf("ParseIdentity: %v, want %v", err, tc.identity)
			}
			if _, err := ParseResource(tc.text); !errors.Is(err, tc.resource) {
				t.Errorf("ParseResource: %v, want %v", err, tc.resource)
			}
		})
	}
}
