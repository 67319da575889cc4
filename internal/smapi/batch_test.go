package smapi_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/keyturntest"
)

func TestBatchGetSecretValue(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	one := c.create("one", "1")
	c.put("one", "v2", "2", "AWSPENDING") // only AWSCURRENT is read
	c.create("two", "2")
	c.create("empty", "")
	c.create("gone", "x")
	_, err := c.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: aws.String("two"), SecretBinary: []byte{0, 255}})
	c.must(err)
	_, err = c.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: aws.String("gone")})
	c.must(err)
	out, err := c.BatchGetSecretValue(ctx, &sm.BatchGetSecretValueInput{
		SecretIdList: []string{"two", "missing", *one.ARN, "gone", "empty", "not legal", "two"}})
	c.must(err)
	var values, failures []string
	for _, v := range out.SecretValues {
		values = append(values, fmt.Sprintf("%s %s%v %v", *v.Name, aws.ToString(v.SecretString), v.SecretBinary, v.VersionStages))
	}
	if got, want := strings.Join(values, "; "), "two [0 255] [AWSCURRENT]; one 1[] [AWSCURRENT]"; got != want {
		t.Errorf("values are %s, want %s", got, want)
	}
	if v := out.SecretValues[1]; *v.ARN != *one.ARN || *v.VersionId != token("v1") || v.CreatedDate == nil {
		t.Errorf("the second is %s %s %v", *v.ARN, *v.VersionId, v.CreatedDate)
	}
	for _, e := range out.Errors {
		failures = append(failures, *e.SecretId+" "+*e.ErrorCode+": "+*e.Message)
	}
	want := []string{"missing " + notFound, "gone " + marked,
		"empty ResourceNotFoundException: Secrets Manager can't find the specified secret value for staging label: AWSCURRENT", "not legal " + badName}
	if !slices.Equal(failures, want) {
		t.Errorf("errors are %q, want %q", failures, want)
	}
	if day := c.describe("one").LastAccessedDate; day == nil || !isToday(*day) {
		t.Errorf("LastAccessedDate is %v", day)
	}
}

func TestBatchByFilters(t *testing.T) {
	c := newClient(t)
	for i := range 25 {
		c.create(fmt.Sprintf("app/%02d", i), "x")
	}
	c.create("app/empty", "")
	c.create("other", "x")
	in := &sm.BatchGetSecretValueInput{Filters: []types.Filter{filter("name=app/")}}
	var sizes []int
	failed := 0
	for pages := sm.NewBatchGetSecretValuePaginator(c, in); pages.HasMorePages(); {
		out, err := pages.NextPage(t.Context())
		c.must(err)
		sizes, failed = append(sizes, len(out.SecretValues)), failed+len(out.Errors)
	}
	if !slices.Equal(sizes, []int{20, 5}) || failed != 1 {
		t.Errorf("pages have %v values, %d secrets failed", sizes, failed)
	}
	in.MaxResults = aws.Int32(3)
	out, err := c.BatchGetSecretValue(t.Context(), in)
	c.must(err)
	if len(out.SecretValues) != 3 || out.NextToken == nil {
		t.Errorf("%d values", len(out.SecretValues))
	}
	_, err = c.BatchGetSecretValue(t.Context(), &sm.BatchGetSecretValueInput{Filters: []types.Filter{filter("name=oth")}, NextToken: out.NextToken})
	wantError(t, err, "InvalidNextTokenException: The NextToken value is invalid.")
}

func TestBatchRefused(t *testing.T) {
	c := newClient(t)
	c.create("s", "x")
	either := "InvalidParameterException: Either 'SecretIdList' or 'Filters' must be provided, but not both."
	list, filters := []string{"s"}, []types.Filter{filter("name=s")}
	for name, tc := range map[string]struct {
		in   sm.BatchGetSecretValueInput
		want string
	}{
		"nothing":            {sm.BatchGetSecretValueInput{}, either},
		"both":               {sm.BatchGetSecretValueInput{SecretIdList: list, Filters: filters}, either},
		"page without":       {sm.BatchGetSecretValueInput{SecretIdList: list, MaxResults: aws.Int32(1)}, "InvalidParameterException: 'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided."},
		"token without":      {sm.BatchGetSecretValueInput{SecretIdList: list, NextToken: aws.String("x")}, "InvalidNextTokenException: The NextToken value is invalid."},
		"bad token":          {sm.BatchGetSecretValueInput{Filters: filters, NextToken: aws.String("x")}, "InvalidNextTokenException: The NextToken value is invalid."},
		"bad filter":         {sm.BatchGetSecretValueInput{Filters: []types.Filter{{Key: "name"}}}, "InvalidParameterException: Invalid filter values for key: name"},
		"too many":           {sm.BatchGetSecretValueInput{SecretIdList: slices.Repeat(list, 21)}, "ValidationException: 1 validation error detected: Value at 'secretIdList' failed to satisfy constraint: Member must have length less than or equal to 20"},
		"too many in a page": {sm.BatchGetSecretValueInput{Filters: filters, MaxResults: aws.Int32(21)}, "ValidationException: 1 validation error detected: Value '21' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 20"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.BatchGetSecretValue(t.Context(), &tc.in)
			wantError(t, err, tc.want)
		})
	}
}

func TestBatchListsAreAlwaysThere(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory, dev)
	status, answer := raw(t, s.URL, "secretsmanager.BatchGetSecretValue", `{"Filters":[{"Key":"name","Values":["x"]}]}`)
	if status != http.StatusOK || answer != `{"Errors":[],"SecretValues":[]}` {
		t.Errorf("%d %s", status, answer)
	}
}

// The call needs a permission of its own, and each secret one of its own.
func TestBatchPermissions(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory)
	c := client{s.SecretsManager, t}
	mine := c.create("mine", "x")
	c.create("theirs", "x")
	ids := &sm.BatchGetSecretValueInput{SecretIdList: []string{"mine", "theirs"}}
	_, err := as(t, s, "", "reader", allow("secretsmanager:GetSecretValue", "*", "")).BatchGetSecretValue(t.Context(), ids)
	wantDenied(t, err, "BatchGetSecretValue", "*")

	half := as(t, s, "", "half", allow("secretsmanager:BatchGetSecretValue", "*", ""), allow("secretsmanager:GetSecretValue", *mine.ARN, ""))
	out, err := half.BatchGetSecretValue(t.Context(), ids)
	c.must(err)
	if len(out.SecretValues) != 1 || *out.SecretValues[0].Name != "mine" || len(out.Errors) != 1 ||
		*out.Errors[0].SecretId != "theirs" || *out.Errors[0].ErrorCode != "AccessDeniedException" {
		t.Errorf("values %d, errors %+v", len(out.SecretValues), out.Errors)
	}
	filters := &sm.BatchGetSecretValueInput{Filters: []types.Filter{filter("name=mine")}}
	_, err = half.BatchGetSecretValue(t.Context(), filters)
	wantDenied(t, err, "ListSecrets", "*")
	_, err = as(t, s, "", "lister", allow("secretsmanager:BatchGetSecretValue secretsmanager:ListSecrets secretsmanager:GetSecretValue", "*", "")).BatchGetSecretValue(t.Context(), filters)
	c.must(err)
}

// Every secret that is read, or was not to be, has a line in the audit log.
func TestBatchIsRecorded(t *testing.T) {
	h := newHouse(t)
	h.create("one", "1")
	h.create("two", "2")
	h.noted()
	_, err := h.BatchGetSecretValue(t.Context(), &sm.BatchGetSecretValueInput{SecretIdList: []string{"one", "missing", "two"}})
	h.must(err)
	if got, want := h.noted(), []string{"GetSecretValue ", "GetSecretValue v1", "GetSecretValue v1"}; !slices.Equal(got, want) {
		t.Errorf("recorded %q, want %q", got, want)
	}
}
