package lambdaapi

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// definition is a function as it is kept.
type definition struct {
	arn     arn
	builtIn *Function // nil: it was made by CreateFunction
	// shown is what callers see of it, without environment variables.
	shown types.FunctionConfiguration
	// environment is its environment variables, an envelope.Sealed as JSON; empty:
	// it has none.
	environment string
	tags        map[string]string
}

func (d *definition) timeout() time.Duration {
	if d.shown.Timeout == nil {
		return 0
	}
	return time.Duration(*d.shown.Timeout) * time.Second
}

// find returns a function, or ErrNotFound.
func (s *Service) find(ctx context.Context, a arn) (d *definition, err error) {
	if d := s.findBuiltIn(a); d != nil {
		return d, nil
	}
	err = s.config.DB.ReadOne(ctx, func(tx *sqldb.Tx) error {
		d, err = load(ctx, tx, a)
		return err
	})
	return d, err
}

func (s *Service) findBuiltIn(a arn) *definition {
	for i := range s.config.BuiltIns {
		if f := &s.config.BuiltIns[i]; f.Name == a.name {
			return &definition{arn: a, builtIn: f, shown: f.configuration(a)}
		}
	}
	return nil
}

// configuration describes a built-in function: there is no code to download and
// no role.
func (f *Function) configuration(a arn) types.FunctionConfiguration {
	return types.FunctionConfiguration{
		FunctionName: &f.Name, FunctionArn: new(a.String()), Description: &f.Description,
		Runtime: types.RuntimeProvidedal2023, Handler: new("bootstrap"), Role: new("arn:aws:iam::" + a.account + ":role/" + f.Name),
		Timeout: new(int32(builtInTime / time.Second)), MemorySize: new(int32(128)), Version: new("$LATEST"), PackageType: types.PackageTypeZip,
		Architectures: []types.Architecture{types.ArchitectureX8664},
		State:         types.StateActive, LastUpdateStatus: types.LastUpdateStatusSuccessful,
	}
}

const columns = `arn, shown, environment, tags`

func load(ctx context.Context, tx *sqldb.Tx, a arn) (*definition, error) {
	d, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM functions WHERE arn = $1`, a.String()).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound.Errorf("Function not found: %s", a)
	}
	return d, err
}

func scan(into func(...any) error) (*definition, error) {
	d := &definition{}
	var text, shown, tags string
	if err := into(&text, &shown, &d.environment, &tags); err != nil {
		return nil, fmt.Errorf("reading a function: %w", err)
	}
	var err error
	if d.arn, err = split(text); err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(shown), &d.shown); err != nil {
		return nil, fmt.Errorf("reading function %s: %w", text, err)
	}
	if err := json.Unmarshal([]byte(tags), &d.tags); err != nil {
		return nil, fmt.Errorf("reading the tags of function %s: %w", text, err)
	}
	return d, nil
}

// save stores a function; insert says that it must be new.
func (d *definition) save(ctx context.Context, tx *sqldb.Tx, insert bool) error {
	shown, err := json.Marshal(d.shown)
	if err != nil {
		return fmt.Errorf("writing a function: %w", err)
	}
	tags, err := json.Marshal(d.tags)
	if err != nil {
		return fmt.Errorf("writing a function's tags: %w", err)
	}
	statement := `UPDATE functions SET shown = $2, environment = $3, tags = $4 WHERE arn = $1`
	if insert {
		statement = `INSERT INTO functions (` + columns + `) VALUES ($1, $2, $3, $4)`
	}
	_, err = tx.Exec(ctx, statement, d.arn.String(), string(shown), d.environment, string(tags))
	if sqldb.IsUnique(err) {
		return ErrConflict.Errorf("Function already exist: %s", d.arn.name)
	}
	return err
}

func (d *definition) saveCode(ctx context.Context, tx *sqldb.Tx, code []byte) error {
	_, err := tx.Exec(ctx, `INSERT INTO function_code (function, zip) VALUES ($1, $2)
		ON CONFLICT (function) DO UPDATE SET zip = excluded.zip`, d.arn.String(), code)
	return err
}

// code returns the deployment package, whole and unchanged since it was uploaded.
func (s *Service) code(ctx context.Context, d *definition) (code []byte, err error) {
	err = s.config.DB.ReadOne(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT zip FROM function_code WHERE function = $1`, d.arn.String()).Scan(&code)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound.Errorf("Function not found: %s", d.arn) // it was deleted a moment ago
	}
	if err != nil {
		return nil, fmt.Errorf("reading the code of %s: %w", d.arn, err)
	}
	if hash(code) != orEmpty(d.shown.CodeSha256) {
		return nil, fmt.Errorf("the code of %s is not what was uploaded", d.arn)
	}
	return code, nil
}

// hash is a CodeSha256.
func hash(code []byte) string {
	sum := sha256.Sum256(code)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (d *definition) setCode(code []byte) {
	d.shown.CodeSha256, d.shown.CodeSize = new(hash(code)), int64(len(code))
}

// changed marks a new revision. Times look like 2024-05-01T12:00:00.000+0000.
func (d *definition) changed(now time.Time, revision string) {
	d.shown.RevisionId = &revision
	d.shown.LastModified = new(now.UTC().Format("2006-01-02T15:04:05.000-0700"))
}

// place is what environment variables are bound to.
func (d *definition) place() string { return "function|" + d.arn.String() }

// setVariables seals environment variables, under the key that KMSKeyArn names.
func (s *Service) setVariables(ctx context.Context, d *definition, variables map[string]string) error {
	if d.environment = ""; len(variables) == 0 {
		return nil
	}
	plain, err := json.Marshal(variables)
	if err != nil {
		return fmt.Errorf("writing environment variables: %w", err)
	}
	sealed, err := s.config.Keys.SealWith(ctx, orEmpty(d.shown.KMSKeyArn), plain, d.place())
	if invalid, ok := errors.AsType[*envelope.InvalidKeyError](err); ok {
		return ErrInvalidValue.Errorf("Lambda was unable to configure access to your environment variables because the KMS key is invalid for CreateFunction: %s", invalid.Reason)
	}
	if err != nil {
		return fmt.Errorf("sealing environment variables: %w", err)
	}
	text, err := json.Marshal(sealed)
	d.environment = string(text)
	return err
}

func (s *Service) variables(ctx context.Context, d *definition) (map[string]string, error) {
	if d.environment == "" {
		return nil, nil
	}
	var sealed envelope.Sealed
	if err := json.Unmarshal([]byte(d.environment), &sealed); err != nil {
		return nil, fmt.Errorf("reading environment variables: %w", err)
	}
	plain, err := s.config.Keys.Open(ctx, sealed, d.place())
	if err != nil {
		return nil, fmt.Errorf("opening the environment variables of %s: %w", d.arn, err)
	}
	var variables map[string]string
	if err := json.Unmarshal(plain, &variables); err != nil {
		return nil, fmt.Errorf("reading the environment variables of %s: the sealed text is no JSON object", d.arn)
	}
	return variables, nil
}

// describe is what callers see of a function, environment variables included.
func (s *Service) describe(ctx context.Context, d *definition) (types.FunctionConfiguration, error) {
	shown := d.shown
	variables, err := s.variables(ctx, d)
	if err != nil {
		return shown, err
	}
	if variables != nil {
		shown.Environment = &types.EnvironmentResponse{Variables: variables}
	}
	return shown, nil
}
