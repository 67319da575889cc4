package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// member is a key of a secret's value with its value, as JSON.
type member struct{ key, value string }

// completeValue says what the value lacks, and returns it with what may be added; "":
// nothing is to be. It returns the engine, too.
func (ad *adopter) completeValue(ctx context.Context) (engine, text string, err error) {
	out, err := ad.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &ad.done.ARN})
	if err != nil {
		return "", "", fmt.Errorf("reading the secret: %w", err)
	}
	var has map[string]any
	if json.Unmarshal([]byte(aws.ToString(out.SecretString)), &has) != nil || has == nil {
		return "", "", guided{err: errors.New("the value of the secret is not a JSON object"), code: exitPreflight,
			hint: `A rotation needs one such as {"engine": "mysql", "host": "db.example.com", "username": "app", "password": "…"}.`}
	}
	added, err := ad.additions(ctx, has)
	if err != nil {
		return "", "", err
	}
	for _, m := range added {
		ad.done.Added = append(ad.done.Added, m.key)
		if m.key == "engine" {
			engine = strings.Trim(m.value, `"`)
		}
	}
	if engine == "" {
		engine, _ = has["engine"].(string)
	}
	ad.before = aws.ToString(out.VersionId)
	if len(added) > 0 {
		text = withMembers(*out.SecretString, added)
	}
	return engine, text, nil
}

// store makes a new version of the completed value, if there is one.
func (ad *adopter) store(ctx context.Context, text string) error {
	if text == "" || ad.flags.dryRun {
		return nil
	}
	out, err := ad.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &ad.done.ARN, SecretString: &text})
	if err != nil {
		return fmt.Errorf("adding keys to the secret: %w", err)
	}
	ad.after = aws.ToString(out.VersionId)
	return nil
}

// takeBack moves AWSCURRENT back to the value without the keys that were added, where
// nothing was configured because of err. That is so after Ctrl-C, too.
func (ad *adopter) takeBack(ctx context.Context, err error) error {
	if ad.after == "" || ad.configured {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takenBackWithin)
	defer cancel()
	_, failed := ad.client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{SecretId: &ad.done.ARN,
		VersionStage: aws.String(stageCurrent), MoveToVersionId: &ad.before, RemoveFromVersionId: &ad.after})
	if failed != nil {
		fmt.Fprintf(ad.stderr, "keyturn: AWSCURRENT has the keys that were added (%s): taking them back: %s\n", strings.Join(ad.done.Added, ", "), message(failed))
		return err
	}
	ad.done.Added = nil
	return err
}

const takenBackWithin = 10 * time.Second

// additions are the keys that the value gets. Keys that lack and that nobody
// fills in are the failure.
func (ad *adopter) additions(ctx context.Context, has map[string]any) (added []member, err error) {
	var missing []string
	for _, key := range []string{"engine", "host", "username", "password"} {
		if text, ok := has[key].(string); !ok || text == "" {
			missing = append(missing, key)
		}
	}
	fillable := slices.ContainsFunc(missing, func(k string) bool { return k == "engine" || k == "host" })
	if ad.flags.fill && fillable {
		if added, err = ad.fromRDS(ctx, has); err != nil {
			return nil, err
		}
		missing = slices.DeleteFunc(missing, func(k string) bool {
			return slices.ContainsFunc(added, func(m member) bool { return m.key == k })
		})
	}
	if len(missing) > 0 {
		return nil, lacking(missing, has)
	}
	return ad.addAdmin(ctx, has, added)
}

func lacking(missing []string, has map[string]any) error {
	hint := "Add them with \"keyturn secret put\"."
	if has["dbClusterIdentifier"] != nil || has["dbInstanceIdentifier"] != nil {
		hint = "--fill adds engine, host and port from RDS."
	}
	return guided{err: fmt.Errorf("the value of the secret lacks the keys %s", strings.Join(missing, ", ")), hint: hint, code: exitPreflight}
}

// fromRDS finds where the database is, by the identifier that the value holds.
func (ad *adopter) fromRDS(ctx context.Context, has map[string]any) ([]member, error) {
	engine, host, port, err := ad.endpoint(ctx, has)
	if err != nil {
		return nil, err
	}
	var added []member
	for _, m := range []member{{"engine", quoted(engine)}, {"host", quoted(host)}, {"port", fmt.Sprint(port)}} {
		if _, there := has[m.key]; !there { // null is there
			added = append(added, m)
		}
	}
	return added, nil
}

func (ad *adopter) endpoint(ctx context.Context, has map[string]any) (engine, host string, port int32, err error) {
	client := rds.NewFromConfig(ad.cfg)
	if id, ok := has["dbClusterIdentifier"].(string); ok {
		return clusterEndpoint(ctx, client, id)
	}
	if id, ok := has["dbInstanceIdentifier"].(string); ok {
		return instanceEndpoint(ctx, client, id)
	}
	return "", "", 0, guided{err: errors.New("--fill needs the key dbClusterIdentifier or dbInstanceIdentifier in the value of the secret"), code: exitPreflight}
}

func clusterEndpoint(ctx context.Context, client *rds.Client, id string) (engine, host string, port int32, err error) {
	out, err := client.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{DBClusterIdentifier: &id})
	if err != nil {
		return "", "", 0, fmt.Errorf("looking for the DB cluster %s: %w", id, err)
	}
	if len(out.DBClusters) == 0 || out.DBClusters[0].Endpoint == nil {
		return "", "", 0, noEndpoint("DB cluster", id)
	}
	c := out.DBClusters[0]
	return aws.ToString(c.Engine), *c.Endpoint, aws.ToInt32(c.Port), nil
}

func instanceEndpoint(ctx context.Context, client *rds.Client, id string) (engine, host string, port int32, err error) {
	out, err := client.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &id})
	if err != nil {
		return "", "", 0, fmt.Errorf("looking for the DB instance %s: %w", id, err)
	}
	if len(out.DBInstances) == 0 || out.DBInstances[0].Endpoint == nil {
		return "", "", 0, noEndpoint("DB instance", id)
	}
	i := out.DBInstances[0]
	return aws.ToString(i.Engine), aws.ToString(i.Endpoint.Address), aws.ToInt32(i.Endpoint.Port), nil
}

func noEndpoint(what, id string) error {
	return guided{err: fmt.Errorf("the %s %s has no endpoint yet", what, id), hint: "Try again when it is available.", code: exitPreflight}
}

// addAdmin adds the key masterarn. It replaces none: who may change the
// account's password is not to be changed by the way.
func (ad *adopter) addAdmin(ctx context.Context, has map[string]any, added []member) ([]member, error) {
	if ad.flags.admin == "" {
		return added, nil
	}
	s, err := ad.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &ad.flags.admin})
	if err != nil {
		return nil, fmt.Errorf("describing the secret of --admin: %w", err)
	}
	now, there := has["masterarn"]
	switch {
	case !there:
		return append(added, member{"masterarn", quoted(*s.ARN)}), nil
	case now == *s.ARN:
		return added, nil
	}
	return nil, guided{err: errors.New("the value of the secret names another administrator in masterarn"), hint: "Correct that key first, or leave out --admin.", code: exitPreflight}
}

func quoted(s string) string {
	text, _ := json.Marshal(s) // a string: never fails
	return string(text)
}

// withMembers adds members at the end of a JSON object. All other bytes stay.
func withMembers(object string, added []member) string {
	var b strings.Builder
	end := strings.LastIndexByte(object, '}')
	b.WriteString(strings.TrimRight(object[:end], " \t\r\n"))
	for _, m := range added {
		if !strings.HasSuffix(b.String(), "{") {
			b.WriteString(", ")
		}
		b.WriteString(quoted(m.key) + ": " + m.value)
	}
	return b.String() + object[end:]
}

// adoptStatement is the id of the permission in the function's policy.
const adoptStatement = "keyturn-rotation"

// permit lets Secrets Manager invoke the function, unless it may.
func (ad *adopter) permit(ctx context.Context) error {
	function, err := arn.Parse(ad.done.RotationLambdaARN)
	if err != nil {
		return usagef("--function is the name or the ARN of a function")
	}
	client := lambda.NewFromConfig(ad.cfg)
	allowed, err := ad.permitted(ctx, client)
	if err != nil || allowed {
		return err
	}
	ad.done.PermissionAdded = true
	if ad.flags.dryRun {
		return nil
	}
	_, err = client.AddPermission(ctx, &lambda.AddPermissionInput{FunctionName: &ad.done.RotationLambdaARN, StatementId: aws.String(adoptStatement),
		Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com"), SourceAccount: &function.AccountID})
	var conflict *lambdatypes.ResourceConflictException
	if errors.As(err, &conflict) { // RotateSecret tells whether that one is enough
		ad.done.PermissionAdded = false
		return nil
	}
	if err != nil {
		return fmt.Errorf("adding a permission to the function: %w", err)
	}
	return nil
}

// permitted tells whether the function's policy names Secrets Manager without
// conditions but the account. What it does not understand does not allow.
func (ad *adopter) permitted(ctx context.Context, client *lambda.Client) (bool, error) {
	out, err := client.GetPolicy(ctx, &lambda.GetPolicyInput{FunctionName: &ad.done.RotationLambdaARN})
	var none *lambdatypes.ResourceNotFoundException
	if errors.As(err, &none) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the function's policy: %w", err)
	}
	var policy struct {
		Statement []struct {
			Effect    string
			Principal any
			Condition map[string]map[string]any
		}
	}
	if err := json.Unmarshal([]byte(aws.ToString(out.Policy)), &policy); err != nil {
		return false, nil //nolint:nilerr // a permission more does no harm
	}
	for _, s := range policy.Statement {
		service, _ := s.Principal.(map[string]any)
		_, byAccount := s.Condition["StringEquals"]["AWS:SourceAccount"]
		if s.Effect == "Allow" && service["Service"] == "secretsmanager.amazonaws.com" && (len(s.Condition) == 0 || byAccount && len(s.Condition) == 1) {
			return true, nil
		}
	}
	return false, nil
}
