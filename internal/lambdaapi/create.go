package lambdaapi

import (
	"context"
	"errors"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/google/uuid"

	"github.com/keyturn/keyturn/internal/execenv"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

// maxUpload is the largest request that brings code, in bytes: a package of 50 MiB
// in base64, and what else belongs to it.
const maxUpload = 70167211

// settings are what CreateFunction and UpdateFunctionConfiguration have in common.
// A nil member is not given.
type settings struct {
	Description, Handler, Role, KMSKeyArn *string
	Timeout, MemorySize                   *int32
	Runtime                               types.Runtime
	Environment                           *types.Environment
	VpcConfig                             *types.VpcConfig
	TracingConfig                         *types.TracingConfig
	EphemeralStorage                      *types.EphemeralStorage
	LoggingConfig                         *types.LoggingConfig
	DeadLetterConfig                      *types.DeadLetterConfig
	// notHere is what this server can't do and was asked for.
	notHere []string
}

// lacks notes a member that this server can't honour.
func (c *settings) lacks(member string, given bool) {
	if given {
		c.notHere = append(c.notHere, member)
	}
}

func settingsOfCreate(in *lambda.CreateFunctionInput) *settings {
	c := &settings{Description: in.Description, Handler: in.Handler, Role: in.Role, KMSKeyArn: in.KMSKeyArn, Timeout: in.Timeout,
		MemorySize: in.MemorySize, Runtime: in.Runtime, Environment: in.Environment, VpcConfig: in.VpcConfig, TracingConfig: in.TracingConfig,
		EphemeralStorage: in.EphemeralStorage, LoggingConfig: in.LoggingConfig, DeadLetterConfig: in.DeadLetterConfig}
	c.lacks("Layers", len(in.Layers) > 0)
	c.lacks("FileSystemConfigs", len(in.FileSystemConfigs) > 0)
	c.lacks("ImageConfig", in.ImageConfig != nil)
	c.lacks("PackageType Image", in.PackageType == types.PackageTypeImage)
	c.lacks("Publish", in.Publish)
	c.lacks("CodeSigningConfigArn", in.CodeSigningConfigArn != nil)
	c.lacks("SnapStart", in.SnapStart != nil && in.SnapStart.ApplyOn == types.SnapStartApplyOnPublishedVersions)
	c.lacks("CapacityProviderConfig", in.CapacityProviderConfig != nil)
	c.lacks("DurableConfig", in.DurableConfig != nil)
	c.lacks("TenancyConfig", in.TenancyConfig != nil)
	c.lacks("Code other than ZipFile", in.Code != nil && (in.Code.S3Bucket != nil || in.Code.ImageUri != nil))
	return c
}

// rolePattern is that of Role in Lambda's API reference.
var rolePattern = wire.NewPattern(`arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+`)

var handlerPattern = wire.NewPattern(`[^\s]+`)

// check refuses settings that AWS would refuse, or that this server can't honour.
func (c *settings) check() error {
	var v wire.Violations
	v.Pattern("role", c.Role, rolePattern)
	v.Pattern("handler", c.Handler, handlerPattern)
	v.Length("handler", c.Handler, 0, 128)
	v.Length("description", c.Description, 0, 256)
	v.Range("timeout", wide(c.Timeout), 1, 900)
	v.Range("memorySize", wide(c.MemorySize), 128, 10240)
	if err := v.Err(); err != nil {
		return err
	}
	if len(c.notHere) > 0 {
		return ErrInvalidValue.Errorf("This server does not support %s: leave it out.", strings.Join(c.notHere, ", "))
	}
	if err := checkRuntime(c.Runtime); err != nil {
		return err
	}
	return checkVariables(c.Environment)
}

func wide(n *int32) *int64 {
	if n == nil {
		return nil
	}
	return new(int64(*n))
}

func checkRuntime(r types.Runtime) error {
	all := r.Values()
	if r != "" && !slices.Contains(all, r) {
		names := make([]string, len(all))
		for i, known := range all {
			names[i] = string(known)
		}
		return ErrInvalidValue.Errorf("Value %s at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [%s] or be a valid ARN", clip(string(r)), strings.Join(names, ", "))
	}
	if r == "" {
		return nil
	}
	program, known := execenv.Interpreter(string(r))
	if !known {
		return ErrInvalidValue.Errorf("This server runs functions of the runtimes provided, provided.al2, provided.al2023, python3.x and nodejs, not %s.", r)
	}
	if _, err := exec.LookPath(program); program != "" && err != nil {
		return ErrInvalidValue.Errorf("This server can't run functions of runtime %s: there is no %s in its PATH.", r, program)
	}
	return nil
}

// reserved are the environment variables that a function may not set: "Defined
// runtime environment variables" in AWS's developer guide.
var reserved = []string{"_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME",
	"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME",
	"AWS_LAMBDA_LOG_STREAM_NAME", "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_RUNTIME_API",
	"LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"}

var variableName = regexp.MustCompile(`^[a-zA-Z]([a-zA-Z0-9_])+$`)

// maxVariables is how long all names and values together may be, in bytes ("Lambda
// quotas").
const maxVariables = 4 << 10

func checkVariables(e *types.Environment) error {
	if e == nil {
		return nil
	}
	total := 0
	var taken []string
	for _, name := range slices.Sorted(maps.Keys(e.Variables)) {
		total += len(name) + len(e.Variables[name])
		if slices.Contains(reserved, name) {
			taken = append(taken, name)
		} else if !variableName.MatchString(name) {
			return wire.ErrValidation.Errorf("1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]")
		} else if strings.Contains(e.Variables[name], "\x00") {
			return ErrInvalidValue.Errorf("The value of environment variable %s holds a character that no process can be given.", name)
		}
	}
	if len(taken) > 0 {
		return ErrInvalidValue.Errorf("Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: %s", strings.Join(taken, ", "))
	}
	if total > maxVariables {
		return ErrInvalidValue.Errorf("Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit.")
	}
	return nil
}

// apply changes what callers see of a function.
func (c *settings) apply(shown *types.FunctionConfiguration) {
	replace(&shown.Description, c.Description)
	replace(&shown.Handler, c.Handler)
	replace(&shown.Role, c.Role)
	replace(&shown.KMSKeyArn, c.KMSKeyArn)
	replace(&shown.Timeout, c.Timeout)
	replace(&shown.MemorySize, c.MemorySize)
	replace(&shown.EphemeralStorage, c.EphemeralStorage)
	replace(&shown.LoggingConfig, c.LoggingConfig)
	replace(&shown.DeadLetterConfig, c.DeadLetterConfig)
	if c.Runtime != "" {
		shown.Runtime = c.Runtime
	}
	if c.TracingConfig != nil {
		shown.TracingConfig = &types.TracingConfigResponse{Mode: c.TracingConfig.Mode}
	}
	if v := c.VpcConfig; v != nil {
		shown.VpcConfig = &types.VpcConfigResponse{SubnetIds: v.SubnetIds, SecurityGroupIds: v.SecurityGroupIds,
			Ipv6AllowedForDualStack: v.Ipv6AllowedForDualStack, VpcId: new("")}
	}
}

func replace[T any](old **T, given *T) {
	if given != nil {
		*old = given
	}
}

// fresh is a function before its settings are applied, with AWS's defaults.
func fresh(a arn) types.FunctionConfiguration {
	return types.FunctionConfiguration{
		FunctionName: &a.name, FunctionArn: new(a.String()), Description: new(""), Version: new("$LATEST"),
		Timeout: new(int32(3)), MemorySize: new(int32(128)), PackageType: types.PackageTypeZip,
		Architectures:    []types.Architecture{types.ArchitectureX8664},
		EphemeralStorage: &types.EphemeralStorage{Size: new(int32(512))},
		TracingConfig:    &types.TracingConfigResponse{Mode: types.TracingModePassThrough},
		SnapStart:        &types.SnapStartResponse{ApplyOn: types.SnapStartApplyOnNone, OptimizationStatus: types.SnapStartOptimizationStatusOff},
		LoggingConfig:    &types.LoggingConfig{LogFormat: types.LogFormatText, LogGroup: new("/aws/lambda/" + a.name)},
		State:            types.StateActive, LastUpdateStatus: types.LastUpdateStatusSuccessful,
	}
}

func createTarget(ctx context.Context, in *lambda.CreateFunctionInput) (iam.Resource, error) {
	var v wire.Violations
	v.Required("functionName", in.FunctionName != nil)
	v.Required("role", in.Role != nil)
	v.Required("code", in.Code != nil)
	if err := v.Err(); err != nil {
		return iam.Resource{}, err
	}
	return target(ctx, &in.FunctionName, nil)
}

func (s *Service) create(ctx context.Context, in *lambda.CreateFunctionInput) (*types.FunctionConfiguration, error) {
	a, err := split(*in.FunctionName)
	if err != nil {
		return nil, err
	}
	c := settingsOfCreate(in)
	if err := s.checkCreate(a, c, in); err != nil {
		return nil, err
	}
	d := &definition{arn: a, shown: fresh(a), tags: in.Tags}
	c.apply(&d.shown)
	if len(in.Architectures) > 0 {
		d.shown.Architectures = in.Architectures
	}
	d.setCode(in.Code.ZipFile)
	if err := s.setVariables(ctx, d, variablesOf(c.Environment)); err != nil {
		return nil, err
	}
	revision := uuid.NewString()
	err = s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		d.changed(tx.Now, revision)
		if err := d.save(ctx, tx, true); err != nil {
			return err
		}
		return d.saveCode(ctx, tx, in.Code.ZipFile)
	})
	if err != nil {
		return nil, err
	}
	shown, err := s.describe(ctx, d)
	return pending(shown), err
}

func variablesOf(e *types.Environment) map[string]string {
	if e == nil {
		return nil
	}
	return e.Variables
}

func (s *Service) checkCreate(a arn, c *settings, in *lambda.CreateFunctionInput) error {
	if err := c.check(); err != nil {
		return err
	}
	if s.findBuiltIn(a) != nil {
		return ErrConflict.Errorf("Function already exist: %s", a.name)
	}
	if strings.HasPrefix(a.name, s.config.Reserved) {
		return ErrInvalidValue.Errorf("Names that begin with %s are reserved for functions of the server.", s.config.Reserved)
	}
	if c.Handler == nil || c.Runtime == "" {
		return ErrInvalidValue.Errorf("Runtime and Handler are mandatory parameters for functions created with deployment packages.")
	}
	if err := checkReserved(in.Tags); err != nil {
		return err
	}
	if err := checkTags(in.Tags); err != nil {
		return err
	}
	return checkCode(in.Code.ZipFile)
}

func checkCode(code []byte) error {
	err := execenv.Check(code)
	switch {
	case len(code) == 0:
		return ErrInvalidValue.Errorf("Please provide a source for function code.")
	case errors.Is(err, execenv.ErrEmpty):
		return ErrInvalidValue.Errorf("Uploaded file must be a non-empty zip")
	case errors.Is(err, execenv.ErrTooLarge):
		return ErrInvalidValue.Errorf("Unzipped size must be smaller than %d bytes", execenv.MaxUnpacked)
	case err != nil:
		return ErrInvalidValue.Errorf("Could not unzip uploaded file. Please check your file, then try to upload again.")
	}
	return nil
}

// pending is how CreateFunction shows a function, which in truth is ready.
func pending(shown types.FunctionConfiguration) *types.FunctionConfiguration {
	shown.State, shown.StateReasonCode = types.StatePending, types.StateReasonCodeCreating
	shown.StateReason, shown.LastUpdateStatus = new("The function is being created."), ""
	return &shown
}
