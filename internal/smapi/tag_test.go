package smapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/keyturntest"
)

func (c client) tag(id string, pairs ...string) error {
	in := &sm.TagResourceInput{SecretId: &id, Tags: []types.Tag{}}
	for _, p := range pairs {
		key, value, _ := strings.Cut(p, "=")
		in.Tags = append(in.Tags, types.Tag{Key: &key, Value: &value})
	}
	_, err := c.TagResource(c.t.Context(), in)
	return err
}

func (c client) untag(id string, keys ...string) error {
	_, err := c.UntagResource(c.t.Context(), &sm.UntagResourceInput{SecretId: &id, TagKeys: keys})
	return err
}

func (c client) wantTags(id, want string) {
	c.t.Helper()
	tags := c.describe(id).Tags
	got := make([]string, 0, len(tags))
	for _, t := range tags {
		got = append(got, *t.Key+"="+*t.Value)
	}
	if text := fmt.Sprint(got); text != want {
		c.t.Errorf("tags are %s, want %s", text, want)
	}
}

func TestTags(t *testing.T) {
	c := newClient(t)
	c.create("s", "x")
	if c.describe("s").Tags != nil {
		t.Error("a secret never tagged shows tags")
	}
	before := *c.describe("s").LastChangedDate
	c.must(c.tag("s", "b=1", "a=2"))
	c.must(c.tag("s", "c=3", "b=4", "B=5")) // keys have a case and keep their place
	c.wantTags("s", "[b=4 a=2 c=3 B=5]")
	if !c.describe("s").LastChangedDate.After(before) {
		t.Error("LastChangedDate did not move")
	}
	c.must(c.untag("s", "a", "unknown"))
	c.wantTags("s", "[b=4 c=3 B=5]")
	c.must(c.tag("s", "a="))
	c.wantTags("s", "[b=4 c=3 B=5 a=]")
	c.must(c.untag("s", "a", "b", "B", "c"))
	if tags := c.describe("s").Tags; tags == nil || len(tags) != 0 {
		t.Errorf("after the last tag Tags is %v, want []", tags)
	}
}

func manyTags(n int) (all []types.Tag) {
	for i := range n {
		all = append(all, types.Tag{Key: aws.String(fmt.Sprintf("k%d", i)), Value: aws.String("v")})
	}
	return all
}

func TestTagsRefused(t *testing.T) {
	c := newClient(t)
	c.create("s", "x")
	reserved := "InvalidParameterException: Tag keys that begin with aws: are reserved for system use."
	wantError(t, c.tag("s", "aws:mine=1"), reserved)
	wantError(t, c.untag("s", "aws:mine"), reserved)
	wantError(t, c.tag("missing", "a=1"), notFound)
	wantError(t, c.untag("missing", "a"), notFound)
	wantError(t, c.tag("not there", "a=1"), badName)
	wantError(t, c.untag("not there", "a"), badName)
	wantError(t, c.tag("s", strings.Repeat("k", 129)+"=1"), "ValidationException: 1 validation error detected: Value '"+strings.Repeat("k", 129)+"' at 'tags.1.member.key' failed to satisfy constraint: Member must have length less than or equal to 128")
	wantError(t, c.tag("s", "k="+strings.Repeat("v", 257)), "ValidationException: 1 validation error detected: Value '"+strings.Repeat("v", 257)+"' at 'tags.1.member.value' failed to satisfy constraint: Member must have length less than or equal to 256")
	var fifty []string
	for i := range 50 {
		fifty = append(fifty, fmt.Sprintf("k%d=v", i))
	}
	c.must(c.tag("s", fifty...))
	c.must(c.tag("s", "k7=other"))
	tooMany := "InvalidParameterException: A secret can't have more than 50 tags."
	wantError(t, c.tag("s", "one-more=v"), tooMany)
	wantError(t, c.tag("s", append(fifty, "one-more=v")...), tooMany) // the model sets no bound for one request
	c.must(c.tag("s", append(fifty, "k7=twice")...))
	_, err := c.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("many"), Tags: manyTags(51)})
	wantError(t, err, tooMany)
	_, err = c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("many")})
	wantError(t, err, notFound)
	if n := len(c.describe("s").Tags); n != 50 {
		t.Errorf("%d tags", n)
	}
	_, err = c.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: aws.String("s")})
	c.must(err)
	wantError(t, c.tag("s", "k7=v"), marked)
	wantError(t, c.untag("s", "k7"), marked)
}

func TestTagResourceAnswersNothing(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory, dev)
	client{s.SecretsManager, t}.create("s", "x")
	for op, body := range map[string]string{
		"TagResource":   `{"SecretId":"s","Tags":[{"Key":"k","Value":"v"}]}`,
		"UntagResource": `{"SecretId":"s","TagKeys":["k"]}`,
	} {
		if status, answer := raw(t, s.URL, "secretsmanager."+op, body); status != http.StatusOK || answer != "{}" {
			t.Errorf("%s: %d %q", op, status, answer)
		}
	}
}

func TestManagedSecretsKeepTagsAndPolicy(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	id := aws.String(string(h.make(secret.New{Name: "rds!cluster-1", OwningService: "rds"})))
	managed := "InvalidRequestException: The secret is managed by another service, and you must use that service to update it."
	wantError(t, h.tag(*id, "k=v"), managed)
	wantError(t, h.untag(*id, "k"), managed)
	_, err := h.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{SecretId: id, ResourcePolicy: aws.String(narrowPolicy)})
	wantError(t, err, managed)
	_, err = h.DeleteResourcePolicy(ctx, &sm.DeleteResourcePolicyInput{SecretId: id})
	wantError(t, err, managed)
	_, err = h.GetResourcePolicy(ctx, &sm.GetResourcePolicyInput{SecretId: id})
	wantError(t, err, "")
	h.create("mine", "x")
	if got := h.list(&sm.ListSecretsInput{Filters: []types.Filter{filter("owning-service=rd")}}); len(got) != 1 || got[0] != "rds!cluster-1" {
		t.Errorf("found %v", got)
	}
}
