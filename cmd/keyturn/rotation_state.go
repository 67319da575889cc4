package main

import (
	"cmp"
	"slices"
	"time"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

// The states of a secret's rotation.
const (
	stateFailing  = "failing"                // the last step has failed
	stateDrift    = "drift"                  // other passwords are valid than the secret says
	stateStuck    = "stuck"                  // AWSPENDING is left, and no rotation goes on
	stateOverdue  = "overdue"                // the window has ended without a rotation
	stateUnderWay = "under way"              // a step runs, or is about to
	stateNever    = "never rotated"          // the first rotation is yet to come
	stateOff      = "off"                    // configured once, and cancelled
	stateDeleted  = "scheduled for deletion" // nothing rotates
	stateOK       = "ok"
)

// troubles are the states in which somebody is needed, in the order in which they are told.
var troubles = []string{stateFailing, stateDrift, stateStuck, stateOverdue}

// longRotation is how long a rotation may be under way before it counts as stuck.
const longRotation = time.Hour

// judged fills in the state and since when it is so.
func (s rotationStatus) judged(now time.Time) rotationStatus {
	s.State, s.StateSince = stateOK, nil
	switch p := cmp.Or(s.Passwords, &keyturnapi.RotationPasswords{}); {
	case s.DeletedDate != nil:
		s.State = stateDeleted
	case s.LastError != nil && (s.RotationEnabled || s.Next != nil):
		s.State, s.StateSince = stateFailing, s.LastError.Since
	case len(p.Drift) > 0:
		s.State, s.StateSince = stateDrift, p.DriftSince
	case s.refused() && s.PendingVersionID == "": // --prove where no server judges it
		s.State = stateDrift
	case s.PendingVersionID != "" && !s.goesOn(now):
		s.State, s.StateSince = stateStuck, s.PendingSince
	case s.PendingVersionID != "":
		s.State, s.StateSince = stateUnderWay, s.PendingSince
	case s.running != nil:
		s.State, s.StateSince = stateUnderWay, &s.running.Started
	case !s.RotationEnabled:
		s.State = stateOff
	case s.NextRotationDate != nil && s.NextRotationDate.Before(now):
		s.State, s.StateSince = stateOverdue, s.NextRotationDate
	case s.LastRotatedDate == nil:
		s.State = stateNever
	}
	return s
}

// refused tells whether the database does not take AWSCURRENT.
func (s rotationStatus) refused() bool {
	return s.proven() && currentLogin(s.Passwords).Outcome == rotation.LoginRefused
}

// goesOn tells whether the rotation to the pending version does. A server without records
// is believed that it does.
func (s rotationStatus) goesOn(now time.Time) bool {
	if s.PendingSince != nil && now.Sub(*s.PendingSince) > longRotation {
		return false
	}
	return !s.recorded || s.running != nil || s.begun()
}

// begun tells whether the next step is one of a rotation that has begun, and not the first
// of the one that is planned.
func (s rotationStatus) begun() bool {
	if s.Next == nil || s.Next.Step == rotation.StepRetire {
		return false
	}
	return s.Next.Step != rotation.StepCreate || s.NextRotationAt == nil || !s.Next.At.Equal(*s.NextRotationAt)
}

func (s rotationStatus) inTrouble() bool { return slices.Contains(troubles, s.State) }

// due is when something happens next by itself: another attempt, or the next rotation.
func (s rotationStatus) due() *time.Time {
	switch {
	case s.DeletedDate != nil:
		return nil
	case s.begun():
		return &s.Next.At
	}
	return cmp.Or(s.NextRotationAt, s.NextRotationDate)
}
