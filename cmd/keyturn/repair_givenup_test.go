package main

import (
	"testing"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

func TestGivenUp(t *testing.T) {
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
		{"while setSecret ran", []keyturnapi.RotationRun{run("current", stepSet, outcomeFailed), run("lost", stepSet, "abandoned"), run("lost", stepCreate, outcomeSucceeded)}, refused, "lost"},
		{"after setSecret", []keyturnapi.RotationRun{run("lost", stepTest, "abandoned"), run("lost", stepSet, outcomeSucceeded)}, refused, "lost"},
		{"before setSecret", []keyturnapi.RotationRun{run("lost", stepCreate, "abandoned")}, refused, ""},
		{"setSecret has failed", []keyturnapi.RotationRun{run("lost", stepSet, outcomeFailed)}, refused, ""},
		{"it has succeeded", []keyturnapi.RotationRun{run("old", stepFinish, outcomeSucceeded), run("old", stepSet, outcomeSucceeded)}, refused, ""},
		{"it is labelled", []keyturnapi.RotationRun{run("current", stepSet, "abandoned")}, refused, ""},
		{"another is live", []keyturnapi.RotationRun{run("lost", stepSet, "abandoned")}, append(refused, rotation.LoginProof{VersionID: "previous", Outcome: rotation.LoginLive}), ""},
	} {
		if got := givenUp(tc.runs, tc.logins); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
