package main

import (
	"testing"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

func TestUnlabelled(t *testing.T) {
	run := func(version, step, outcome string) keyturnapi.RotationRun {
		return keyturnapi.RotationRun{VersionID: version, Kind: kindRotation, Step: step, Outcome: outcome}
	}
	refused := []rotation.LoginProof{{VersionID: "current", Outcome: rotation.LoginRefused}}
	for _, tc := range []struct {
		name   string
		runs   []keyturnapi.RotationRun
		logins []rotation.LoginProof
		want   string
	}{
		{"while setSecret ran", []keyturnapi.RotationRun{run("current", rotation.StepSet, outcomeFailed), run("lost", rotation.StepSet, "abandoned"), run("lost", rotation.StepCreate, outcomeSucceeded)}, refused, "lost"},
		{"after setSecret", []keyturnapi.RotationRun{run("lost", rotation.StepTest, "abandoned"), run("lost", rotation.StepSet, outcomeSucceeded)}, refused, "lost"},
		{"before setSecret", []keyturnapi.RotationRun{run("lost", rotation.StepCreate, "abandoned")}, refused, ""},
		{"setSecret has failed", []keyturnapi.RotationRun{run("lost", rotation.StepSet, outcomeFailed)}, refused, ""},
		{"cut short, and put aside", []keyturnapi.RotationRun{run("current", rotation.StepSet, "interrupted"), run("lost", rotation.StepTest, outcomeSucceeded), run("lost", rotation.StepSet, outcomeSucceeded), run("old", rotation.StepSet, outcomeSucceeded)}, refused, "lost"},
		{"it is labelled", []keyturnapi.RotationRun{run("current", rotation.StepSet, "abandoned")}, refused, ""},
		{"the newest was tried in vain", []keyturnapi.RotationRun{run("newest", rotation.StepSet, outcomeFailed), run("newest", rotation.StepSet, outcomeSucceeded), run("older", rotation.StepSet, outcomeSucceeded)}, append(refused, pendingLogin("newest")), "older"},
		{"an older one was, too", []keyturnapi.RotationRun{run("older", rotation.StepSet, outcomeFailed), run("newest", rotation.StepSet, outcomeSucceeded), run("older", rotation.StepSet, outcomeSucceeded), run("oldest", rotation.StepSet, outcomeSucceeded)}, append(refused, pendingLogin("older")), "oldest"},
		{"all were", []keyturnapi.RotationRun{run("newest", rotation.StepSet, outcomeSucceeded), run("older", rotation.StepSet, outcomeSucceeded)}, append(refused, pendingLogin("older")), ""},
		{"another is live", []keyturnapi.RotationRun{run("lost", rotation.StepSet, "abandoned")}, append(refused, rotation.LoginProof{VersionID: "previous", Outcome: rotation.LoginLive}), ""},
	} {
		if got := unlabelled(tc.runs, tc.logins); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func pendingLogin(version string) rotation.LoginProof {
	return rotation.LoginProof{VersionID: version, Stages: []string{"AWSPENDING"}, Outcome: rotation.LoginRefused}
}
