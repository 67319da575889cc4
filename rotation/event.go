// Package rotation is a rotation function: the four steps with which AWS
// Secrets Manager changes a database password (createSecret, setSecret,
// testSecret, finishSecret), each of which may run more than once.
//
// It talks to Secrets Manager through the SDK's client alone, so the same
// function runs inside AWS Lambda and inside a keyturn server.
package rotation

// The steps of a rotation, in their order. StepRetire is keyturn's own: it ends
// the life of the previous password of a dual-password rotation, some time
// after finishSecret.
const (
	StepCreate = "createSecret"
	StepSet    = "setSecret"
	StepTest   = "testSecret"
	StepFinish = "finishSecret"
	StepRetire = "retireSecret"
)

// Event is what Secrets Manager sends to a rotation function.
// See "Lambda rotation functions" in the AWS Secrets Manager User Guide.
type Event struct {
	Step               string `json:"Step"`
	SecretID           string `json:"SecretId"`           // the secret's ARN
	ClientRequestToken string `json:"ClientRequestToken"` // the id of the pending version
	RotationToken      string `json:"RotationToken,omitempty"`
	// Rejections is keyturn's own: how many passwords in a row the database has
	// rejected. createSecret makes the next one longer.
	Rejections int64 `json:"Rejections,omitempty"`
	// Created and Strategy are keyturn's own too: what the steps before have
	// answered, where nothing has come between (see Result). They spare logins
	// and are no more than hints: every step is right without them.
	Created  bool   `json:"Created,omitempty"`  // for setSecret
	Strategy string `json:"Strategy,omitempty"` // for finishSecret: that of setSecret
}

// Result is a step's answer. AWS ignores it; keyturn's scheduler keeps it in
// the rotation's record.
type Result struct {
	// Strategy names the strategy in use: SingleUser, DualPassword or
	// AlternatingUsers.
	Strategy string `json:"strategy,omitempty"`
	// Created says that this very createSecret has made the pending password,
	// so no database can have it yet.
	Created bool `json:"created,omitempty"`
	// RetireAfterSeconds asks for a StepRetire with the same token, so long
	// after this answer; 0 asks for none. finishSecret asks for the first
	// one, and StepRetire asks again when it came during a later rotation.
	RetireAfterSeconds int64 `json:"retireAfterSeconds,omitempty"`
	// Logins is what StepProve has found: a try for each staged version that
	// has a value, in the order AWSCURRENT, AWSPENDING, AWSPREVIOUS.
	Logins []LoginProof `json:"logins,omitempty"`
	// Plan is the answer of StepPlan and StepRehearse.
	Plan *Plan `json:"plan,omitempty"`
	// ChangedAtMicros is when a SingleUser change was made in the database, in
	// microseconds since 1970: just before the statement, or, if the change is
	// committed together with the promotion, when COMMIT was answered. 0: not
	// known, or nothing was changed.
	ChangedAtMicros int64 `json:"changedAtMicros,omitempty"`
	// PromotedAtMicros is when the move of AWSCURRENT was answered, in
	// microseconds since 1970; 0: not known, or it did not move.
	PromotedAtMicros int64 `json:"promotedAtMicros,omitempty"`
	// ExposureMicros is how long, at most, the database refused the value of
	// AWSCURRENT, in microseconds, for a step that both changes and promotes;
	// nil: not known.
	ExposureMicros *int64 `json:"exposureMicros,omitempty"`
}
