package smapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/keyturntest"
)

// client wraps the SDK's client for tests that read like AWS's rules.
type client struct {
	*sm.Client
	t testing.TB
}

func newClient(t testing.TB) client {
	t.Helper()
	return client{keyturntest.NewServer(t, inMemory).SecretsManager, t}
}

func inMemory(c *keyturn.Config) { c.Data = keyturn.InMemory }

func dev(c *keyturn.Config) { c.Dev = true }

// token makes a ClientRequestToken of the right length out of a short name.
func token(name string) string { return name + strings.Repeat("-", 32-len(name)) }

func (c client) create(name, value string) *sm.CreateSecretOutput {
	c.t.Helper()
	in := &sm.CreateSecretInput{Name: &name, ClientRequestToken: aws.String(token("v1"))}
	if value != "" {
		in.SecretString = &value
	}
	out, err := c.CreateSecret(c.t.Context(), in)
	c.must(err)
	return out
}

func (c client) put(id, version, value string, stages ...string) *sm.PutSecretValueOutput {
	c.t.Helper()
	out, err := c.PutSecretValue(c.t.Context(), &sm.PutSecretValueInput{SecretId: &id,
		ClientRequestToken: aws.String(token(version)), SecretString: &value, VersionStages: stages})
	c.must(err)
	return out
}

func (c client) get(id string) string {
	c.t.Helper()
	out, err := c.GetSecretValue(c.t.Context(), &sm.GetSecretValueInput{SecretId: &id})
	c.must(err)
	return aws.ToString(out.SecretString)
}

func (c client) describe(id string) *sm.DescribeSecretOutput {
	c.t.Helper()
	out, err := c.DescribeSecret(c.t.Context(), &sm.DescribeSecretInput{SecretId: &id})
	c.must(err)
	return out
}

// wantStages compares "v1: A B" lines with the labels of a secret.
func (c client) wantStages(id string, want ...string) {
	c.t.Helper()
	var got []string
	stages := c.describe(id).VersionIdsToStages
	for _, version := range slices.Sorted(maps.Keys(stages)) {
		slices.Sort(stages[version])
		got = append(got, strings.TrimRight(version, "-")+": "+strings.Join(stages[version], " "))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		c.t.Errorf("labels of %s (-want +got):\n%s", id, diff)
	}
}

func (c client) move(id, label, from, to string) error {
	in := &sm.UpdateSecretVersionStageInput{SecretId: &id, VersionStage: &label}
	if from != "" {
		in.RemoveFromVersionId = aws.String(token(from))
	}
	if to != "" {
		in.MoveToVersionId = aws.String(token(to))
	}
	_, err := c.UpdateSecretVersionStage(c.t.Context(), in)
	return err
}

func (c client) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// wantError checks code and text; an empty want is success.
func wantError(t testing.TB, err error, want string) {
	t.Helper()
	got := ""
	if api := smithy.APIError(nil); errors.As(err, &api) {
		got = api.ErrorCode() + ": " + api.ErrorMessage()
	} else if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

const (
	notFound = "ResourceNotFoundException: Secrets Manager can't find the specified secret."
	marked   = "InvalidRequestException: You can't perform this operation on the secret because it was marked for deletion."
	badName  = "ValidationException: Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
)

func TestNamesAndARNs(t *testing.T) {
	c := newClient(t)
	for _, name := range []string{"plain", "a/b_+=.@!-c", "Invalid/_+=.@-Name-a1b2", "Invalid/_+=.@-Name-a1b2c3-"} {
		out := c.create(name, "x")
		partial := (*out.ARN)[:len(*out.ARN)-7]
		for _, id := range []string{name, *out.ARN, partial} {
			if got := c.describe(id); *got.Name != name || *got.ARN != *out.ARN {
				t.Errorf("%s found %s", id, *got.ARN)
			}
		}
	}
	longest := c.create(strings.Repeat("x", 512), "x") // the suffix does not count; asked for by ARN first, before anything is cached
	if got := c.describe(*longest.ARN); *got.Name != *longest.Name {
		t.Errorf("%s found %s", *longest.ARN, *got.Name)
	}
	trap := c.create("Name-a1b2c3", "x")
	_, err := c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String((*trap.ARN)[:len(*trap.ARN)-7])})
	wantError(t, err, notFound) // six characters after a hyphen: taken for a complete ARN
	for id, want := range map[string]string{
		"plain-a1b2c3":           notFound, // a bare name is never matched against suffixes
		"not there":              badName,
		"tab\there":              badName,
		strings.Repeat("x", 513): badName,
		"arn:aws:secretsmanager:eu-west-1:000000000000:secret:plain":          notFound,
		strings.Replace(*trap.ARN, "us-east-1", "eu-west-1", 1):               notFound,
		"arn:aws:secretsmanager:us-east-1:000000000000:secret:sp ace-AbCdEf":  badName,
		"arn:aws:secretsmanager:us-east-1:000000000000:secret:missing-AbCdEf": notFound,
	} {
		_, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: &id})
		wantError(t, err, want)
	}
}

func TestSuffixIsDrawnAnew(t *testing.T) {
	c := newClient(t)
	first := c.create("again", "x")
	if !regexp.MustCompile(`:again-[A-Za-z0-9]{6}$`).MatchString(*first.ARN) {
		t.Errorf("the ARN is %s", *first.ARN)
	}
	_, err := c.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: aws.String("again"), ForceDeleteWithoutRecovery: aws.Bool(true)})
	c.must(err)
	if second := c.create("again", "x"); *first.ARN == *second.ARN {
		t.Error("the same ARN twice")
	}
}

func TestGetSecretValue(t *testing.T) {
	c := newClient(t)
	c.create("s", "one")
	c.put("s", "v2", "two", "custom")
	c.create("empty", "")
	for _, tc := range []struct{ name, id, version, stage, value, err string }{
		{"current", "s", "", "", "one", ""},
		{"by stage", "s", "", "custom", "two", ""},
		{"by version", "s", token("v2"), "", "two", ""},
		{"by both", "s", token("v2"), "custom", "two", ""},
		{"wrong pair", "s", token("v2"), "AWSCURRENT", "", "InvalidRequestException: You provided a VersionStage that is not associated to the provided VersionId."},
		{"no such stage", "s", "", "nope", "", "ResourceNotFoundException: Secrets Manager can't find the specified secret value for staging label: nope"},
		{"no such version", "s", token("v9"), "", "", "ResourceNotFoundException: Secrets Manager can't find the specified secret value for VersionId: " + token("v9")},
		{"no value", "empty", "", "", "", "ResourceNotFoundException: Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"},
		{"no secret", "nope", "", "", "", notFound},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := &sm.GetSecretValueInput{SecretId: &tc.id}
			if tc.version != "" {
				in.VersionId = &tc.version
			}
			if tc.stage != "" {
				in.VersionStage = &tc.stage
			}
			out, err := c.GetSecretValue(t.Context(), in)
			wantError(t, err, tc.err)
			if err == nil && *out.SecretString != tc.value {
				t.Errorf("got %q, want %q", *out.SecretString, tc.value)
			}
		})
	}
}

func TestBinary(t *testing.T) {
	c := newClient(t)
	c.create("b", "text")
	_, err := c.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: aws.String("b"), SecretBinary: []byte{0, 255, 10}})
	c.must(err)
	out, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("b")})
	c.must(err)
	if !bytes.Equal(out.SecretBinary, []byte{0, 255, 10}) || out.SecretString != nil {
		t.Error("the value came back changed")
	}
}

func TestStagingLabels(t *testing.T) {
	c := newClient(t)
	c.create("s", "1")
	c.put("s", "v2", "2")
	c.wantStages("s", "v1: AWSPREVIOUS", "v2: AWSCURRENT")
	c.put("s", "v3", "3", "AWSPENDING", "mine")
	c.wantStages("s", "v1: AWSPREVIOUS", "v2: AWSCURRENT", "v3: AWSPENDING mine")
	c.must(c.move("s", "AWSCURRENT", "v2", "v3"))
	c.wantStages("s", "v2: AWSPREVIOUS", "v3: AWSCURRENT AWSPENDING mine")
	c.put("s", "v4", "4") // a new AWSCURRENT drops AWSPENDING
	c.wantStages("s", "v3: AWSPREVIOUS mine", "v4: AWSCURRENT")
	c.must(c.move("s", "AWSCURRENT", "v4", "v3"))
	c.wantStages("s", "v3: AWSCURRENT mine", "v4: AWSPREVIOUS")
	c.must(c.move("s", "mine", "v3", ""))
	c.must(c.move("s", "new", "", "v1")) // a deprecated version comes back
	c.wantStages("s", "v1: new", "v3: AWSCURRENT", "v4: AWSPREVIOUS")
	c.must(c.move("s", "new", "", "v1"))
	if got := c.get("s"); got != "3" {
		t.Errorf("current value %q", got)
	}

	wantError(t, c.move("s", "AWSCURRENT", "", "v4"), "InvalidParameterException: The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version "+token("v3")+", so you must explicitly reference that version in RemoveFromVersionId.")
	wantError(t, c.move("s", "AWSCURRENT", "v1", "v4"), "InvalidParameterException: When you move staging label AWSCURRENT, if you specify RemoveFromVersionId, it must be set to the version that currently has the staging label AWSCURRENT.")
	wantError(t, c.move("s", "new", "v1", "v9"), "ResourceNotFoundException: Secrets Manager can't find the specified secret value for VersionId: "+token("v9"))
	if err := c.move("s", "AWSCURRENT", "v3", ""); err == nil {
		t.Error("AWSCURRENT was removed")
	}
	if err := c.move("s", "mine", "", ""); err == nil {
		t.Error("a label was moved from nowhere to nowhere")
	}
	c.wantStages("s", "v1: new", "v3: AWSCURRENT", "v4: AWSPREVIOUS")
}

func TestFirstVersionIsCurrent(t *testing.T) {
	c := newClient(t)
	c.create("s", "")
	out := c.put("s", "v1", "x", "AWSPENDING")
	if diff := cmp.Diff([]string{"AWSPENDING", "AWSCURRENT"}, out.VersionStages); diff != "" {
		t.Error(diff)
	}
}

func TestTwentyLabels(t *testing.T) {
	c := newClient(t)
	c.create("s", "1")
	for i := range 19 {
		c.must(c.move("s", "label"+string(rune('a'+i)), "", "v1"))
	}
	err := c.move("s", "one too many", "", "v1")
	if limit := new(types.LimitExceededException); !errors.As(err, &limit) {
		t.Errorf("got %v", err)
	}
}

// Labels obey their rules after any sequence of puts and moves.
func TestLabelRules(t *testing.T) {
	c := newClient(t)
	n := 0 // of the secret
	rapid.Check(t, func(t *rapid.T) {
		n++
		name := "s" + strconv.Itoa(n)
		c.create(name, "1")
		versions := 1
		current, previous := "v1", ""
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "put") {
				versions++
				previous, current = current, version(versions)
				c.put(name, current, "x")
				continue
			}
			to := version(rapid.IntRange(1, versions).Draw(t, "to"))
			if to == current {
				continue
			}
			c.must(c.move(name, "AWSCURRENT", current, to))
			previous, current = current, to
		}
		want := map[string][]string{token(current): {"AWSCURRENT"}}
		if previous != "" {
			want[token(previous)] = []string{"AWSPREVIOUS"}
		}
		if diff := cmp.Diff(want, c.describe(name).VersionIdsToStages); diff != "" {
			t.Fatal(diff)
		}
	})
}

func version(n int) string { return "v" + strconv.Itoa(n) }

func TestRepeatedRequests(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	first := c.create("s", "one")
	taken := "ResourceExistsException: You can't use ClientRequestToken " + token("v1") + " because that value is already in use for a version of secret " + *first.ARN + "."
	if again := c.create("s", "one"); *again.ARN != *first.ARN || *again.VersionId != *first.VersionId {
		t.Error("a repeated CreateSecret answered otherwise")
	}
	create := func(value, version string) error {
		_, err := c.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("s"), SecretString: &value, ClientRequestToken: aws.String(token(version))})
		return err
	}
	wantError(t, create("two", "v1"), taken)
	wantError(t, create("one", "v2"), "ResourceExistsException: The operation failed because the secret s already exists.")
	c.put("s", "v2", "two")
	if out := c.put("s", "v1", "one"); !slices.Equal(out.VersionStages, []string{"AWSPREVIOUS"}) {
		t.Errorf("a repeated PutSecretValue answered labels %v", out.VersionStages)
	}
	_, err := c.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: aws.String("s"), SecretString: aws.String("x"), ClientRequestToken: aws.String(token("v1"))})
	wantError(t, err, taken)
	update := func(value string) error {
		out, err := c.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: aws.String("s"), SecretString: &value, ClientRequestToken: aws.String(token("v1"))})
		if err == nil && *out.VersionId != token("v1") {
			t.Error("another VersionId")
		}
		return err
	}
	_, err = c.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: aws.String("s"), SecretString: aws.String("one"), ClientRequestToken: aws.String(token("v1")), Description: aws.String("new")})
	c.must(err)
	if d := c.describe("s").Description; aws.ToString(d) != "new" {
		t.Errorf("description %q", aws.ToString(d))
	}
	wantError(t, update("one"), "")
	wantError(t, update("other"), taken)
	c.wantStages("s", "v1: AWSPREVIOUS", "v2: AWSCURRENT")
}

func TestUpdateSecret(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	c.create("s", "one")
	out, err := c.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: aws.String("s"), Description: aws.String("what it is")})
	c.must(err)
	if out.VersionId != nil {
		t.Error("a change of the description made a version")
	}
	_, err = c.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: aws.String("s"), SecretString: aws.String("two"), ClientRequestToken: aws.String(token("v2"))})
	c.must(err)
	if got := c.describe("s"); *got.Description != "what it is" || c.get("s") != "two" {
		t.Error("a change is missing")
	}
	c.wantStages("s", "v1: AWSPREVIOUS", "v2: AWSCURRENT")
	_, err = c.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: aws.String("s")})
	wantError(t, err, "")
}

// What is not set is not shown.
func TestDescribeShowsWhatIsSet(t *testing.T) {
	server := keyturntest.NewServer(t, inMemory, dev)
	c := client{server.SecretsManager, t}
	c.create("bare", "")
	_, body := raw(t, server.URL, "secretsmanager.DescribeSecret", `{"SecretId":"bare"}`)
	var members map[string]any
	c.must(json.Unmarshal([]byte(body), &members))
	if diff := cmp.Diff([]string{"ARN", "CreatedDate", "LastChangedDate", "Name"}, slices.Sorted(maps.Keys(members))); diff != "" {
		t.Error(diff)
	}
	_, err := keyturnapi.New(server.Config).CreateKey(t.Context(), &keyturnapi.CreateKeyInput{AliasName: "mine"})
	c.must(err)
	_, err = c.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("full"), Description: aws.String("d"), SecretString: aws.String("v"),
		KmsKeyId: aws.String("alias/mine"), Tags: []types.Tag{{Key: aws.String("b"), Value: aws.String("1")}, {Key: aws.String("a"), Value: aws.String("2")}}})
	c.must(err)
	full := c.describe("full")
	if *full.Description != "d" || *full.KmsKeyId != "alias/mine" || *full.Tags[0].Key != "b" || *full.Tags[1].Value != "2" || full.LastAccessedDate != nil {
		t.Errorf("got %+v", full)
	}
	c.get("full")
	day := c.describe("full").LastAccessedDate
	if day == nil || !isToday(*day) {
		t.Errorf("LastAccessedDate is %v", day)
	}
}

// isToday tells whether day is that of something that has just been done, though
// it may have ended since.
func isToday(day time.Time) bool {
	return day.Equal(day.Truncate(24*time.Hour)) && time.Since(day) < 25*time.Hour
}

func TestSoftDelete(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	arn := c.create("s", "v").ARN
	del := func(days int64, force bool) error {
		in := &sm.DeleteSecretInput{SecretId: aws.String("s")}
		if days != 0 {
			in.RecoveryWindowInDays = &days
		}
		if force {
			in.ForceDeleteWithoutRecovery = &force
		}
		_, err := c.DeleteSecret(ctx, in)
		return err
	}
	wantError(t, del(6, false), "InvalidParameterException: The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
	wantError(t, del(7, true), "InvalidParameterException: You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	wantError(t, del(7, false), "")
	wantError(t, del(0, false), "InvalidRequestException: You can't perform this operation on the secret because it was already scheduled for deletion.")

	_, err := c.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: arn})
	wantError(t, err, marked)
	_, err = c.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: arn, SecretString: aws.String("x")})
	wantError(t, err, marked)
	_, err = c.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: arn, Description: aws.String("x")})
	wantError(t, err, marked)
	wantError(t, c.move("s", "x", "", "v1"), marked)
	_, err = c.RotateSecret(ctx, &sm.RotateSecretInput{SecretId: arn})
	wantError(t, err, marked)
	_, err = c.CancelRotateSecret(ctx, &sm.CancelRotateSecretInput{SecretId: arn})
	wantError(t, err, marked)
	_, err = c.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("s")})
	wantError(t, err, "InvalidRequestException: You can't create this secret because a secret with this name is already scheduled for deletion.")
	if c.describe("s").DeletedDate == nil {
		t.Error("no DeletedDate")
	}
	if n := len(c.list(&sm.ListSecretsInput{})); n != 0 {
		t.Errorf("%d secrets listed", n)
	}
	if n := len(c.list(&sm.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true)})); n != 1 {
		t.Errorf("%d secrets listed with IncludePlannedDeletion", n)
	}

	_, err = c.RestoreSecret(ctx, &sm.RestoreSecretInput{SecretId: arn})
	c.must(err)
	if c.get("s") != "v" || c.describe("s").DeletedDate != nil {
		t.Error("not restored")
	}
	wantError(t, del(0, true), "")
	_, err = c.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: arn})
	wantError(t, err, notFound)
	wantError(t, del(0, true), "") // force-deleting what is gone succeeds
}

// When the recovery window ends the secret is gone, and its name is free.
func TestRecoveryWindowEnds(t *testing.T) {
	now := time.Now()
	server := keyturntest.NewServer(t, inMemory, func(c *keyturn.Config) { c.Now = func() time.Time { return now }; c.Dev = true })
	c := client{server.SecretsManager, t}
	c.create("s", "v")
	_, err := c.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: aws.String("s"), RecoveryWindowInDays: aws.Int64(7)})
	c.must(err)
	advance(t, server, 7*24*time.Hour)
	_, err = c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("s")})
	wantError(t, err, notFound)
	c.create("s", "new")
}

func (c client) list(in *sm.ListSecretsInput) (all []string) {
	c.t.Helper()
	for {
		out, err := c.ListSecrets(c.t.Context(), in)
		c.must(err)
		for _, e := range out.SecretList {
			all = append(all, *e.Name)
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return all
		}
	}
}

// Pages neither repeat nor skip a secret while others come and go.
func TestListPages(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	var want []string
	for i := range 25 {
		name := "n" + string(rune('a'+i))
		c.create(name, "x")
		want = append(want, name)
	}
	if diff := cmp.Diff(want, c.list(&sm.ListSecretsInput{MaxResults: aws.Int32(4)})); diff != "" {
		t.Error(diff)
	}
	slices.Reverse(want)
	if diff := cmp.Diff(want, c.list(&sm.ListSecretsInput{MaxResults: aws.Int32(7), SortOrder: types.SortOrderTypeDesc})); diff != "" {
		t.Error(diff)
	}
	first, err := c.ListSecrets(ctx, &sm.ListSecretsInput{MaxResults: aws.Int32(10)})
	c.must(err)
	for _, gone := range []string{"nb", *first.SecretList[9].Name} {
		_, err := c.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: &gone, ForceDeleteWithoutRecovery: aws.Bool(true)})
		c.must(err)
	}
	c.create("newer", "x")
	rest := c.list(&sm.ListSecretsInput{NextToken: first.NextToken})
	if len(rest) != 16 || rest[0] != "nk" || rest[15] != "newer" {
		t.Errorf("after the first page came %v", rest)
	}
	_, err = c.ListSecrets(ctx, &sm.ListSecretsInput{NextToken: aws.String("nonsense")})
	wantError(t, err, "InvalidNextTokenException: The NextToken value is invalid.")
}

func TestLimits(t *testing.T) {
	c := newClient(t)
	c.create("s", "x")
	ctx, s := t.Context(), aws.String("s")
	long := strings.Repeat("x", 65537)
	for name, tc := range map[string]struct {
		do   func(context.Context) error
		want string
	}{
		"value too long": {func(ctx context.Context) error {
			_, err := c.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: s, SecretString: &long})
			return err
		}, "ValidationException: 1 validation error detected: Value at 'secretString' failed to satisfy constraint: Member must have length less than or equal to 65536"},
		"empty value": {func(ctx context.Context) error {
			_, err := c.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: s, SecretString: aws.String("")})
			return err
		}, "ValidationException: 1 validation error detected: Value at 'secretString' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		"no value": {func(ctx context.Context) error {
			_, err := c.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: s})
			return err
		}, "InvalidRequestException: You must provide either SecretString or SecretBinary."},
		"short token": {func(ctx context.Context) error {
			_, err := c.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: s, SecretString: s, ClientRequestToken: s})
			return err
		}, "ValidationException: 1 validation error detected: Value 's' at 'clientRequestToken' failed to satisfy constraint: Member must have length greater than or equal to 32"},
		"page too long": {func(ctx context.Context) error {
			_, err := c.ListSecrets(ctx, &sm.ListSecretsInput{MaxResults: aws.Int32(101)})
			return err
		}, "ValidationException: 1 validation error detected: Value '101' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 100"},
		"password too long": {func(ctx context.Context) error {
			_, err := c.GetRandomPassword(ctx, &sm.GetRandomPasswordInput{PasswordLength: aws.Int64(5555)})
			return err
		}, "ValidationException: 1 validation error detected: Value '5555' at 'passwordLength' failed to satisfy constraint: Member must have value less than or equal to 4096"},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, tc.do(ctx), tc.want) })
	}
}

// What SDKs always send is missed before the secret is looked up.
func TestMissingToken(t *testing.T) {
	server := keyturntest.NewServer(t, inMemory, func(c *keyturn.Config) { c.Dev = true })
	for op, want := range map[string]string{
		"CreateSecret":   `{"__type":"InvalidRequestException","Message":"You must provide a ClientRequestToken value. We recommend a UUID-type value."}`,
		"PutSecretValue": `{"__type":"InvalidRequestException","Message":"You must provide a ClientRequestToken value. We recommend a UUID-type value."}`,
		"UpdateSecret":   `{"__type":"InvalidRequestException","Message":"You must provide a ClientRequestToken value. We recommend a UUID-type value."}`,
		"RotateSecret":   `{"__type":"InvalidParameterException","Message":"You must provide a ClientRequestToken value. We recommend a UUID-type value."}`,
	} {
		status, body := raw(t, server.URL, "secretsmanager."+op, `{"Name":"n","SecretId":"no-such-secret","SecretString":"x"}`)
		if status != http.StatusBadRequest || body != want {
			t.Errorf("%s: %d %s", op, status, body)
		}
	}
}

func TestRandomPassword(t *testing.T) {
	c := newClient(t)
	rapid.Check(t, func(t *rapid.T) {
		flag := func(name string) *bool { return aws.Bool(rapid.Bool().Draw(t, name)) }
		in := &sm.GetRandomPasswordInput{ExcludeLowercase: flag("lower"), ExcludeUppercase: flag("upper"), ExcludeNumbers: flag("numbers"),
			ExcludePunctuation: flag("punctuation"), IncludeSpace: flag("space"), RequireEachIncludedType: flag("each"),
			PasswordLength: aws.Int64(rapid.Int64Range(4, 60).Draw(t, "length")), ExcludeCharacters: aws.String(rapid.StringMatching(`[a-e0-3]{0,5}`).Draw(t, "excluded"))}
		out, err := c.GetRandomPassword(t.Context(), in)
		if *in.ExcludeLowercase && *in.ExcludeUppercase && *in.ExcludeNumbers && *in.ExcludePunctuation && !*in.IncludeSpace {
			wantError(c.t, err, "InvalidParameterException: All characters have been excluded from selection.")
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		p := *out.RandomPassword
		if int64(len(p)) != *in.PasswordLength || strings.ContainsAny(p, *in.ExcludeCharacters) || (strings.Contains(p, " ") && !*in.IncludeSpace) {
			t.Fatalf("a password breaks its rules: length %d", len(p))
		}
		for characters, excluded := range map[string]bool{"abcdefghijklmnopqrstuvwxyz": *in.ExcludeLowercase, "ABCDEFGHIJKLMNOPQRSTUVWXYZ": *in.ExcludeUppercase, "0123456789": *in.ExcludeNumbers} {
			has := strings.ContainsAny(p, characters)
			if has && excluded || !has && !excluded && *in.RequireEachIncludedType {
				t.Fatalf("type %s…: there %v, excluded %v", characters[:3], has, excluded)
			}
		}
	})
	for _, tc := range []struct {
		in   sm.GetRandomPasswordInput
		want string
	}{
		{sm.GetRandomPasswordInput{PasswordLength: aws.Int64(3)}, "InvalidParameterException: Password length is too short based on the required types."},
		{sm.GetRandomPasswordInput{ExcludeCharacters: aws.String("0123456789")}, "InvalidParameterException: All characters of the desired type have been excluded."},
	} {
		_, err := c.GetRandomPassword(t.Context(), &tc.in)
		wantError(t, err, tc.want)
	}
}
