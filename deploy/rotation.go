package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/deploy/yamlfile"
)

// ensureRotation turns rotation on, which rotates at once, or brings changed
// rules up to date without rotating.
func (d *deployment) ensureRotation(ctx context.Context) (result, error) {
	secret, err := d.settled(ctx)
	if err != nil {
		return result{}, err
	}
	every := fmt.Sprintf("every %d days", d.cfg.days)
	switch {
	case !aws.ToBool(secret.RotationEnabled):
		d.rotated()
		return result{Created, every + ", for the first time now"}, d.change(func() error { return d.firstRotation(ctx) })
	case d.sameRules(secret):
		return result{Unchanged, every}, nil
	default:
		return result{Updated, every}, d.change(func() error { return d.rotate(ctx, false) })
	}
}

// rotated makes a dry run know that the password would be another one.
func (d *deployment) rotated() {
	if d.DryRun {
		d.login, d.ahead = d.login.withMissing("username", quote(d.cfg.username)).withText("password", redacted), true
	}
}

func (d *deployment) sameRules(s *secretsmanager.DescribeSecretOutput) bool {
	r := s.RotationRules
	return aws.ToString(s.RotationLambdaARN) == d.report.FunctionARN &&
		r != nil && r.ScheduleExpression == nil && aws.ToInt64(r.AutomaticallyAfterDays) == d.cfg.days
}

// firstRotation turns rotation on and waits until AWSCURRENT has moved.
func (d *deployment) firstRotation(ctx context.Context) error {
	before := d.version
	err := d.rotate(ctx, true)
	if _, refused := errors.AsType[*smtypes.InvalidRequestException](err); refused && d.rotating(ctx) {
		err = nil // somebody else has just turned it on
	}
	if err != nil {
		return err
	}
	return d.awaitRotation(ctx, func(s *secretsmanager.DescribeSecretOutput) bool {
		return versionOf(s, current) != before
	})
}

func (d *deployment) rotating(ctx context.Context) bool {
	s, err := d.describeSecret(ctx)
	return err == nil && s != nil && pendingVersion(s) != ""
}

// permissionSettles is how long AWS may need until Secrets Manager sees a new
// permission of a function.
const permissionSettles = 30 * time.Second

// rotate sets function and rules, and starts a rotation if asked to.
func (d *deployment) rotate(ctx context.Context, now bool) error {
	begin := d.Now()
	return d.await(ctx, d.RotatedWithin, func(ctx context.Context) (string, bool, error) {
		_, err := d.Clients.SecretsManager.RotateSecret(ctx, &secretsmanager.RotateSecretInput{
			SecretId:          &d.report.SecretARN,
			RotationLambdaARN: &d.report.FunctionARN,
			RotationRules:     &smtypes.RotationRulesType{AutomaticallyAfterDays: &d.cfg.days},
			RotateImmediately: aws.Bool(now),
		})
		if code(err) == "AccessDeniedException" && d.permitted && d.Now().Sub(begin) < permissionSettles {
			return "waiting for the function's permission", false, nil
		}
		return "", err == nil, err
	})
}

// settled waits until no rotation is running, and returns the secret.
func (d *deployment) settled(ctx context.Context) (*secretsmanager.DescribeSecretOutput, error) {
	var secret *secretsmanager.DescribeSecretOutput
	err := d.awaitRotation(ctx, func(s *secretsmanager.DescribeSecretOutput) bool {
		secret = s
		return true
	})
	if err == nil && secret == nil { // a dry run does not wait
		return d.madeSecret(ctx)
	}
	return secret, err
}

// awaitRotation waits until no version is pending and done agrees.
func (d *deployment) awaitRotation(ctx context.Context, done func(*secretsmanager.DescribeSecretOutput) bool) error {
	until := d.Now().Add(d.RotatedWithin)
	err := d.await(ctx, d.RotatedWithin, func(ctx context.Context) (string, bool, error) {
		s, err := d.madeSecret(ctx)
		if err != nil {
			return "", false, err
		}
		version := pendingVersion(s)
		if version == "" {
			return "rotating", done(s), nil
		}
		if !aws.ToBool(s.RotationEnabled) {
			return "", false, d.leftPending(version)
		}
		if d.Stuck != nil && d.Stuck(ctx, d.report.SecretARN, until) {
			return "", false, refuse(
				"put right what it failed for, start it again with: keyturn secret rotate "+d.cfg.secret+", and run deploy again",
				"the rotation to version %s has failed", version)
		}
		if version == d.tested {
			return "testing the login; the password stays", false, nil
		}
		return "rotating to version " + version, false, nil
	})
	if timeout, ok := errors.AsType[*timeoutError](err); ok {
		return refuse(
			"see why with: keyturn rotation status "+d.cfg.secret+" (on AWS in the function's log in CloudWatch), then run deploy again; it goes on waiting",
			"%s", timeout.Error())
	}
	return err
}

// leftPending is for a cancelled rotation, whose label blocks the next one.
func (d *deployment) leftPending(version string) error {
	return refuse(
		fmt.Sprintf("take the label away with: aws secretsmanager update-secret-version-stage --secret-id %s --version-stage %s --remove-from-version-id %s", d.cfg.secret, pending, version),
		"rotation of secret %s is off, and a cancelled rotation has left %s on version %s", d.cfg.secret, pending, version)
}

// pendingVersion returns the version of a running rotation, or "". After a
// rotation AWSPENDING may stay beside AWSCURRENT; that is none.
func pendingVersion(s *secretsmanager.DescribeSecretOutput) string {
	for version, labels := range s.VersionIdsToStages {
		if slices.Contains(labels, pending) && !slices.Contains(labels, current) {
			return version
		}
	}
	return ""
}

func versionOf(s *secretsmanager.DescribeSecretOutput, label string) string {
	for version, labels := range s.VersionIdsToStages {
		if slices.Contains(labels, label) {
			return version
		}
	}
	return ""
}

// writeConfig writes the login into config.yml.
func (d *deployment) writeConfig(ctx context.Context) (result, error) {
	if err := d.readLogin(ctx); err != nil {
		return result{}, err
	}
	if err := d.checkLogin(); err != nil {
		return result{}, err
	}
	if err := d.rewrite(); err != nil {
		return result{}, err
	}
	if d.report.SecretARN != "" { // for the next rotation's date
		if _, err := d.describeSecret(ctx); err != nil {
			return result{}, err
		}
	}
	d.report.Username, d.report.VersionID = d.login.username(), d.version
	if len(d.report.ConfigKeys) == 0 {
		return result{Unchanged, d.ConfigPath}, nil
	}
	return result{Updated, d.ConfigPath + ": " + strings.Join(d.report.ConfigKeys, ", ")}, nil
}

func (d *deployment) rewrite() error {
	doc, err := yamlfile.Parse(d.ConfigPath, d.file.Bytes())
	if err != nil {
		return err
	}
	if h := d.login.host(); h != "" {
		d.report.Host = h
	}
	if p := d.login.port(); p != 0 {
		d.report.Port = p
	}
	var changed []string
	for _, w := range []struct {
		key   string
		value yamlfile.Value
	}{
		{"host", yamlfile.Text(d.report.Host)},
		{"port", yamlfile.Number(int64(d.report.Port))},
		{"username", yamlfile.Text(d.login.username())},
		{"password", yamlfile.Text(d.login.password())},
	} {
		different, err := doc.Set(w.value, "secretsmanager", w.key)
		if err != nil {
			return err
		}
		if different {
			changed = append(changed, "secretsmanager."+w.key)
		}
	}
	d.report.ConfigKeys = changed
	return d.change(func() error { return fileError(d.file.Replace(doc.Bytes(), true)) })
}
