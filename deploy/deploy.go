// Package deploy brings the world in line with a config.yml: a database
// cluster, a rotation function that may be called, a secret that holds the
// cluster's login, and its rotation every so many days. At the end config.yml
// holds the latest password.
//
// It speaks through AWS SDK clients alone, so it works alike against AWS and
// against a keyturn server. There is no state file: the world and config.yml
// are the state. Each step is "describe; equal? done : create or change; wait",
// so an interrupted deploy is run again and finishes.
//
// # The walk, and a crash after each step
//
//  1. function: the rotation function must exist. Nothing is changed.
//  2. permission: Secrets Manager may call the function. Run again: found.
//  3. password: the secret is made with user name and master password, before
//     any cluster has that password. CreateSecret is atomic by name, and a
//     value is put into an empty secret under a fixed token, so of two
//     deployers one wins and both go on with its password. From here on the
//     password in the secret is the truth; it is never made a second time.
//  4. cluster: created with the password that is in the secret. Run again: the
//     cluster is found, or is created with the same password.
//  5. instance: created, then waited for until it and its cluster are
//     available. Run again: the wait goes on.
//  6. secret: host and port are added to the value, under a token made from
//     the version they are added to; the password stays. Run again: complete.
//     A database that was deleted and made again may listen on another port,
//     which replaces the one in a value that is older than the database.
//  7. rotation: only now, because the first rotation starts at once and needs
//     the instance. Secrets Manager stores the rules and reserves the pending
//     version in one act. Run again: the running rotation is waited for.
//  8. config: the value of AWSCURRENT goes into config.yml.
//
// A dry run takes the same walk: whatever would change the world is left out (change), and
// the steps behind it go on with what it would have made. So it asks for the same
// permissions to read, and what it tells is not a second opinion.
//
// After creation the value of the secret belongs to its rotation: deploy reads
// it and never changes its password.
package deploy

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// Options say what to deploy and through which clients.
type Options struct {
	// ConfigPath names the YAML file; see the package's example in
	// docs/examples/config.yml.
	ConfigPath string
	// Clients reach AWS or a keyturn server. All are needed.
	Clients Clients
	// Password is the master password of a database that exists already, or
	// the one a new cluster is to begin with. Empty means that of config.yml,
	// and if there is none a random one.
	Password Password
	// DryRun looks at the world in the same steps, changes nothing, and waits for
	// nothing. The report tells what would be done, as far as that can be seen.
	DryRun bool
	// Progress is told what happens, in order, from Run's goroutine. It may be
	// nil.
	Progress func(Event)
	// AvailableWithin bounds the wait for the function, the cluster and its
	// instance; 0 means 30 minutes.
	AvailableWithin time.Duration
	// RotatedWithin bounds the wait for a rotation; 0 means 5 minutes.
	RotatedWithin time.Duration
	// Stuck is asked while a rotation of a secret is waited for: whether it has
	// failed and is not tried again before a moment. Nil where nobody tells, as on
	// AWS: then the wait goes on to its end.
	Stuck func(ctx context.Context, secret string, until time.Time) bool
	// Now and Sleep are the clock; nil means the system's. Sleep returns the
	// context's error when that ends first.
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
}

// Clients are the SDK clients of the three services.
type Clients struct {
	SecretsManager *secretsmanager.Client
	RDS            *rds.Client
	Lambda         *lambda.Client
}

// Password is a plaintext password. It prints as [redacted].
type Password string

// String returns [redacted].
func (Password) String() string { return redacted }

// GoString returns [redacted].
func (Password) GoString() string { return redacted }

// MarshalText returns [redacted], so that no encoder lets it out.
func (Password) MarshalText() ([]byte, error) { return []byte(redacted), nil }

const redacted = "[redacted]"

// Step names one step of a deploy.
type Step string

// The steps, in the order in which they run.
const (
	StepFunction   Step = "function"
	StepPermission Step = "permission"
	StepPassword   Step = "password"
	StepCluster    Step = "cluster"
	StepInstance   Step = "instance"
	StepSecret     Step = "secret"
	StepRotation   Step = "rotation"
	StepConfig     Step = "config"
)

// Steps returns all steps in their order.
func Steps() []Step {
	names := make([]Step, 0, len(walk))
	for _, s := range walk {
		names = append(names, s.name)
	}
	return names
}

// Outcome is what a step did to the world.
type Outcome string

// The outcomes.
const (
	Created   Outcome = "created"
	Updated   Outcome = "updated"
	Unchanged Outcome = "unchanged"
)

// State is how far a step has come.
type State string

// The states of a step: one started, any number of waiting, one done or
// failed.
const (
	Started State = "started"
	Waiting State = "waiting"
	Done    State = "done"
	Failed  State = "failed"
)

// Event is one message of progress. It holds no secret value.
type Event struct {
	Step  Step  `json:"step"`
	State State `json:"state"`
	// Status says what a waiting step sees, in AWS's words: "creating".
	Status string `json:"status,omitempty"`
	// ElapsedMillis is the time since the step started, in milliseconds.
	ElapsedMillis int64 `json:"elapsedMillis"`
	// Outcome and Detail say what a done step did, and to what.
	Outcome Outcome `json:"outcome,omitempty"`
	Detail  string  `json:"detail,omitempty"`
	// Error is why a step failed.
	Error string `json:"error,omitempty"`
}

// Elapsed returns the time since the step started.
func (e Event) Elapsed() time.Duration { return time.Duration(e.ElapsedMillis) * time.Millisecond }

// Report is what a deploy did and what stands now. It holds no secret value.
type Report struct {
	ConfigPath         string       `json:"configPath"`
	DryRun             bool         `json:"dryRun,omitempty"` // the steps tell what would be done
	Steps              []StepReport `json:"steps"`            // those that ended well
	Engine             string       `json:"engine,omitempty"`
	ClusterIdentifier  string       `json:"clusterIdentifier,omitempty"`
	InstanceIdentifier string       `json:"instanceIdentifier,omitempty"`
	Host               string       `json:"host,omitempty"`
	Port               int          `json:"port,omitempty"`
	Username           string       `json:"username,omitempty"`
	FunctionARN        string       `json:"functionArn,omitempty"`
	SecretName         string       `json:"secretName,omitempty"`
	SecretARN          string       `json:"secretArn,omitempty"`
	VersionID          string       `json:"versionId,omitempty"` // AWSCURRENT, whose password is in config.yml
	RotateAfterDays    int64        `json:"rotateAfterDays,omitempty"`
	NextRotation       *time.Time   `json:"nextRotation,omitempty"`
	ConfigKeys         []string     `json:"configKeys,omitempty"` // the keys of config.yml that got a new value
}

// StepReport is what one step did.
type StepReport struct {
	Step          Step    `json:"step"`
	Outcome       Outcome `json:"outcome"`
	Detail        string  `json:"detail,omitempty"`
	ElapsedMillis int64   `json:"elapsedMillis"`
}

// Run deploys. The report tells how far it came, also when it fails. A wrong
// config.yml is a *ConfigError, found before anything is changed; everything
// else that goes wrong is a *StepError. After a failure Run may be called
// again.
func Run(ctx context.Context, o Options) (Report, error) {
	o = o.withDefaults()
	file, cfg, err := open(o)
	if err != nil {
		return Report{ConfigPath: o.ConfigPath, Steps: []StepReport{}}, err
	}
	d := newDeployment(o, cfg, file)
	err = d.run(ctx)
	return d.report, errors.Join(err, file.Close())
}

// Check reads and validates a config.yml without touching anything. What is
// wrong with it is a *ConfigError.
func Check(path string) error {
	file, _, err := open(Options{ConfigPath: path})
	if err != nil {
		return err
	}
	return file.Close()
}

func (o Options) withDefaults() Options {
	if o.Progress == nil {
		o.Progress = func(Event) {}
	}
	if o.AvailableWithin == 0 {
		o.AvailableWithin = 30 * time.Minute
	}
	if o.RotatedWithin == 0 {
		o.RotatedWithin = 5 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	return o
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
