package keyturnapi

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// AdministratorPolicy is the policy document that allows everything.
const AdministratorPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

// AllAccounts stands for every account of a server, in ListAccessKeysInput.
const AllAccounts = "*"

// The statuses of an access key.
const (
	StatusActive   = "Active"
	StatusInactive = "Inactive"
)

// AccessKey is an access key without its secret.
type AccessKey struct {
	AccessKeyID       string             `json:"AccessKeyId"`       // AKIA…; ASIA… for a temporary one
	AccountID         string             `json:"AccountId"`         // 12 digits
	UserName          string             `json:"UserName"`          // its requests come from arn:aws:iam::ACCOUNT:user/NAME
	Status            string             `json:"Status"`            // Active or Inactive
	CreateDate        time.Time          `json:"CreateDate"`        // UTC
	Expiration        *time.Time         `json:"Expiration"`        // absent: it lasts
	AccessKeyLastUsed *AccessKeyLastUsed `json:"AccessKeyLastUsed"` // absent: never
	PolicyDocuments   []string           `json:"PolicyDocuments"`   // identity policies, as they were given
}

// AccessKeyLastUsed is when and for what a key was last used.
type AccessKeyLastUsed struct {
	LastUsedDate time.Time `json:"LastUsedDate"` // UTC, to the minute
	Region       string    `json:"Region"`
	ServiceName  string    `json:"ServiceName"` // secretsmanager, rds, lambda, sts
}

// Credentials is the part of an access key that must stay secret. It prints as
// [redacted].
type Credentials struct {
	SecretAccessKey string `json:"SecretAccessKey"`
	SessionToken    string `json:"SessionToken"` // only with a temporary key; every request carries it
}

// Format hides the credentials from every verb.
func (Credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// LogValue hides the credentials from structured logs.
func (Credentials) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// CreateAccessKeyInput asks for a new key.
type CreateAccessKeyInput struct {
	AccountID       string   `json:"AccountId"` // 12 digits; empty: the caller's account
	UserName        string   `json:"UserName"`
	PolicyDocuments []string `json:"PolicyDocuments"` // identity policies in JSON; none: the key may do nothing by itself
	// DurationSeconds makes a temporary key that ends after this time, 900 to
	// 129,600 seconds; 0 makes one that lasts.
	DurationSeconds int64 `json:"DurationSeconds"`
}

// CreateAccessKeyOutput is the only answer that holds the secret access key.
type CreateAccessKeyOutput struct {
	AccessKey   AccessKey   `json:"AccessKey"`
	Credentials Credentials `json:"Credentials"`
}

// ListAccessKeysInput asks for the keys of an account, by their ids.
type ListAccessKeysInput struct {
	AccountID string `json:"AccountId"` // empty: the caller's account; AllAccounts: every one
	UserName  string `json:"UserName"`  // empty: all users
	MaxItems  int64  `json:"MaxItems"`  // 1 to 1000; 0 means 100
	Marker    string `json:"Marker"`    // of the answer before
}

// ListAccessKeysOutput is one page of keys.
type ListAccessKeysOutput struct {
	AccessKeys  []AccessKey `json:"AccessKeys"`
	IsTruncated bool        `json:"IsTruncated"`
	Marker      string      `json:"Marker"` // where the next page begins
}

// UpdateAccessKeyInput enables or disables a key, at once.
type UpdateAccessKeyInput struct {
	AccessKeyID string `json:"AccessKeyId"`
	Status      string `json:"Status"` // Active or Inactive
}

// UpdateAccessKeyOutput has no members.
type UpdateAccessKeyOutput struct{}

// DeleteAccessKeyInput ends a key for good, at once.
type DeleteAccessKeyInput struct {
	AccessKeyID string `json:"AccessKeyId"`
}

// DeleteAccessKeyOutput has no members.
type DeleteAccessKeyOutput struct{}

// CreateAccessKey makes an access key.
func (c *Client) CreateAccessKey(ctx context.Context, in *CreateAccessKeyInput) (*CreateAccessKeyOutput, error) {
	return call[CreateAccessKeyOutput](ctx, c, "CreateAccessKey", in)
}

// ListAccessKeys returns one page of an account's keys.
func (c *Client) ListAccessKeys(ctx context.Context, in *ListAccessKeysInput) (*ListAccessKeysOutput, error) {
	return call[ListAccessKeysOutput](ctx, c, "ListAccessKeys", in)
}

// UpdateAccessKey enables or disables a key. The last key that may make others
// in the operators' account stays enabled: ConflictException.
func (c *Client) UpdateAccessKey(ctx context.Context, in *UpdateAccessKeyInput) (*UpdateAccessKeyOutput, error) {
	return call[UpdateAccessKeyOutput](ctx, c, "UpdateAccessKey", in)
}

// DeleteAccessKey deletes a key, with the same exception as UpdateAccessKey.
func (c *Client) DeleteAccessKey(ctx context.Context, in *DeleteAccessKeyInput) (*DeleteAccessKeyOutput, error) {
	return call[DeleteAccessKeyOutput](ctx, c, "DeleteAccessKey", in)
}
