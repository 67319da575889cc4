package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/transfer"
)

const (
	token1 = "11111111-1111-1111-1111-111111111111"
	token2 = "terraform-20260101000000000000000001" // ids need not be UUIDs
	token3 = "33333333-3333-3333-3333-333333333333"
	token4 = "44444444-4444-4444-4444-444444444444"
	token5 = "55555555-5555-5555-5555-555555555555"
)

const allowReading = `{ "Version": "2012-10-17",
  "Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "secretsmanager:GetSecretValue", "Resource": "*"}] }`

// fill makes secrets of every shape.
func fill(t *testing.T, api *sm.Client) {
	t.Helper()
	ctx := t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(api.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("prod/db"), ClientRequestToken: aws.String(token1),
		SecretString: aws.String("first \u2028 \x00 <&>"), Description: aws.String("größe"),
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("payments")}, {Key: aws.String("a"), Value: aws.String("")}}}))
	for _, v := range []struct {
		id     string
		stages []string
	}{{token2, nil}, {token3, nil}, {token4, []string{"CUSTOM", "OTHER"}}, {token5, []string{"AWSPENDING"}}} {
		must(api.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: aws.String("prod/db"), ClientRequestToken: &v.id,
			SecretString: aws.String("value of " + v.id), VersionStages: v.stages}))
	}
	must(api.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{SecretId: aws.String("prod/db"),
		VersionStage: aws.String("ON-PREVIOUS"), MoveToVersionId: aws.String(token2)}))
	must(api.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{SecretId: aws.String("prod/db"), ResourcePolicy: aws.String(allowReading)}))
	must(api.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("prod/binary"), ClientRequestToken: aws.String(token1),
		SecretBinary: []byte{0, 1, 0xff, 0xfe, '\n'}}))
	must(api.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("prod/empty")}))
	must(api.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("test/largest"), ClientRequestToken: aws.String(token1),
		SecretString: aws.String(strings.Repeat("\x01", 65536))}))
}

func export(t *testing.T, api *sm.Client, o transfer.ExportOptions) ([]byte, transfer.Summary) {
	t.Helper()
	var archive bytes.Buffer
	sum, err := transfer.Export(t.Context(), api, &archive, o)
	if err != nil {
		t.Fatal(err)
	}
	return archive.Bytes(), sum
}

func TestRoundTrip(t *testing.T) {
	from, to := keyturntest.NewServer(t), keyturntest.NewServer(t)
	fill(t, from.SecretsManager)
	archive, exported := export(t, from.SecretsManager, transfer.ExportOptions{})
	if exported.Secrets != 4 || exported.Versions != 6 {
		t.Fatalf("exported %+v", exported)
	}

	dry, err := transfer.Import(t.Context(), to.SecretsManager, bytes.NewReader(archive), transfer.ImportOptions{DryRun: true})
	if err != nil || dry.Actions[transfer.Created] != 4 {
		t.Fatalf("dry run: %+v, %v", dry, err)
	}
	if list, err := to.SecretsManager.ListSecrets(t.Context(), &sm.ListSecretsInput{}); err != nil || len(list.SecretList) != 0 {
		t.Fatalf("a dry run wrote %d secrets: %v", len(list.SecretList), err)
	}

	sum, err := transfer.Import(t.Context(), to.SecretsManager, bytes.NewReader(archive), transfer.ImportOptions{})
	if err != nil || sum.Actions[transfer.Created] != 4 || sum.Hash != exported.Hash {
		t.Fatalf("import: %+v, %v", sum, err)
	}
	again, err := transfer.Import(t.Context(), to.SecretsManager, bytes.NewReader(archive), transfer.ImportOptions{})
	if err != nil || again.Actions[transfer.Unchanged] != 4 {
		t.Fatalf("second import: %+v, %v", again, err)
	}
	if diff := cmp.Diff(look(t, from.SecretsManager), look(t, to.SecretsManager)); diff != "" {
		t.Errorf("the servers differ (-from +to):\n%s", diff)
	}
}

// look reads with the plain client what must be equal on both sides.
func look(t *testing.T, api *sm.Client) map[string]any {
	t.Helper()
	all := map[string]any{}
	list, err := api.ListSecrets(t.Context(), &sm.ListSecretsInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list.SecretList {
		all[*e.Name] = []any{aws.ToString(e.Description), len(e.Tags), e.SecretVersionsToStages}
		for id := range e.SecretVersionsToStages {
			v, err := api.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: e.ARN, VersionId: &id})
			if err != nil {
				t.Fatal(err)
			}
			all[*e.Name+" "+id] = []any{v.SecretString, v.SecretBinary}
		}
		p, err := api.GetResourcePolicy(t.Context(), &sm.GetResourcePolicyInput{SecretId: e.ARN})
		if err != nil {
			t.Fatal(err)
		}
		all[*e.Name+" policy"] = aws.ToString(p.ResourcePolicy)
	}
	for name := range all { // the order of labels has no meaning
		if row, ok := all[name].([]any); ok && len(row) == 3 {
			row[2] = holders(row[2].(map[string][]string))
		}
	}
	return all
}

func holders(stages map[string][]string) map[string]string {
	m := map[string]string{}
	for id, labels := range stages {
		for _, l := range labels {
			m[l] = id
		}
	}
	return m
}

// failing lets so many requests through and then none.
type failing struct {
	left *atomic.Int64
	next aws.HTTPClient
}

func (f failing) Do(r *http.Request) (*http.Response, error) {
	if f.left.Add(-1) < 0 {
		return nil, errors.New("unplugged")
	}
	return f.next.Do(r)
}

func TestInterruptedAnywhereAndRunAgain(t *testing.T) {
	from := keyturntest.NewServer(t)
	fill(t, from.SecretsManager)
	archive, _ := export(t, from.SecretsManager, transfer.ExportOptions{IDs: []string{"prod/db"}})
	to := keyturntest.NewServer(t)
	for n := int64(0); ; n++ {
		var left atomic.Int64
		left.Store(n)
		cut := sm.NewFromConfig(to.Config, func(o *sm.Options) {
			o.HTTPClient, o.RetryMaxAttempts = failing{&left, http.DefaultClient}, 1
		})
		_, err := transfer.Import(t.Context(), cut, bytes.NewReader(archive), transfer.ImportOptions{})
		sum, again := transfer.Import(t.Context(), to.SecretsManager, bytes.NewReader(archive), transfer.ImportOptions{})
		if again != nil {
			t.Fatalf("run again after %d requests: %+v, %v", n, sum, again)
		}
		if diff := cmp.Diff(look(t, from.SecretsManager)["prod/db"], look(t, to.SecretsManager)["prod/db"]); diff != "" {
			t.Fatalf("after %d requests (-from +to):\n%s", n, diff)
		}
		_, gone := to.SecretsManager.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: aws.String("prod/db"), ForceDeleteWithoutRecovery: aws.Bool(true)})
		if gone != nil {
			t.Fatal(gone)
		}
		if err == nil {
			return // the whole import fits into n requests
		}
	}
}

// Only what was asked for is exported, and once. In a filter of ListSecrets an
// exclamation mark means all other names.
func TestSelection(t *testing.T) {
	api := keyturntest.NewServer(t).SecretsManager
	for _, name := range []string{"!mine", "!other", "plain"} {
		if _, err := api.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: &name, SecretString: aws.String("value")}); err != nil {
			t.Fatal(err)
		}
	}
	d, err := api.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("plain")})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		options transfer.ExportOptions
		want    string
	}{
		{transfer.ExportOptions{}, "[!mine !other plain]"},
		{transfer.ExportOptions{Prefix: "p"}, "[plain]"},
		{transfer.ExportOptions{Prefix: "!m"}, "[!mine]"},
		{transfer.ExportOptions{Prefix: "!"}, "[!mine !other]"},
		{transfer.ExportOptions{IDs: []string{"plain", *d.ARN, "!mine", "plain"}}, "[plain !mine]"},
	} {
		var names []string
		tc.options.Report = func(e transfer.Event) { names = append(names, e.Name) }
		if export(t, api, tc.options); fmt.Sprint(names) != tc.want {
			t.Errorf("prefix %q, names %q: exported %v, want %s", tc.options.Prefix, tc.options.IDs, names, tc.want)
		}
	}
}

// What is deleted while an export of all runs is no longer there to be exported; a
// secret that was asked for is.
func TestDeletedDuringAnExport(t *testing.T) {
	for _, forced := range []bool{false, true} {
		api := keyturntest.NewServer(t).SecretsManager
		createDBs(t, api, 9) // one more than is read at once
		last := ""
		deleteLast := func(e transfer.Event) {
			if e.Name != "db0" {
				last = string(e.Action)
				return
			}
			if _, err := api.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: aws.String("db8"), ForceDeleteWithoutRecovery: &forced}); err != nil {
				t.Fatal(err)
			}
		}
		_, sum := export(t, api, transfer.ExportOptions{Report: deleteLast})
		if sum.Actions[transfer.Exported] != 8 || last != string(transfer.Skipped) {
			t.Errorf("exported %+v, the last was %s", sum, last)
		}
	}
}

func TestOtherSecretOfThatNameIsLeftAlone(t *testing.T) {
	from, to := keyturntest.NewServer(t), keyturntest.NewServer(t)
	fill(t, from.SecretsManager)
	archive, _ := export(t, from.SecretsManager, transfer.ExportOptions{Prefix: "prod/"})
	_, err := to.SecretsManager.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("prod/db"), SecretString: aws.String("mine")})
	if err != nil {
		t.Fatal(err)
	}
	var failed []string
	sum, err := transfer.Import(t.Context(), to.SecretsManager, bytes.NewReader(archive), transfer.ImportOptions{Report: func(e transfer.Event) {
		if errors.Is(e.Err, transfer.ErrConflict) {
			failed = append(failed, e.Name)
		}
	}})
	if !errors.Is(err, transfer.ErrIncomplete) || fmt.Sprint(failed) != "[prod/db]" || sum.Actions[transfer.Created] != 2 {
		t.Errorf("import: %+v, %v, conflicts %v", sum, err, failed)
	}
	mine, err := to.SecretsManager.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("prod/db")})
	if err != nil || *mine.SecretString != "mine" {
		t.Errorf("the other secret was changed: %v", err)
	}
}

func TestRotationRules(t *testing.T) {
	from, to := keyturntest.NewServer(t), keyturntest.NewServer(t)
	const function = "arn:aws:lambda:us-east-1:000000000000:function:keyturn-rotate-mysql"
	for _, s := range []*keyturntest.Server{from, to} {
		_, err := s.Lambda.AddPermission(t.Context(), &lambda.AddPermissionInput{FunctionName: aws.String("keyturn-rotate-mysql"),
			StatementId: aws.String("sm"), Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com")})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := from.SecretsManager.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("db"), SecretString: aws.String("{}")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = from.SecretsManager.RotateSecret(t.Context(), &sm.RotateSecretInput{SecretId: aws.String("db"), RotationLambdaARN: aws.String(function),
		RotateImmediately: aws.Bool(false), RotationRules: &types.RotationRulesType{ScheduleExpression: aws.String("rate(10 days)"), Duration: aws.String("3h")}})
	if err != nil {
		t.Fatal(err)
	}
	awaitTest(t, from.SecretsManager)
	archive, _ := export(t, from.SecretsManager, transfer.ExportOptions{})
	for _, with := range []bool{false, true} {
		if _, err := transfer.Import(t.Context(), to.SecretsManager, bytes.NewReader(archive), transfer.ImportOptions{WithRotation: with}); err != nil {
			t.Fatal(err)
		}
		d, err := to.SecretsManager.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("db")})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToBool(d.RotationEnabled) != with {
			t.Errorf("with rotation %v: enabled %v", with, aws.ToBool(d.RotationEnabled))
		}
		if with && (*d.RotationRules.ScheduleExpression != "rate(10 days)" || *d.RotationRules.Duration != "3h" || *d.RotationLambdaARN != function) {
			t.Errorf("rules %+v, function %s", d.RotationRules, *d.RotationLambdaARN)
		}
	}
}

// A value names its administrator's secret by the ARN at the source. A rotation by
// an administrator that is not here would fail, weeks later.
func TestAdministratorThatIsNotHere(t *testing.T) {
	from, to := keyturntest.NewServer(t), keyturntest.NewServer(t)
	for _, s := range []*keyturntest.Server{from, to} {
		_, err := s.Lambda.AddPermission(t.Context(), &lambda.AddPermissionInput{FunctionName: aws.String("keyturn-rotate-mysql"),
			StatementId: aws.String("sm"), Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com")})
		if err != nil {
			t.Fatal(err)
		}
	}
	admin, err := from.SecretsManager.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("admin"), SecretString: aws.String("{}")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = from.SecretsManager.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("db"), SecretString: aws.String(`{"masterarn":"` + *admin.ARN + `"}`)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = from.SecretsManager.RotateSecret(t.Context(), &sm.RotateSecretInput{SecretId: aws.String("db"), RotationLambdaARN: aws.String("arn:aws:lambda:us-east-1:000000000000:function:keyturn-rotate-mysql"),
		RotateImmediately: aws.Bool(false), RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}})
	if err != nil {
		t.Fatal(err)
	}
	awaitTest(t, from.SecretsManager)
	archive, _ := export(t, from.SecretsManager, transfer.ExportOptions{})
	var failure string
	_, err = transfer.Import(t.Context(), to.SecretsManager, bytes.NewReader(archive), transfer.ImportOptions{WithRotation: true, Report: func(e transfer.Event) {
		if e.Err != nil {
			failure = e.Name + ": " + e.Err.Error()
		}
	}})
	if !errors.Is(err, transfer.ErrIncomplete) || !strings.HasPrefix(failure, "db: configuring its rotation (all else was imported): the secret that masterarn names") {
		t.Errorf("got %v, %s", err, failure)
	}
	d, err := to.SecretsManager.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("db")})
	if err != nil || aws.ToBool(d.RotationEnabled) {
		t.Errorf("enabled %v, %v", aws.ToBool(d.RotationEnabled), err)
	}
}

// awaitTest waits for the end of testSecret, which RotateSecret without an
// immediate rotation runs on a copy of the value.
func awaitTest(t *testing.T, api *sm.Client) {
	t.Helper()
	for {
		d, err := api.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("db")})
		if err != nil {
			t.Fatal(err)
		}
		if len(d.VersionIdsToStages) == 1 {
			return
		}
	}
}

func TestDamagedArchiveIsNoticed(t *testing.T) {
	from, to := keyturntest.NewServer(t), keyturntest.NewServer(t)
	_, err := from.SecretsManager.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("db"), SecretString: aws.String("value")})
	if err != nil {
		t.Fatal(err)
	}
	archive, _ := export(t, from.SecretsManager, transfer.ExportOptions{Now: time.Unix(1e9, 0)})
	refused := func(damaged []byte) bool {
		_, err := transfer.Import(t.Context(), to.SecretsManager, bytes.NewReader(damaged), transfer.ImportOptions{DryRun: true})
		return errors.Is(err, transfer.ErrArchive)
	}
	for i := range archive[:len(archive)-1] { // the last newline may be missing
		if !refused(archive[:i]) {
			t.Fatalf("cut after %d bytes: taken", i)
		}
		changed := bytes.Clone(archive)
		changed[i] ^= 0x20
		if !refused(changed) {
			t.Fatalf("byte %d changed: taken", i)
		}
	}
	if !refused(append(bytes.Clone(archive), "x"...)) {
		t.Error("something after the end: taken")
	}
}

// TestSecretsBeforeTheDamageAreImported, although several are read at a time.
func TestSecretsBeforeTheDamageAreImported(t *testing.T) {
	from, to := keyturntest.NewServer(t), keyturntest.NewServer(t)
	createDBs(t, from.SecretsManager, 6)
	archive, _ := export(t, from.SecretsManager, transfer.ExportOptions{})
	lines := bytes.SplitAfter(archive, []byte("\n")) // header, secrets, trailer
	cut := bytes.Join(lines[:1+4], nil)
	sum, err := transfer.Import(t.Context(), to.SecretsManager, bytes.NewReader(cut), transfer.ImportOptions{})
	if !errors.Is(err, transfer.ErrArchive) || sum.Actions[transfer.Created] != 4 {
		t.Errorf("of four secrets before the damage: %+v, %v", sum, err)
	}
}

// TestInterruptedIsNotFailed: what is under way when somebody gives up is nobody's
// failure, and the next import completes it.
func TestInterruptedIsNotFailed(t *testing.T) {
	from, to := keyturntest.NewServer(t), keyturntest.NewServer(t)
	createDBs(t, from.SecretsManager, 4)
	archive, _ := export(t, from.SecretsManager, transfer.ExportOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	stopped := sm.NewFromConfig(to.Config, func(o *sm.Options) { o.HTTPClient = cancelling{cancel, http.DefaultClient} })
	sum, err := transfer.Import(ctx, stopped, bytes.NewReader(archive), transfer.ImportOptions{})
	if !errors.Is(err, context.Canceled) || sum.Actions[transfer.Failed] != 0 || sum.Actions[transfer.Interrupted] == 0 {
		t.Errorf("interrupted: %+v, %v", sum, err)
	}
	if sum, err := transfer.Import(t.Context(), to.SecretsManager, bytes.NewReader(archive), transfer.ImportOptions{}); err != nil || sum.Secrets != 4 {
		t.Errorf("the next one: %+v, %v", sum, err)
	}
}

func createDBs(t *testing.T, api *sm.Client, n int) {
	t.Helper()
	for i := range n {
		_, err := api.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String(fmt.Sprint("db", i)), SecretString: aws.String("value")})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// cancelling is Ctrl-C at the first value that is written. What the server has begun by
// then it completes.
type cancelling struct {
	cancel context.CancelFunc
	next   sm.HTTPClient
}

func (c cancelling) Do(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	answer, err := c.next.Do(r.WithContext(context.WithoutCancel(r.Context())))
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), "PutSecretValue") {
		c.cancel()
	}
	return answer, err
}

func FuzzArchive(f *testing.F) {
	f.Add([]byte(`{"header":{"format":"keyturn-archive-1","created":"2026-01-01T00:00:00Z"}}` + "\n" + `{"secret":{"name":"a","arn":"","versions":[],"sha256":""}}`))
	f.Fuzz(func(t *testing.T, archive []byte) {
		api := sm.New(sm.Options{Region: "us-east-1", HTTPClient: failing{new(atomic.Int64), nil}, RetryMaxAttempts: 1,
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}, nil
			})})
		sum, err := transfer.Import(t.Context(), api, bytes.NewReader(archive), transfer.ImportOptions{})
		if err == nil && sum.Secrets > 0 {
			t.Error("imported without a server")
		}
	})
}
