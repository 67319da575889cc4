package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

const (
	firstLook   = 100 * time.Millisecond
	slowestLook = 2 * time.Second
)

// The words of RotationRun.Kind and RotationRun.Outcome.
const (
	kindRotation     = "rotation"
	outcomeRunning   = "running"
	outcomeSucceeded = "succeeded"
	outcomeFailed    = "failed"
)

// goesOn is what who stops waiting should know.
const goesOn = "What has begun goes on without this command: \"keyturn rotation status\" shows how it stands."

// watch follows one rotation to its end.
type watch struct {
	secrets *secretsmanager.Client
	records *keyturnapi.Client // nil once the server turned out not to be keyturn
	arn     string
	version string
	since   time.Time // steps that began until then are of no interest
	show    func(text string)
	pending bool                     // AWSPENDING was seen on the version
	runs    []keyturnapi.RotationRun // of the version, newest first
	next    *keyturnapi.RotationNext
}

func newWatch(a *app, secrets *secretsmanager.Client, records *keyturnapi.Client, out *secretsmanager.RotateSecretOutput) *watch {
	shown := ""
	return &watch{
		secrets: secrets, records: records,
		arn: aws.ToString(out.ARN), version: aws.ToString(out.VersionId),
		show: func(text string) {
			if text != shown {
				fmt.Fprintln(a.stderr, text)
			}
			shown = text
		},
	}
}

// run looks until the rotation has ended.
func (w *watch) run(ctx context.Context) error {
	for pause := firstLook; ; pause = min(pause*3/2, slowestLook) {
		done, err := w.look(ctx)
		if err == nil && !done {
			err = sleep(ctx, pause)
		}
		if errors.Is(context.Cause(ctx), errTimeout) && !done {
			return w.unknown("the rotation has not ended yet")
		}
		if ctx.Err() != nil && !done {
			return guided{err: ctx.Err(), hint: goesOn}
		}
		if done || err != nil {
			return err
		}
	}
}

// look asks once. The labels decide; the records tell how far it is, and
// whether it failed.
func (w *watch) look(ctx context.Context) (done bool, err error) {
	if err := w.readRecords(ctx); err != nil {
		return false, err
	}
	out, err := w.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &w.arn})
	if err != nil {
		return false, fmt.Errorf("looking at the rotation: %w", err)
	}
	stages := out.VersionIdsToStages[w.version]
	switch {
	case slices.Contains(stages, stageCurrent):
		return true, nil
	case slices.Contains(stages, stagePending): // also beside AWSPREVIOUS, after a roll-back
		w.pending = true
		return false, w.failure()
	case slices.Contains(stages, stagePrevious): // another rotation has followed
		return true, nil
	}
	return false, w.lost(ctx, out.VersionIdsToStages)
}

// lost finds out what has become of a version that has no label, by records that are
// newer than the labels.
func (w *watch) lost(ctx context.Context, stages map[string][]string) error {
	if err := w.readRecords(ctx); err != nil {
		return err
	}
	switch {
	case w.renewed(stages):
		return nil
	case w.pending:
		return w.unknown("the rotation was cancelled")
	}
	return w.failure()
}

// soonAgain is how long after a rejected password the next one may begin at most, so
// that it is waited for.
const soonAgain = 30 * time.Second

// renewed follows a rotation whose password the database has rejected to the version
// that takes its place.
func (w *watch) renewed(stages map[string][]string) bool {
	if len(w.runs) == 0 || w.next == nil {
		return false
	}
	last := w.runs[0]
	if last.ErrorClass != string(rotation.ClassPolicy) || last.Ended == nil || w.next.At.Sub(*last.Ended) > soonAgain {
		return false
	}
	for version, labels := range stages {
		if slices.Contains(labels, stagePending) {
			w.version, w.runs = version, nil
			return true
		}
	}
	return false
}

func (w *watch) readRecords(ctx context.Context) error {
	if w.records == nil {
		return nil
	}
	out, err := w.records.ListRotations(ctx, &keyturnapi.ListRotationsInput{SecretID: w.arn})
	if isUnsupported(err) {
		w.records = nil
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the rotation's record: %w", err)
	}
	w.runs = slices.DeleteFunc(out.Runs, func(r keyturnapi.RotationRun) bool {
		return r.VersionID != w.version || r.Kind != kindRotation || !r.Started.After(w.since)
	})
	w.next = out.Next
	if len(w.runs) > 0 && w.runs[0].Outcome == outcomeRunning {
		w.show(w.runs[0].Step + " …")
	}
	return nil
}

// isUnsupported tells a server that has no records: AWS, an emulator, or a
// keyturn whose caller may not read them.
func isUnsupported(err error) bool {
	var api smithy.APIError
	return isUnknownOperation(err) || errors.As(err, &api) && api.ErrorCode() == "AccessDeniedException"
}

// isUnknownOperation tells a server that is not keyturn.
func isUnknownOperation(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "UnknownOperationException"
}

// failure returns an error if the newest record says that its step failed.
func (w *watch) failure() error {
	if len(w.runs) == 0 || w.runs[0].Outcome != outcomeFailed {
		return nil
	}
	last := w.runs[0]
	err := fmt.Errorf("the rotation failed at %s (%s): %s", last.Step, classText(last), last.Error)
	if !untouched(w.runs) {
		return guided{err: err, code: exitRotationUnknown, hint: "It may have changed the password in the database already.\n" + w.later()}
	}
	return guided{err: err, code: exitRotationFailed, hint: "In the database the password of AWSCURRENT is what it was.\n" + w.later()}
}

func classText(r keyturnapi.RotationRun) string {
	if r.ErrorClass == "" {
		return "unclassified"
	}
	return r.ErrorClass
}

func (w *watch) later() string {
	if w.next == nil {
		return "No further attempt is planned."
	}
	return fmt.Sprintf("Attempt %d of %s follows at %s.", w.next.Attempt, w.next.Step, w.next.At.UTC().Format(time.RFC3339))
}

func (w *watch) unknown(what string) error {
	return guided{
		err:  fmt.Errorf("%s: AWSCURRENT is not on version %s", what, w.version),
		hint: "\"keyturn rotation status\" shows how it stands.",
		code: exitRotationUnknown,
	}
}

// untouched tells whether the password of AWSCURRENT still is what it was,
// given the records of a failed rotation, newest first: no setSecret went
// through or broke off half-way, or the old password stays valid beside the new
// one, or that of the other user.
func untouched(runs []keyturnapi.RotationRun) bool {
	for _, r := range runs {
		if r.Strategy == rotation.StrategyDualPassword || r.Strategy == rotation.StrategyAlternatingUsers {
			return true
		}
	}
	for _, r := range runs {
		if r.Step != rotation.StepCreate && !refusedBeforeChange(r) {
			return false
		}
	}
	return true
}

// refusedBeforeChange knows the classes of a setSecret that never reached its
// statement, or whose statement the database refused.
func refusedBeforeChange(r keyturnapi.RotationRun) bool {
	if r.Step != rotation.StepSet || r.Outcome != outcomeFailed {
		return false
	}
	switch rotation.Class(r.ErrorClass) {
	case rotation.ClassDNS, rotation.ClassTLS, rotation.ClassAuth, rotation.ClassPrivilege, rotation.ClassPolicy, rotation.ClassSecret:
		return true
	}
	return false
}
