package keyturn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/iam/policy"
	"github.com/keyturn/keyturn/internal/lambdaapi"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/rotation"
)

func (s *Server) rdsFolder() string { return filepath.Join(s.folder, "rds") }

var errNotPermitted = &scheduler.FunctionError{Type: "api", Message: "Secrets Manager cannot invoke the rotation function. Does it exist, and does its policy grant access to the principal secretsmanager.amazonaws.com?"}

// functions lets the scheduler and Secrets Manager's API use Lambda's slice.
type functions struct {
	lambda *lambdaapi.Service
	// redact takes a secret's values out of what a function says of a failure.
	redact       func(ctx context.Context, arn secret.ARN, message string) string
	managedOwner func(context.Context, secret.ARN) (string, error) // see Server.managedOwner
}

// Permits implements smapi.Functions.
func (f functions) Permits(ctx context.Context, function string, arn secret.ARN) (bool, error) {
	if isManagedFunction(function) {
		owner, err := f.managedOwner(ctx, arn)
		return owner != "", err
	}
	return f.lambda.Permits(ctx, function, "secretsmanager.amazonaws.com", string(arn), arn.Place().Account)
}

// Invoke implements scheduler.Functions. As on AWS the function's policy decides
// each time.
func (f functions) Invoke(ctx context.Context, function string, event []byte) ([]byte, error) {
	var e rotation.Event
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, fmt.Errorf("reading an event: %w", err)
	}
	ok, err := f.Permits(ctx, function, secret.ARN(e.SecretID))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errNotPermitted
	}
	answer, err := f.lambda.Run(ctx, function, event)
	failure, ok := errors.AsType[*lambdaapi.Failure](err)
	if !ok {
		return answer, err
	}
	told := &scheduler.FunctionError{Type: string(classOf(failure.Type)), Message: failure.Message}
	if !isOwn(function) {
		told.Message = f.redact(ctx, secret.ARN(e.SecretID), failure.Message)
	}
	return nil, told
}

// isOwn tells whether a function is one of keyturn's, whose errors hold no value
// and which know proveSecret.
func isOwn(function string) bool {
	return strings.Contains(function, ":function:"+reservedFunctions)
}

// rotate is the code of a rotation function: it acts as a principal that may
// touch the secret of the event, and read its admin secret, and nothing else.
func (s *Server) rotate(engine rotation.Engine) lambdaapi.Handler {
	admins := &rotation.Admins{}
	s.admins = append(s.admins, admins)
	return func(ctx context.Context, inv lambdaapi.Invocation) ([]byte, error) {
		var e rotation.Event
		if err := json.Unmarshal(inv.Payload, &e); err != nil {
			return nil, rotation.Errorf(rotation.ClassSecret, "the event is not that of a rotation, a JSON object with Step, SecretId and ClientRequestToken")
		}
		client, err := s.secretsOf(inv, secret.ARN(e.SecretID))
		if err != nil {
			return nil, err
		}
		f := &rotation.Function{Secrets: client, Engine: engine, Admins: admins, Now: s.now}
		result, err := f.Handle(ctx, e)
		if err != nil {
			return nil, err
		}
		answer, err := json.Marshal(result)
		if err != nil {
			return nil, err
		}
		return answer, s.noteProof(ctx, e, answer)
	}
}

// rotatorOf returns the principal under which a rotation function acts for the
// secret arn, and for its admin secret if one is given.
func (s *Server) rotatorOf(account string, arn, admin secret.ARN) (iam.Principal, error) {
	p := iam.Principal{ARN: "arn:aws:sts::" + account + ":assumed-role/keyturn-rotation/" + arn.Name(), Account: account, Issued: s.now()}
	document, err := s.rotators.policy(arn, admin)
	p.Policies = []*policy.Document{document}
	return p, err
}

// statement is an Allow in a policy.
type statement struct{ Effect, Action, Resource any }

// rotatorPolicy lets a rotation function touch one secret and read another, if
// there is one.
func rotatorPolicy(arn, admin secret.ARN) (*policy.Document, error) {
	if !strings.HasPrefix(string(arn), "arn:") || strings.ContainsAny(string(arn), "*?$") { // a name, or a pattern of many
		return nil, rotation.Errorf(rotation.ClassSecret, "the SecretId of the event is not the ARN of a secret, as DescribeSecret tells it")
	}
	statements := []statement{
		{"Allow", "secretsmanager:GetRandomPassword", "*"},
		{"Allow", []string{"secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue",
			"secretsmanager:UpdateSecretVersionStage"}, arn},
	}
	if admin != "" {
		statements = append(statements, statement{"Allow", []string{"secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"}, admin})
	}
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	if err != nil {
		return nil, fmt.Errorf("writing a policy: %w", err)
	}
	d, err := policy.ParseIdentity(string(text))
	if err != nil {
		return nil, fmt.Errorf("reading the policy for %s: %w", arn, err)
	}
	return d, nil
}

// adminSecret returns the ARN of the secret that masterarn names in the current
// value of the secret arn; empty when it names none.
func (s *Server) adminSecret(ctx context.Context, arn secret.ARN) (admin secret.ARN, err error) {
	_, value, err := s.vault.Read(ctx, arn, secret.Selector{})
	if errors.Is(err, secret.ErrNotFound) {
		return "", nil
	}
	if err != nil || value.Text == nil {
		return "", err
	}
	var keys struct {
		MasterARN string `json:"masterarn"`
	}
	if json.Unmarshal([]byte(*value.Text), &keys) != nil || keys.MasterARN == "" {
		return "", nil // the function itself says what is wrong with a value
	}
	err = s.db.Read(ctx, func(tx *sqldb.Tx) error {
		admin, err = s.vault.Resolve(ctx, tx, arn.Place(), keys.MasterARN)
		return err
	})
	return admin, err
}
