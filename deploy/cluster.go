package deploy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	rdstypes "github.com/aws/aws-sdk-go-v2/service/rds/types"
)

// endpointTag makes a keyturn server register an existing database server
// instead of running one. AWS knows no such thing.
const endpointTag = "keyturn:endpoint"

// ensureCluster creates the cluster with the password that is in the secret.
func (d *deployment) ensureCluster(ctx context.Context) (result, error) {
	if err := d.checkEngine(); err != nil {
		return result{}, err
	}
	cluster, err := d.describeCluster(ctx)
	if err != nil {
		return result{}, err
	}
	if cluster != nil {
		return d.existingCluster(ctx, cluster)
	}
	if is := d.login.username(); !d.cfg.managed && is != d.cfg.username {
		return result{}, refuse("correct rds.masterUsername, or write another secretsmanager.name", "the secret %s holds the password of user %s, not of %s", d.cfg.secret, is, d.cfg.username)
	}
	err = d.change(func() error {
		_, err := d.Clients.RDS.CreateDBCluster(ctx, d.newCluster())
		return err
	})
	if _, lost := errors.AsType[*rdstypes.DBClusterAlreadyExistsFault](err); lost {
		return d.otherCluster(ctx)
	}
	return result{Created, "cluster " + d.cfg.cluster}, err
}

// checkEngine makes sure that the function which rotates the cluster takes the
// secret, whose engine may be mysql for MariaDB.
func (d *deployment) checkEngine() error {
	is := d.login.text("engine")
	if of, known := engines[is]; known && of.function != d.cfg.engine.function {
		return refuse("correct rds.engine, or write another secretsmanager.name", "the secret %s is of engine %s, not of %s", d.cfg.secret, is, d.cfg.engineName)
	}
	return nil
}

// existingCluster checks the cluster. One that is only registered, and whose
// instance has not come up, may have been given a mistyped password, which is
// correct in the secret by now.
func (d *deployment) existingCluster(ctx context.Context, c *rdstypes.DBCluster) (result, error) {
	found := result{Unchanged, "cluster " + d.cfg.cluster}
	if err := d.checkCluster(c); err != nil {
		return found, err
	}
	if d.cfg.managed {
		return d.turnOn(ctx, c)
	}
	if d.cfg.endpoint == "" {
		return found, nil
	}
	d.report.InstanceIdentifier = d.instanceName()
	instance, err := d.describeInstance(ctx)
	if err != nil || instance != nil && aws.ToString(instance.DBInstanceStatus) == "available" {
		return found, err
	}
	return result{Updated, "master password of cluster " + d.cfg.cluster}, d.setMasterPassword(ctx)
}

// otherCluster takes the cluster that somebody else has just created. It may
// take a moment to be seen.
func (d *deployment) otherCluster(ctx context.Context) (result, error) {
	err := d.await(ctx, d.AvailableWithin, func(ctx context.Context) (string, bool, error) {
		cluster, err := d.describeCluster(ctx)
		return "creating", cluster != nil, err
	})
	if err != nil {
		return result{}, err
	}
	return result{Unchanged, "cluster " + d.cfg.cluster}, d.checkCluster(&d.cluster)
}

// onAWS tells whether a client reaches AWS itself: no endpoint is set, and it
// goes by the network.
func onAWS(o rds.Options) bool {
	switch o.HTTPClient.(type) {
	case *awshttp.BuildableClient, *http.Client:
	default:
		return false
	}
	if o.BaseEndpoint == nil {
		return true
	}
	u, err := url.Parse(*o.BaseEndpoint)
	return err == nil && strings.HasSuffix(u.Hostname(), ".amazonaws.com")
}

func (d *deployment) newCluster() *rds.CreateDBClusterInput {
	in := &rds.CreateDBClusterInput{
		DBClusterIdentifier: &d.cfg.cluster,
		Engine:              &d.cfg.engineName,
		EngineVersion:       optional(d.cfg.engineVersion),
		MasterUsername:      &d.cfg.username,
		DatabaseName:        optional(d.cfg.database),
	}
	if d.cfg.managed {
		in.ManageMasterUserPassword = aws.Bool(true)
		in.MasterUserPassword = d.passwordOfToday()
	} else {
		in.MasterUserPassword = aws.String(d.login.password())
	}
	if d.cfg.port != 0 {
		in.Port = aws.Int32(d.cfg.port)
	}
	if d.cfg.endpoint != "" {
		in.Tags = []rdstypes.Tag{{Key: aws.String(endpointTag), Value: &d.cfg.endpoint}}
	}
	return in
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// describeCluster returns nil when there is no such cluster.
func (d *deployment) describeCluster(ctx context.Context) (*rdstypes.DBCluster, error) {
	out, err := d.Clients.RDS.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{DBClusterIdentifier: &d.cfg.cluster})
	if _, missing := errors.AsType[*rdstypes.DBClusterNotFoundFault](err); missing {
		return nil, nil
	}
	if err != nil || len(out.DBClusters) == 0 {
		return nil, err
	}
	d.cluster = out.DBClusters[0]
	return &d.cluster, nil
}

// checkCluster makes sure that an existing cluster is the one that config.yml
// describes. What differs cannot be changed by deploy.
func (d *deployment) checkCluster(c *rdstypes.DBCluster) error {
	differs := func(key, is string) error {
		return refuse("correct rds."+key+", or write another rds.clusterIdentifier", "cluster %s exists with another %s: %s", d.cfg.cluster, key, is)
	}
	switch {
	case c.MasterUserSecret != nil && !d.cfg.managed:
		return refuse("write rds.manageMasterUserPassword: true, or turn that off (aws rds modify-db-cluster --no-manage-master-user-password)", "RDS itself manages the master password of cluster %s", d.cfg.cluster)
	case aws.ToString(c.Engine) != d.cfg.engineName:
		return differs("engine", aws.ToString(c.Engine))
	case aws.ToString(c.MasterUsername) != d.cfg.username:
		return differs("masterUsername", aws.ToString(c.MasterUsername))
	case d.cfg.port != 0 && c.Port != nil && *c.Port != d.cfg.port:
		return differs("port", strconv.Itoa(int(*c.Port)))
	}
	host, _, _ := net.SplitHostPort(d.cfg.endpoint) // empty, or checked when read
	if is := aws.ToString(c.Endpoint); host != "" && is != "" && !strings.EqualFold(host, is) {
		return differs("endpoint", is)
	}
	return nil
}

// ensureInstance creates the instance and waits until it and the cluster are
// available.
func (d *deployment) ensureInstance(ctx context.Context) (result, error) {
	d.report.InstanceIdentifier = d.instanceName()
	done := result{Unchanged, "instance " + d.report.InstanceIdentifier}
	instance, err := d.describeInstance(ctx)
	if err != nil {
		return result{}, err
	}
	if instance == nil {
		done.outcome = Created
		if err := d.change(func() error { return d.createInstance(ctx) }); err != nil {
			return result{}, err
		}
	}
	if d.DryRun && (instance == nil || d.renewed) {
		return done, nil // how it is now says nothing
	}
	err = d.await(ctx, d.AvailableWithin, d.available)
	if err != nil || d.waits != "" {
		return done, err
	}
	d.report.Host, d.report.Port = aws.ToString(d.cluster.Endpoint), int(aws.ToInt32(d.cluster.Port))
	if d.report.Host == "" || d.report.Port == 0 {
		return result{}, refuse("look at it with aws rds describe-db-clusters", "cluster %s is available but has no endpoint", d.cfg.cluster)
	}
	return done, nil
}

// instanceName is the configured name, else the writer that the cluster has,
// else a name of our own.
func (d *deployment) instanceName() string {
	if d.cfg.instance == "" {
		for _, m := range d.cluster.DBClusterMembers {
			if aws.ToBool(m.IsClusterWriter) {
				return aws.ToString(m.DBInstanceIdentifier)
			}
		}
	}
	return d.cfg.firstInstance()
}

// describeInstance returns nil when there is no such instance.
func (d *deployment) describeInstance(ctx context.Context) (*rdstypes.DBInstance, error) {
	out, err := d.Clients.RDS.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &d.report.InstanceIdentifier})
	if _, missing := errors.AsType[*rdstypes.DBInstanceNotFoundFault](err); missing {
		return nil, nil
	}
	if err != nil || len(out.DBInstances) == 0 {
		return nil, err
	}
	instance := &out.DBInstances[0]
	if of := aws.ToString(instance.DBClusterIdentifier); !strings.EqualFold(of, d.cfg.cluster) {
		return nil, refuse("write another rds.instanceIdentifier", "instance %s exists and is not of cluster %s", d.report.InstanceIdentifier, d.cfg.cluster)
	}
	return instance, nil
}

// createInstance creates the instance as soon as the cluster takes one.
func (d *deployment) createInstance(ctx context.Context) error {
	return d.await(ctx, d.AvailableWithin, func(ctx context.Context) (string, bool, error) {
		_, err := d.Clients.RDS.CreateDBInstance(ctx, &rds.CreateDBInstanceInput{
			DBInstanceIdentifier: &d.report.InstanceIdentifier,
			DBClusterIdentifier:  &d.cfg.cluster,
			DBInstanceClass:      &d.cfg.instanceClass,
			Engine:               &d.cfg.engineName,
		})
		if _, lost := errors.AsType[*rdstypes.DBInstanceAlreadyExistsFault](err); lost {
			return "", true, nil
		}
		if _, early := errors.AsType[*rdstypes.InvalidDBClusterStateFault](err); !early {
			return "", err == nil, err
		}
		status, broken := d.clusterStatus(ctx)
		if broken != nil || status != "cluster available" {
			return status, false, broken
		}
		return d.renewPassword(ctx, err)
	})
}

// renewPassword helps a cluster that is available and takes no instance: that of
// a keyturn server whose last instance was deleted has no password any more.
func (d *deployment) renewPassword(ctx context.Context, refusal error) (string, bool, error) {
	if d.renewed || d.cfg.managed {
		return "", false, refusal
	}
	return "cluster available", false, d.setMasterPassword(ctx)
}

func (d *deployment) setMasterPassword(ctx context.Context) error {
	d.renewed = true
	return d.modifyCluster(ctx, &rds.ModifyDBClusterInput{MasterUserPassword: aws.String(d.login.password())})
}

func (d *deployment) modifyCluster(ctx context.Context, in *rds.ModifyDBClusterInput) error {
	in.DBClusterIdentifier, in.ApplyImmediately = &d.cfg.cluster, aws.Bool(true)
	return d.change(func() error {
		_, err := d.Clients.RDS.ModifyDBCluster(ctx, in)
		return err
	})
}

// clusterStatus tells how the cluster is, and fails when it will not become
// available.
func (d *deployment) clusterStatus(ctx context.Context) (string, error) {
	c, err := d.describeCluster(ctx)
	if err != nil {
		return "", err
	}
	if c == nil {
		return "", refuse("run deploy again", "cluster %s was deleted meanwhile", d.cfg.cluster)
	}
	status := aws.ToString(c.Status)
	return "cluster " + status, d.hopeless("cluster "+d.cfg.cluster, status, "")
}

// available tells whether instance and cluster are available.
func (d *deployment) available(ctx context.Context) (string, bool, error) {
	instance, err := d.describeInstance(ctx)
	if err != nil {
		return "", false, err
	}
	if instance == nil {
		return "", false, refuse("run deploy again", "instance %s was deleted meanwhile", d.report.InstanceIdentifier)
	}
	status := aws.ToString(instance.DBInstanceStatus)
	if err := d.hopeless("instance "+d.report.InstanceIdentifier, status, reason(instance)); err != nil {
		return "", false, err
	}
	cluster, err := d.clusterStatus(ctx)
	if d.built = aws.ToTime(instance.InstanceCreateTime); d.built.Before(aws.ToTime(d.cluster.ClusterCreateTime)) {
		d.built = aws.ToTime(d.cluster.ClusterCreateTime)
	}
	done := status == "available" && cluster == "cluster available"
	return "instance " + status + ", " + cluster, done, err
}

// reason joins what RDS says about an instance's state.
func reason(i *rdstypes.DBInstance) string {
	var texts []string
	for _, info := range i.StatusInfos {
		if m := aws.ToString(info.Message); m != "" {
			texts = append(texts, m)
		}
	}
	return strings.Join(texts, "; ")
}

// hopeless refuses states from which waiting leads nowhere; see "Viewing DB
// instance status" in the Amazon RDS User Guide.
func (d *deployment) hopeless(what, status, why string) error {
	if why != "" {
		why = ": " + why
	}
	switch {
	case status == "stopped", status == "stopping":
		return refuse("start it and run deploy again", "%s is %s%s", what, status, why)
	case status == "deleting":
		return refuse("run deploy again when it is gone", "%s is being deleted", what)
	case strings.Contains(status, "failed"), strings.HasPrefix(status, "incompatible-"),
		strings.HasPrefix(status, "inaccessible-"), strings.HasPrefix(status, "restore-error"), status == "storage-full":
		return refuse("mend the cause, or delete it and run deploy again", "%s is in state %s%s", what, status, why)
	}
	return nil
}
