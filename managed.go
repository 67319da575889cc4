package keyturn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/uuid"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/lambdaapi"
	"github.com/keyturn/keyturn/internal/rdsapi"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/rotation"
	"github.com/keyturn/keyturn/rotation/mysql"
	"github.com/keyturn/keyturn/rotation/postgres"
)

const (
	rdsService = "rds"
	// managedFunction rotates the secrets of managed master users. Neither
	// DescribeSecret nor ListFunctions shows it, as on AWS, where RDS does it.
	managedFunction = "keyturn-rotate-managed"
	// managedDays is how often: "Password management with Amazon RDS and AWS
	// Secrets Manager" in the RDS guide.
	managedDays = 7
)

// masterSecrets lets RDS's slice have secrets. It implements rdsapi.MasterSecrets.
type masterSecrets struct {
	vault *secret.Vault
	sched *scheduler.Scheduler
}

// New implements rdsapi.MasterSecrets.
func (m masterSecrets) New(ctx context.Context, n secret.New, value string) (func(*sqldb.Tx) error, error) {
	if err := m.vault.CheckKey(n.KMSKeyID); err != nil {
		return nil, notAccessible(err)
	}
	id := secret.VersionID(uuid.NewString())
	version, err := m.vault.Seal(ctx, secret.Slot{ARN: n.ARN, ID: id, KMSKeyID: n.KMSKeyID}, secret.Value{Text: &value})
	if err != nil {
		return nil, notAccessible(err)
	}
	at := n.ARN.Place()
	function := "arn:aws:lambda:" + at.Region + ":" + at.Account + ":function:" + managedFunction
	return func(tx *sqldb.Tx) error {
		if _, err := m.vault.Create(ctx, tx, n, version); err != nil {
			return err
		}
		tx.OnCommit(m.sched.Poke)
		return m.sched.Configure(ctx, tx, n.ARN, scheduler.Settings{Function: function, Rule: &scheduler.Rule{Days: managedDays}})
	}, nil
}

func notAccessible(err error) error {
	if f := fault.Of(err); f.Kind != fault.Internal {
		return rdsapi.ErrKeyNotAccessible.Errorf("%s", f.Message)
	}
	return err
}

// Rotate implements rdsapi.MasterSecrets.
func (m masterSecrets) Rotate(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	tx.OnCommit(m.sched.Poke)
	err := m.sched.Start(ctx, tx, arn, secret.VersionID(uuid.NewString()))
	if errors.Is(err, scheduler.ErrIncomplete) {
		return rdsapi.ErrRotating
	}
	return err
}

// Remove implements rdsapi.MasterSecrets.
func (m masterSecrets) Remove(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error {
	replicas, err := m.vault.Replicas(ctx, tx, arn)
	if err != nil {
		return err
	}
	var regions []string
	for _, r := range replicas {
		regions = append(regions, r.Region)
	}
	if len(regions) > 0 {
		if err := m.vault.RemoveReplicas(ctx, tx, arn, regions); err != nil {
			return err
		}
	}
	if _, err := m.vault.DeleteNow(ctx, tx, arn); err != nil {
		return err
	}
	return m.sched.Forget(ctx, tx, arn)
}

// Status implements rdsapi.MasterSecrets.
func (m masterSecrets) Status(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (string, error) {
	pending, err := m.vault.Holder(ctx, tx, arn, secret.Pending)
	if err != nil {
		return "", err
	}
	current, err := m.vault.Holder(ctx, tx, arn, secret.Current)
	if err != nil {
		return "", err
	}
	state, err := m.sched.State(ctx, tx, arn)
	if err != nil {
		return "", err
	}
	next := scheduler.Step{}
	if state != nil && state.Pending != nil {
		next = *state.Pending
	}
	// AWSCURRENT may have moved before the last step is recorded.
	done := next.Name != rotation.StepSet && next.Name != rotation.StepTest && next.Name != rotation.StepFinish
	switch {
	case done && (pending == "" || pending == current):
		return "active", nil
	case next.Attempt == 1:
		return "rotating", nil
	}
	return "impaired", nil // a step has failed, or nobody goes on with it
}

// managedOwner returns the ARN of the cluster or instance whose master user's
// password a secret holds; "" if RDS does not manage the secret. Only RDS's
// slice makes such secrets, and nobody else may tag them.
func (s *Server) managedOwner(ctx context.Context, arn secret.ARN) (owner string, err error) {
	err = s.db.Read(ctx, func(tx *sqldb.Tx) error {
		found, err := s.vault.Find(ctx, tx, arn)
		if err != nil || found.OwningService != rdsService {
			return err
		}
		for _, t := range found.Tags {
			if t.Key == "aws:rds:primaryDBClusterArn" || t.Key == "aws:rds:primaryDBInstanceArn" {
				owner = t.Value
			}
		}
		return nil
	})
	if errors.Is(err, secret.ErrNotFound) {
		return "", nil
	}
	return owner, err
}

func isManagedFunction(function string) bool {
	return strings.HasSuffix(function, ":function:"+managedFunction)
}

// rotateManaged is the code of the function managedFunction: an ordinary
// rotation function that acts for RDS.
func (s *Server) rotateManaged(ctx context.Context, inv lambdaapi.Invocation) ([]byte, error) {
	var e rotation.Event
	if err := json.Unmarshal(inv.Payload, &e); err != nil {
		return nil, errors.New("the event is not that of a rotation")
	}
	owner, err := s.managedOwner(ctx, secret.ARN(e.SecretID))
	if err != nil {
		return nil, err
	}
	if owner == "" {
		return nil, rotation.Errorf(rotation.ClassSecret, "the secret is not one that RDS manages")
	}
	master, err := s.rds.Master(ctx, owner)
	if err != nil {
		return nil, rotation.Errorf(rotation.ClassAPI, "finding the database of %s: %w", owner, err)
	}
	principal, err := s.rotatorOf(inv.Account, secret.ARN(e.SecretID), "")
	if err != nil {
		return nil, err
	}
	principal.ActsFor = rdsService
	cfg, done := s.clientOf(principal, inv.Region)
	defer done()
	f := &rotation.Function{Secrets: masterClient{secretsmanager.NewFromConfig(cfg), master}, Engine: engineOf(master.Engine), Now: s.now}
	result, err := f.Handle(ctx, e)
	if err == nil && e.Step == rotation.StepFinish {
		err = s.rds.Served(ctx, owner)
	}
	if err != nil {
		return nil, err
	}
	if result.Plan != nil {
		planOfRDS(result.Plan, master)
	}
	return json.Marshal(result)
}

// planOfRDS tells what of a plan is different where RDS rotates.
func planOfRDS(p *rotation.Plan, master rdsapi.Master) {
	if master.Admin != "" {
		p.By = "keyturn's own account there, " + master.Admin
	}
	p.WayBack = []string{"another rotation: nobody may cancel one or move the labels of a secret that RDS manages"}
}

func engineOf(name string) rotation.Engine {
	if strings.Contains(name, "postgres") {
		return postgres.Engine{}
	}
	return mysql.Engine{}
}

// masterClient is Secrets Manager as a rotation function sees it for a managed
// master user. The value of such a secret is user name and password alone, so
// the rest of the login is added to what is read and taken away from what is
// stored. On a server of ours, our own account there is the administrator.
type masterClient struct {
	rotation.Secrets
	master rdsapi.Master
}

// adminID names our own account on a server of ours. No secret has this name.
const adminID = "keyturn:administrator"

// masterLogin is a login in the form that rotation functions read.
type masterLogin struct {
	Engine    string `json:"engine"`
	Host      string `json:"host"`
	Port      int    `json:"port"`
	Username  string `json:"username"`
	Password  string `json:"password"`
	MasterARN string `json:"masterarn,omitempty"`
}

// GetSecretValue adds what the value lacks.
func (c masterClient) GetSecretValue(ctx context.Context, in *secretsmanager.GetSecretValueInput, o ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	l := masterLogin{Engine: c.master.Engine, Host: c.master.Host, Port: c.master.Port}
	if aws.ToString(in.SecretId) == adminID {
		l.Username, l.Password = c.master.Admin, string(c.master.AdminPassword)
		return l.value(&secretsmanager.GetSecretValueOutput{})
	}
	out, err := c.Secrets.GetSecretValue(ctx, in, o...)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(aws.ToString(out.SecretString)), &l); err != nil {
		return nil, errors.New("the value of the secret is not an object with username and password")
	}
	l.Engine, l.Host, l.Port, l.MasterARN = c.master.Engine, c.master.Host, c.master.Port, ""
	if c.master.Admin != "" {
		l.MasterARN = adminID
	}
	return l.value(out)
}

func (l masterLogin) value(out *secretsmanager.GetSecretValueOutput) (*secretsmanager.GetSecretValueOutput, error) {
	text, err := json.Marshal(l) //nolint:gosec // a secret's value is what it makes
	if err != nil {
		return nil, fmt.Errorf("writing a login: %w", err)
	}
	out.SecretString = aws.String(string(text))
	return out, nil
}

// PutSecretValue stores user name and password alone.
func (c masterClient) PutSecretValue(ctx context.Context, in *secretsmanager.PutSecretValueInput, o ...func(*secretsmanager.Options)) (*secretsmanager.PutSecretValueOutput, error) {
	var login struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	if err := json.Unmarshal([]byte(aws.ToString(in.SecretString)), &login); err != nil {
		return nil, errors.New("the new value of the secret is not an object with username and password")
	}
	text, err := json.Marshal(login) //nolint:gosec // a secret's value is what it makes
	if err != nil {
		return nil, fmt.Errorf("writing a login: %w", err)
	}
	stored := *in
	stored.SecretString = aws.String(string(text))
	return c.Secrets.PutSecretValue(ctx, &stored, o...)
}

// String keeps the password out of logs.
func (masterLogin) String() string { return "[redacted]" }

// GoString keeps the password out of logs.
func (masterLogin) GoString() string { return "[redacted]" }
