// Package keyapi is keyturn's own operations on encryption keys, and what
// follows from them: when a key has new material, it re-wraps what the older
// ones sealed, while the server serves. Whether there is something left to do is
// told by the rows alone: a value is re-wrapped when it names the newest
// material of its key. So an end at any moment needs no repair.
package keyapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keyturnapi"
)

// Failures that callers see.
var (
	ErrInvalidParameter = fault.Kind{Code: "InvalidParameterException", Status: http.StatusBadRequest}
	ErrInvalidRequest   = fault.Kind{Code: "InvalidRequestException", Status: http.StatusBadRequest}
	ErrAccessDenied     = fault.Kind{Code: "AccessDeniedException", Status: http.StatusBadRequest}
)

// Schema is the tables of this package. Material stands in the first from the moment
// when it is being retired: nothing sealed with it may be stored any more. The second
// is what the key file has had and not retired, but for keys in AWS KMS.
var Schema = sqldb.Schema{Name: "keys", Steps: []string{
	`CREATE TABLE retired_key_materials (id TEXT PRIMARY KEY)`,
	`CREATE TABLE key_materials (id TEXT PRIMARY KEY)`,
}}

// Config is what New needs; all of it.
type Config struct {
	DB   *sqldb.DB
	Keys *envelope.Keyring
	// Stores are all places in which sealed values lie.
	Stores []Store
	// Operators is the account whose principals manage the keys.
	Operators string
	Log       *slog.Logger
}

// Service answers the operations and re-wraps. It is safe for concurrent use.
type Service struct {
	config Config
	wake   chan struct{}

	progress struct {
		sync.Mutex
		rotations int              // how often a key was rotated; what was counted before tells nothing
		left      map[string]int64 // :: material id → values to re-wrap; nil: not counted
	}
}

// New returns a Service. Nothing is re-wrapped until Run.
func New(c Config) *Service { return &Service{config: c, wake: make(chan struct{}, 1)} }

// Ops returns the operations.
func (s *Service) Ops() []wire.Op {
	return []wire.Op{
		wire.On("ListKeys", func(context.Context, *keyturnapi.ListKeysInput) (iam.Resource, error) {
			return s.resource("*"), nil
		}, s.list),
		wire.On("CreateKey", s.createTarget, s.create),
		wire.On("RotateKey", s.rotateTarget, s.rotate),
		wire.On("RetireKey", s.retireTarget, s.retire),
	}
}

// resource is a key as policies name it. It belongs to the operators' account,
// so other accounts are denied in AWS's words.
func (s *Service) resource(id string) iam.Resource {
	return iam.Resource{ARN: "arn:aws:keyturn::" + s.config.Operators + ":key/" + id}
}

func (s *Service) list(context.Context, *keyturnapi.ListKeysInput) (*keyturnapi.ListKeysOutput, error) {
	out := &keyturnapi.ListKeysOutput{}
	for _, k := range s.config.Keys.Keys() {
		out.Keys = append(out.Keys, s.shown(k))
	}
	return out, nil
}

// shown is a key as the API tells it.
func (s *Service) shown(k envelope.KeyInfo) keyturnapi.Key {
	out := keyturnapi.Key{KeyID: k.ID, Default: k.Default}
	if k.Alias != "" {
		out.AliasName = "alias/" + k.Alias
	}
	for i, m := range slices.Backward(k.Materials) {
		shown := keyturnapi.KeyMaterial{KeyMaterialID: m.ID, KeyMaterialState: keyturnapi.MaterialCurrent, Origin: keyturnapi.OriginLocal}
		if i < len(k.Materials)-1 {
			shown.KeyMaterialState, shown.ValuesLeft = keyturnapi.MaterialNonCurrent, s.left(m.ID)
		}
		if m.AWSKMS {
			shown.Origin = keyturnapi.OriginAWSKMS
		}
		if !m.Created.IsZero() {
			shown.CreationDate = &m.Created
		}
		out.KeyMaterials = append(out.KeyMaterials, shown)
	}
	return out
}

func checkARN(v *wire.Violations, arn string) { v.Length("awsKmsKeyArn", &arn, 0, 2048) }

func (s *Service) createTarget(_ context.Context, in *keyturnapi.CreateKeyInput) (iam.Resource, error) {
	var v wire.Violations
	v.Length("aliasName", &in.AliasName, 1, 256)
	checkARN(&v, in.AWSKMSKeyARN)
	in.AliasName = strings.TrimPrefix(in.AliasName, "alias/")
	return s.resource("*"), v.Err()
}

func (s *Service) create(ctx context.Context, in *keyturnapi.CreateKeyInput) (*keyturnapi.CreateKeyOutput, error) {
	k, err := s.config.Keys.Create(ctx, in.AliasName, in.AWSKMSKeyARN)
	if err != nil {
		return nil, explain(err)
	}
	s.note(s.remember(ctx))
	return &keyturnapi.CreateKeyOutput{Key: s.shown(k)}, nil
}

func (s *Service) rotateTarget(_ context.Context, in *keyturnapi.RotateKeyInput) (iam.Resource, error) {
	var v wire.Violations
	v.Length("keyId", &in.KeyID, 0, 2048)
	checkARN(&v, in.AWSKMSKeyARN)
	if err := v.Err(); err != nil {
		return iam.Resource{}, err
	}
	id := "*" // who may not rotate all keys does not learn which there are
	if k, err := s.config.Keys.Key(in.KeyID); err == nil {
		id = k.ID
	}
	return s.resource(id), nil
}

func (s *Service) rotate(ctx context.Context, in *keyturnapi.RotateKeyInput) (*keyturnapi.RotateKeyOutput, error) {
	old, err := s.config.Keys.Key(in.KeyID)
	if err != nil {
		return nil, explain(err)
	}
	if remote := old.Materials[len(old.Materials)-1].AWSKMS; remote && in.AWSKMSKeyARN == "" && !in.Local {
		return nil, ErrInvalidRequest.Errorf("The key is in AWS KMS, which rotates its material itself. Name another AWS KMS key, or ask for local material, to put that in its place.")
	}
	if in.Local && in.AWSKMSKeyARN != "" {
		return nil, ErrInvalidParameter.Errorf("You can't ask for local material and name an AWS KMS key.")
	}
	k, err := s.config.Keys.Rotate(ctx, in.KeyID, in.AWSKMSKeyARN)
	if err != nil {
		return nil, explain(err)
	}
	s.forget()
	s.note(s.remember(ctx))
	return &keyturnapi.RotateKeyOutput{Key: s.shown(k)}, nil
}

// explain puts the refusals of a keyring into words for a caller.
func explain(err error) error {
	if invalid, ok := errors.AsType[*envelope.InvalidKeyError](err); ok {
		return ErrInvalidParameter.Errorf("%s", invalid.Reason)
	}
	if errors.Is(err, envelope.ErrAccessDenied) {
		return ErrAccessDenied.Errorf("Access to KMS is not allowed")
	}
	if errors.Is(err, envelope.ErrRefused) || errors.Is(err, envelope.ErrReadOnly) || errors.Is(err, envelope.ErrUnusable) {
		return ErrInvalidRequest.Errorf("%s.", err)
	}
	return fmt.Errorf("changing the keys: %w", err)
}
