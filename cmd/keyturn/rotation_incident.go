package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

// run rotates the entries in their order, flags.parallel at a time.
func (r *incident) run(ctx context.Context) {
	next := make(chan *runEntry)
	stop := make(chan struct{}) // closed at the first failure
	var once sync.Once
	var crew sync.WaitGroup
	for range r.flags.parallel {
		crew.Go(func() {
			for e := range next {
				if r.turn(ctx, e); e.err != nil && !r.flags.continueOnError {
					once.Do(func() { close(stop) })
				}
			}
		})
	}
	r.feed(ctx, next, stop)
	crew.Wait()
}

// feed hands the entries out until one has failed.
func (r *incident) feed(ctx context.Context, next chan<- *runEntry, stop <-chan struct{}) {
	defer close(next)
	for _, e := range r.entries {
		select { // a failure goes before a worker that is free
		case <-stop:
			return
		case <-ctx.Done():
			return
		default:
		}
		select {
		case next <- e:
		case <-stop:
			return
		case <-ctx.Done():
			return
		}
	}
}

// turn does everything for one secret and notes how it went.
func (r *incident) turn(ctx context.Context, e *runEntry) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.flags.wait, errTimeout)
	defer cancel()
	begin := r.now()
	e.err = r.rotateOne(ctx, e)
	if e.err == nil && r.flags.revokeOld {
		e.err = r.revoke(ctx, e)
	}
	e.Seconds = r.now().Sub(begin).Seconds()
	if e.err != nil {
		e.Outcome, e.Error = runOutcome(e.err), reason(e.err)
	}
	fmt.Fprintf(r.stderr, "%s: %s (%.1f s)\n", printable(e.Name), e.Outcome, e.Seconds)
}

// revoke ends the password that the rotation kept, and waits for it.
func (r *incident) revoke(ctx context.Context, e *runEntry) error {
	ended, err := r.retire(ctx, e)
	if isUnsupported(err) {
		ended, err = true, r.retireByFunction(ctx, e)
	}
	if err != nil {
		var api smithy.APIError
		if errors.As(err, &api) {
			err = errors.New(message(err)) // which would take the place of what is said here
		}
		return guided{err: fmt.Errorf("rotated, but the old password may still be valid: %w", err), code: exitRotationFailed,
			hint: "Run the command again for this secret, or end the password in the database."}
	}
	if ended {
		e.Outcome = runRevoked
	}
	return nil
}

// retire asks a keyturn server; ended is false if no old password was kept.
func (r *incident) retire(ctx context.Context, e *runEntry) (ended bool, err error) {
	client := keyturnapi.New(r.cfg)
	for pause := firstLook / 4; ; pause = min(pause*3/2, slowestLook) {
		out, err := client.RetireOldPassword(ctx, &keyturnapi.RetireOldPasswordInput{SecretID: e.ARN})
		switch {
		case err == nil && out.VersionID == "":
			return false, nil
		case err == nil:
			return true, waitRetired(ctx, client, e.ARN, out.VersionID)
		case !isRotating(err):
			return false, err
		}
		// AWSCURRENT has moved, but finishSecret has not told its end.
		if err := sleep(ctx, pause); err != nil {
			return false, err
		}
	}
}

func isRotating(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "InvalidRequestException" && api.ErrorMessage() == rotatingMessage
}

// rotatingMessage is what RetireOldPassword answers during a rotation.
const rotatingMessage = "A rotation of the secret is under way. Try again when it has ended."

// waitRetired looks at the records until the retirement has ended.
func waitRetired(ctx context.Context, client *keyturnapi.Client, arn, version string) error {
	for pause := firstLook / 4; ; pause = min(pause*3/2, slowestLook) {
		out, err := client.ListRotations(ctx, &keyturnapi.ListRotationsInput{SecretID: arn, MaxResults: 1})
		if err != nil {
			return fmt.Errorf("reading the rotation's record: %w", err)
		}
		if done, err := retired(out.Runs, version); done || err != nil {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// retired reads the newest record.
func retired(runs []keyturnapi.RotationRun, version string) (done bool, err error) {
	if len(runs) == 0 || runs[0].Kind != kindRetirement || runs[0].VersionID != version {
		return false, nil
	}
	switch runs[0].Outcome {
	case outcomeSucceeded:
		return true, nil
	case outcomeFailed:
		return false, fmt.Errorf("retireSecret failed (%s): %s", classText(runs[0]), runs[0].Error)
	}
	return false, nil
}

// retireByFunction invokes keyturn's own step of the secret's function, on AWS.
func (r *incident) retireByFunction(ctx context.Context, e *runEntry) error {
	described, err := secretsmanager.NewFromConfig(r.cfg).DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &e.ARN})
	if err != nil {
		return fmt.Errorf("describing the secret: %w", err)
	}
	function, err := functionOf(described, "")
	if err != nil {
		return err
	}
	result, err := r.invokeStep(ctx, r.cfg, function, rotation.Event{Step: rotation.StepRetire, SecretID: e.ARN, ClientRequestToken: e.VersionID})
	if err != nil {
		return fmt.Errorf("invoking retireSecret of the function %s: %w", function, err)
	}
	if result.RetireAfterSeconds > 0 {
		return errors.New("another rotation of the secret has begun, which will end it")
	}
	return nil
}
