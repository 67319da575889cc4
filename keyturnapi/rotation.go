package keyturnapi

import (
	"context"
	"time"
)

// ExplainRotationInput asks why a secret rotates when it does.
type ExplainRotationInput struct {
	SecretID   string `json:"SecretId"`             // name, ARN or partial ARN
	MaxResults int64  `json:"MaxResults,omitempty"` // windows; 0 means 5, at most 100
}

// ExplainRotationOutput is the rule, what it counts from, and what follows.
type ExplainRotationOutput struct {
	ARN                    string           `json:"ARN"`
	Name                   string           `json:"Name"`
	RotationEnabled        bool             `json:"RotationEnabled"`
	AutomaticallyAfterDays int64            `json:"AutomaticallyAfterDays,omitempty"` // absent with an expression
	ScheduleExpression     string           `json:"ScheduleExpression,omitempty"`
	Duration               string           `json:"Duration,omitempty"`
	TimeZone               string           `json:"TimeZone"`           // UTC unless the secret's tag says otherwise
	Blackout               string           `json:"Blackout,omitempty"` // dates and ranges in that zone
	LastRotatedDate        *time.Time       `json:"LastRotatedDate,omitempty"`
	CountedFrom            *time.Time       `json:"CountedFrom,omitempty"` // the last rotation, a value put since, or the first rule
	DeletedDate            *time.Time       `json:"DeletedDate,omitempty"` // scheduled for deletion: nothing rotates
	Windows                []RotationWindow `json:"Windows,omitempty"`     // absent without a schedule
}

// RotationWindow is one window of a schedule; all moments are UTC.
type RotationWindow struct {
	Opens      time.Time  `json:"Opens"`
	Closes     time.Time  `json:"Closes"`               // its last second: NextRotationDate
	Rotates    *time.Time `json:"Rotates,omitempty"`    // absent: whoever rotates chooses
	PassedOver *time.Time `json:"PassedOver,omitempty"` // the first window before it that the blackout took
}

// RetireOldPasswordInput asks for the end of the password that a DualPassword
// rotation has kept.
type RetireOldPasswordInput struct {
	SecretID string `json:"SecretId"` // name, ARN or partial ARN
}

// RetireOldPasswordOutput tells what was begun.
type RetireOldPasswordOutput struct {
	ARN  string `json:"ARN"`
	Name string `json:"Name"`
	// VersionID is the version whose rotation kept the password; ListRotations
	// tells how its retirement goes. Absent: nothing was to be ended.
	VersionID string `json:"VersionId,omitempty"`
}

// ExplainRotation tells the next windows of a secret's rotation, and why.
func (c *Client) ExplainRotation(ctx context.Context, in *ExplainRotationInput) (*ExplainRotationOutput, error) {
	return call[ExplainRotationOutput](ctx, c, "ExplainRotation", in)
}

// RetireOldPassword makes the end of an old password due at once. While a
// rotation of the secret is under way it is an InvalidRequestException.
func (c *Client) RetireOldPassword(ctx context.Context, in *RetireOldPasswordInput) (*RetireOldPasswordOutput, error) {
	return call[RetireOldPasswordOutput](ctx, c, "RetireOldPassword", in)
}
