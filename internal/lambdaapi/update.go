package lambdaapi

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/google/uuid"

	"github.com/keyturn/keyturn/internal/sqldb"
)

func settingsOfUpdate(in *lambda.UpdateFunctionConfigurationInput) *settings {
	c := &settings{Description: in.Description, Handler: in.Handler, Role: in.Role, KMSKeyArn: in.KMSKeyArn, Timeout: in.Timeout,
		MemorySize: in.MemorySize, Runtime: in.Runtime, Environment: in.Environment, VpcConfig: in.VpcConfig, TracingConfig: in.TracingConfig,
		EphemeralStorage: in.EphemeralStorage, LoggingConfig: in.LoggingConfig, DeadLetterConfig: in.DeadLetterConfig}
	c.lacks("Layers", len(in.Layers) > 0)
	c.lacks("FileSystemConfigs", len(in.FileSystemConfigs) > 0)
	c.lacks("ImageConfig", in.ImageConfig != nil)
	c.lacks("SnapStart", in.SnapStart != nil && in.SnapStart.ApplyOn == types.SnapStartApplyOnPublishedVersions)
	c.lacks("CapacityProviderConfig", in.CapacityProviderConfig != nil)
	c.lacks("DurableConfig", in.DurableConfig != nil)
	return c
}

func (s *Service) updateConfiguration(ctx context.Context, in *lambda.UpdateFunctionConfigurationInput) (*types.FunctionConfiguration, error) {
	c := settingsOfUpdate(in)
	if err := c.check(); err != nil {
		return nil, err
	}
	d, err := s.changeable(ctx, in.FunctionName, in.RevisionId)
	if err != nil {
		return nil, err
	}
	seen := *d.shown.RevisionId
	variables, err := s.variables(ctx, d)
	if err != nil {
		return nil, err
	}
	if c.Environment != nil {
		variables = c.Environment.Variables
	}
	c.apply(&d.shown)
	if err := s.setVariables(ctx, d, variables); err != nil {
		return nil, err
	}
	return s.store(ctx, d, seen, nil)
}

func (s *Service) updateCode(ctx context.Context, in *lambda.UpdateFunctionCodeInput) (*types.FunctionConfiguration, error) {
	var c settings
	c.lacks("Publish", in.Publish)
	c.lacks("code other than ZipFile", in.S3Bucket != nil || in.ImageUri != nil)
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := checkCode(in.ZipFile); err != nil {
		return nil, err
	}
	d, err := s.changeable(ctx, in.FunctionName, in.RevisionId)
	if err != nil {
		return nil, err
	}
	seen := *d.shown.RevisionId
	d.setCode(in.ZipFile)
	if len(in.Architectures) > 0 {
		d.shown.Architectures = in.Architectures
	}
	if in.DryRun {
		shown, err := s.describe(ctx, d)
		return &shown, err
	}
	return s.store(ctx, d, seen, in.ZipFile)
}

// changeable returns a function that may be changed, if it still is the revision
// that the caller has seen.
func (s *Service) changeable(ctx context.Context, functionARN, seen *string) (*definition, error) {
	d, err := s.own(ctx, functionARN)
	if err != nil {
		return nil, err
	}
	if r := orEmpty(seen); r != "" && r != *d.shown.RevisionId {
		return nil, ErrPrecondition.Errorf("The RevisionId provided does not match the latest RevisionId. Call the GetFunction/GetAlias API to retrieve the latest RevisionId")
	}
	return d, nil
}

// own returns a function that is not built in.
func (s *Service) own(ctx context.Context, functionARN *string) (*definition, error) {
	a, err := split(*functionARN)
	if err != nil {
		return nil, err
	}
	d, err := s.find(ctx, a)
	if err == nil && d.builtIn != nil {
		return nil, ErrInvalidValue.Errorf("Function %s is part of this server and can't be changed.", a.name)
	}
	return d, err
}

// store keeps a changed function, unless somebody else changed it since it was
// seen. A nil code is not changed.
func (s *Service) store(ctx context.Context, d *definition, seen string, code []byte) (*types.FunctionConfiguration, error) {
	revision := uuid.NewString()
	err := s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		now, err := load(ctx, tx, d.arn)
		if err != nil {
			return err
		}
		if *now.shown.RevisionId != seen {
			return ErrConflict.Errorf("The operation cannot be performed at this time. An update is in progress for resource: %s", d.arn)
		}
		d.tags = now.tags
		d.changed(tx.Now, revision)
		if err := d.save(ctx, tx, false); err != nil || code == nil {
			return err
		}
		return d.saveCode(ctx, tx, code)
	})
	if err != nil {
		return nil, err
	}
	shown, err := s.describe(ctx, d)
	shown.LastUpdateStatus, shown.LastUpdateStatusReasonCode = types.LastUpdateStatusInProgress, types.LastUpdateStatusReasonCode("Creating")
	shown.LastUpdateStatusReason = new("The function is being created.")
	return &shown, err
}

func (s *Service) remove(ctx context.Context, in *lambda.DeleteFunctionInput) (*lambda.DeleteFunctionOutput, error) {
	d, err := s.own(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	err = s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		for _, statement := range []string{`DELETE FROM functions WHERE arn = $1`, `DELETE FROM function_code WHERE function = $1`,
			`DELETE FROM function_permissions WHERE function = $1`} {
			if _, err := tx.Exec(ctx, statement, d.arn.String()); err != nil {
				return err
			}
		}
		return nil
	})
	return &lambda.DeleteFunctionOutput{}, err
}
