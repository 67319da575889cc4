package keyturnapi

import (
	"context"
	"time"
)

// The states of a key material, as AWS KMS names them.
const (
	MaterialCurrent    = "CURRENT"     // new values are sealed with it
	MaterialNonCurrent = "NON_CURRENT" // newer material has taken its place
)

// Where a key material is.
const (
	OriginLocal  = "LOCAL"   // in the server's key file
	OriginAWSKMS = "AWS_KMS" // a key in AWS KMS
)

// Key is an encryption key of the server: what a KmsKeyId names.
type Key struct {
	KeyID        string        `json:"KeyId"`
	AliasName    string        `json:"AliasName,omitempty"` // alias/NAME; empty: none
	Default      bool          `json:"Default,omitempty"`   // seals where no KmsKeyId is given
	KeyMaterials []KeyMaterial `json:"KeyMaterials"`        // newest first
}

// KeyMaterial is what wraps data keys. A key has as many as it was rotated times,
// and one more.
type KeyMaterial struct {
	KeyMaterialID    string     `json:"KeyMaterialId"`          // in AWS KMS the key's ARN
	KeyMaterialState string     `json:"KeyMaterialState"`       // MaterialCurrent or MaterialNonCurrent
	Origin           string     `json:"Origin"`                 // OriginLocal or OriginAWSKMS
	CreationDate     *time.Time `json:"CreationDate,omitempty"` // UTC; absent where it is not known
	// ValuesLeft is how many sealed values are to be re-wrapped before nothing needs
	// the material; absent for the current one, and as long as they are not counted.
	ValuesLeft *int64 `json:"ValuesLeft,omitempty"`
}

// Rewrapped reports whether nothing that the server knows of needs any of the
// key's older materials.
func (k *Key) Rewrapped() bool {
	for _, m := range k.KeyMaterials {
		if m.KeyMaterialState == MaterialNonCurrent && (m.ValuesLeft == nil || *m.ValuesLeft > 0) {
			return false
		}
	}
	return true
}

// ListKeysInput asks for all keys.
type ListKeysInput struct{}

// ListKeysOutput holds the keys, the default key first.
type ListKeysOutput struct {
	Keys []Key `json:"Keys"`
}

// CreateKeyInput describes a key to be made.
type CreateKeyInput struct {
	AliasName string `json:"AliasName"` // with or without "alias/"
	// AWSKMSKeyARN is a key in AWS KMS that wraps in place of local material; empty:
	// local.
	AWSKMSKeyARN string `json:"AwsKmsKeyArn,omitempty"`
}

// CreateKeyOutput tells the new key.
type CreateKeyOutput struct {
	Key Key `json:"Key"`
}

// RotateKeyInput names the key that is to have new material.
type RotateKeyInput struct {
	KeyID string `json:"KeyId,omitempty"` // id, alias, or empty for the default key
	// AWSKMSKeyARN is the key in AWS KMS that becomes the new material; empty: new
	// local material.
	AWSKMSKeyARN string `json:"AwsKmsKeyArn,omitempty"`
	// Local allows local material to take the place of a key in AWS KMS.
	Local bool `json:"Local,omitempty"`
}

// RotateKeyOutput tells the key with its new material.
type RotateKeyOutput struct {
	Key Key `json:"Key"`
}

// RetireKeyInput names a material that is not needed any more.
type RetireKeyInput struct {
	KeyMaterialID string `json:"KeyMaterialId"`
}

// RetireKeyOutput tells the key without that material.
type RetireKeyOutput struct {
	Key Key `json:"Key"`
}

// ListKeys returns the server's encryption keys. Only principals of the
// operators' account may ask, for this as for the other operations on keys.
func (c *Client) ListKeys(ctx context.Context, in *ListKeysInput) (*ListKeysOutput, error) {
	return call[ListKeysOutput](ctx, c, "ListKeys", in)
}

// CreateKey makes a key.
func (c *Client) CreateKey(ctx context.Context, in *CreateKeyInput) (*CreateKeyOutput, error) {
	return call[CreateKeyOutput](ctx, c, "CreateKey", in)
}

// RotateKey gives a key new material. New values are sealed with it at once; the
// server re-wraps the others after it has answered.
func (c *Client) RotateKey(ctx context.Context, in *RotateKeyInput) (*RotateKeyOutput, error) {
	return call[RotateKeyOutput](ctx, c, "RotateKey", in)
}

// RetireKey takes old material out of the key file. It is refused as long as
// anything needs it.
func (c *Client) RetireKey(ctx context.Context, in *RetireKeyInput) (*RetireKeyOutput, error) {
	return call[RetireKeyOutput](ctx, c, "RetireKey", in)
}
