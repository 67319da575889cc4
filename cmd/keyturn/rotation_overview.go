package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

	"github.com/keyturn/keyturn/keyturnapi"
)

// overview is how the rotations of many secrets stand.
type overview struct {
	app     *app
	secrets *secretsmanager.Client
	records *keyturnapi.Client // nil once the server turned out not to be keyturn
	tags    []string
	all     []rotationStatus
	hidden  int // secrets whose records the caller may not see
}

func (a *app) rotationOverview(ctx context.Context, flags statusFlags) error {
	cfg, err := a.awsConfig(ctx)
	if err != nil {
		return err
	}
	o := &overview{app: a, secrets: secretsmanager.NewFromConfig(cfg), records: keyturnapi.New(cfg), tags: flags.tags}
	if err := o.read(ctx); err != nil {
		return err
	}
	slices.SortFunc(o.all, byUrgency)
	if o.hidden > 0 {
		fmt.Fprintf(a.stderr, "Not shown: %d whose records you may not see (keyturn:ListRotations).\n", o.hidden)
	}
	if len(o.all) == 0 && o.hidden == 0 && len(flags.tags) > 0 {
		return errors.Join(noneChosen(flags.tags), o.write(o.all))
	}
	if !flags.failing {
		return o.write(o.all)
	}
	return o.writeTroubles()
}

// read asks page by page: the secrets, and then the records of those that rotate.
func (o *overview) read(ctx context.Context) error {
	pages := secretsmanager.NewListSecretsPaginator(o.secrets, &secretsmanager.ListSecretsInput{MaxResults: aws.Int32(100)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("listing secrets: %w", err)
		}
		list := slices.DeleteFunc(page.SecretList, func(s types.SecretListEntry) bool {
			return !hasRotation(s) || !isPrimary(s) || !hasTags(s.Tags, o.tags)
		})
		if err := o.add(ctx, list); err != nil {
			return err
		}
	}
	return nil
}

// hasRotation tells whether a secret rotates, or did before its rotation was cancelled.
func hasRotation(s types.SecretListEntry) bool {
	return aws.ToBool(s.RotationEnabled) || s.RotationLambdaARN != nil || s.LastRotatedDate != nil
}

func (o *overview) add(ctx context.Context, list []types.SecretListEntry) error {
	records, err := o.recordsOf(ctx, list)
	if err != nil {
		return err
	}
	for _, s := range list {
		known, ok := records[aws.ToString(s.ARN)]
		if !ok && o.records != nil {
			continue
		}
		status := statusOf(descriptionOf(s), &known)
		status.PendingSince = pendingSince(ctx, o.secrets, status)
		o.all = append(o.all, status.judged(o.app.now()))
	}
	return nil
}

// recordsOf reads what a keyturn server has recorded, by ARN. A secret that was deleted
// meanwhile is left out, and so is one whose records the caller may not see: what
// DescribeSecret tells of it would look as if all was well.
func (o *overview) recordsOf(ctx context.Context, list []types.SecretListEntry) (map[string]keyturnapi.ListRotationsOutput, error) {
	if o.records == nil || len(list) == 0 {
		return nil, nil
	}
	var arns []string
	for _, s := range list {
		arns = append(arns, aws.ToString(s.ARN))
	}
	out, err := o.records.BatchListRotations(ctx, &keyturnapi.BatchListRotationsInput{SecretIDList: arns})
	if isUnknownOperation(err) {
		o.records = nil
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the rotations' records: %w", err)
	}
	for _, e := range out.Errors {
		if err := o.leftOut(e); err != nil {
			return nil, err
		}
	}
	records := make(map[string]keyturnapi.ListRotationsOutput, len(arns))
	for _, r := range out.Rotations {
		records[r.ARN] = r
	}
	return records, nil
}

func (o *overview) leftOut(e keyturnapi.BatchError) error {
	switch {
	case isDenied(e.ErrorCode):
		o.hidden++
	case !isNotFound(e.ErrorCode):
		return fmt.Errorf("reading the records of %s: %w", e.SecretID, &smithy.GenericAPIError{Code: e.ErrorCode, Message: e.Message})
	}
	return nil
}

// descriptionOf is what ListSecrets tells of what DescribeSecret would.
func descriptionOf(s types.SecretListEntry) *secretsmanager.DescribeSecretOutput {
	return &secretsmanager.DescribeSecretOutput{ARN: s.ARN, Name: s.Name,
		RotationEnabled: s.RotationEnabled, RotationLambdaARN: s.RotationLambdaARN, RotationRules: s.RotationRules,
		LastRotatedDate: s.LastRotatedDate, NextRotationDate: s.NextRotationDate, DeletedDate: s.DeletedDate,
		VersionIdsToStages: s.SecretVersionsToStages}
}

// byUrgency puts first what needs somebody, and then what is due soonest.
func byUrgency(x, y rotationStatus) int {
	return cmp.Or(cmp.Compare(urgency(x), urgency(y)), byTime(x.due(), y.due()), cmp.Compare(x.Name, y.Name))
}

func urgency(s rotationStatus) int {
	if i := slices.Index(troubles, s.State); i >= 0 {
		return i
	}
	return len(troubles)
}

// byTime puts what has no time last.
func byTime(x, y *time.Time) int {
	switch {
	case x == nil && y == nil:
		return 0
	case x == nil:
		return 1
	case y == nil:
		return -1
	}
	return x.Compare(*y)
}

// writeTroubles ends with exit code 3 if there are any, and as what is denied if there may
// be some that the caller may not see.
func (o *overview) writeTroubles() error {
	found := slices.DeleteFunc(slices.Clone(o.all), func(s rotationStatus) bool { return !s.inTrouble() })
	err := o.write(found)
	switch {
	case err != nil || len(found) == 0 && o.hidden == 0:
		return err
	case len(found) == 0:
		return guided{err: errors.New("nobody knows whether all rotations are well"), hint: "It asks for keyturn:ListRotations on each secret.", code: exitDenied}
	}
	return guided{err: fmt.Errorf("%d of %d rotations need somebody", len(found), len(o.all)),
		hint: "\"keyturn rotation status SECRET\" tells of each what to do.", code: exitFound}
}

func (o *overview) write(shown []rotationStatus) error {
	if o.app.flags.output == outputJSON {
		return o.app.writeJSON(append([]rotationStatus{}, shown...))
	}
	if len(shown) > 0 {
		if err := o.app.writeTable(o.app.overviewRows(shown)); err != nil {
			return err
		}
	}
	return o.app.println(o.counts())
}

func (a *app) overviewRows(shown []rotationStatus) [][]string {
	rows := [][]string{{"NAME", "STATE", "SINCE", "WHY", "LAST ROTATED", "NEXT", "OLD PASSWORD UNTIL"}}
	for _, s := range shown {
		rows = append(rows, []string{s.Name, s.State, a.moment(s.StateSince), s.why(), a.moment(s.LastRotatedDate), a.moment(s.due()), a.oldPasswordCell(s)})
	}
	return rows
}

// why is the reason of a state, in few words.
func (s rotationStatus) why() string {
	switch e := s.LastError; {
	case s.State == stateDrift:
		return strings.Join(s.Passwords.Drift, " ")
	case e != nil && s.inTrouble():
		return strings.TrimSpace(e.Step + " " + e.Class)
	}
	return ""
}

// counts is how many secrets are in each state.
func (o *overview) counts() string {
	switch {
	case len(o.all) == 0 && o.hidden > 0:
		return "none that you may see"
	case len(o.all) == 0:
		return "no secret rotates"
	}
	n := map[string]int{}
	for _, s := range o.all {
		n[s.State]++
	}
	var parts []string
	for _, state := range append(slices.Clone(troubles), stateUnderWay, stateNever, stateOff, stateOK) {
		if n[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[state], state))
		}
	}
	return fmt.Sprintf("%d in all: %s", len(o.all), strings.Join(parts, ", "))
}
