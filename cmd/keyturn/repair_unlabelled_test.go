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
		{"while setSecret ran", []keyturnapi.RotationRun{run("current", stepSet, outcomeFailed), run("lost", stepSet, "abandoned"), run("lost", stepCreate, outcomeSucceeded)}, refused, "lost"},
		{"after setSecret", []keyturnapi.RotationRun{run("lost", stepTest, "abandoned"), run("lost", stepSet, outcomeSucceeded)}, refused, "lost"},
		{"before setSecret", []keyturnapi.RotationRun{run("lost", stepCreate, "abandoned")}, refused, ""},
		{"setSecret has failed", []keyturnapi.RotationRun{run("lost", stepSet, outcomeFailed)}, refused, ""},
		{"cut short, and put aside", []keyturnapi.RotationRun{run("current", stepSet, "interrupted"), run("lost", stepTest, outcomeSucceeded), run("lost", stepSet, outcomeSucceeded), run("old", stepSet, outcomeSucceeded)}, refused, "lost"},
		{"it is labelled", []keyturnapi.RotationRun{run("current", stepSet, "abandoned")}, refused, ""},
		{"another is live", []keyturnapi.RotationRun{run("lost", stepSet, "abandoned")}, append(refused, rotation.LoginProof{VersionID: "previous", Outcome: rotation.LoginLive}), ""},
	} {
		if got := unlabelled(tc.runs, tc.logins); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
