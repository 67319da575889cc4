package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// The staging labels of Secrets Manager.
const (
	current = "AWSCURRENT"
	pending = "AWSPENDING"
)

// keepPassword makes sure that the master password stands in the secret before
// any cluster is created with it.
func (d *deployment) keepPassword(ctx context.Context) (result, error) {
	secret, err := d.describeSecret(ctx)
	if err != nil {
		return result{}, err
	}
	if secret == nil {
		return d.createSecret(ctx)
	}
	if err := d.readLogin(ctx); err != nil {
		return result{}, err
	}
	if d.version == "" {
		return d.fillSecret(ctx)
	}
	if err := d.checkLogin(); err != nil {
		return result{}, err
	}
	return d.correctLogin(ctx, secret)
}

// describeSecret returns nil when there is no such secret.
func (d *deployment) describeSecret(ctx context.Context) (*secretsmanager.DescribeSecretOutput, error) {
	out, err := d.Clients.SecretsManager.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &d.cfg.secret})
	if _, missing := errors.AsType[*smtypes.ResourceNotFoundException](err); missing {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if out.DeletedDate != nil {
		return nil, refuse(
			"bring it back with: keyturn secret restore "+d.cfg.secret+" (or aws secretsmanager restore-secret), or write another secretsmanager.name",
			"the secret %s is scheduled for deletion", d.cfg.secret)
	}
	d.report.SecretARN = aws.ToString(out.ARN)
	d.report.NextRotation = out.NextRotationDate
	return out, nil
}

// readLogin reads AWSCURRENT into d.login and d.version; the version is empty
// when the secret has no value yet. A dry run keeps what it would have stored.
func (d *deployment) readLogin(ctx context.Context) error {
	if d.ahead {
		return nil
	}
	out, err := d.Clients.SecretsManager.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &d.report.SecretARN})
	if _, missing := errors.AsType[*smtypes.ResourceNotFoundException](err); missing {
		d.login, d.version = login{}, ""
		return nil
	}
	if err != nil {
		return err
	}
	d.login, err = parseLogin(aws.ToString(out.SecretString))
	if err != nil {
		return d.foreign(err.Error())
	}
	d.version, d.stored = aws.ToString(out.VersionId), aws.ToTime(out.CreatedDate)
	d.seen = append(d.seen, d.login.password())
	return nil
}

func (d *deployment) foreign(why string) error {
	return refuse("write another secretsmanager.name", "the secret %s exists and is not the login of cluster %s: %s", d.cfg.secret, d.cfg.cluster, why)
}

// checkLogin makes sure that the secret is that of our cluster. The user may
// be another than the master: some rotation functions change users in turn.
func (d *deployment) checkLogin() error {
	if d.login.username() == "" || d.login.password() == "" {
		return d.foreign("it has no username or no password")
	}
	if of := d.login.text("dbClusterIdentifier"); of != "" && !strings.EqualFold(of, d.cfg.cluster) {
		return d.foreign("its dbClusterIdentifier is " + of)
	}
	return nil
}

// createSecret makes the secret with the password that the cluster is to have.
func (d *deployment) createSecret(ctx context.Context) (result, error) {
	if err := d.onlySecret(ctx); err != nil {
		return result{}, err
	}
	first, err := d.firstLogin(ctx)
	if err != nil {
		return result{}, err
	}
	out := &secretsmanager.CreateSecretOutput{}
	err = d.change(func() (err error) {
		out, err = d.Clients.SecretsManager.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
			Name:         &d.cfg.secret,
			Description:  aws.String(d.description()),
			SecretString: aws.String(first.encode()),
		})
		return err
	})
	if _, lost := errors.AsType[*smtypes.ResourceExistsException](err); lost {
		return d.otherSecret(ctx)
	}
	if err != nil {
		return result{}, err
	}
	d.login, d.version, d.ahead = first, aws.ToString(out.VersionId), d.DryRun
	d.report.SecretARN = aws.ToString(out.ARN)
	return result{Created, "secret " + d.cfg.secret}, nil
}

func (d *deployment) description() string {
	return "Master login of the database cluster " + d.cfg.cluster
}

// onlySecret refuses a second secret for the login of a cluster, as after a change of
// secretsmanager.name: of two that rotate, each ends the other's password. Whoever may not
// list secrets is not kept from deploying.
func (d *deployment) onlySecret(ctx context.Context) error {
	cluster, err := d.describeCluster(ctx)
	if err != nil || cluster == nil {
		return err
	}
	pages := secretsmanager.NewListSecretsPaginator(d.Clients.SecretsManager, &secretsmanager.ListSecretsInput{
		Filters: []smtypes.Filter{{Key: smtypes.FilterNameStringTypeDescription, Values: []string{d.description()}}}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if slices.Contains(denied, code(err)) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, s := range page.SecretList {
			if name := aws.ToString(s.Name); name != d.cfg.secret && d.rotatesLogin(s) {
				return d.secondSecret(name)
			}
		}
	}
	return nil
}

// rotatesLogin tells whether a secret holds the cluster's login and rotates. A replica
// holds that of a cluster of its primary's region.
func (d *deployment) rotatesLogin(s smtypes.SecretListEntry) bool {
	at, _ := arn.Parse(aws.ToString(s.ARN))
	replica := s.PrimaryRegion != nil && *s.PrimaryRegion != at.Region
	return !replica && aws.ToBool(s.RotationEnabled) && aws.ToString(s.Description) == d.description()
}

func (d *deployment) secondSecret(first string) error {
	return refuse(
		"write secretsmanager.name: "+first+", or end it first (keyturn secret delete "+first+"; aws secretsmanager cancel-rotate-secret while it is still read)",
		"the secret %s holds the login of cluster %s and rotates; of two secrets for one user, each rotation ends the other's password", first, d.cfg.cluster)
}

// otherSecret takes the secret that somebody else has just made, whose
// password counts. It may take a moment to be seen.
func (d *deployment) otherSecret(ctx context.Context) (result, error) {
	err := d.await(ctx, d.AvailableWithin, func(ctx context.Context) (string, bool, error) {
		secret, err := d.describeSecret(ctx)
		return "creating", secret != nil, err
	})
	if err != nil {
		return result{}, err
	}
	return d.keepPassword(ctx)
}

// fillSecret gives an empty secret its first value.
func (d *deployment) fillSecret(ctx context.Context) (result, error) {
	first, err := d.firstLogin(ctx)
	if err != nil {
		return result{}, err
	}
	err = d.put(ctx, first, "first")
	if _, lost := errors.AsType[*smtypes.ResourceExistsException](err); !lost && err != nil {
		return result{}, err
	}
	if err := d.readLogin(ctx); err != nil {
		return result{}, err
	}
	return result{Created, "first value of secret " + d.cfg.secret}, d.checkLogin()
}

// put stores a value as AWSCURRENT. The token is made from the value's purpose
// and the version it follows: the same put twice is one put, and of two
// different ones the second gets ResourceExistsException.
func (d *deployment) put(ctx context.Context, value login, purpose string) error {
	if d.DryRun {
		d.login, d.ahead = value, true
		return nil
	}
	sum := sha256.Sum256([]byte("keyturn deploy\n" + d.report.SecretARN + "\n" + purpose + "\n" + d.version))
	_, err := d.Clients.SecretsManager.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId:           &d.report.SecretARN,
		ClientRequestToken: aws.String(hex.EncodeToString(sum[:])),
		SecretString:       aws.String(value.encode()),
	})
	return err
}

// given is the password that the caller knows: the option's, else that of
// config.yml.
func (d *deployment) given() Password {
	if d.Password != "" {
		return d.Password
	}
	return d.cfg.Password
}

// firstLogin is a value without host and port, which are not known yet.
func (d *deployment) firstLogin(ctx context.Context) (login, error) {
	password, err := d.firstPassword(ctx)
	if err != nil {
		return login{}, err
	}
	return d.asConfigured(login{}.withText("username", d.cfg.username).withText("password", string(password))), nil
}

// asConfigured gives a value what config.yml says of a cluster that is to be made.
func (d *deployment) asConfigured(l login) login {
	l = l.withText("username", d.cfg.username).withText("engine", d.cfg.engine.secret).without("dbname")
	if d.cfg.database != "" {
		l = l.withText("dbname", d.cfg.database)
	}
	return l.withText("dbClusterIdentifier", d.cfg.cluster)
}

// excluded are characters that RDS refuses in a master password, and some that
// are awkward in shells and connection strings.
const excluded = "/@\"'\\ `$:"

// firstPassword is the given password, or a random one for a new cluster. The
// password of a database that exists cannot be made up.
func (d *deployment) firstPassword(ctx context.Context) (Password, error) {
	if p := d.given(); p != "" {
		return p, nil
	}
	cluster, err := d.describeCluster(ctx)
	if err != nil {
		return "", err
	}
	if cluster != nil || d.cfg.endpoint != "" {
		return "", refuse(
			"write it into config.yml as secretsmanager.password, or give it to the command by file or standard input",
			"the database of cluster %s exists already, and its master password is not known", d.cfg.cluster)
	}
	out, err := d.Clients.SecretsManager.GetRandomPassword(ctx, &secretsmanager.GetRandomPasswordInput{
		PasswordLength:    aws.Int64(32),
		ExcludeCharacters: aws.String(excluded),
	})
	if err != nil {
		return "", err
	}
	d.seen = append(d.seen, aws.ToString(out.RandomPassword))
	return Password(aws.ToString(out.RandomPassword)), nil
}

// correctLogin lets a first value be put right while the secret is unfinished, for
// somebody who mistyped the password of an existing database, or what RDS then
// refused. Later the value is never changed here.
func (d *deployment) correctLogin(ctx context.Context, secret *secretsmanager.DescribeSecretOutput) (result, error) {
	kept := result{Unchanged, "secret " + d.cfg.secret + d.notTaken(secret)}
	if d.finished(secret) {
		return kept, nil
	}
	cluster, err := d.describeCluster(ctx)
	if err != nil || cluster != nil && d.cfg.endpoint == "" { // the cluster was created with the secret's password
		return kept, err
	}
	right := d.corrected(cluster != nil)
	if right.encode() == d.login.encode() {
		return kept, nil
	}
	if err := d.put(ctx, right, "password"); err != nil {
		return result{}, err
	}
	return result{Updated, "login in secret " + d.cfg.secret}, d.readLogin(ctx)
}

// corrected has the given password, and what config.yml says by now of a cluster
// that does not exist. A value that deploy has not made keeps the rest.
func (d *deployment) corrected(exists bool) login {
	l := d.login
	if p := d.given(); p != "" {
		l = l.withText("password", string(p))
	}
	if exists || l.text("dbClusterIdentifier") == "" {
		return l
	}
	return d.asConfigured(l)
}

// notTaken says that the password given to the command is not the secret's, as
// long as no rotation has proved the one that is there. It is not put in its
// place: a first rotation may be at work, and its password the one that logs in.
func (d *deployment) notTaken(secret *secretsmanager.DescribeSecretOutput) string {
	if d.Password == "" || string(d.Password) == d.login.password() || secret.LastRotatedDate != nil {
		return ""
	}
	return "; it keeps its password, and the given one is another: if that is the one that logs in, store it with keyturn secret put " + d.cfg.secret
}

// finished tells whether creation is over, after which the value belongs to
// the rotation.
func (d *deployment) finished(secret *secretsmanager.DescribeSecretOutput) bool {
	return d.login.host() != "" || aws.ToBool(secret.RotationEnabled) || secret.LastRotatedDate != nil
}

// moved tells whether the value has the port of a database that is gone: the
// one that listens on this host now was made after the value was stored. An
// address on another host was chosen by somebody, such as that of a proxy, and
// stays.
func (d *deployment) moved() bool {
	return d.login.host() == d.report.Host && d.login.port() != d.report.Port && d.stored.Before(d.built)
}

// completeSecret adds what the cluster has told to a value that lacks it, or
// that tells of an earlier database.
func (d *deployment) completeSecret(ctx context.Context) (result, error) {
	secret, err := d.madeSecret(ctx)
	if err != nil {
		return result{}, err
	}
	if err := d.readLogin(ctx); err != nil {
		return result{}, err
	}
	if d.finished(secret) && !d.moved() {
		return result{Unchanged, "secret " + d.cfg.secret + d.mayMove()}, nil
	}
	whole := d.completed()
	err = d.put(ctx, whole, "address")
	if _, lost := errors.AsType[*smtypes.ResourceExistsException](err); !lost && err != nil {
		return result{}, err
	}
	return result{Updated, "host and port of secret " + d.cfg.secret}, d.readLogin(ctx)
}

// madeSecret describes the secret that an earlier step has found or made; a dry run makes
// none.
func (d *deployment) madeSecret(ctx context.Context) (*secretsmanager.DescribeSecretOutput, error) {
	secret, err := d.describeSecret(ctx)
	switch {
	case err != nil || secret != nil:
		return secret, err
	case d.DryRun:
		return &secretsmanager.DescribeSecretOutput{}, nil
	}
	return nil, refuse("run deploy again with the master password in config.yml", "the secret %s was deleted meanwhile", d.cfg.secret)
}

// mayMove says what a dry run cannot see: where a database listens that is yet to be made.
func (d *deployment) mayMove() string {
	if d.DryRun && d.report.Host == "" {
		return "; its port follows the new database"
	}
	return ""
}

func (d *deployment) completed() login {
	l := d.login.withMissing("engine", quote(d.cfg.engine.secret)).
		with("host", quote(d.report.Host)).
		with("port", json.RawMessage(strconv.Itoa(d.report.Port)))
	if d.cfg.database != "" {
		l = l.withMissing("dbname", quote(d.cfg.database))
	}
	return l.withMissing("dbClusterIdentifier", quote(d.cfg.cluster))
}
