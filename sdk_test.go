package keyturn_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturntest"
)

// Every operation of the client, its typed failures and its paginators. The
// stories stand on one server and are told in order.
func TestEveryOperation(t *testing.T) {
	t.Parallel()
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = keyturn.InMemory })
	calls := &callCounter{byOperation: map[string]int{}}
	c := sdkStories{server: s, Client: sm.NewFromConfig(s.Config, func(o *sm.Options) { o.HTTPClient = calls })}
	for _, story := range []struct {
		name string
		tell func(*testing.T)
	}{
		{"Values", c.values}, {"Stages", c.stages}, {"Metadata", c.metadata}, {"Policies", c.policies},
		{"Lists", c.lists}, {"Batch", c.batch}, {"Random", c.random}, {"Rotation", c.rotation},
		{"Replication", c.replication}, {"Deletion", c.deletion},
	} {
		t.Run(story.name, story.tell)
	}
	if diff := cmp.Diff(operationsOf(reflect.TypeFor[*sm.Client]()), slices.Sorted(maps.Keys(calls.byOperation))); diff != "" {
		t.Errorf("operations of the client that were not called: %s", diff)
	}
}

// operationsOf lists the operations of an SDK client in order.
func operationsOf(client reflect.Type) (names []string) {
	for i := range client.NumMethod() {
		if m := client.Method(i); m.Type.NumIn() == 4 && m.Type.NumOut() == 2 {
			names = append(names, m.Name)
		}
	}
	return names
}

// callCounter is an HTTP client that counts what is called.
type callCounter struct {
	sync.Mutex
	byOperation map[string]int
}

// Do implements aws.HTTPClient.
func (c *callCounter) Do(r *http.Request) (*http.Response, error) {
	c.Lock()
	defer c.Unlock()
	c.byOperation[strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")]++
	return http.DefaultClient.Do(r)
}

type sdkStories struct {
	*sm.Client

	server *keyturntest.Server
}

func (c sdkStories) create(t *testing.T, name, value string, more ...func(*sm.CreateSecretInput)) *sm.CreateSecretOutput {
	t.Helper()
	in := &sm.CreateSecretInput{Name: &name}
	if value != "" {
		in.SecretString = &value
	}
	for _, change := range more {
		change(in)
	}
	out, err := c.CreateSecret(t.Context(), in)
	must(t, err)
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// typed are the SDK's error types.
type typed interface {
	error
	ErrorMessage() string
}

// wantTyped wants a failure of the SDK's type T with text in its message.
func wantTyped[T typed](t *testing.T, err error, text string) {
	t.Helper()
	failure, ok := errors.AsType[T](err)
	if !ok || !strings.Contains(failure.ErrorMessage(), text) {
		t.Errorf("got %v, want %T with %q", err, failure, text)
	}
}

func (c sdkStories) values(t *testing.T) {
	created := c.create(t, "prod/values", "one")
	partial := (*created.ARN)[:len(*created.ARN)-len("-AbCdEf")]
	for _, id := range []string{"prod/values", *created.ARN, partial} {
		out, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: &id})
		if err != nil || *out.SecretString != "one" || *out.VersionId != *created.VersionId {
			t.Errorf("%s: %v, %v", id, out, err)
		}
	}
	_, err := c.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("prod/values"), SecretString: aws.String("x")})
	wantTyped[*types.ResourceExistsException](t, err, "The operation failed because the secret prod/values already exists.")
	_, err = c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("none")})
	wantTyped[*types.ResourceNotFoundException](t, err, "Secrets Manager can't find the specified secret.")
	put, err := c.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: created.ARN, SecretBinary: []byte{0, 255, 0}})
	must(t, err)
	out, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: created.ARN, VersionId: put.VersionId})
	if err != nil || out.SecretString != nil || !slices.Equal(out.SecretBinary, []byte{0, 255, 0}) {
		t.Errorf("got %v, %v", out, err)
	}
	_, err = c.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: created.ARN})
	wantTyped[*types.InvalidRequestException](t, err, "You must provide either SecretString or SecretBinary.")
}

func (c sdkStories) stages(t *testing.T) {
	created := c.create(t, "prod/stages", "one")
	var ids []string
	for _, value := range []string{"two", "three", "four"} {
		put, err := c.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: created.ARN, SecretString: &value})
		must(t, err)
		ids = append(ids, *put.VersionId)
	}
	_, err := c.UpdateSecretVersionStage(t.Context(), &sm.UpdateSecretVersionStageInput{SecretId: created.ARN, VersionStage: aws.String("AWSCURRENT"),
		MoveToVersionId: &ids[0]})
	wantTyped[*types.InvalidParameterException](t, err, "The parameter RemoveFromVersionId can't be empty.")
	_, err = c.UpdateSecretVersionStage(t.Context(), &sm.UpdateSecretVersionStageInput{SecretId: created.ARN, VersionStage: aws.String("AWSCURRENT"),
		MoveToVersionId: &ids[0], RemoveFromVersionId: &ids[2]})
	must(t, err)
	stages, deprecated := map[string][]string{}, 0
	pages := sm.NewListSecretVersionIdsPaginator(c, &sm.ListSecretVersionIdsInput{SecretId: created.ARN, IncludeDeprecated: aws.Bool(true), MaxResults: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		must(t, err)
		for _, v := range page.Versions {
			if v.VersionStages == nil {
				deprecated++
				continue
			}
			stages[*v.VersionId] = v.VersionStages
		}
	}
	if diff := cmp.Diff(map[string][]string{ids[0]: {"AWSCURRENT"}, ids[2]: {"AWSPREVIOUS"}}, stages); diff != "" || deprecated != 2 {
		t.Errorf("%d deprecated; %s", deprecated, diff)
	}
}

func (c sdkStories) metadata(t *testing.T) {
	created := c.create(t, "prod/metadata", "one", func(in *sm.CreateSecretInput) {
		in.Description, in.Tags = aws.String("first"), []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}}
	})
	_, err := c.TagResource(t.Context(), &sm.TagResourceInput{SecretId: created.ARN, Tags: []types.Tag{{Key: aws.String("b"), Value: aws.String("2")}}})
	must(t, err)
	_, err = c.UntagResource(t.Context(), &sm.UntagResourceInput{SecretId: created.ARN, TagKeys: []string{"a", "none"}})
	must(t, err)
	updated, err := c.UpdateSecret(t.Context(), &sm.UpdateSecretInput{SecretId: created.ARN, Description: aws.String("second")})
	if err != nil || updated.VersionId != nil {
		t.Errorf("got %v, %v", updated, err)
	}
	out, err := c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: created.ARN})
	must(t, err)
	if *out.Description != "second" || len(out.Tags) != 1 || *out.Tags[0].Key != "b" || out.RotationEnabled != nil {
		t.Errorf("got %+v", out)
	}
	_, err = c.UntagResource(t.Context(), &sm.UntagResourceInput{SecretId: created.ARN, TagKeys: []string{"b"}})
	must(t, err)
	out, err = c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: created.ARN})
	if err != nil || out.Tags == nil || len(out.Tags) != 0 {
		t.Errorf("tags = %v, %v", out.Tags, err)
	}
}

func (c sdkStories) policies(t *testing.T) {
	created := c.create(t, "prod/policies", "one")
	const own = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}]}`
	const public = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*"}]}`
	put := func(policy string, block bool) error {
		_, err := c.PutResourcePolicy(t.Context(), &sm.PutResourcePolicyInput{SecretId: created.ARN, ResourcePolicy: &policy, BlockPublicPolicy: &block})
		return err
	}
	must(t, put(own, true))
	wantTyped[*types.PublicPolicyException](t, put(public, true), "You can't attach a resource-based policy that allows broad access to the secret.")
	wantTyped[*types.MalformedPolicyDocumentException](t, put(`{"Statement":`, false), "This resource policy contains a syntax error.")
	got, err := c.GetResourcePolicy(t.Context(), &sm.GetResourcePolicyInput{SecretId: created.ARN})
	if err != nil || *got.ResourcePolicy != own {
		t.Errorf("got %v, %v", got, err)
	}
	valid, err := c.ValidateResourcePolicy(t.Context(), &sm.ValidateResourcePolicyInput{ResourcePolicy: aws.String(own)})
	if err != nil || !valid.PolicyValidationPassed || len(valid.ValidationErrors) != 0 {
		t.Errorf("got %v, %v", valid, err)
	}
	invalid, err := c.ValidateResourcePolicy(t.Context(), &sm.ValidateResourcePolicyInput{ResourcePolicy: aws.String("{}")})
	if err != nil || invalid.PolicyValidationPassed || len(invalid.ValidationErrors) == 0 {
		t.Errorf("got %v, %v", invalid, err)
	}
	_, err = c.DeleteResourcePolicy(t.Context(), &sm.DeleteResourcePolicyInput{SecretId: created.ARN})
	must(t, err)
	got, err = c.GetResourcePolicy(t.Context(), &sm.GetResourcePolicyInput{SecretId: created.ARN})
	if err != nil || got.ResourcePolicy != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func (c sdkStories) lists(t *testing.T) {
	var want []string
	for i := range 5 {
		name := fmt.Sprintf("list/%d", i)
		c.create(t, name, "v"+name)
		want = append(want, name)
	}
	in := &sm.ListSecretsInput{MaxResults: aws.Int32(2), Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{"list/"}}}}
	got := c.names(t, in) // by date, which two of them may share
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	slices.Reverse(want)
	in.SortBy, in.SortOrder = types.SortByTypeName, types.SortOrderTypeDesc
	if diff := cmp.Diff(want, c.names(t, in)); diff != "" {
		t.Error(diff)
	}
	_, err := c.ListSecrets(t.Context(), &sm.ListSecretsInput{NextToken: aws.String("no token")})
	wantTyped[*types.InvalidNextTokenException](t, err, "")
}

func (c sdkStories) names(t *testing.T, in *sm.ListSecretsInput) (names []string) {
	t.Helper()
	for pages := sm.NewListSecretsPaginator(c, in); pages.HasMorePages(); {
		page, err := pages.NextPage(t.Context())
		must(t, err)
		for _, e := range page.SecretList {
			names = append(names, *e.Name)
		}
	}
	return names
}

func (c sdkStories) batch(t *testing.T) {
	var want, got []string
	for i := range 5 {
		name := fmt.Sprintf("batch/%d", i)
		c.create(t, name, "v"+name)
		want = append(want, name+" v"+name)
	}
	pages := sm.NewBatchGetSecretValuePaginator(c, &sm.BatchGetSecretValueInput{MaxResults: aws.Int32(2),
		Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{"batch/"}}}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		must(t, err)
		for _, v := range page.SecretValues {
			got = append(got, *v.Name+" "+*v.SecretString)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	out, err := c.BatchGetSecretValue(t.Context(), &sm.BatchGetSecretValueInput{SecretIdList: []string{"batch/0", "none"}})
	if err != nil || len(out.SecretValues) != 1 || len(out.Errors) != 1 || *out.Errors[0].ErrorCode != "ResourceNotFoundException" || *out.Errors[0].SecretId != "none" {
		t.Errorf("got %+v, %v", out, err)
	}
	_, err = c.BatchGetSecretValue(t.Context(), &sm.BatchGetSecretValueInput{})
	wantTyped[*types.InvalidParameterException](t, err, "Either 'SecretIdList' or 'Filters' must be provided, but not both.")
}

func (c sdkStories) random(t *testing.T) {
	out, err := c.GetRandomPassword(t.Context(), &sm.GetRandomPasswordInput{PasswordLength: aws.Int64(20), ExcludePunctuation: aws.Bool(true)})
	if err != nil || len(*out.RandomPassword) != 20 {
		t.Errorf("got %v, %v", out, err)
	}
	_, err = c.GetRandomPassword(t.Context(), &sm.GetRandomPasswordInput{PasswordLength: aws.Int64(3)})
	wantTyped[*types.InvalidParameterException](t, err, "Password length is too short based on the required types.")
}

func (c sdkStories) rotation(t *testing.T) {
	created := c.create(t, "prod/rotation", "")
	function := aws.String("arn:aws:lambda:us-east-1:000000000000:function:keyturn-rotate-mysql")
	in := &sm.RotateSecretInput{SecretId: created.ARN, RotateImmediately: aws.Bool(false)}
	_, err := c.RotateSecret(t.Context(), in)
	wantTyped[*types.InvalidRequestException](t, err, "No Lambda rotation function ARN is associated with this secret.")
	_, err = c.server.Lambda.AddPermission(t.Context(), &lambda.AddPermissionInput{FunctionName: function, StatementId: aws.String("rotation"),
		Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com")})
	must(t, err)
	in.RotationLambdaARN, in.RotationRules = function, &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}
	_, err = c.RotateSecret(t.Context(), in)
	must(t, err)
	out, err := c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: created.ARN})
	if err != nil || !*out.RotationEnabled || *out.RotationRules.AutomaticallyAfterDays != 30 || out.NextRotationDate == nil {
		t.Errorf("got %+v, %v", out, err)
	}
	_, err = c.CancelRotateSecret(t.Context(), &sm.CancelRotateSecretInput{SecretId: created.ARN})
	must(t, err)
	out, err = c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: created.ARN})
	if err != nil || *out.RotationEnabled || *out.RotationLambdaARN != *function || out.NextRotationDate != nil {
		t.Errorf("got %+v, %v", out, err)
	}
}

func inRegion(region string) func(*sm.Options) {
	return func(o *sm.Options) { o.Region = region }
}

func (c sdkStories) replication(t *testing.T) {
	created := c.create(t, "prod/replicated", "one")
	_, err := c.ReplicateSecretToRegions(t.Context(), &sm.ReplicateSecretToRegionsInput{SecretId: created.ARN,
		AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String("eu-west-1")}, {Region: aws.String("ap-south-1")}}})
	must(t, err)
	c.awaitReplicas(t, created.ARN, "ap-south-1 InSync", "eu-west-1 InSync")
	name := aws.String("prod/replicated")
	value, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: name}, inRegion("eu-west-1"))
	if err != nil || *value.SecretString != "one" || *value.ARN != strings.Replace(*created.ARN, "us-east-1", "eu-west-1", 1) {
		t.Errorf("got %v, %v", value, err)
	}
	_, err = c.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: name, SecretString: aws.String("two")}, inRegion("eu-west-1"))
	wantTyped[*types.InvalidParameterException](t, err, "Operation not permitted on a replica secret. Call must be made in primary secret's region.")
	_, err = c.StopReplicationToReplica(t.Context(), &sm.StopReplicationToReplicaInput{SecretId: name}, inRegion("eu-west-1"))
	must(t, err)
	_, err = c.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: name, SecretString: aws.String("two")}, inRegion("eu-west-1"))
	must(t, err)
	_, err = c.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: created.ARN})
	wantTyped[*types.InvalidParameterException](t, err, "that still has replica regions [ap-south-1].")
	removed, err := c.RemoveRegionsFromReplication(t.Context(), &sm.RemoveRegionsFromReplicationInput{SecretId: created.ARN, RemoveReplicaRegions: []string{"ap-south-1"}})
	if err != nil || removed.ReplicationStatus == nil || len(removed.ReplicationStatus) != 0 {
		t.Errorf("got %+v, %v", removed, err)
	}
}

func (c sdkStories) awaitReplicas(t *testing.T, arn *string, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		out, err := c.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: arn})
		must(t, err)
		var got []string
		for _, r := range out.ReplicationStatus {
			got = append(got, *r.Region+" "+string(r.Status))
		}
		if slices.Sort(got); slices.Equal(got, want) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("replicas %v, want %v", got, want)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (c sdkStories) deletion(t *testing.T) {
	created := c.create(t, "prod/deletion", "one")
	out, err := c.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: created.ARN, RecoveryWindowInDays: aws.Int64(7)})
	if err != nil || time.Until(*out.DeletionDate) < 6*24*time.Hour {
		t.Errorf("got %v, %v", out, err)
	}
	_, err = c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: created.ARN})
	wantTyped[*types.InvalidRequestException](t, err, "You can't perform this operation on the secret because it was marked for deletion.")
	_, err = c.RestoreSecret(t.Context(), &sm.RestoreSecretInput{SecretId: created.ARN})
	must(t, err)
	_, err = c.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: created.ARN, ForceDeleteWithoutRecovery: aws.Bool(true)})
	must(t, err)
	_, err = c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: created.ARN})
	wantTyped[*types.ResourceNotFoundException](t, err, "Secrets Manager can't find the specified secret.")
}

// The waiters there are belong to RDS.
func TestRDSWaiters(t *testing.T) {
	t.Parallel()
	s := keyturntest.NewServer(t)
	newCluster(t, s, "mariadb", "boss", "First.Password_1") // waits for the instance
	cluster := &rds.DescribeDBClustersInput{DBClusterIdentifier: aws.String("mydb-cluster")}
	instance := &rds.DescribeDBInstancesInput{DBInstanceIdentifier: aws.String("mydb-instance-1")}
	const limit = 5 * time.Minute
	must(t, rds.NewDBClusterAvailableWaiter(s.RDS).Wait(t.Context(), cluster, limit))
	_, err := s.RDS.DeleteDBInstance(t.Context(), &rds.DeleteDBInstanceInput{DBInstanceIdentifier: instance.DBInstanceIdentifier})
	must(t, err)
	must(t, rds.NewDBInstanceDeletedWaiter(s.RDS, func(o *rds.DBInstanceDeletedWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 100*time.Millisecond
	}).Wait(t.Context(), instance, limit))
	_, err = s.RDS.DeleteDBCluster(t.Context(), &rds.DeleteDBClusterInput{DBClusterIdentifier: cluster.DBClusterIdentifier, SkipFinalSnapshot: aws.Bool(true)})
	must(t, err)
	must(t, rds.NewDBClusterDeletedWaiter(s.RDS, func(o *rds.DBClusterDeletedWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 100*time.Millisecond
	}).Wait(t.Context(), cluster, limit))
}
