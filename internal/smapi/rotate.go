package smapi

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"unicode/utf8"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

var errAccessDenied = fault.Kind{Code: "AccessDeniedException", Status: 400}

func checkRotate(v *wire.Violations, in *sm.RotateSecretInput) error {
	v.Length("rotationLambdaARN", in.RotationLambdaARN, 0, 2048)
	checkExternal(v, in)
	checkSchedule(v, in.RotationRules)
	if err := v.Err(); err != nil {
		return err
	}
	if in.ClientRequestToken == nil {
		return errNoToken(secret.ErrInvalidParameter)
	}
	if n := utf8.RuneCountInString(*in.ClientRequestToken); n < 32 || n > 64 {
		return secret.ErrInvalidParameter.Errorf("ClientRequestToken must be 32-64 characters long.")
	}
	return checkRules(in.RotationRules)
}

func checkExternal(v *wire.Violations, in *sm.RotateSecretInput) {
	v.Length("externalSecretRotationRoleArn", in.ExternalSecretRotationRoleArn, 20, 2048)
	for i, m := range in.ExternalSecretRotationMetadata {
		at := wire.Member("externalSecretRotationMetadata", i)
		v.Required(at+".key", m.Key != nil)
		v.Length(at+".key", m.Key, 1, 256)
		v.Required(at+".value", m.Value != nil)
		v.Length(at+".value", m.Value, 1, 2048)
	}
}

// The patterns that AWS's model gives for rotation rules.
var (
	hours      = wire.NewPattern(`[0-9]+h`)
	expression = wire.NewPattern(`[0-9A-Za-z\(\)#\?\*\-\/, ]+`)
)

// checkSchedule adds what AWS's front end says of rules; what the service says of
// them is checkRules.
func checkSchedule(v *wire.Violations, r *types.RotationRulesType) {
	if r == nil {
		return
	}
	v.Length("rotationRules.duration", r.Duration, 2, 3)
	v.Pattern("rotationRules.duration", r.Duration, hours)
	v.Length("rotationRules.scheduleExpression", r.ScheduleExpression, 1, 256)
	v.Pattern("rotationRules.scheduleExpression", r.ScheduleExpression, expression)
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
	arn, token := arnOf(in.SecretId), secret.VersionID(*in.ClientRequestToken)
	r, err := s.rotating(ctx, in)
	if err != nil {
		return nil, err
	}
	immediately := in.RotateImmediately == nil || *in.RotateImmediately
	begin := func(tx *sqldb.Tx) error { return s.sched.Start(ctx, tx, arn, token) }
	switch {
	case r.function == "" && immediately:
		return nil, secret.ErrInvalidRequest.Errorf("This server can't rotate the secret by itself, since that takes the service or partner that it belongs to. To store its rotation settings, call RotateSecret with RotateImmediately=false.")
	case r.function == "":
		begin = func(*sqldb.Tx) error { return nil }
	case !immediately:
		if begin, err = s.test(ctx, arn, token); err != nil {
			return nil, err
		}
	}
	if err := s.configure(ctx, arn, r, begin); err != nil {
		return nil, err
	}
	out := &sm.RotateSecretOutput{ARN: in.SecretId, Name: new(arn.Name())}
	if r.function != "" {
		out.VersionId = in.ClientRequestToken
		audit.Of(ctx).VersionID = *in.ClientRequestToken
	}
	return out, nil
}

// rotation is what a RotateSecret configures.
type rotation struct {
	scheduler.Settings
	function string          // asked for, or configured before; empty: the secret rotates without one
	external secret.External // nil members stay as they are
}

// rotating checks that the secret may be rotated, and that its function may be
// invoked. Managed secrets need none: those of another service, and managed
// external secrets, which have a type.
func (s *Service) rotating(ctx context.Context, in *sm.RotateSecretInput) (r rotation, err error) {
	arn := arnOf(in.SecretId)
	r.Settings = scheduler.Settings{Function: orEmpty(in.RotationLambdaARN), Rule: ruleOf(in.RotationRules)}
	r.external.RoleARN = orEmpty(in.ExternalSecretRotationRoleArn)
	for _, m := range in.ExternalSecretRotationMetadata {
		r.external.Metadata = append(r.external.Metadata, secret.Tag{Key: *m.Key, Value: *m.Value})
	}
	var found *secret.Secret
	if found, r.function, err = s.configured(ctx, arn); err != nil {
		return r, err
	}
	if r.Function != "" {
		if err := found.RequireUnmanaged(); err != nil {
			return r, err
		}
		r.function = r.Function
	}
	if r.function == "" && found.OwningService == "" && found.Type == "" {
		return r, secret.ErrInvalidRequest.Errorf("No Lambda rotation function ARN is associated with this secret.")
	}
	if r.function == "" {
		return r, nil
	}
	return r, s.checkFunction(ctx, arn, r.function)
}

// configured returns the secret and the function that it has already.
func (s *Service) configured(ctx context.Context, arn secret.ARN) (found *secret.Secret, function string, err error) {
	err = s.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		if found, err = s.primary(ctx, tx, arn); err != nil {
			return err
		}
		state, err := s.sched.State(ctx, tx, arn)
		if state != nil {
			function = state.Function
		}
		return err
	})
	return found, function, err
}

var functionARN = regexp.MustCompile(`^arn:aws:lambda:([a-z0-9-]+):[0-9]{12}:function:[A-Za-z0-9_-]+(:[A-Za-z0-9_$-]+)?$`)

// checkFunction returns why a function may not rotate a secret, or nil.
func (s *Service) checkFunction(ctx context.Context, arn secret.ARN, function string) error {
	at := arn.Place()
	m := functionARN.FindStringSubmatch(function)
	if m == nil || m[1] != at.Region {
		return secret.ErrInvalidParameter.Errorf("Invalid rotation Lambda ARN. Ensure the ARN matches format arn:aws:lambda:%s:%s:function:<functionName>.", at.Region, at.Account)
	}
	ok, err := s.functions.Permits(ctx, function, arn)
	if err != nil {
		return fmt.Errorf("reading a function's policy: %w", err)
	}
	if !ok {
		return errAccessDenied.Errorf("Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com.")
	}
	return nil
}

// configure stores the settings and begins, all or nothing. While a rotation is
// incomplete nothing is stored, and that rotation tries again at once.
func (s *Service) configure(ctx context.Context, arn secret.ARN, r rotation, begin func(*sqldb.Tx) error) error {
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		found, err := s.primary(ctx, tx, arn)
		if err != nil {
			return err
		}
		if err := s.setExternal(ctx, tx, found, r.external); err != nil {
			return err
		}
		if err := s.sched.Configure(ctx, tx, arn, r.Settings); err != nil {
			return err
		}
		return errors.Join(s.vault.Touch(ctx, tx, arn), begin(tx))
	})
	if errors.Is(err, scheduler.ErrIncomplete) {
		retry := s.db.Write(ctx, func(tx *sqldb.Tx) error { return s.sched.Retry(ctx, tx, arn) })
		err = errors.Join(err, retry)
	}
	s.sched.Poke()
	return err
}

func (s *Service) setExternal(ctx context.Context, tx *sqldb.Tx, found *secret.Secret, given secret.External) error {
	if given.RoleARN == "" && given.Metadata == nil {
		return nil
	}
	now := found.External
	if given.RoleARN != "" {
		now.RoleARN = given.RoleARN
	}
	if given.Metadata != nil {
		now.Metadata = given.Metadata
	}
	return s.vault.SetExternal(ctx, tx, found.ARN, now)
}

// test prepares the test of RotateImmediately=false: testSecret, once, on a
// temporary AWSPENDING version with the current value. A secret without a value
// has nothing to test; its first one may be on the way.
func (s *Service) test(ctx context.Context, arn secret.ARN, token secret.VersionID) (begin func(*sqldb.Tx) error, err error) {
	var current *secret.Version
	err = s.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		current, err = s.vault.Select(ctx, tx, arn, secret.Selector{})
		return err
	})
	if errors.Is(err, secret.ErrNotFound) {
		return func(tx *sqldb.Tx) error { return s.sched.RequireComplete(ctx, tx, arn, token) }, nil
	}
	if err != nil {
		return nil, err
	}
	value, err := s.vault.Open(ctx, current)
	if err != nil {
		return nil, err
	}
	copied, err := s.seal(ctx, arn, token, value)
	if err != nil {
		return nil, err
	}
	return func(tx *sqldb.Tx) error { return s.sched.StartTest(ctx, tx, copied) }, nil
}

func (s *Service) cancelRotate(ctx context.Context, in *sm.CancelRotateSecretInput) (*sm.CancelRotateSecretOutput, error) {
	arn := arnOf(in.SecretId)
	var pending secret.VersionID
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		if _, err := s.vault.FindEditable(ctx, tx, arn); err != nil {
			return err
		}
		if err := s.vault.Touch(ctx, tx, arn); err != nil {
			return err
		}
		var err error
		pending, err = s.sched.Cancel(ctx, tx, arn)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &sm.CancelRotateSecretOutput{ARN: in.SecretId, Name: new(arn.Name()), VersionId: ifSet(string(pending))}, nil
}
