package smapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/keyturntest"
)

// versions lists a secret's versions, page by page, as "v1: A B".
func (c client) versions(id string, deprecated bool, limit int32) (all []string) {
	c.t.Helper()
	in := &sm.ListSecretVersionIdsInput{SecretId: &id, IncludeDeprecated: &deprecated, MaxResults: &limit}
	for pages := sm.NewListSecretVersionIdsPaginator(c, in); pages.HasMorePages(); {
		out, err := pages.NextPage(c.t.Context())
		c.must(err)
		for _, v := range out.Versions {
			slices.Sort(v.VersionStages)
			all = append(all, strings.TrimRight(*v.VersionId, "-")+": "+strings.Join(v.VersionStages, " "))
		}
	}
	return all
}

func TestListSecretVersionIds(t *testing.T) {
	c := newClient(t)
	arn := c.create("s", "1").ARN
	for i := 2; i <= 5; i++ {
		c.put("s", version(i), "x")
	}
	c.must(c.move("s", "mine", "", "v2"))
	labelled := []string{"v2: mine", "v4: AWSPREVIOUS", "v5: AWSCURRENT"}
	every := []string{"v1: ", "v2: mine", "v3: ", "v4: AWSPREVIOUS", "v5: AWSCURRENT"}
	for _, limit := range []int32{1, 2, 3, 5, 100} {
		if diff := cmp.Diff(labelled, c.versions("s", false, limit)); diff != "" {
			t.Errorf("pages of %d: %s", limit, diff)
		}
		if diff := cmp.Diff(every, c.versions("s", true, limit)); diff != "" {
			t.Errorf("pages of %d with deprecated ones: %s", limit, diff)
		}
	}
	_, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: arn, VersionId: aws.String(token("v3"))})
	c.must(err) // deprecated, and readable by its id
	out, err := c.ListSecretVersionIds(t.Context(), &sm.ListSecretVersionIdsInput{SecretId: arn, IncludeDeprecated: aws.Bool(true)})
	c.must(err)
	if *out.ARN != *arn || *out.Name != "s" || out.NextToken != nil {
		t.Errorf("answered %s, %s, token %v", *out.ARN, *out.Name, out.NextToken)
	}
	for _, v := range out.Versions {
		read := *v.VersionId == token("v3")
		if day := v.LastAccessedDate; (day != nil) != read || read && !isToday(*day) {
			t.Errorf("%s was read on %v", *v.VersionId, day)
		}
		if fmt.Sprint(v.KmsKeyIds) != "[DefaultEncryptionKey]" || v.CreatedDate == nil {
			t.Errorf("%s: keys %v, created %v", *v.VersionId, v.KmsKeyIds, v.CreatedDate)
		}
		if v.VersionStages != nil && len(v.VersionStages) == 0 {
			t.Errorf("%s shows an empty list of stages", *v.VersionId)
		}
	}
}

func TestListSecretVersionIdsHidesReserved(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory)
	c := client{s.SecretsManager, t}
	c.create("s", "1")
	permit(t, s, "all", func(*lambda.AddPermissionInput) {})
	_, err := c.RotateSecret(t.Context(), &sm.RotateSecretInput{SecretId: aws.String("s"), RotationLambdaARN: aws.String(rotator), ClientRequestToken: aws.String(token("v2"))})
	c.must(err)
	c.wantStages("s", "v1: AWSCURRENT", "v2: AWSPENDING")
	if got := c.versions("s", true, 100); !slices.Equal(got, []string{"v1: AWSCURRENT"}) {
		t.Errorf("listed %v", got)
	}
}

func TestListSecretVersionIdsRefused(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	arn := c.create("s", "1").ARN
	c.put("s", "v2", "2")
	c.create("other", "1")
	first, err := c.ListSecretVersionIds(ctx, &sm.ListSecretVersionIdsInput{SecretId: arn, MaxResults: aws.Int32(1)})
	c.must(err)
	list := func(in sm.ListSecretVersionIdsInput) error {
		_, err := c.ListSecretVersionIds(ctx, &in)
		return err
	}
	badToken := "InvalidNextTokenException: The NextToken value is invalid."
	wantError(t, list(sm.ListSecretVersionIdsInput{SecretId: aws.String("other"), NextToken: first.NextToken}), badToken)
	wantError(t, list(sm.ListSecretVersionIdsInput{SecretId: arn, NextToken: first.NextToken, IncludeDeprecated: aws.Bool(true)}), badToken)
	wantError(t, list(sm.ListSecretVersionIdsInput{SecretId: arn, NextToken: aws.String("x")}), badToken)
	wantError(t, list(sm.ListSecretVersionIdsInput{SecretId: aws.String("missing")}), notFound)
	wantError(t, list(sm.ListSecretVersionIdsInput{SecretId: aws.String("not legal")}), badName)
	wantError(t, list(sm.ListSecretVersionIdsInput{SecretId: arn, MaxResults: aws.Int32(101)}), "ValidationException: 1 validation error detected: Value '101' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 100")
	_, err = c.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: arn})
	c.must(err)
	wantError(t, list(sm.ListSecretVersionIdsInput{SecretId: arn}), "") // also of a secret scheduled for deletion
}
