// Package keyturnapi holds what a keyturn server answers beyond the AWS APIs:
// the record of each rotation, why it is planned as it is, the end of an old
// password, access keys, encryption keys, and the clock of a server in dev mode. The
// operations are JSON 1.1 requests with the target prefix "keyturn.", signed like
// every other request.
package keyturnapi

import "time"

// RotationRun is the record of one step of one rotation.
type RotationRun struct {
	VersionID  string     `json:"VersionId"`            // the version being made
	Kind       string     `json:"Kind"`                 // rotation, test or retirement
	Step       string     `json:"Step"`                 // createSecret, setSecret, testSecret, finishSecret, retireSecret
	Attempt    int64      `json:"Attempt"`              // 1 for the first try
	Started    time.Time  `json:"Started"`              // UTC
	Ended      *time.Time `json:"Ended,omitempty"`      // absent while the step runs
	Outcome    string     `json:"Outcome"`              // running, succeeded, failed, abandoned, interrupted
	ErrorClass string     `json:"ErrorClass,omitempty"` // a rotation.Class
	Error      string     `json:"Error,omitempty"`      // what went wrong; never holds a value
	Strategy   string     `json:"Strategy,omitempty"`   // SingleUser, DualPassword or AlternatingUsers
	// ExposureMicros is how long, at most, the database refused the value of
	// AWSCURRENT, in microseconds. It is told by the step that ended that: setSecret
	// where the change is committed together with the promotion, else finishSecret.
	// Absent: not known, or another step tells it.
	ExposureMicros *int64 `json:"ExposureMicros,omitempty"`
}

// ListRotationsInput asks for the records of a secret, newest first.
type ListRotationsInput struct {
	SecretID   string `json:"SecretId"`             // name, ARN or partial ARN
	MaxResults int64  `json:"MaxResults,omitempty"` // records; 0 means 100, at most 1000
}

// ListRotationsOutput holds the records and the state of the rotation.
type ListRotationsOutput struct {
	ARN      string        `json:"ARN"`
	Name     string        `json:"Name"`
	Strategy string        `json:"Strategy,omitempty"` // of the last rotation that succeeded
	Next     *RotationNext `json:"Next,omitempty"`     // absent when nothing is planned
	Runs     []RotationRun `json:"Runs,omitempty"`

	// RotateAt is when the next rotation begins: a moment in the window whose
	// end is NextRotationDate. Absent where none is planned.
	RotateAt  *time.Time         `json:"RotateAt,omitempty"`
	Passwords *RotationPasswords `json:"Passwords,omitempty"` // absent where nothing was ever configured

	// What is known without the records that Runs leaves out.
	TestedAt     *time.Time `json:"TestedAt,omitempty"`     // when testSecret last succeeded for AWSCURRENT
	FailingSince *time.Time `json:"FailingSince,omitempty"` // the first failure after the last success of all steps; absent unless the last step failed
	PendingSince *time.Time `json:"PendingSince,omitempty"` // when the version of AWSPENDING was made; absent if it is AWSCURRENT, too
}

// BatchListRotationsInput asks how the rotations of several secrets stand.
type BatchListRotationsInput struct {
	SecretIDList []string `json:"SecretIdList"` // names, ARNs or partial ARNs; at most 100
}

// BatchListRotationsOutput holds what ListRotations tells of each secret, with the
// latest 10 records. What hinders one of them stands in Errors.
type BatchListRotationsOutput struct {
	Rotations []ListRotationsOutput `json:"Rotations,omitempty"`
	Errors    []BatchError          `json:"Errors,omitempty"`
}

// BatchError is why nothing is told of a secret.
type BatchError struct {
	SecretID  string `json:"SecretId"` // as the request named it
	ErrorCode string `json:"ErrorCode"`
	Message   string `json:"Message"`
}

// RotationNext says what the scheduler will do next with a secret.
type RotationNext struct {
	Step    string    `json:"Step"`    // the step that runs next
	At      time.Time `json:"At"`      // not before
	Attempt int64     `json:"Attempt"` // 1 for the first try of that step
}

// AdvanceClockInput moves a dev server's clock forward.
type AdvanceClockInput struct {
	Seconds int64 `json:"Seconds"` // above 0
}

// AdvanceClockOutput tells the new time.
type AdvanceClockOutput struct {
	Now time.Time `json:"Now"`
}
