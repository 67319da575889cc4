package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

// While a rotation is stuck before its change, the dates at which the old password was
// to end go by, and it lives on.
func TestOldPasswordText(t *testing.T) {
	until := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct{ pending, step, want string }{
		{"", rotation.StepRetire, "valid until 2026-01-02T00:00:00Z beside that of version v; then retireSecret ends it"},
		{"p", rotation.StepRetire, "valid until 2026-01-02T00:00:00Z beside that of version v; then retireSecret ends it"}, // cancelled
		{"", rotation.StepCreate, "valid until 2026-01-02T00:00:00Z beside that of version v; then retireSecret ends it"},  // planned
		{"p", rotation.StepCreate, "the rotation that is under way ends it"},
		{"p", rotation.StepSet, "the rotation that is under way ends it"},
	} {
		s := rotationStatus{PendingVersionID: tc.pending, Next: &keyturnapi.RotationNext{Step: tc.step},
			Passwords: &keyturnapi.RotationPasswords{OldPasswordUntil: &until, OldPasswordReplacedBy: "v"}}
		if got := (&app{}).oldPasswordText(s); !strings.Contains(got, tc.want) {
			t.Errorf("%q, %s: %s", tc.pending, tc.step, got)
		}
	}
}

// retireSecret comes again and again while AWSPENDING is on a version that nobody rotates to,
// unless that rotation was cancelled.
func TestOldPasswordTextBesidePending(t *testing.T) {
	until := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	s := rotationStatus{RotationEnabled: true, PendingVersionID: "p", Next: &keyturnapi.RotationNext{Step: rotation.StepRetire},
		Passwords: &keyturnapi.RotationPasswords{OldPasswordUntil: &until, OldPasswordReplacedBy: "v"}}
	if got := (&app{}).oldPasswordText(s); !strings.Contains(got, "nothing ends it while version p has AWSPENDING") {
		t.Error(got)
	}
}

// After a change by hand AWSPREVIOUS is the version that had replaced the old password.
func TestOldPasswordTextAfterAChangeByHand(t *testing.T) {
	until := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	logins := []keyturnapi.RotationLogin{{VersionID: "hand", Stages: []string{stageCurrent}, Outcome: rotation.LoginLive},
		{VersionID: "v", Stages: []string{stagePrevious}, Outcome: rotation.LoginRefused}}
	s := rotationStatus{CurrentVersionID: "hand", Passwords: &keyturnapi.RotationPasswords{OldPasswordUntil: &until, OldPasswordReplacedBy: "v", Logins: logins}}
	if got := (&app{}).oldPasswordText(s); !strings.Contains(got, "valid until 2026-01-02T00:00:00Z") {
		t.Error(got)
	}
	logins[1].VersionID = "old"
	if got := (&app{}).oldPasswordText(s); !strings.Contains(got, "not valid any more") {
		t.Error(got)
	}
}

// What another's function says is for that to mend.
func TestAdviceOnFunction(t *testing.T) {
	if got := adviceOn(keyturnapi.RotationRun{ErrorClass: string(rotation.ClassFunction), Error: "KeyError: 'password'"}); !strings.Contains(got, "--log-functions") {
		t.Error(got)
	}
}

// While a step runs, the server plans it again for the end of the worker's lease.
func TestStatusOfAStepThatRuns(t *testing.T) {
	began := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	s := statusOf(&secretsmanager.DescribeSecretOutput{}, &keyturnapi.ListRotationsOutput{
		Runs: []keyturnapi.RotationRun{{Step: rotation.StepSet, Attempt: 2, Started: began, Outcome: outcomeRunning}},
		Next: &keyturnapi.RotationNext{Step: rotation.StepSet, Attempt: 2, At: began.Add(time.Minute)}})
	var out strings.Builder
	if err := (&app{stdout: &out}).writeStatus(s); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "setSecret since 2026-01-02T00:00:00Z, attempt 2") || strings.Contains(got, "Next step") {
		t.Error(got)
	}
}

// A test of somebody else's function may log in or not.
func TestOnlyOwnFunctionsAreKnownToLogIn(t *testing.T) {
	for arn, want := range map[string]string{
		"arn:aws:lambda:us-east-1:000000000000:function:keyturn-rotate-mysql": "live: logged in at 2026-01-02T00:00:00Z (testSecret), version v",
		"": "live: logged in at 2026-01-02T00:00:00Z (testSecret), version v",
		"arn:aws:lambda:us-east-1:000000000000:function:rotator": "the function's test succeeded at 2026-01-02T00:00:00Z (testSecret), version v",
	} {
		var f facts
		(&app{}).loginFacts(&f, rotationStatus{RotationLambdaARN: arn,
			LastTest: &testProof{VersionID: "v", At: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}})
		if got := fmt.Sprint(f); !strings.Contains(got, want) {
			t.Errorf("%q: %s", arn, got)
		}
	}
}
