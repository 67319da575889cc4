package main

import (
	"fmt"
	"slices"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

// unlabelled finds the newest version without a label whose password has been in the
// database, or may have come there: its rotation was given up while setSecret ran or
// after it, because somebody had stored another value, say; such a value may also have
// taken AWSPREVIOUS from the version that a crash in setSecret had left valid; or the
// database was restored. One that was given AWSPENDING has been tried, so it is the next
// older one then. Empty: there is none, or a login with a label is live.
func unlabelled(runs []keyturnapi.RotationRun, logins []rotation.LoginProof) string {
	live := func(l rotation.LoginProof) bool { return l.Outcome == rotation.LoginLive }
	if slices.ContainsFunc(logins, live) {
		return ""
	}
	stages := map[string][]string{}
	for _, l := range logins {
		stages[l.VersionID] = l.Stages
	}
	found := ""
	for _, r := range runs { // the newest first
		if r.Kind != kindRotation || r.Step != rotation.StepSet || r.Outcome == outcomeFailed {
			continue
		}
		labels, labelled := stages[r.VersionID]
		switch {
		case slices.Equal(labels, []string{stagePending}):
			found = ""
		case found == "" && !labelled:
			found = r.VersionID
		}
	}
	return found
}

// unlabelledText says how such a version becomes one that can be repaired, while
// AWSPENDING is on the version pending, or on none.
func (r *repairer) unlabelledText(pending string) string {
	if r.UnlabelledVersionID == "" {
		return ""
	}
	from := ""
	if pending != "" {
		from = " --remove-from-version-id " + pending
	}
	return fmt.Sprintf("The database may still have the password of version %[1]s, which has no label. To try it, give it AWSPENDING and repair again:\n"+
		"  aws secretsmanager update-secret-version-stage --secret-id %[2]s --version-stage AWSPENDING --move-to-version-id %[1]s%[3]s\n"+
		"If host, port, user or TLS were edited since, store its password with the value of AWSCURRENT instead (keyturn secret get, keyturn secret put):\n"+
		"  keyturn secret get %[4]s --version-id %[1]s\n", r.UnlabelledVersionID, r.ARN, from, r.Name)
}
