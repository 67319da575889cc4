package keyturn_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
)

// A year on the virtual clock: secrets of all three databases rotate on the
// first of each month at two o'clock in New York, but for December, which is a
// blackout. The password of each month logs in.
func TestAYearOnRealDatabases(t *testing.T) {
	begin, started := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC), time.Now()
	server := keyturntest.NewServer(t, func(c *keyturn.Config) {
		c.Dev = true
		c.Now = func() time.Time { return begin.Add(time.Since(started)) }
	})
	var all []*world
	for _, p := range dbtest.Products() {
		strategy := rotation.StrategyDualPassword
		if p == dbserver.Postgres {
			strategy = rotation.StrategySingleUser
		}
		w := newWorld(t, server.AWSConfig(), newAccount(t, p, strategy))
		w.scheduleInNewYork(t)
		all = append(all, w)
	}
	now, rotations := begin, 0
	for month := time.February; month <= 13; month++ {
		to := time.Date(2026, month, 1, 10, 0, 0, 0, time.UTC)
		now = advance(t, server, to.Sub(now))
		for _, w := range all {
			rotations += w.followed(t, to, now)
			if err := w.login(t.Context()); err != nil {
				t.Fatalf("%s at %s: %v", w.account, now, err)
			}
		}
	}
	if rotations != 11*len(all) {
		t.Errorf("%d rotations of %d secrets in a year", rotations, len(all))
	}
	t.Logf("a year took %s", time.Since(started))
}

// scheduleInNewYork configures the rotation without beginning one.
func (w *world) scheduleInNewYork(t *testing.T) {
	t.Helper()
	_, err := w.secrets.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: &w.secret, Tags: []types.Tag{
		{Key: aws.String("keyturn:rotation-time-zone"), Value: aws.String("America/New_York")}, {Key: aws.String("keyturn:rotation-blackout"), Value: aws.String("2026-11-20/2026-12-31")}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.secrets.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: &w.secret, RotateImmediately: aws.Bool(false),
		RotationLambdaARN: aws.String("arn:aws:lambda:us-east-1:000000000000:function:" + w.account.function()),
		RotationRules:     &types.RotationRulesType{ScheduleExpression: aws.String("cron(0 2 1 * ? *)"), Duration: aws.String("2h")}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.settled(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func advance(t *testing.T, server *keyturntest.Server, d time.Duration) time.Time {
	t.Helper()
	out, err := keyturnapi.New(server.AWSConfig()).AdvanceClock(t.Context(), &keyturnapi.AdvanceClockInput{Seconds: int64(d / time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	return out.Now
}

// followed waits until no rotation is due at now, and tells how many there were
// since a moment: none or one.
func (w *world) followed(t *testing.T, since, now time.Time) int {
	t.Helper()
	for {
		out, err := w.secrets.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &w.secret})
		if err != nil {
			t.Fatal(err)
		}
		if out.NextRotationDate.After(now) {
			if out.LastRotatedDate != nil && out.LastRotatedDate.After(since.Add(-time.Hour)) {
				return 1
			}
			return 0
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(pollEvery):
		}
	}
}

// A tag that this server cannot understand is refused, with all that came with it.
func TestTagsOfNoScheduleAreRefused(t *testing.T) {
	server := keyturntest.NewServer(t)
	name := "s"
	if _, err := server.SecretsManager.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name}); err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{"keyturn:rotation-time-zone": "Berlin", "keyturn:rotation-blackout": "tomorrow"} {
		_, err := server.SecretsManager.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: &name, Tags: []types.Tag{
			{Key: aws.String("team"), Value: aws.String("payments")}, {Key: &key, Value: &value}}})
		var refused *types.InvalidParameterException
		if !errors.As(err, &refused) || !strings.Contains(refused.ErrorMessage(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	out, err := server.SecretsManager.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil || len(out.Tags) > 0 {
		t.Errorf("tags %v, %v", out.Tags, err)
	}
}

// The clock does not come round to the past.
func TestClockHasAnEnd(t *testing.T) {
	server := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data, c.Dev = keyturn.InMemory, true })
	century := 100 * 365 * 24 * time.Hour
	advance(t, server, century)
	_, err := keyturnapi.New(server.AWSConfig()).AdvanceClock(t.Context(), &keyturnapi.AdvanceClockInput{Seconds: int64(century / time.Second)})
	if err == nil || !strings.Contains(err.Error(), "100 years at most") {
		t.Errorf("got %v", err)
	}
}
