package main

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

func TestState(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *time.Time { m := now.Add(d); return &m }
	next := func(step string, at *time.Time) *keyturnapi.RotationNext {
		return &keyturnapi.RotationNext{Step: step, At: *at}
	}
	planned := at(time.Hour)
	rotates := rotationStatus{RotationEnabled: true, LastRotatedDate: at(-time.Hour), NextRotationDate: at(2 * time.Hour),
		NextRotationAt: planned, Next: next(rotation.StepCreate, planned), recorded: true}
	for _, tc := range []struct {
		name   string
		change func(*rotationStatus)
		want   string
		since  *time.Time
	}{
		{"OK", func(*rotationStatus) {}, stateOK, nil},
		{"OldPasswordToEnd", func(s *rotationStatus) { s.Next = next(rotation.StepRetire, at(time.Minute)) }, stateOK, nil},
		{"Never", func(s *rotationStatus) { s.LastRotatedDate = nil }, stateNever, nil},
		{"Off", func(s *rotationStatus) { s.RotationEnabled, s.Next = false, nil }, stateOff, nil},
		{"OffWithAnOldError", func(s *rotationStatus) { s.RotationEnabled, s.Next, s.LastError = false, nil, &stepError{} }, stateOff, nil},
		{"Overdue", func(s *rotationStatus) { s.NextRotationDate = at(-time.Second) }, stateOverdue, at(-time.Second)},
		{"Failing", func(s *rotationStatus) { s.PendingVersionID, s.LastError = "v", &stepError{Since: at(-3)} }, stateFailing, at(-3)},
		{"Drift", func(s *rotationStatus) {
			s.Passwords = &keyturnapi.RotationPasswords{Drift: []string{"previous_live"}, DriftSince: at(-5)}
		}, stateDrift, at(-5)},
		{"RefusedOnAWS", func(s *rotationStatus) {
			s.CurrentVersionID, s.Passwords = "v", &keyturnapi.RotationPasswords{Logins: []keyturnapi.RotationLogin{
				{VersionID: "v", Stages: []string{stageCurrent}, Outcome: rotation.LoginRefused}}}
		}, stateDrift, nil},
		{"Begun", func(s *rotationStatus) {
			s.PendingVersionID, s.PendingSince, s.Next = "v", at(-time.Minute), next(rotation.StepCreate, at(time.Second))
		}, stateUnderWay, at(-time.Minute)},
		{"BegunLongAgo", func(s *rotationStatus) {
			s.PendingVersionID, s.PendingSince, s.Next = "v", at(-2*time.Hour), next(rotation.StepSet, at(time.Second))
		}, stateStuck, at(-2 * time.Hour)},
		{"PendingWithoutRotation", func(s *rotationStatus) { s.PendingVersionID, s.PendingSince = "v", at(-time.Minute) }, stateStuck, at(-time.Minute)},
		{"PendingOnAWS", func(s *rotationStatus) {
			s.recorded, s.Next, s.PendingVersionID, s.PendingSince = false, nil, "v", at(-time.Minute)
		}, stateUnderWay, at(-time.Minute)},
		{"PendingOnAWSLongAgo", func(s *rotationStatus) {
			s.recorded, s.Next, s.PendingVersionID, s.PendingSince = false, nil, "v", at(-2*time.Hour)
		}, stateStuck, at(-2 * time.Hour)},
		{"RunsLate", func(s *rotationStatus) {
			s.NextRotationDate, s.running = at(-time.Second), &keyturnapi.RotationRun{Started: *at(-time.Second)}
		}, stateUnderWay, at(-time.Second)},
		{"Deleted", func(s *rotationStatus) { s.DeletedDate, s.LastError = at(0), &stepError{} }, stateDeleted, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := rotates
			tc.change(&s)
			s = s.judged(now)
			same := s.StateSince == tc.since || s.StateSince != nil && tc.since != nil && s.StateSince.Equal(*tc.since)
			if s.State != tc.want || !same {
				t.Errorf("it is %s since %v, want %s since %v", s.State, s.StateSince, tc.want, tc.since)
			}
		})
	}
}

// The records of a replica's rotation are its primary's: that there are none here says
// nothing.
func TestStateOfAReplica(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	begun := now.Add(-time.Minute)
	arn := "arn:aws:secretsmanager:us-west-2:000000000000:secret:prod/db-AbCdEf"
	s := statusOf(&secretsmanager.DescribeSecretOutput{ARN: &arn, PrimaryRegion: aws.String("us-east-1"), RotationEnabled: aws.Bool(true),
		VersionIdsToStages: map[string][]string{"v": {stagePending}}}, &keyturnapi.ListRotationsOutput{ARN: arn, PendingSince: &begun}).judged(now)
	if s.State != stateUnderWay {
		t.Errorf("it is %s", s.State)
	}
}

func TestAdviceOnWhatIsStuckWithoutAnError(t *testing.T) {
	s := rotationStatus{Name: "prod/db", PendingVersionID: "v", recorded: true}.judged(time.Now())
	if !strings.Contains(s.advice(), "keyturn rotation repair prod/db ") {
		t.Errorf("it is %s, and what to do is %q", s.State, s.advice())
	}
}
