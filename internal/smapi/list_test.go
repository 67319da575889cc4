package smapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/keyturntest"
)

// filter is a filter written as key=value|value.
func filter(text string) types.Filter {
	key, values, _ := strings.Cut(text, "=")
	return types.Filter{Key: types.FilterNameStringType(key), Values: strings.Split(values, "|")}
}

// The rules about words are tested where they are kept, in package secret.
func TestListFilters(t *testing.T) {
	c := newClient(t)
	for _, s := range []struct{ name, description, tag string }{
		{"app/SecretOne", "one and two", "team=data"},
		{"app/other", "COMPANYthings", "Team=web"},
		{"Third", "", ""},
	} {
		in := &sm.CreateSecretInput{Name: &s.name, Description: &s.description}
		if key, value, ok := strings.Cut(s.tag, "="); ok {
			in.Tags = []types.Tag{{Key: &key, Value: &value}}
		}
		_, err := c.CreateSecret(t.Context(), in)
		c.must(err)
	}
	_, err := c.ReplicateSecretToRegions(t.Context(), &sm.ReplicateSecretToRegionsInput{SecretId: aws.String("Third"), AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String("eu-west-1")}}})
	c.must(err)
	for filters, want := range map[string]string{ // several filters are separated by ;
		"":                              "Third app/SecretOne app/other",
		"name=app/":                     "app/SecretOne app/other",
		"name=App":                      "",
		"name=!app":                     "Third",
		"name=Third|app/o":              "Third app/other",
		"description=t o":               "app/SecretOne",
		"description=compan":            "app/other",
		"description=!a":                "Third app/other",
		"tag-key=team":                  "app/SecretOne",
		"tag-value=we":                  "app/other",
		"primary-region=us-":            "Third",
		"primary-region=!us-":           "app/SecretOne app/other",
		"owning-service=rds":            "",
		"all=sec":                       "app/SecretOne",
		"all=ret":                       "",
		"all=data|web":                  "app/SecretOne app/other",
		"name=app;description=two":      "app/SecretOne",
		"name=app/;name=!app/other":     "app/SecretOne",
		"description=one;description=x": "",
	} {
		in := &sm.ListSecretsInput{SortBy: types.SortByTypeName}
		for f := range strings.SplitSeq(filters, ";") {
			if f != "" {
				in.Filters = append(in.Filters, filter(f))
			}
		}
		if got := strings.Join(c.list(in), " "); got != want {
			t.Errorf("%s found %q, want %q", filters, got, want)
		}
	}
}

func TestListOrders(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		for _, name := range []string{"c", "a", "b"} {
			h.create(name, "x")
			time.Sleep(time.Hour)
		}
		h.put("c", "v2", "y")
		h.get("b")
		time.Sleep(24 * time.Hour)
		h.get("a")
		synctest.Wait() // the days of reads are noted in the background
		for by, want := range map[types.SortByType]string{
			"":                               "[c a b]",
			types.SortByTypeCreatedDate:      "[c a b]",
			types.SortByTypeName:             "[a b c]",
			types.SortByTypeLastChangedDate:  "[a b c]",
			types.SortByTypeLastAccessedDate: "[c b a]", // never, yesterday, today
		} {
			up := h.list(&sm.ListSecretsInput{SortBy: by, SortOrder: types.SortOrderTypeAsc, MaxResults: aws.Int32(2)})
			down := h.list(&sm.ListSecretsInput{SortBy: by, SortOrder: types.SortOrderTypeDesc, MaxResults: aws.Int32(2)})
			if fmt.Sprint(up) != want {
				t.Errorf("by %q: %v, want %s", by, up, want)
			}
			if slices.Reverse(down); !slices.Equal(up, down) {
				t.Errorf("by %q and downwards: %v", by, down)
			}
		}
	})
}

func TestListRefused(t *testing.T) {
	c := newClient(t)
	for name, tc := range map[string]struct {
		change func(*sm.ListSecretsInput)
		want   string
	}{
		"unknown key": {func(in *sm.ListSecretsInput) { in.Filters = []types.Filter{filter("invalid=x")} },
			"ValidationException: 1 validation error detected: Value 'invalid' at 'filters.1.member.key' failed to satisfy constraint: Member must satisfy enum value set: [description, name, tag-key, tag-value, primary-region, owning-service, all]"},
		"no key":    {func(in *sm.ListSecretsInput) { in.Filters = []types.Filter{filter("=x")} }, "InvalidParameterException: Invalid filter key"},
		"no values": {func(in *sm.ListSecretsInput) { in.Filters = []types.Filter{{Key: "description"}} }, "InvalidParameterException: Invalid filter values for key: description"},
		"empty values": {func(in *sm.ListSecretsInput) { in.Filters = []types.Filter{{Key: "name", Values: []string{}}} },
			"ValidationException: 1 validation error detected: Value at 'filters.1.member.values' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		"eleven filters": {func(in *sm.ListSecretsInput) { in.Filters = slices.Repeat([]types.Filter{filter("name=x")}, 11) },
			"ValidationException: 1 validation error detected: Value at 'filters' failed to satisfy constraint: Member must have length less than or equal to 10"},
		"eleven values": {func(in *sm.ListSecretsInput) {
			in.Filters = []types.Filter{{Key: "name", Values: slices.Repeat([]string{"x"}, 11)}}
		}, "ValidationException: 1 validation error detected: Value at 'filters.1.member.values' failed to satisfy constraint: Member must have length less than or equal to 10"},
		"odd character": {func(in *sm.ListSecretsInput) { in.Filters = []types.Filter{filter("name=a*")} },
			`ValidationException: 1 validation error detected: Value 'a*' at 'filters.1.member.values.1.member' failed to satisfy constraint: Member must satisfy regular expression pattern: ^\!?[a-zA-Z0-9 :_@\/\+\=\.\-\!]*$`},
		"order": {func(in *sm.ListSecretsInput) { in.SortBy = "size" },
			"ValidationException: 1 validation error detected: Value 'size' at 'sortBy' failed to satisfy constraint: Member must satisfy enum value set: [created-date, last-accessed-date, last-changed-date, name]"},
		"way": {func(in *sm.ListSecretsInput) { in.SortOrder = "up" },
			"ValidationException: 1 validation error detected: Value 'up' at 'sortOrder' failed to satisfy constraint: Member must satisfy enum value set: [asc, desc]"},
		"token": {func(in *sm.ListSecretsInput) { in.NextToken = aws.String("!") }, "InvalidNextTokenException: The NextToken value is invalid."},
	} {
		t.Run(name, func(t *testing.T) {
			in := &sm.ListSecretsInput{}
			tc.change(in)
			_, err := c.ListSecrets(t.Context(), in)
			wantError(t, err, tc.want)
		})
	}
}

func TestTokenOfAnotherList(t *testing.T) {
	c := newClient(t)
	c.create("a", "x")
	c.create("b", "x")
	one := aws.Int32(1)
	out, err := c.ListSecrets(t.Context(), &sm.ListSecretsInput{MaxResults: one})
	c.must(err)
	for name, in := range map[string]*sm.ListSecretsInput{
		"filter": {Filters: []types.Filter{filter("name=a")}},
		"order":  {SortBy: types.SortByTypeName},
		"way":    {SortOrder: types.SortOrderTypeDesc},
		"hidden": {IncludePlannedDeletion: aws.Bool(true)},
	} {
		in.NextToken = out.NextToken
		_, err := c.ListSecrets(t.Context(), in)
		if wantError(t, err, "InvalidNextTokenException: The NextToken value is invalid."); t.Failed() {
			t.Log(name)
		}
	}
	out, err = c.ListSecrets(t.Context(), &sm.ListSecretsInput{MaxResults: one, NextToken: out.NextToken})
	c.must(err)
	if len(out.SecretList) != 1 || out.NextToken != nil {
		t.Errorf("the last page has %d secrets, token %q", len(out.SecretList), aws.ToString(out.NextToken))
	}
}

// An entry says what DescribeSecret says, with another name for the stages.
func TestListEntry(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory, dev)
	c := client{s.SecretsManager, t}
	permit(t, s, "all", nil)
	_, err := c.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("full"), Description: aws.String("d"), SecretString: aws.String("v"),
		Type: aws.String("BigIDClientSecret"), Tags: []types.Tag{{Key: aws.String("b"), Value: aws.String("1")}, {Key: aws.String("a"), Value: aws.String("2")}},
		AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String("eu-west-1")}}})
	c.must(err)
	c.put("full", "v2", "w")
	c.get("full")
	// The value is no login, so the rotation stays where it is.
	_, err = c.RotateSecret(t.Context(), &sm.RotateSecretInput{SecretId: aws.String("full"), RotationLambdaARN: aws.String(rotator),
		RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}})
	c.must(err)
	c.create("bare", "")
	for _, name := range []string{"full", "bare"} {
		described, listed := map[string]any{}, struct{ SecretList []map[string]any }{}
		answerOf(t, s, "DescribeSecret", `{"SecretId":"`+name+`"}`, &described)
		answerOf(t, s, "ListSecrets", `{"Filters":[{"Key":"name","Values":["`+name+`"]}]}`, &listed)
		if stages, ok := described["VersionIdsToStages"]; ok {
			described["SecretVersionsToStages"] = stages
			delete(described, "VersionIdsToStages")
		}
		if status := described["ReplicationStatus"]; (status != nil) != (name == "full") {
			t.Errorf("%s: ReplicationStatus %v", name, status)
		}
		delete(described, "ReplicationStatus")
		if diff := cmp.Diff(described, listed.SecretList[0]); diff != "" {
			t.Errorf("%s (-described +listed):\n%s", name, diff)
		}
		if name == "bare" && len(described) != 4 || name == "full" && len(described) != 14 {
			t.Errorf("%s has %v", name, slices.Sorted(maps.Keys(described)))
		}
	}
}

func answerOf(t *testing.T, s *keyturntest.Server, operation, body string, out any) {
	t.Helper()
	status, answer := raw(t, s.URL, "secretsmanager."+operation, body)
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", operation, status, answer)
	}
	if err := json.Unmarshal([]byte(answer), out); err != nil {
		t.Fatal(err)
	}
}
