package smapi

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

var errAccessDenied = fault.Kind{Code: "AccessDeniedException", Status: 400}

func checkRotate(in *sm.RotateSecretInput) error {
	if in.ClientRequestToken == nil {
		return errNoToken(secret.ErrInvalidParameter)
	}
	if n := len(*in.ClientRequestToken); n < 32 || n > 64 {
		return secret.ErrInvalidParameter.Errorf("ClientRequestToken must be 32-64 characters long.")
	}
	var v wire.Violations
	v.Length("rotationLambdaARN", in.RotationLambdaARN, 0, 2048)
	if err := v.Err(); err != nil {
		return err
	}
	if in.ExternalSecretRotationRoleArn != nil || len(in.ExternalSecretRotationMetadata) > 0 {
		return secret.ErrInvalidParameter.Errorf("This server doesn't rotate managed external secrets yet.")
	}
	return checkRules(in.RotationRules)
}

func checkRules(rules *types.RotationRulesType) error {
	if rules == nil {
		return nil
	}
	if rules.AutomaticallyAfterDays != nil && (*rules.AutomaticallyAfterDays < 1 || *rules.AutomaticallyAfterDays > 1000) {
		return secret.ErrInvalidParameter.Errorf("RotationRules.AutomaticallyAfterDays must be within 1-1000.")
	}
	return ruleOf(rules).Validate()
}

func ruleOf(rules *types.RotationRulesType) *scheduler.Rule {
	if rules == nil {
		return nil
	}
	r := &scheduler.Rule{Expr: orEmpty(rules.ScheduleExpression), Duration: orEmpty(rules.Duration)}
	if rules.AutomaticallyAfterDays != nil {
		r.Days = *rules.AutomaticallyAfterDays
	}
	return r
}

func (s *Service) rotate(ctx context.Context, in *sm.RotateSecretInput) (*sm.RotateSecretOutput, error) {
	arn := arnOf(in.SecretId)
	settings, err := s.settings(ctx, in)
	if err != nil {
		return nil, err
	}
	immediately := in.RotateImmediately == nil || *in.RotateImmediately
	begin := func(tx *sqldb.Tx) error {
		return s.sched.Start(ctx, tx, arn, secret.VersionID(*in.ClientRequestToken))
	}
	if !immediately {
		if begin, err = s.test(ctx, arn, secret.VersionID(*in.ClientRequestToken)); err != nil {
			return nil, err
		}
	}
	if err := s.configure(ctx, arn, settings, begin); err != nil {
		return nil, err
	}
	return &sm.RotateSecretOutput{ARN: in.SecretId, Name: ptr(arn.Name()), VersionId: in.ClientRequestToken}, nil
}

// configure stores the settings and begins, all or nothing. While a rotation is
// incomplete nothing is stored, and that rotation tries again at once.
func (s *Service) configure(ctx context.Context, arn secret.ARN, settings scheduler.Settings, begin func(*sqldb.Tx) error) error {
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		if _, err := s.vault.FindLive(ctx, tx, arn); err != nil {
			return err
		}
		if err := s.sched.Configure(ctx, tx, arn, settings); err != nil {
			return err
		}
		return begin(tx)
	})
	if errors.Is(err, scheduler.ErrIncomplete) {
		retry := s.db.Write(ctx, func(tx *sqldb.Tx) error { return s.sched.Retry(ctx, tx, arn) })
		err = errors.Join(err, retry)
	}
	s.sched.Poke()
	return err
}

// test prepares the test of RotateImmediately=false: testSecret, once, on a
// temporary AWSPENDING version with the current value. A secret without a value
// has nothing to test.
func (s *Service) test(ctx context.Context, arn secret.ARN, token secret.VersionID) (begin func(*sqldb.Tx) error, err error) {
	var current *secret.Version
	err = s.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		current, err = s.vault.Select(ctx, tx, arn, secret.Selector{})
		return err
	})
	if errors.Is(err, secret.ErrNotFound) {
		return func(*sqldb.Tx) error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	value, err := s.vault.Open(ctx, current)
	if err != nil {
		return nil, err
	}
	copied, err := s.vault.Seal(ctx, arn, token, value)
	if err != nil {
		return nil, err
	}
	return func(tx *sqldb.Tx) error { return s.sched.StartTest(ctx, tx, copied) }, nil
}

// settings checks that there is a function, and that it may be invoked.
func (s *Service) settings(ctx context.Context, in *sm.RotateSecretInput) (scheduler.Settings, error) {
	arn := arnOf(in.SecretId)
	settings := scheduler.Settings{Function: orEmpty(in.RotationLambdaARN), Rule: ruleOf(in.RotationRules)}
	function, err := s.function(ctx, arn, settings.Function)
	if err != nil {
		return settings, err
	}
	if function == "" {
		return settings, secret.ErrInvalidRequest.Errorf("No Lambda rotation function ARN is associated with this secret.")
	}
	if err := checkFunction(ctx, function); err != nil {
		return settings, err
	}
	ok, err := s.functions.Permits(ctx, function, arn)
	if err != nil {
		return settings, fmt.Errorf("reading a function's policy: %w", err)
	}
	if !ok {
		return settings, errAccessDenied.Errorf("Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com.")
	}
	return settings, nil
}

// function returns the function asked for, or else the one configured before.
func (s *Service) function(ctx context.Context, arn secret.ARN, asked string) (function string, err error) {
	err = s.db.Read(ctx, func(tx *sqldb.Tx) error {
		if _, err := s.vault.FindLive(ctx, tx, arn); err != nil {
			return err
		}
		state, err := s.sched.State(ctx, tx, arn)
		if state != nil {
			function = state.Function
		}
		return err
	})
	if asked != "" {
		function = asked
	}
	return function, err
}

var functionARN = regexp.MustCompile(`^arn:aws[a-z-]*:lambda:([a-z0-9-]+):[0-9]{12}:function:[A-Za-z0-9_-]+(:[A-Za-z0-9_$-]+)?$`)

func checkFunction(ctx context.Context, function string) error {
	at := here(ctx)
	m := functionARN.FindStringSubmatch(function)
	if m == nil || m[1] != at.Region {
		return secret.ErrInvalidParameter.Errorf("Invalid rotation Lambda ARN. Ensure the ARN matches format arn:aws:lambda:%s:%s:function:<functionName>.", at.Region, at.Account)
	}
	return nil
}

func (s *Service) cancelRotate(ctx context.Context, in *sm.CancelRotateSecretInput) (*sm.CancelRotateSecretOutput, error) {
	arn := arnOf(in.SecretId)
	var pending secret.VersionID
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		if _, err := s.vault.FindLive(ctx, tx, arn); err != nil {
			return err
		}
		var err error
		pending, err = s.sched.Cancel(ctx, tx, arn)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &sm.CancelRotateSecretOutput{ARN: in.SecretId, Name: ptr(arn.Name()), VersionId: ifSet(string(pending))}, nil
}
