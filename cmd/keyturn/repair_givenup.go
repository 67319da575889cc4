package main

import (
	"fmt"
	"slices"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

const (
	stepSet    = "setSecret"
	stepFinish = "finishSecret"
)

// givenUp finds the version whose password the database may have though no label names
// it: its rotation was given up while setSecret ran or after it, because somebody had
// stored another value, say. Empty: there is none, or a login with a label is live.
func givenUp(runs []keyturnapi.RotationRun, logins []rotation.LoginProof) string {
	live := func(l rotation.LoginProof) bool { return l.Outcome == rotation.LoginLive }
	if slices.ContainsFunc(logins, live) {
		return ""
	}
	ended := map[string]bool{} // :: versions that are labelled, or were AWSCURRENT
	for _, l := range logins {
		ended[l.VersionID] = true
	}
	for _, r := range runs { // the newest first
		switch {
		case r.Kind != kindRotation || ended[r.VersionID]:
		case r.Step == stepFinish && r.Outcome == outcomeSucceeded:
			ended[r.VersionID] = true
		case r.Step == stepSet && r.Outcome != outcomeFailed:
			return r.VersionID
		}
	}
	return ""
}

// givenUpText says how such a version becomes one that can be repaired.
func (r *repairer) givenUpText() string {
	if r.GivenUpVersionID == "" {
		return ""
	}
	from := ""
	if r.PendingVersionID != "" {
		from = " --remove-from-version-id " + r.PendingVersionID
	}
	return fmt.Sprintf("The rotation to version %[1]s was given up after setSecret had begun, so the database may have its password. To try it, give it AWSPENDING and repair again:\n"+
		"  aws secretsmanager update-secret-version-stage --secret-id %[2]s --version-stage AWSPENDING --move-to-version-id %[1]s%[3]s\n", r.GivenUpVersionID, r.ARN, from)
}
