package keyturnapi

import "time"

// RotationPasswords is what the server knows of a secret's passwords in its
// database. It never holds one.
type RotationPasswords struct {
	// ProvedAt is when a login with each staged version was last tried, absent
	// if never. ProvedBy is drift-check (the server's canary login) or
	// proveSecret (somebody asked).
	ProvedAt *time.Time      `json:"ProvedAt,omitempty"`
	ProvedBy string          `json:"ProvedBy,omitempty"`
	Logins   []RotationLogin `json:"Logins,omitempty"`
	// ErrorClass and Error say why nothing could be tried.
	ErrorClass string `json:"ErrorClass,omitempty"`
	Error      string `json:"Error,omitempty"`

	// Drift is what is not as it should be, for the AWSCURRENT of now:
	// current_refused, previous_live, pending_live.
	Drift      []string   `json:"Drift,omitempty"`
	DriftSince *time.Time `json:"DriftSince,omitempty"`
	// NextCheck is the next canary login; absent where there is none.
	NextCheck *time.Time `json:"NextCheck,omitempty"`

	// OldPasswordUntil is when the older of two passwords ends; absent where
	// there is one password only, and after a roll-back: AWSCURRENT has the older
	// one then. OldPasswordReplacedBy is the version that took its place.
	OldPasswordUntil      *time.Time `json:"OldPasswordUntil,omitempty"`
	OldPasswordReplacedBy string     `json:"OldPasswordReplacedBy,omitempty"`
}

// RotationLogin is what a login with one version's password has shown.
type RotationLogin struct {
	VersionID  string    `json:"VersionId"`
	Stages     []string  `json:"Stages,omitempty"` // at that time
	Username   string    `json:"Username,omitempty"`
	Outcome    string    `json:"Outcome"` // live, refused, unknown
	ErrorClass string    `json:"ErrorClass,omitempty"`
	Error      string    `json:"Error,omitempty"`
	At         time.Time `json:"At"`
}
