package rdsapi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/google/uuid"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// MasterSecrets keeps the secrets of managed master users: ManageMasterUserPassword
// ("Password management with Amazon RDS and AWS Secrets Manager" in the RDS guide).
// What takes a transaction happens in it.
type MasterSecrets interface {
	// New seals the value of a new secret, and returns what stores the secret
	// with its rotation every 7 days. A key that does not serve is
	// ErrKeyNotAccessible.
	New(ctx context.Context, n secret.New, value string) (store func(*sqldb.Tx) error, err error)
	// Rotate begins a rotation at once; while one is under way it is ErrRotating.
	Rotate(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error
	// Remove deletes a secret and its replicas at once.
	Remove(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) error
	// Status is active, rotating, or impaired after a step has failed.
	Status(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (string, error)
}

// ErrRotating says that a rotation of a master user's password is under way.
var ErrRotating = errors.New("a rotation of the master user's password isn't complete")

const rotatingStatus = "rotating"

// management is what a request says of a master user's password.
type management struct {
	manage   *bool   // ManageMasterUserPassword
	password *string // MasterUserPassword
	key      *string // MasterUserSecretKmsKeyId
}

// firstPassword returns the password that a new master user begins with: one
// made here if it is managed. The server of an adopted database has a master
// user already, so there the password is told also when it is to be managed.
func (m management) firstPassword(tags []types.Tag) (*string, error) {
	if !value(m.manage) {
		if m.key != nil {
			return nil, ErrParameterCombination.Errorf("MasterUserSecretKmsKeyId can be specified only with ManageMasterUserPassword.")
		}
		return m.password, nil
	}
	host, _, err := adoptedEndpoint(tags)
	switch {
	case err != nil:
		return nil, err
	case host != "" && m.password == nil:
		return nil, ErrParameterCombination.Errorf("The server at the tag %s has its master user already: give the password of today as MasterUserPassword, and the secret begins with it.", endpointTag)
	case host == "" && m.password != nil:
		return nil, errExclusive()
	case host == "":
		return new(rand.Text()), nil
	}
	return m.password, nil
}

func errExclusive() error {
	return ErrParameterCombination.Errorf("MasterUserPassword and ManageMasterUserPassword are mutually exclusive: MasterUserPassword can't be specified if ManageMasterUserPassword is turned on.")
}

// firstMaster is newMaster for a new database, of which the master user need not be
// managed.
func (s *Service) firstMaster(ctx context.Context, m management, p *plan) (*types.MasterUserSecret, func(*sqldb.Tx) error, error) {
	if !value(m.manage) {
		return nil, func(*sqldb.Tx) error { return nil }, nil
	}
	return s.newMaster(ctx, p.database, p.password, m.key)
}

// newMaster makes the secret of a master user that is to be managed: how it is
// shown, and what stores it.
func (s *Service) newMaster(ctx context.Context, d *database, password dbserver.Password, key *string) (*types.MasterUserSecret, func(*sqldb.Tx) error, error) {
	n := masterSecret(d.owner)
	n.KMSKeyID = value(key)
	text, err := json.Marshal(struct { //nolint:gosec // the secret's value, which is sealed next
		Username string `json:"username"`
		Password string `json:"password"`
	}{d.masterUser, string(password)})
	if err != nil {
		return nil, nil, err
	}
	store, err := s.config.Masters.New(ctx, n, string(text))
	if err != nil {
		return nil, nil, err
	}
	return &types.MasterUserSecret{SecretArn: new(string(n.ARN)), SecretStatus: new(creating), KmsKeyId: new(keyARN(n.ARN.Place(), n.KMSKeyID))}, store, nil
}

// masterSecret describes the secret for a cluster, or for an instance without
// one, in the words of RDS.
func masterSecret(owner string) secret.New {
	prefix, what, tag := "rds!cluster-", "cluster", "aws:rds:primaryDBClusterArn"
	if isInstance(owner) {
		prefix, what, tag = "rds!db-", "instance", "aws:rds:primaryDBInstanceArn"
	}
	part := strings.Split(owner, ":")
	name := prefix + uuid.NewString()
	return secret.New{
		ARN: secret.NewARN(secret.Place{Region: part[3], Account: part[4]}, name), Name: name,
		Description:   "Secret associated with primary RDS DB " + what + ": " + owner,
		Tags:          []secret.Tag{{Key: tag, Value: owner}},
		OwningService: "rds",
	}
}

func isInstance(owner string) bool { return strings.Contains(owner, ":"+instance.name+":") }

// keyARN is a key as RDS shows it: always as an ARN.
func keyARN(at secret.Place, id string) string {
	switch {
	case strings.HasPrefix(id, "arn:"):
		return id
	case id == "":
		id = "alias/aws/secretsmanager"
	case !strings.HasPrefix(id, "alias/"):
		id = "key/" + id
	}
	return "arn:aws:kms:" + at.Region + ":" + at.Account + ":" + id
}

// showMaster brings the status of a managed master user up to date. status is
// that of the cluster or instance.
func (s *Service) showMaster(ctx context.Context, tx *sqldb.Tx, shown **types.MasterUserSecret, status string) error {
	if *shown == nil || status == creating {
		return nil
	}
	now := **shown
	text, err := s.config.Masters.Status(ctx, tx, secret.ARN(*now.SecretArn))
	now.SecretStatus = &text
	*shown = &now
	return err
}

// removeMaster deletes the secret of a managed master user, if there is one.
func (s *Service) removeMaster(ctx context.Context, tx *sqldb.Tx, shown **types.MasterUserSecret) error {
	if *shown == nil {
		return nil
	}
	arn := secret.ARN(*(*shown).SecretArn)
	*shown = nil
	return s.config.Masters.Remove(ctx, tx, arn)
}

// passwordAgain seals a new first password for the database of a cluster whose
// master user is managed.
func (s *Service) passwordAgain(ctx context.Context, cluster string) (string, error) {
	var d *database
	err := s.config.DB.Read(ctx, func(tx *sqldb.Tx) error {
		c, err := findCluster(ctx, tx, cluster)
		if err != nil || c.shown.MasterUserSecret == nil {
			return err
		}
		d, err = findDatabase(ctx, tx, cluster)
		return err
	})
	if err != nil || d == nil {
		return "", err
	}
	return s.seal(ctx, dbserver.Password(rand.Text()), d.owner, d.masterUser)
}

// makeAgain lets the data of a cluster whose master user is managed be made
// anew: with a password of its own, to which a rotation adds that of the
// secret. For any other cluster it returns the failure.
func (s *Service) makeAgain(ctx context.Context, tx *sqldb.Tx, c *clusterRow, sealed string, failure error) error {
	if c.shown.MasterUserSecret == nil || sealed == "" || !errors.Is(failure, ErrClusterState) {
		return failure
	}
	if err := setMaster(ctx, tx, c.arn, sealed); err != nil {
		return err
	}
	err := s.config.Masters.Rotate(ctx, tx, secret.ARN(*c.shown.MasterUserSecret.SecretArn))
	if errors.Is(err, ErrRotating) {
		return nil
	}
	return err
}

// Master is how to reach the database of a managed master user.
type Master struct {
	Engine string // as RDS calls it
	Host   string
	Port   int
	// Admin is an account of ours that may change the master user's password;
	// empty: the server is adopted, and the master user does it itself.
	Admin         string
	AdminPassword dbserver.Password
}

// Master returns how to reach the database of a cluster, or of an instance
// without one.
func (s *Service) Master(ctx context.Context, owner string) (Master, error) {
	var m Master
	var d *database
	err := s.config.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		if m.Engine, err = engineName(ctx, tx, owner); err != nil {
			return err
		}
		d, err = findDatabase(ctx, tx, owner)
		return err
	})
	if err != nil {
		return m, err
	}
	m.Host, m.Port = d.host, d.port
	if d.adopted() {
		return m, nil
	}
	m.Admin = dbserver.Admin
	m.AdminPassword, err = s.unseal(ctx, d.sealedAdmin, owner, dbserver.Admin)
	return m, err
}

func engineName(ctx context.Context, tx *sqldb.Tx, owner string) (string, error) {
	if isInstance(owner) {
		i, err := findInstance(ctx, tx, owner)
		if err != nil {
			return "", err
		}
		return value(i.shown.Engine), nil
	}
	c, err := findCluster(ctx, tx, owner)
	if err != nil {
		return "", err
	}
	return value(c.shown.Engine), nil
}
