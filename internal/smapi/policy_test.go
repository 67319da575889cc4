package smapi_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/keyturntest"
)

const (
	publicPolicy  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*"}]}`
	narrowPolicy  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:user/app"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}]}`
	lockOutPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"secretsmanager:*","Resource":"*"}]}`
	groupPolicy   = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:group/all"},"Action":"secretsmanager:*","Resource":"*"}]}`
	servicePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"nobody"},"Action":"secretsmanager:*","Resource":"*"}]}`

	malformed   = "MalformedPolicyDocumentException: This resource policy contains a syntax error."
	unsupported = "MalformedPolicyDocumentException: This resource policy contains an unsupported principal."
	noService   = "MalformedPolicyDocumentException: This resource policy contains an invalid service principal."
	lockOut     = "MalformedPolicyDocumentException: Your requested changes will not allow you to manage this secret in the future."
	tooPublic   = "PublicPolicyException: You can't attach a resource-based policy that allows broad access to the secret."
)

func TestResourcePolicy(t *testing.T) {
	c, ctx, s := newClient(t), t.Context(), aws.String("s")
	arn := c.create("s", "x").ARN
	get := func() *string {
		t.Helper()
		out, err := c.GetResourcePolicy(ctx, &sm.GetResourcePolicyInput{SecretId: s})
		c.must(err)
		if *out.ARN != *arn || *out.Name != "s" {
			t.Errorf("answered %s, %s", *out.ARN, *out.Name)
		}
		return out.ResourcePolicy
	}
	if get() != nil {
		t.Error("a policy out of nowhere")
	}
	spaced := strings.ReplaceAll(narrowPolicy, ",", ",\n\t ") // the text comes back as it was given
	out, err := c.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{SecretId: s, ResourcePolicy: &spaced, BlockPublicPolicy: aws.Bool(true)})
	c.must(err)
	if got := aws.ToString(get()); got != spaced || *out.ARN != *arn || *out.Name != "s" {
		t.Errorf("stored %q, answered %s, %s", got, *out.ARN, *out.Name)
	}
	for policy, want := range map[string]string{
		`{`:                        malformed,
		`[]`:                       malformed,
		`{"Version":"2012-10-17"}`: malformed,
		strings.Replace(narrowPolicy, "Allow", "Maybe", 1):              malformed,
		strings.Replace(narrowPolicy, `"Principal"`, `"Nobody"`, 1):     malformed,
		strings.Replace(narrowPolicy, `"Resource":"*"`, `"Sid":"x"`, 1): malformed,
		groupPolicy:                unsupported,
		servicePolicy:              noService,
		lockOutPolicy:              lockOut,
		strings.Repeat("x", 20481): "ValidationException: 1 validation error detected: Value at 'resourcePolicy' failed to satisfy constraint: Member must have length less than or equal to 20480",
	} {
		_, err := c.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{SecretId: s, ResourcePolicy: &policy})
		wantError(t, err, want)
	}
	if got := aws.ToString(get()); got != spaced {
		t.Errorf("a refused policy was stored: %q", got)
	}
	for range 2 { // without a policy it is a success too
		gone, err := c.DeleteResourcePolicy(ctx, &sm.DeleteResourcePolicyInput{SecretId: s})
		c.must(err)
		if get() != nil || *gone.ARN != *arn || *gone.Name != "s" {
			t.Errorf("not deleted, or answered %s, %s", *gone.ARN, *gone.Name)
		}
	}
}

// AWS's model counts characters, and what it counts of a policy may be in any language.
func TestLengthOfResourcePolicyIsInCharacters(t *testing.T) {
	c := newClient(t)
	c.create("s", "x")
	sid := func(n int) string {
		return strings.Replace(narrowPolicy, `{"Effect"`, `{"Sid":"`+strings.Repeat("ü", n)+`","Effect"`, 1)
	}
	room := 20480 - len(sid(0))
	_, err := c.PutResourcePolicy(t.Context(), &sm.PutResourcePolicyInput{SecretId: aws.String("s"), ResourcePolicy: aws.String(sid(room))})
	c.must(err)
	_, err = c.PutResourcePolicy(t.Context(), &sm.PutResourcePolicyInput{SecretId: aws.String("s"), ResourcePolicy: aws.String(sid(room + 1))})
	wantError(t, err, "ValidationException: 1 validation error detected: Value at 'resourcePolicy' failed to satisfy constraint: Member must have length less than or equal to 20480")
}

func TestBlockPublicPolicy(t *testing.T) {
	c := newClient(t)
	c.create("s", "x")
	put := func(policy string, block *bool) error {
		_, err := c.PutResourcePolicy(t.Context(), &sm.PutResourcePolicyInput{SecretId: aws.String("s"), ResourcePolicy: &policy, BlockPublicPolicy: block})
		return err
	}
	wantError(t, put(publicPolicy, aws.Bool(true)), tooPublic)
	wantError(t, put(publicPolicy, nil), "")
	wantError(t, put(publicPolicy, aws.Bool(false)), "")
	narrowed := strings.Replace(publicPolicy, `"Resource":"*"`, `"Resource":"*","Condition":{"StringEquals":{"aws:SourceAccount":"000000000000"}}`, 1)
	wantError(t, put(narrowed, aws.Bool(true)), "")
}

func TestResourcePolicyOfMissingSecret(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	c.create("gone", "x")
	_, err := c.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: aws.String("gone")})
	c.must(err)
	for id, want := range map[string]string{"missing": notFound, "gone": marked, "not legal": badName} {
		_, err := c.GetResourcePolicy(ctx, &sm.GetResourcePolicyInput{SecretId: &id})
		wantError(t, err, want)
		_, err = c.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{SecretId: &id, ResourcePolicy: aws.String(narrowPolicy)})
		wantError(t, err, want)
		_, err = c.DeleteResourcePolicy(ctx, &sm.DeleteResourcePolicyInput{SecretId: &id})
		wantError(t, err, want)
	}
	_, err = c.ValidateResourcePolicy(ctx, &sm.ValidateResourcePolicyInput{SecretId: aws.String("not legal"), ResourcePolicy: aws.String(narrowPolicy)})
	wantError(t, err, badName)
}

// The check's names are ours; the rest is AWS's.
func TestValidateResourcePolicy(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory)
	c := client{s.SecretsManager, t}
	c.create("s", "x")
	for _, id := range []*string{nil, aws.String("s")} {
		for policy, want := range map[string]string{
			narrowPolicy:  "",
			`{`:           malformed,
			groupPolicy:   unsupported,
			servicePolicy: noService,
			publicPolicy:  tooPublic,
			lockOutPolicy: lockOut,
		} {
			out, err := c.ValidateResourcePolicy(t.Context(), &sm.ValidateResourcePolicyInput{SecretId: id, ResourcePolicy: &policy})
			c.must(err)
			var got string
			for _, e := range out.ValidationErrors {
				if got += *e.ErrorMessage; *e.CheckName == "" {
					t.Error("a check without a name")
				}
			}
			if _, text, _ := strings.Cut(want, ": "); got != text || out.PolicyValidationPassed != (want == "") {
				t.Errorf("%.60s: passed %v, errors %q", policy, out.PolicyValidationPassed, got)
			}
		}
	}
	half := as(t, s, "", "half", allow("secretsmanager:ValidateResourcePolicy", "*", ""))
	_, err := half.ValidateResourcePolicy(t.Context(), &sm.ValidateResourcePolicyInput{ResourcePolicy: aws.String(narrowPolicy)})
	wantDenied(t, err, "PutResourcePolicy", "*") // AWS asks for both
}

func TestValidationFlagIsSent(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory, dev)
	for policy, want := range map[string]string{
		`{}`: `{"PolicyValidationPassed":false,"ValidationErrors":[{"CheckName":"Syntax","ErrorMessage":"This resource policy contains a syntax error."}]}`,
		`{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"000000000000\"},\"Action\":\"*\",\"Resource\":\"*\"}]}`: `{"PolicyValidationPassed":true,"ValidationErrors":[]}`,
	} {
		if _, answer := raw(t, s.URL, "secretsmanager.ValidateResourcePolicy", `{"ResourcePolicy":"`+policy+`"}`); answer != want {
			t.Errorf("got %s\nwant %s", answer, want)
		}
	}
}
