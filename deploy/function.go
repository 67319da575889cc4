package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// findFunction makes sure that the rotation function exists and can run.
func (d *deployment) findFunction(ctx context.Context) (result, error) {
	err := d.await(ctx, d.AvailableWithin, func(ctx context.Context) (string, bool, error) {
		out, err := d.Clients.Lambda.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: &d.cfg.function})
		if _, missing := errors.AsType[*lambdatypes.ResourceNotFoundException](err); missing {
			return "", false, d.noFunction()
		}
		if err != nil {
			return "", false, err
		}
		c := out.Configuration
		d.report.FunctionARN = aws.ToString(c.FunctionArn)
		if c.State == lambdatypes.StateFailed {
			return "", false, refuse("mend or redeploy the function", "function %s has failed: %s", d.cfg.function, aws.ToString(c.StateReason))
		}
		return strings.ToLower(string(c.State)), c.State != lambdatypes.StatePending, nil
	})
	return result{Unchanged, d.report.FunctionARN}, err
}

func (d *deployment) noFunction() error {
	return refuse(
		"a keyturn server has keyturn-rotate-mysql and keyturn-rotate-postgres built in; "+
			"on AWS create a rotation function (for example from the template SecretsManagerRDSMySQLRotationSingleUser or SecretsManagerRDSPostgreSQLRotationSingleUser) "+
			"and write its name into lambda.functionName",
		"the rotation function %s does not exist", d.cfg.function)
}

// Secrets Manager as a caller of functions. The account keeps other accounts'
// secrets from using the function ("confused deputy" in the AWS Secrets
// Manager User Guide).
const (
	secretsManager = "secretsmanager.amazonaws.com"
	invoke         = "lambda:InvokeFunction"
	statementID    = "keyturn-secretsmanager"
)

// permit makes sure that Secrets Manager may call the function.
func (d *deployment) permit(ctx context.Context) (result, error) {
	function, err := arn.Parse(d.report.FunctionARN)
	if err != nil {
		return result{}, refuse("check that the endpoint is AWS or a keyturn server", "the function's ARN %q is no ARN", d.report.FunctionARN)
	}
	p, err := d.policy(ctx)
	switch {
	case err != nil, p.allows(d.rotator(function)):
		return result{Unchanged, secretsManager + " may call the function"}, err
	case p.has(statementID):
		return result{}, d.otherStatement()
	}
	err = d.change(func() error {
		_, err := d.Clients.Lambda.AddPermission(ctx, &lambda.AddPermissionInput{
			FunctionName:  &d.cfg.function,
			StatementId:   aws.String(statementID),
			Action:        aws.String(invoke),
			Principal:     aws.String(secretsManager),
			SourceAccount: &function.AccountID,
		})
		return err
	})
	if _, conflict := errors.AsType[*lambdatypes.ResourceConflictException](err); conflict {
		return d.permittedByOther(ctx, function)
	}
	d.permitted = err == nil
	return result{Created, "statement " + statementID}, err
}

// permittedByOther looks again after somebody took the statement id.
func (d *deployment) permittedByOther(ctx context.Context, function arn.ARN) (result, error) {
	p, err := d.policy(ctx)
	if err != nil || p.allows(d.rotator(function)) {
		return result{Unchanged, secretsManager + " may call the function"}, err
	}
	return result{}, d.otherStatement()
}

func (d *deployment) otherStatement() error {
	return refuse(
		"remove that statement (aws lambda remove-permission) and run deploy again",
		"the policy of function %s has a statement %s that does not let %s call it", d.cfg.function, statementID, secretsManager)
}

// policy reads the function's policy.
func (d *deployment) policy(ctx context.Context) (p policy, err error) {
	out, err := d.Clients.Lambda.GetPolicy(ctx, &lambda.GetPolicyInput{FunctionName: &d.cfg.function})
	if _, none := errors.AsType[*lambdatypes.ResourceNotFoundException](err); none {
		return policy{}, nil
	}
	if err != nil {
		return policy{}, err
	}
	if err := json.Unmarshal([]byte(aws.ToString(out.Policy)), &p); err != nil {
		return policy{}, refuse("look at it with aws lambda get-policy", "the policy of function %s is not understood", d.cfg.function)
	}
	return p, nil
}

// rotator returns the facts that conditions of a policy may ask about.
func (d *deployment) rotator(function arn.ARN) map[string]string {
	secret := function
	secret.Service, secret.Resource = "secretsmanager", "secret:"+d.cfg.secret+"-XXXXXX"
	return map[string]string{"aws:sourceaccount": function.AccountID, "aws:sourcearn": secret.String()}
}

// policy is as much of an IAM policy as tells whether Secrets Manager may call
// a function. What it does not understand does not allow.
type policy struct {
	Statement list[statement]
}

type statement struct {
	Sid       string
	Effect    string
	Principal principal
	Action    list[string]
	Condition map[string]map[string]list[string]
}

// principal is {"Service": …}, with other kinds left out.
type principal struct{ Service list[string] }

// UnmarshalJSON takes the bare "*" too, and reads it as no service: a function
// open to everybody is not what deploy would have set up.
func (p *principal) UnmarshalJSON(b []byte) error {
	type plain principal
	if len(b) > 0 && b[0] == '"' {
		return nil
	}
	return json.Unmarshal(b, (*plain)(p))
}

// list is one value or a list of values: IAM takes both.
type list[T any] []T

// UnmarshalJSON takes one value or a list.
func (l *list[T]) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]T)(l))
	}
	*l = make([]T, 1)
	return json.Unmarshal(b, &(*l)[0])
}

func (p policy) has(sid string) bool {
	return slices.ContainsFunc(p.Statement, func(s statement) bool { return s.Sid == sid })
}

func (p policy) allows(facts map[string]string) bool {
	for _, s := range p.Statement {
		if s.Effect == "Allow" && like(s.Principal.Service, secretsManager) && like(s.Action, invoke) && s.holds(facts) {
			return true
		}
	}
	return false
}

// operators are the condition operators that a function's policy has; a
// pattern without wildcards makes them equal.
var operators = regexp.MustCompile(`^(StringEquals|StringEqualsIgnoreCase|StringLike|ArnEquals|ArnLike)$`)

func (s statement) holds(facts map[string]string) bool {
	for operator, keys := range s.Condition {
		for key, patterns := range keys {
			if !operators.MatchString(operator) || !like(patterns, facts[strings.ToLower(key)]) {
				return false
			}
		}
	}
	return true
}

// like tells whether one of the patterns fits. IAM's * crosses slashes and
// colons.
func like(patterns []string, text string) bool {
	for _, p := range patterns {
		expr := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(p))
		if regexp.MustCompile(`(?is)^` + expr + `$`).MatchString(text) {
			return true
		}
	}
	return false
}
