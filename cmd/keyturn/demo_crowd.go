package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

// tally counts what the crowd sees.
type tally struct {
	mu        sync.Mutex
	rotations int
	logins    int
	refused   int // logins that AWSCURRENT's password did not get at first
	failed    int
	firstErr  error
}

func (t *tally) add(login error, refused bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if refused {
		t.refused++
	}
	if login == nil {
		t.logins++
		return
	}
	t.failed++
	if t.firstErr == nil {
		t.firstErr = login
	}
}

func (t *tally) rotated() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rotations++
}

func (t *tally) line() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("rotations %d   logins %d   failed logins %d", t.rotations, t.logins, t.failed)
}

// crowd keeps workers logging in while the password rotates.
func (d *demo) crowd(ctx context.Context, flags demoFlags) error {
	d.title(fmt.Sprintf("%d workers, a rotation every %s", flags.workers, flags.every))
	load, cancel := context.WithCancel(ctx)
	if flags.length > 0 {
		load, cancel = context.WithTimeout(ctx, flags.length)
	} else {
		d.say("Ctrl-C ends it.")
	}
	defer cancel()
	t := &tally{}
	var crew sync.WaitGroup
	for range flags.workers {
		crew.Go(func() { d.work(load, t) })
	}
	var shown error
	crew.Go(func() {
		shown = d.show(load, t)
		cancel()
	})
	err := d.rotateEvery(load, flags.every, t)
	cancel()
	crew.Wait()
	if err := errors.Join(err, shown); err != nil {
		return err
	}
	return d.summary(context.WithoutCancel(ctx), t)
}

// work opens one connection after the other until ctx ends. A login under way
// is finished: its end must not count as a failure.
func (d *demo) work(ctx context.Context, t *tally) {
	for ctx.Err() == nil {
		refused, err := d.login(context.WithoutCancel(ctx))
		t.add(err, refused)
		pause(ctx, 5*time.Millisecond)
	}
}

// login logs in the way the README recommends for databases with one password
// for each user: when AWSCURRENT is refused, a rotation is under way, and the
// database already has the password of AWSPENDING.
func (d *demo) login(ctx context.Context) (refused bool, err error) {
	if err = d.try(ctx, ""); d.product != dbserver.Postgres || rotation.ClassOf(err) != rotation.ClassAuth {
		return err != nil, err
	}
	for _, stage := range []string{stagePending, stageCurrent} {
		if err = d.try(ctx, stage); err == nil {
			return true, nil
		}
	}
	return true, err
}

func (d *demo) try(ctx context.Context, stage string) error {
	login, err := d.fetch(ctx, stage)
	if err != nil {
		return err
	}
	session, err := d.engine.Connect(ctx, login)
	if err != nil {
		return err
	}
	return session.Close()
}

// pause is sleep for those who look at ctx themselves.
func pause(ctx context.Context, d time.Duration) { _ = sleep(ctx, d) }

// rotateEvery rotates until ctx ends; the last rotation is waited for.
func (d *demo) rotateEvery(ctx context.Context, every time.Duration, t *tally) error {
	for pause(ctx, every); ctx.Err() == nil; pause(ctx, every) {
		out, err := d.secrets.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: aws.String(demoSecret)})
		if err != nil {
			return endOf(ctx, fmt.Errorf("rotating: %w", err))
		}
		if err := d.await(context.WithoutCancel(ctx), *out.VersionId); err != nil {
			return err
		}
		t.rotated()
	}
	return nil
}

// endOf drops an error that only says that the time is over.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // that is what it is for
	}
	return err
}

func (d *demo) await(ctx context.Context, version string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		out, err := d.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(demoSecret)})
		if err != nil {
			return fmt.Errorf("waiting for a rotation: %w", err)
		}
		if *out.VersionId == version {
			return nil
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// show keeps a line of counts: in place on a terminal, one every five seconds
// elsewhere. It ends with ctx, or with the error of who reads no more.
func (d *demo) show(ctx context.Context, t *tally) error {
	format, every := "%s\n", 5*time.Second
	if isTerminal(d.stdout) {
		format, every = "\r%s ", 100*time.Millisecond
		defer fmt.Fprintln(d.stdout)
	}
	for pause(ctx, every); ctx.Err() == nil; pause(ctx, every) {
		if _, err := fmt.Fprintf(d.stdout, format, t.line()); err != nil {
			return fmt.Errorf("writing the output: %w", err)
		}
	}
	return nil
}

func (d *demo) summary(ctx context.Context, t *tally) error {
	out, err := d.records(ctx)
	if err != nil {
		return err
	}
	d.title("summary")
	d.say("%s\nstrategy %s", t.line(), out.Strategy)
	if out.Strategy == rotation.StrategySingleUser {
		d.say("AWSCURRENT was refused at first %d times. From the start of setSecret to the end of\n"+
			"finishSecret, which bounds the time in which it can be, were at most %s.", t.refused, worstGap(out.Runs))
	}
	if t.failed > 0 {
		return fmt.Errorf("%d logins failed, the first with: %w", t.failed, t.firstErr)
	}
	if t.logins == 0 {
		return errors.New("nobody logged in: give it more time with --for")
	}
	return nil
}

// worstGap is the longest time from the start of setSecret to the end of finishSecret
// of one rotation. runs come newest first.
func worstGap(runs []keyturnapi.RotationRun) (worst time.Duration) {
	ends := map[string]time.Time{}
	for _, r := range runs {
		switch {
		case r.Ended == nil:
		case r.Step == rotation.StepFinish:
			ends[r.VersionID] = *r.Ended
		case r.Step == rotation.StepSet && !ends[r.VersionID].IsZero():
			worst = max(worst, ends[r.VersionID].Sub(r.Started))
		}
	}
	return worst
}
