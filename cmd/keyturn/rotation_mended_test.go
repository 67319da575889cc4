package main

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

// TestMendedError is over when AWSCURRENT has logged in since and nothing waits for
// another attempt, if it was of the kind that a login contradicts.
func TestMendedError(t *testing.T) {
	failed := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	proof := func(outcome string, after time.Duration, drift ...string) *keyturnapi.RotationPasswords {
		return &keyturnapi.RotationPasswords{Drift: drift,
			Logins: []keyturnapi.RotationLogin{{VersionID: "v1", Outcome: outcome, At: failed.Add(after)}}}
	}
	for _, tc := range []struct {
		name      string
		class     rotation.Class
		pending   string
		next      *keyturnapi.RotationNext
		passwords *keyturnapi.RotationPasswords
		over      bool
	}{
		{"mended", rotation.ClassAuth, "", nil, proof(rotation.LoginLive, time.Hour), true},
		{"the next rotation is planned", rotation.ClassTCP, "", &keyturnapi.RotationNext{Attempt: 1}, proof(rotation.LoginLive, time.Hour), true},
		{"a privilege may still lack", rotation.ClassPrivilege, "", nil, proof(rotation.LoginLive, time.Hour), false},
		{"it waits", rotation.ClassAuth, "v2", nil, proof(rotation.LoginLive, time.Hour), false},
		{"it is tried again", rotation.ClassAuth, "", &keyturnapi.RotationNext{Attempt: 2}, proof(rotation.LoginLive, time.Hour), false},
		{"looked before", rotation.ClassAuth, "", nil, proof(rotation.LoginLive, -time.Hour), false},
		{"refused", rotation.ClassAuth, "", nil, proof(rotation.LoginRefused, time.Hour), false},
		{"drift", rotation.ClassAuth, "", nil, proof(rotation.LoginLive, time.Hour, "previous_live"), false},
		{"never looked", rotation.ClassAuth, "", nil, nil, false},
	} {
		s := rotationStatus{CurrentVersionID: "v1", PendingVersionID: tc.pending, Next: tc.next, Passwords: tc.passwords,
			LastError: &stepError{Class: string(tc.class), At: failed}}
		if over := s.mended().LastError == nil; over != tc.over {
			t.Errorf("%s: the error is over: %v, want %v", tc.name, over, tc.over)
		}
	}
}
