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
}

// Result is a step's answer. AWS ignores it; keyturn's scheduler keeps it in
// the rotation's record.
type Result struct {
	// Strategy names the strategy in use: SingleUser, DualPassword or
	// AlternatingUsers.
	Strategy string `json:"strategy,omitempty"`
	// RetireAfterSeconds asks for a StepRetire with the same token, so long
	// after this answer; 0 asks for none. finishSecret asks for the first
	// one, and StepRetire asks again when it came during a later rotation.
	RetireAfterSeconds int64 `json:"retireAfterSeconds,omitempty"`
}
