package deploy

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	rdstypes "github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// managedDays is RDS's own schedule: "Password management with Amazon RDS and
// AWS Secrets Manager" in the RDS guide.
const managedDays = 7

// managedWalk replaces the steps that differ where RDS manages the master user:
// it makes the secret with the cluster and rotates it, without a function.
var managedWalk = map[Step]func(*deployment, context.Context) (result, error){
	StepFunction:   (*deployment).needless,
	StepPermission: (*deployment).needless,
	StepPassword:   (*deployment).needless,
	StepSecret:     (*deployment).managedSecret,
	StepRotation:   (*deployment).managedRotation,
}

func (*deployment) needless(context.Context) (result, error) {
	return result{Unchanged, "RDS manages the master user"}, nil
}

// managedDays reads rotatePasswordInDays, which RDS has an answer for.
func (r *reader) managedDays() int64 {
	if days := r.number("secretsmanager", "rotatePasswordInDays", 1, 1000); days != 0 {
		return days
	}
	return managedDays
}

// passwordOfToday is that of a database that exists already. RDS makes the
// password of a new one.
func (d *deployment) passwordOfToday() *string {
	if d.cfg.endpoint == "" {
		return nil
	}
	return optional(string(d.given()))
}

// turnOn lets RDS manage the master user of a cluster that exists. That changes
// the password, except on a server that is only registered.
func (d *deployment) turnOn(ctx context.Context, c *rdstypes.DBCluster) (result, error) {
	if c.MasterUserSecret != nil {
		return result{Unchanged, "cluster " + d.cfg.cluster}, nil
	}
	return result{Updated, "cluster " + d.cfg.cluster}, d.modifyCluster(ctx, &rds.ModifyDBClusterInput{
		ManageMasterUserPassword: aws.Bool(true), MasterUserPassword: d.passwordOfToday()})
}

// managedSecret waits until RDS shows the secret that it has made.
func (d *deployment) managedSecret(ctx context.Context) (result, error) {
	if d.DryRun && d.cluster.MasterUserSecret == nil {
		d.rotated()
		return result{Unchanged, "RDS makes it"}, nil
	}
	err := d.await(ctx, d.AvailableWithin, func(ctx context.Context) (string, bool, error) {
		c, err := d.describeCluster(ctx)
		if err != nil {
			return "", false, err
		}
		if c == nil || c.MasterUserSecret == nil {
			return "", false, refuse("run deploy again", "RDS does not manage the master user of cluster %s any more", d.cfg.cluster)
		}
		status := aws.ToString(c.MasterUserSecret.SecretStatus)
		d.report.SecretARN = aws.ToString(c.MasterUserSecret.SecretArn)
		if status == "impaired" {
			return "", false, refuse("see why with: keyturn rotation status "+d.report.SecretARN, "RDS can't rotate the secret of cluster %s at the moment", d.cfg.cluster)
		}
		return "master user secret " + status, status == "active", nil
	})
	d.cfg.secret = d.report.SecretARN
	return result{Unchanged, "secret " + d.report.SecretARN}, err
}

// managedRotation gives the secret another schedule than RDS's, if one is
// asked for, without rotating now.
func (d *deployment) managedRotation(ctx context.Context) (result, error) {
	s, err := d.managedRules(ctx)
	if err != nil {
		return result{}, err
	}
	d.report.SecretName = aws.ToString(s.Name)
	every := fmt.Sprintf("every %d days, by RDS", d.cfg.days)
	if r := s.RotationRules; r != nil && r.ScheduleExpression == nil && aws.ToInt64(r.AutomaticallyAfterDays) == d.cfg.days {
		return result{Unchanged, every}, nil
	}
	return result{Updated, every}, d.change(func() error { return d.otherDays(ctx) })
}

// managedRules describes the secret. That of a cluster which a dry run does not make
// would have RDS's own schedule.
func (d *deployment) managedRules(ctx context.Context) (*secretsmanager.DescribeSecretOutput, error) {
	if d.report.SecretARN == "" {
		return &secretsmanager.DescribeSecretOutput{RotationRules: &smtypes.RotationRulesType{AutomaticallyAfterDays: aws.Int64(managedDays)}}, nil
	}
	s, err := d.describeSecret(ctx)
	if err == nil && s == nil {
		err = refuse("run deploy again", "the secret %s was deleted meanwhile", d.cfg.secret)
	}
	return s, err
}

func (d *deployment) otherDays(ctx context.Context) error {
	out, err := d.Clients.SecretsManager.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: &d.report.SecretARN,
		RotationRules: &smtypes.RotationRulesType{AutomaticallyAfterDays: &d.cfg.days}, RotateImmediately: aws.Bool(false)})
	if err != nil {
		return err
	}
	d.tested = aws.ToString(out.VersionId)
	_, err = d.settled(ctx)
	return err
}
