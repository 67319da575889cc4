package main

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

// repairAction is what "rotation repair" does.
type repairAction string

const (
	repairNothing  repairAction = "nothing"  // nothing is stuck
	repairFinish   repairAction = "finish"   // try the rotation under way at once
	repairRecreate repairAction = "recreate" // give its version up and rotate to a new one
	repairDrop     repairAction = "drop"     // give its version up
	repairRotate   repairAction = "rotate"   // begin a rotation, which heals
	repairHeal     repairAction = "heal"     // nothing: the rotation is to be cancelled, and AWSCURRENT healed
	repairWait     repairAction = "wait"     // nobody knows what is true
)

// repairFacts is what "rotation repair" decides by. Outcomes are those of
// rotation.LoginProof; "" is a version that does not exist or has no value.
type repairFacts struct {
	enabled   bool   // automatic rotation is on
	pending   string // the version with AWSPENDING alone, "" if there is none
	next      string // the outcome of its login
	current   string
	previous  string
	lastClass string // of the last step, if it failed and somebody knows
}

// repairOf is the table of docs/state-machine.md for "rotation repair".
func repairOf(k repairFacts) (repairAction, string) {
	lost := k.current != rotation.LoginLive && k.previous != rotation.LoginLive
	unfit := k.lastClass == string(rotation.ClassSecret)
	switch {
	case k.current == rotation.LoginUnknown || k.next == rotation.LoginUnknown:
		return repairWait, "The database did not say which password is live, so nothing is safe to do. Mend what the error says, and repair again."
	case k.pending == "" && k.current == rotation.LoginLive:
		return repairNothing, "No version is pending, and AWSCURRENT logs in."
	case k.pending == "" && lost:
		return repairRotate, "No staged password logs in. A new rotation can set one by the administrator that the secret's key masterarn names; without that key it will fail. Or store the password that works as AWSCURRENT."
	case k.pending == "":
		return repairRotate, "The database refuses the password of AWSCURRENT, and accepts that of AWSPREVIOUS. A new rotation sets a new password: by AWSPREVIOUS or, where the secret's key masterarn names one, by the administrator."
	case k.next == rotation.LoginLive && k.current == rotation.LoginLive && !unfit:
		return repairFinish, "The database accepts the pending password beside that of AWSCURRENT: the rotation has only to be completed."
	case k.next == rotation.LoginLive && k.current != rotation.LoginLive && unfit:
		return repairHeal, "The database has the pending password and refuses AWSCURRENT, and the pending value can't become AWSCURRENT."
	case k.next == rotation.LoginLive && !unfit:
		return repairFinish, "The database has the pending password already, and refuses AWSCURRENT: the rotation has to be completed, so that AWSCURRENT moves."
	case !k.enabled && k.current == rotation.LoginLive && k.next != rotation.LoginLive:
		return repairDrop, "The rotation was cancelled, and its password never came into the database: the label AWSPENDING is all that is left of it."
	case k.next == "":
		return repairFinish, "The pending version has no value yet: the rotation begins with createSecret once more."
	case unfit:
		return repairRecreate, "The pending value can't become AWSCURRENT, and a version keeps its value: a new rotation makes another one."
	case lost:
		return repairFinish, "No staged password logs in. The rotation can set the pending one by the administrator that the secret's key masterarn names; without that key it will fail. Or store the password that works as AWSCURRENT."
	case k.current != rotation.LoginLive:
		return repairFinish, "The database refuses the password of AWSCURRENT, and accepts that of AWSPREVIOUS. The rotation sets the pending one: by AWSPREVIOUS or, where the secret's key masterarn names one, by the administrator."
	case k.lastClass == string(rotation.ClassPolicy):
		return repairRecreate, "The pending value can't come into the database, and a version keeps its value: a new rotation makes another one."
	case k.lastClass == "":
		return repairRecreate, "The pending password never came into the database, and nobody knows what became of its rotation: a new one is safe, for AWSCURRENT logs in."
	}
	return repairFinish, "The pending password has not come into the database yet. The rotation tries again at once; what stood in its way should be mended before."
}

// repairFactsOf reads the facts from what AWS and the records say, and from the
// logins that were tried.
func repairFactsOf(s *secretsmanager.DescribeSecretOutput, logins []rotation.LoginProof, runs []keyturnapi.RotationRun) repairFacts {
	k := repairFacts{
		enabled: aws.ToBool(s.RotationEnabled), pending: pendingVersion(s.VersionIdsToStages),
		current: shownBy(logins, stageCurrent), previous: shownBy(logins, stagePrevious),
	}
	if k.pending != "" {
		k.next = shownBy(logins, stagePending)
	}
	if e := lastError(runs); e != nil {
		k.lastClass = e.Class
	}
	return k
}

// shownBy returns what the login of a label has shown, "" if there is none.
func shownBy(logins []rotation.LoginProof, label string) string {
	i := slices.IndexFunc(logins, func(l rotation.LoginProof) bool { return slices.Contains(l.Stages, label) })
	switch {
	case i < 0:
		return ""
	case label == stagePending && logins[i].Class == rotation.ClassSecret:
		return rotation.LoginRefused // not even a login
	}
	return logins[i].Outcome
}
