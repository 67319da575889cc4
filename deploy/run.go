package deploy

import (
	"context"
	"fmt"
	"time"

	rdstypes "github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/keyturn/keyturn/deploy/lockedfile"
)

// deployment is one run: what was asked, and what the steps have learnt.
type deployment struct {
	Options
	cfg    config
	file   *lockedfile.File
	report Report

	step    Step      // the running one
	started time.Time // when it started

	permitted bool               // the permission step has just added the permission
	tested    string             // the version of a RotateSecret that was to test only
	login     login              // the value of AWSCURRENT
	version   string             // its version id
	ahead     bool               // of a dry run: login is what the secret would hold
	waits     string             // of a dry run: what the step would wait for
	stored    time.Time          // when that version was stored
	seen      []string           // every password met, to keep them out of errors
	cluster   rdstypes.DBCluster // as last described
	built     time.Time          // when the database was made: the later of cluster and instance
	renewed   bool               // the cluster was given the master password again
}

// String returns [redacted].
func (*deployment) String() string { return redacted }

// GoString returns [redacted].
func (*deployment) GoString() string { return redacted }

// result is what a step did.
type result struct {
	outcome Outcome
	detail  string
}

// walk is the fixed list of steps. See the package comment for why it has
// this order.
var walk = []struct {
	name Step
	do   func(*deployment, context.Context) (result, error)
}{
	{StepFunction, (*deployment).findFunction},
	{StepPermission, (*deployment).permit},
	{StepPassword, (*deployment).keepPassword},
	{StepCluster, (*deployment).ensureCluster},
	{StepInstance, (*deployment).ensureInstance},
	{StepSecret, (*deployment).completeSecret},
	{StepRotation, (*deployment).ensureRotation},
	{StepConfig, (*deployment).writeConfig},
}

func newDeployment(o Options, cfg config, file *lockedfile.File) *deployment {
	seen := []string{string(o.Password), string(cfg.Password)}
	return &deployment{Options: o, cfg: cfg, file: file, seen: seen, report: Report{
		ConfigPath:        o.ConfigPath,
		DryRun:            o.DryRun,
		Steps:             []StepReport{},
		Engine:            cfg.engineName,
		ClusterIdentifier: cfg.cluster,
		SecretName:        cfg.secret,
		RotateAfterDays:   cfg.days,
	}}
}

func (d *deployment) run(ctx context.Context) error {
	for _, s := range walk {
		d.step, d.started, d.waits = s.name, d.Now(), ""
		d.tell(Event{State: Started})
		do := s.do
		if managed := managedWalk[s.name]; d.cfg.managed && managed != nil {
			do = managed
		}
		done, err := do(d, ctx)
		if err != nil {
			failure := explain(s.name, err, d.seen)
			d.tell(Event{State: Failed, Error: failure.Error()})
			return failure
		}
		if d.waits != "" {
			done.detail += "; it would wait while " + d.waits
		}
		d.report.Steps = append(d.report.Steps, StepReport{s.name, done.outcome, done.detail, d.elapsed()})
		d.tell(Event{State: Done, Outcome: done.outcome, Detail: done.detail})
	}
	return nil
}

func (d *deployment) tell(e Event) {
	e.Step, e.ElapsedMillis = d.step, d.elapsed()
	d.Progress(e)
}

func (d *deployment) elapsed() int64 { return d.Now().Sub(d.started).Milliseconds() }

// change does what changes the world. A dry run goes on as if it had been done.
func (d *deployment) change(do func() error) error {
	if d.DryRun {
		return nil
	}
	return do()
}

// The pauses between two looks grow from the first to the longest.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// await looks, with growing pauses, until look says that it is done or fails,
// or until the limit has passed. A dry run looks once.
func (d *deployment) await(ctx context.Context, limit time.Duration, look func(context.Context) (status string, done bool, err error)) error {
	begin := d.Now()
	for pause := firstPause; ; pause = min(pause*3/2, longestPause) {
		status, done, err := look(ctx)
		if err != nil || done {
			return err
		}
		if d.DryRun {
			d.waits = status
			return nil
		}
		d.tell(Event{State: Waiting, Status: status})
		if d.Now().Sub(begin) >= limit {
			return &timeoutError{status: status, limit: limit}
		}
		if err := d.Sleep(ctx, pause); err != nil {
			return fmt.Errorf("waiting while %s: %w", status, err)
		}
	}
}

// timeoutError is a wait that was given up.
type timeoutError struct {
	status string
	limit  time.Duration
}

func (e *timeoutError) Error() string {
	return fmt.Sprintf("still %s after %s", e.status, e.limit)
}
