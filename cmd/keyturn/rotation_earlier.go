package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/keyturnapi"
)

// earlier is a rotation of a secret that is not complete when another one is wanted.
// The server tries it again at once, but its password was made before now, and may have
// leaked with the others: it is waited for, and the secret is rotated after it.
type earlier struct {
	secrets *secretsmanager.Client
	records *keyturnapi.Client
	id      string
	since   time.Time // when the newest step of the record had begun, before it was tried again
}

// begin starts a rotation, after the earlier one if there is any.
func (e *earlier) begin(ctx context.Context) (*secretsmanager.RotateSecretOutput, error) {
	if err := e.note(ctx); err != nil {
		return nil, err
	}
	for pause := firstLook / 4; ; pause = min(pause*3/2, slowestLook) {
		out, err := e.secrets.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: &e.id})
		if !isIncomplete(err) {
			return out, err
		}
		err = sleep(ctx, pause)
		if err == nil {
			err = e.wait(ctx)
		}
		if err != nil {
			return nil, ofEarlier(ctx, err)
		}
	}
}

// note remembers what the record told before anything began.
func (e *earlier) note(ctx context.Context) error {
	out, err := e.records.ListRotations(ctx, &keyturnapi.ListRotationsInput{SecretID: e.id, MaxResults: 1})
	if isUnsupported(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the rotation's record: %w", err)
	}
	if len(out.Runs) > 0 {
		e.since = out.Runs[0].Started
	}
	if len(out.Runs) > 0 && out.Runs[0].Outcome == outcomeRunning {
		e.since = e.since.Add(-1) // how that one ends is of interest
	}
	return nil
}

// wait looks until no version is pending, or until the record says that it failed again.
// What was cancelled never ends.
func (e *earlier) wait(ctx context.Context) error {
	for pause := firstLook; ; pause = min(pause*3/2, slowestLook) {
		out, err := e.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &e.id})
		if err != nil {
			return fmt.Errorf("looking at the rotation: %w", err)
		}
		version := pendingVersion(out.VersionIdsToStages)
		switch {
		case version == "":
			return nil
		case !aws.ToBool(out.RotationEnabled):
			return guided{err: fmt.Errorf("version %s has AWSPENDING, and rotation is off, so nothing completes it", version), code: exitPreflight,
				hint: "\"keyturn rotation repair\" completes or drops it."}
		}
		if err := e.failure(ctx, version); err != nil {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

func (e *earlier) failure(ctx context.Context, version string) error {
	w := &watch{records: e.records, arn: e.id, version: version, show: func(string) {}}
	if err := w.readRecords(ctx); err != nil {
		return err
	}
	if len(w.runs) == 0 || !w.runs[0].Started.After(e.since) {
		return nil
	}
	return w.failure()
}

// ofEarlier says whose error it is.
func ofEarlier(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errTimeout) {
		return guided{err: errors.New("an earlier rotation, which comes first, has not ended yet"), hint: goesOn, code: exitRotationUnknown}
	}
	return fmt.Errorf("an earlier rotation, which comes first: %w", err)
}

// isIncomplete knows RotateSecret's answer while an earlier rotation is not complete; its
// code alone stands for much else.
func isIncomplete(err error) bool {
	refused, ok := errors.AsType[*types.InvalidRequestException](err)
	return ok && strings.Contains(refused.ErrorMessage(), "reattempted")
}

// resolve gives entries that were named by ARN their names, so that no secret is
// rotated twice. One that cannot be asked for fails in its turn.
func resolve(ctx context.Context, client *secretsmanager.Client, entries []*runEntry) {
	for _, e := range entries {
		if !strings.HasPrefix(e.Name, "arn:") {
			continue
		}
		out, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &e.Name})
		if err == nil {
			e.ARN, e.Name = aws.ToString(out.ARN), cmp.Or(aws.ToString(out.Name), e.Name)
		}
	}
}
