package main

import (
	"testing"
	"time"

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
